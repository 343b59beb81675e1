//! Times in access tokens: RFC 3339 text in a PASETO, a number of seconds in a JWT.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// Direction in which a fraction of a second is rounded: always the one that shortens validity (INT-85).
#[derive(Clone, Copy, PartialEq)]
pub enum Rounding {
    Up,
    Down,
}

/// A time as one of the formats writes it.
pub trait Time {
    /// From seconds since 1970.
    fn from_seconds(seconds: i64) -> Self;

    /// Whole seconds since 1970; `None` if it is not a valid time.
    fn seconds(&self, rounding: Rounding) -> Option<i64>;
}

/// A time in a PASETO (PASETO, Payload Processing, "Registered Claims").
#[derive(Serialize, Deserialize)]
pub struct Rfc3339<'a>(#[serde(borrow)] Cow<'a, str>);

impl Time for Rfc3339<'_> {
    fn from_seconds(seconds: i64) -> Self {
        Self(Cow::Owned(Timestamp::from_seconds(seconds).to_string()))
    }

    fn seconds(&self, rounding: Rounding) -> Option<i64> {
        let at = self.0.parse::<Timestamp>().ok()?.seconds();
        // A Timestamp has milliseconds only, so the text is examined for smaller fractions.
        let fraction = self.0.get(19..)?.strip_prefix('.').unwrap_or_default();
        let whole = fraction.bytes().take_while(u8::is_ascii_digit).all(|digit| digit == b'0');
        Some(if whole || rounding == Rounding::Down { at } else { at + 1 })
    }
}

/// A time in a JWT (RFC 7519 §2). Fractions are permitted there, but we never write them, so they are
/// rejected.
#[derive(Serialize, Deserialize)]
pub struct NumericDate(u64);

impl Time for NumericDate {
    fn from_seconds(seconds: i64) -> Self {
        Self(u64::try_from(seconds).unwrap_or(0))
    }

    fn seconds(&self, _: Rounding) -> Option<i64> {
        i64::try_from(self.0).ok()
    }
}
