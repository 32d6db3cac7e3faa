//! The API's handlers: from a request to an answer. The table in `routes` says which answers what.
//!
//! Thin on purpose: they read the request, call a function that the dashboard may call too, and write the answer.

pub mod account;
pub mod agent;
pub mod events;
pub mod kit;
pub mod machine;
pub mod programs;
pub mod repository;
pub mod secrets;
pub mod ssh;
pub mod sweep;
pub mod trash;
pub mod usage;
pub mod wait;
pub mod workspaces;
