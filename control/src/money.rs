//! Money: what machines cost at worst ([`quote`]), what they were billed by the day ([`bill`]), and what their owners may
//! spend ([`caps`]). Amounts are in [`crate::amount`], what a request reserves in [`crate::reservation`], what a record
//! knows in [`crate::record::MachineMoney`].

pub mod bill;
pub mod caps;
pub mod quote;

pub use crate::amount::{Amount, InvalidAmount};
pub use quote::{PriceQuote, Rate, Worst, reserved, worst_hours};
