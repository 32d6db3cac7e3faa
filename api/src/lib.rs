//! The wire types of Ebbtide: what the Worker, the idle-agent, the dashboard and the tests say to each other.
//!
//! Nothing here decides anything or performs I/O. Whatever is stored or sent is pinned by a literal in the tests of
//! its module: a change that breaks one of them breaks machines that are already running.
//! Start with [`workspace`] (what people see) and [`vm`] (what machines say); [`error`] is how every refusal looks.

#[macro_use]
mod stable_code;

pub mod agents;
pub mod audit;
pub mod backups;
pub mod catalog;
pub mod duration;
pub mod env;
pub mod error;
pub mod failure;
pub mod health;
pub mod hint;
pub mod history;
pub mod id;
pub mod keys;
pub mod money;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod ports;
pub mod programs;
pub mod secrets;
pub mod ssh;
pub mod sweep;
pub mod text;
pub mod usage;
pub mod vm;
pub mod why;
pub mod workspace;

pub use agents::Agent;
pub use duration::Duration;
pub use error::{ErrorBody, ErrorCode};
pub use failure::FailureCode;
pub use hint::Hint;
pub use history::EventCode;
pub use id::{Generation, TenantId, WorkspaceId};
pub use jiff::Timestamp;

/// The product's name, the only place that holds it: resource names, labels and pages derive from it.
pub const PRODUCT: Product = Product { name: "Ebbtide", slug: "ebbtide", command: "ebb" };

/// How the product is called, in prose, in identifiers and on a command line.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// In prose and page titles.
    pub name: &'static str,
    /// In labels, directories and service names.
    pub slug: &'static str,
    /// The command people type.
    pub command: &'static str,
}
