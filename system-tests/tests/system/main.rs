//! The system tests: the built Worker in workerd, the local cloud and the real idle-agent, driven from outside.
//!
//! Run by `scripts/test`, which builds what they need; alone with `cargo test -p ebbtide-system-tests --test system`.
//! A test brings up a stack of its own, or takes its turn at one that its module shares. Nothing here may look at
//! anything but the world: answers, the vendors' inventory, files in machines.

mod agents;
mod backups;
mod bad_days;
mod bad_input;
mod bench;
mod common;
mod dashboard;
mod dependencies;
mod fencing;
mod gate;
mod idle;
mod lifecycle;
mod live;
mod money;
mod observability;
mod open_doors;
mod own_faults;
mod owner_backups;
mod ports;
mod private_repositories;
mod rescue;
mod restarts;
mod retention;
mod slots;
mod sweep;
mod turns;
mod uploads;
mod whole_path;
