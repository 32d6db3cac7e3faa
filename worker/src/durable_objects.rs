//! The Durable Objects: one `workspace` each, and the one `provider_gate` of an installation.
//!
//! `rpc` is what may be asked of a workspace's object and `client` asks it; `rate_limit` asks the provider gate.

pub mod client;
pub mod provider_gate;
pub mod rate_limit;
pub mod rpc;
pub mod workspace;
