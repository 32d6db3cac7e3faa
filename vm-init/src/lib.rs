//! From a machine's specification to what its first boot is told: user-data (a `#cloud-config`) and the boot plan.
//!
//! Pure: no clock, no I/O, no randomness. User-data is readable by every process on the machine that can reach the
//! provider's metadata service, so it must never hold more than the short-lived enrolment token; no value from outside
//! ever becomes shell text. Start with [`user_data()`], then [`boot_plan`].

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::unreachable
    )
)]

mod agents;
pub mod boot_plan;
pub mod firewall;
pub mod public_address;
pub mod user_data;

pub use agents::AGENTS_STEP;
pub use boot_plan::{BootSpec, PRUNE_STEP, RESTORE_STEP, boot_plan, repository_directory, salvage_plan};
pub use user_data::{
    Disk, EnrolmentToken, MachineSpec, USER_DATA_LIMIT, UserDataError, cloud_config, user_data,
};
