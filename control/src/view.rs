//! What is shown of a record: to people ([`people`]), and to its machine ([`machine`]). Derives, never decides; what comes
//! *from* machines is read in [`crate::lifecycle`].

pub mod machine;
pub mod people;
