//! What each process is to the workspace. Pure.

pub mod background_watchers;
pub mod programs;
