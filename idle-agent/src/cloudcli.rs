//! CloudCLI on a machine that has it: its account (`account`), which sessions run in it (`sessions`), and keeping it
//! running (`start`).

pub mod account;
#[cfg(test)]
mod played;
pub mod sessions;
pub mod start;
