//! The local cloud: Hetzner's and Cloudflare's APIs on loopback, and real machines behind them.
//!
//! [`model`] is pure and deterministic; a simulation may drive it in memory. [`facade`] puts it behind sockets,
//! persists it and carries its effects out on [`machines`]. [`edge`] plays the network in front of machines, [`git`]
//! the repositories they clone from. This crate shares no type with the control plane: shared, both would be wrong together.

pub mod edge;
pub mod facade;
pub mod git;
pub mod machines;
pub mod model;
