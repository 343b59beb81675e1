//! How each form of access token writes an instant: PASETO as RFC 3339 text, JWT as a number of seconds.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::domain::time::Timestamp;

/// To which side a fraction of a second goes: never to the one that makes a token good for longer (INT-85).
#[derive(Clone, Copy, PartialEq)]
pub enum Rounding {
    Up,
    Down,
}

/// An instant as one of the forms writes it.
pub trait Time {
    /// The instant `seconds` after 1970.
    fn from_seconds(seconds: i64) -> Self;

    /// Whole seconds since 1970; `None` if it is no instant.
    fn seconds(&self, rounding: Rounding) -> Option<i64>;
}

/// An instant in a PASETO (PASETO, Payload Processing, "Registered Claims").
#[derive(Serialize, Deserialize)]
pub struct Rfc3339<'a>(#[serde(borrow)] Cow<'a, str>);

impl Time for Rfc3339<'_> {
    fn from_seconds(seconds: i64) -> Self {
        Self(Cow::Owned(Timestamp::from_seconds(seconds).to_string()))
    }

    fn seconds(&self, rounding: Rounding) -> Option<i64> {
        let at = self.0.parse::<Timestamp>().ok()?.seconds();
        // Timestamps end at milliseconds, so the digits themselves are asked.
        let fraction = self.0.get(19..)?.strip_prefix('.').unwrap_or_default();
        let whole = fraction.bytes().take_while(u8::is_ascii_digit).all(|digit| digit == b'0');
        Some(if whole || rounding == Rounding::Down { at } else { at + 1 })
    }
}

/// An instant in a JWT (RFC 7519 §2). Fractions are permitted there and never written by us, so they are
/// refused.
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
