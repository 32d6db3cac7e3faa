//! Amounts of money: whole millionths of the provider's currency, and the decimal texts in which they come and go.
//!
//! The ground of everything that costs: knows no provider, no policy and no record. Rounded up where an amount is made, so
//! that no sum is ever below what will be billed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Millionths in a whole.
const MICRO: u64 = 1_000_000;
/// An amount in millionths of the provider's currency. On the wire a decimal text such as `"10.00"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(pub u64);

/// A text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no amount; write a decimal number such as 12.50")]
pub struct InvalidAmount(String);

impl Amount {
    /// Whole units of the currency.
    pub const fn whole(units: u64) -> Self {
        Self(units.saturating_mul(MICRO))
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left after taking the other away; nothing where that is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Hundredths of `whole` that this is, rounded down; 100 and more where it is all of it.
    pub fn percent_of(self, whole: Self) -> u64 {
        let hundredfold = u128::from(self.0).saturating_mul(100);
        let percent = hundredfold.checked_div(u128::from(whole.0)).unwrap_or(100);
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

impl TryFrom<String> for Amount {
    type Error = InvalidAmount;

    fn try_from(text: String) -> Result<Self, InvalidAmount> {
        let decimal = Decimal(text);
        let shown = || decimal.0.chars().filter(|c| !c.is_control()).take(40).collect();
        decimal.micros_rounded_up().map(Self).ok_or_else(|| InvalidAmount(shown()))
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.to_string()
    }
}

impl fmt::Display for Amount {
    /// Exact, with two decimals at least: `10.00`, `0.006664`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fraction = format!("{:06}", self.0 % MICRO);
        while fraction.len() > 2 && fraction.ends_with('0') {
            fraction.pop();
        }
        write!(f, "{}.{fraction}", self.0 / MICRO)
    }
}

/// An amount of money or a rate, as the decimal text that the provider sent (`"0.0060000000"`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Decimal(pub String);

impl Decimal {
    /// The amount in millionths of the currency unit, rounded up; `None` where the text is not a plain,
    /// non-negative decimal number that fits.
    pub fn micros_rounded_up(&self) -> Option<u64> {
        let (whole, fraction) = self.0.split_once('.').unwrap_or((&self.0, ""));
        let digits_only = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits_only(whole) || !digits_only(fraction) {
            return None;
        }
        let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
        let rest_is_zero = fraction.chars().skip(6).all(|digit| digit == '0');
        let whole: u64 = whole.parse().ok()?;
        let micros: u64 = kept.parse().ok()?;
        whole.checked_mul(1_000_000)?.checked_add(micros)?.checked_add(u64::from(!rest_is_zero))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_back_exactly_and_are_pinned_because_policies_hold_them() {
        for (text, micros, shown) in [
            ("10", 10_000_000, "10.00"),
            ("0.006664", 6_664, "0.006664"),
            ("12.50", 12_500_000, "12.50"),
            ("0", 0, "0.00"),
            ("0.0000001", 1, "0.000001"),
        ] {
            let amount = Amount::try_from(text.to_owned()).unwrap();
            assert_eq!((amount.0, amount.to_string().as_str()), (micros, shown), "{text}");
            assert_eq!(serde_json::to_string(&amount).unwrap(), format!("\"{shown}\""));
            assert_eq!(Amount::try_from(shown.to_owned()).unwrap(), amount);
        }
    }

    #[test]
    fn unusable_amounts_are_refused_with_a_usable_one() {
        for text in ["", "ten", "-1", "1e3", "1,50", "€5"] {
            let refusal = Amount::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(refusal.contains("12.50"), "{refusal}");
        }
    }

    #[test]
    fn money_is_rounded_up_to_millionths() {
        for (text, micros) in [
            ("0.0060000000000000", Some(6_000)),
            ("0.0059500000000001", Some(5_951)),
            ("3.29", Some(3_290_000)),
            ("12", Some(12_000_000)),
            ("0.0000000001", Some(1)),
            ("", None),
            (".5", None),
            ("-1", None),
            ("1e3", None),
            ("1,5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(Decimal(text.into()).micros_rounded_up(), micros, "{text}");
        }
    }

    #[test]
    fn hundredths_never_divide_by_nothing() {
        assert_eq!(Amount(85).percent_of(Amount(100)), 85);
        assert_eq!(Amount(0).percent_of(Amount(0)), 100);
        assert_eq!(Amount(u64::MAX).percent_of(Amount(1)), u64::MAX);
    }
}
