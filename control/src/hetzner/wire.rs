//! What several calls share: ids, labels, money, and enums that stay open.
//!
//! An id of one kind is never taken for another. Money stays the decimal text that the provider sent.

use crate::amount::Decimal;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Labels of a resource, in order.
pub type Labels = BTreeMap<String, String>;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// Names a server.
    ServerId;
    /// Names an action: something that the provider is doing.
    ActionId;
    /// Names an image.
    ImageId;
    /// Names an SSH key.
    SshKeyId;
    /// Names a primary IP.
    PrimaryIpId;
    /// Names a firewall.
    FirewallId;
}

/// Declares an enum of known texts that keeps every other text as it came.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A value that did not exist when this was written.
            Other(String),
        }

        impl $name {
            /// As the provider writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                match text.as_str() {
                    $($text => Self::$variant,)+
                    _ => Self::Other(text),
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.as_str().to_owned()
            }
        }
    };
}
pub(super) use open_enum;

/// A price without and with value-added tax.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    pub net: Decimal,
    pub gross: Decimal,
}

/// A nested object of which only the name matters.
#[derive(Deserialize)]
pub(super) struct Named {
    pub name: Option<String>,
}

/// Reads a time and takes one that cannot be read as absent.
pub(super) fn time(text: Option<String>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// A size in units of 1/`scale`, rounded; the provider sends fractions of gigabytes as JSON numbers.
pub(super) fn scaled(number: f64, scale: f64) -> u64 {
    // `as` saturates and takes NaN as 0.
    (number * scale).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_scaled_and_never_panic() {
        assert_eq!(scaled(4.0, 1024.0), 4096);
        assert_eq!(scaled(0.5, 1024.0), 512);
        assert_eq!(scaled(f64::NAN, 1024.0), 0);
        assert_eq!(scaled(-3.0, 1.0), 0);
    }
}
