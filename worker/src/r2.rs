//! The bucket: what is stored in it, the keys that open it, and what a reader of backups is shown.

pub mod bucket;
pub mod kept_policy;
pub mod keychain;
pub mod restic_paths;
pub mod visibility;
