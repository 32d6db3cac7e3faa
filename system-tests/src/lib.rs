//! The whole system on one machine, driven from outside: the built Worker in workerd, the local cloud with real
//! machines, and the real idle-agent. Nothing is replaced but the two vendors.
//!
//! [`Stack`] brings it up and takes it down; `scripts/dev`, `scripts/demo`, `scripts/bench` and the system tests all
//! use it. Whatever it starts ends with it, also when this process is killed; see [`process`].

pub mod agents;
pub mod api;
pub mod bench;
pub mod browser;
pub mod cloud;
pub mod guest;
pub mod http;
pub mod interrupt;
pub mod leak_check;
pub mod machine;
pub mod paths;
pub mod played_machine;
pub mod process;
pub mod secrets;
mod stack;
pub mod stats;
pub mod wait;

pub use stack::{Machines, NOTHING_LEFT, Options, Runner, Stack, VmImage, ZONE};
