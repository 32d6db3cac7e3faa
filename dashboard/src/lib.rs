//! The pages a person sees: view structs that hold strings ready to show, and the templates that lay them out.
//!
//! Views are made by pure functions of the API's own types and `now`; templates hold loops and ifs and nothing else.
//! Nothing here reads a clock, a cookie or a database, and nothing is written into a page unescaped.
//! Start with [`view`] (API types to views), then [`page`] (views to HTML); [`asset`] holds what pages link to.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod asset;
pub mod form;
pub mod page;
pub mod text;
pub mod view;

pub use askama::Error as RenderError;
