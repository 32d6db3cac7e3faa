//! What is done with workspaces: the use cases that the API, the dashboard and the cron share.

pub mod actions;
pub mod agents;
pub mod audit;
pub mod catalog;
pub mod create;
pub mod idempotent;
pub mod lost;
pub mod reservation;
pub mod secrets;
pub mod ssh;
pub mod trash;
pub mod usage;
pub mod wish;
