//! Instants and durations. The rules take the time as an argument and never read a clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::malformed::Malformed;
use super::text::TextPattern;

/// An instant of wall time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "i64")]
pub struct Timestamp(i64);

/// The last instant that can be written in any time zone: 9999-12-30T22:00:00Z.
const LAST_MILLIS: i64 = 253_402_207_200_000;

/// RFC 3339, §5.6.
const INSTANT: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$";

impl Timestamp {
    pub const EXPECTED: &'static str = "must be an instant of RFC 3339, such as \"2026-01-31T12:00:00Z\"";
    pub const PATTERN: TextPattern = TextPattern { min: 0, max: 0, regex: INSTANT };
    pub const MAX: Self = Self(LAST_MILLIS);

    /// The instant `millis` after 1970, clamped to what RFC 3339 can express in any time zone (1970 to the
    /// end of 9999).
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(0, LAST_MILLIS))
    }

    /// The instant `seconds` after 1970.
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole seconds since 1970, rounded up: a deadline that has not passed is then not in the past.
    pub fn ceiling_seconds(self) -> i64 {
        -(-self.0).div_euclid(1000)
    }

    /// This instant without its fraction of a second.
    pub fn floor(self) -> Self {
        Self::from_seconds(self.seconds())
    }

    /// As the header `Date` has it (RFC 9110 §5.6.7).
    pub fn http_date(self) -> String {
        jiff::Timestamp::from_millisecond(self.0)
            .and_then(|instant| {
                jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&instant)
            })
            .expect("clamped at construction to what jiff can write")
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, duration: Duration) -> Self {
        Self::from_millis(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this instant; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<i64> for Timestamp {
    /// Milliseconds, as they are stored; clamped to the same bounds.
    fn from(millis: i64) -> Self {
        Self::from_millis(millis)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with a fraction only if there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = jiff::Timestamp::from_millisecond(self.0)
            .expect("clamped at construction to what jiff can write");
        instant.fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = Malformed;
    /// RFC 3339 with an upper-case `T`, and `Z` in upper case where there is one; offsets are converted
    /// to UTC, fractions truncated to milliseconds.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let bytes = text.as_bytes();
        // jiff accepts more than RFC 3339 (spaces, lower case, six-digit years, zone names), so the form is
        // checked first.
        let zone =
            text.get(19..).ok_or(Malformed)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
        let zoned =
            zone == "Z" || (zone.len() == 6 && zone.starts_with(['+', '-']) && zone.as_bytes()[3] == b':');
        if bytes[10] != b'T' || !bytes[0].is_ascii_digit() || !zoned {
            return Err(Malformed);
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| Malformed)?;
        let millis = instant.as_millisecond();
        if (0..=LAST_MILLIS).contains(&millis) { Ok(Self(millis)) } else { Err(Malformed) }
    }
}

/// What a duration must be; continues the sentence that the field's name starts.
pub const DURATION_EXPECTED: &str = "must be a duration such as \"0s\", \"30m\" or \"24h\"";
pub const DURATION_PATTERN: TextPattern = TextPattern {
    min: 0,
    max: 0,
    regex: "^(0|[0-9]+d([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+h([0-9]+m)?([0-9]+s)?([0-9]+ms)?\
            |[0-9]+m([0-9]+s)?([0-9]+ms)?|[0-9]+s([0-9]+ms)?|[0-9]+ms)$",
};

/// Reads a duration such as `90s`, `1h30m` or `14d`: whole numbers with the units `ms`, `s`, `m`, `h`, `d`,
/// each at most once; `0` needs none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut sum = Duration::ZERO;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].split(|c: char| c.is_ascii_digit()).next()?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        if unit_ms >= smallest {
            return None;
        }
        smallest = unit_ms;
        sum = sum.checked_add(Duration::from_millis(number.checked_mul(unit_ms)?))?;
        rest = &rest[digits + unit.len()..];
    }
    (!text.is_empty()).then_some(sum)
}

/// One reading of the clocks: wall time, and monotonic time within one run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub wall: Timestamp,
    /// Random for each start of the process, so that monotonic times of different runs are never compared.
    pub boot: u64,
    /// Milliseconds of monotonic time since the start of this run.
    pub elapsed_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up_where_a_deadline_must_not_be_in_the_past() {
        let up = |millis| Timestamp::from_millis(millis).ceiling_seconds();
        assert_eq!([up(0), up(1), up(999), up(1000), up(1001)], [0, 1, 1, 1, 2]);
    }

    /// PAS-27, PAS-28, PAS-29, PAS-33: what is and is not RFC 3339.
    #[test]
    fn rfc_3339_is_read_strictly_and_written_in_utc() {
        for (text, millis) in [
            ("1970-01-01T00:00:01Z", 1_000),
            ("1970-01-01T01:00:00.25+01:00", 250),
            ("1970-01-01T00:00:00.1239999999Z", -1),
            ("9999-12-30T22:00:00Z", 253_402_207_200_000),
            ("9999-12-31T23:59:59Z", -1),
        ] {
            match text.parse::<Timestamp>() {
                Ok(at) => assert_eq!(at.millis(), millis, "{text}"),
                Err(Malformed) => assert_eq!(millis, -1, "{text}"),
            }
        }
        for bad in [
            "",
            "1",
            "1970-01-01",
            "1970-01-01t00:00:00Z",
            "1970-01-01T00:00:00z",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00",
            "1970-13-01T00:00:00Z",
            "1960-01-01T00:00:00Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00+01:00:00",
            "1970-01-01T00:00:00Z[UTC]",
            "+001970-01-01T00:00:00Z",
            "żółwżółwżółwżółwżółw",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
        assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.5Z");
        assert_eq!(Timestamp::from_millis(1_500).floor().to_string(), "1970-01-01T00:00:01Z");
    }

    #[test]
    fn durations_are_numbers_with_units_the_larger_first() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for invalid in [
            "",
            "5",
            "s",
            "5 m",
            " 5m",
            "-5m",
            "5M",
            "1.5h",
            "5min",
            "30m1h",
            "1h1h",
            "99999999999999999999s",
            "9999999999999999d",
            "5m3",
            "é5m",
        ] {
            assert_eq!(parse_duration(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn arithmetic_never_overflows() {
        let last = Timestamp::from_millis(i64::MAX);
        assert_eq!(last.plus(Duration::MAX), last);
        assert_eq!(Timestamp::from_millis(0).minus(Duration::MAX), Timestamp::from_millis(0));
        assert_eq!(Timestamp::from_millis(0).since(last), Duration::ZERO);
        assert_eq!(last.to_string(), "9999-12-30T22:00:00Z");
    }

    /// RFC 9110 §5.6.7 has this example.
    #[test]
    fn an_instant_is_written_for_the_header_date() {
        assert_eq!(Timestamp::from_seconds(784_111_777).http_date(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn the_time_since_an_instant_is_zero_before_it() {
        let at = Timestamp::from_millis;
        assert_eq!(at(1_500).since(at(500)), Duration::from_secs(1));
        assert_eq!(at(500).since(at(1_500)), Duration::ZERO);
        assert_eq!((Timestamp::from(-1), Timestamp::from(i64::MAX)), (at(0), Timestamp::MAX));
    }
}
