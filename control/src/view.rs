//! What is shown of a record: to people ([`people`]), and to its machine ([`machine`]); and what the index
//! knows where there is none ([`lost`]). Derives, never decides; what comes
//! *from* machines is read in [`crate::lifecycle`].

pub mod lost;
pub mod machine;
pub mod people;
pub mod recall;
