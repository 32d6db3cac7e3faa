//! CloudCLI on a machine that has it: its account (`account`), which sessions run in it (`sessions`), and keeping it
//! running (`start`).

pub mod account;
pub mod sessions;
pub mod start;
