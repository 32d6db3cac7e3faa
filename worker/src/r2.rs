//! The bucket: what is stored in it, the keys that open it, and the paths of restic.

pub mod bucket;
pub mod kept_policy;
pub mod keychain;
pub mod listing;
pub mod programs;
pub mod restic_paths;
pub mod ssh;
pub mod stored_secrets;
