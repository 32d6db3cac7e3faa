//! The control plane's decisions: lifecycle, sweep, caps, keys, tokens, names, and the provider clients over seams.
//!
//! Pure: no clock, no randomness, no async runtime, no Workers type, no `Send` bound. `now` and random bytes are
//! passed in; the network is the [`http::Http`] seam. It is tested natively and compiled to WebAssembly, where a panic
//! is a hang: hence the lints below.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod amount;
pub mod backup_capacity;
pub mod cloudflare;
pub mod driver;
pub mod executor;
pub mod hetzner;
pub mod http;
pub mod keys;
pub mod lifecycle;
pub mod money;
pub mod names;
pub mod placement;
pub mod policy;
pub mod rate_limit;
pub mod record;
pub mod repository;
pub mod reservation;
pub mod restore_note;
pub mod retention;
pub mod row_budget;
pub mod secret;
pub mod ssh;
pub mod stored_secrets;
pub mod sweep;
mod text;
pub mod tokens;
pub mod view;
