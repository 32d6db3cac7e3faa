//! CloudCLI on a machine that has it: kept running (`start`), and asked which sessions run in it (`sessions`).

pub mod sessions;
pub mod start;
