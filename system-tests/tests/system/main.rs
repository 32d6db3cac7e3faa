//! x
mod bad_input;
mod turns;
