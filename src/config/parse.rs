//! How single values are written. Each function's error says what would be valid.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// How durations are written.
const DURATION: &str = "a duration such as \"500ms\", \"10s\", \"5m\", \"1h30m\" or \"90d\"";

/// A duration: numbers with units (ms, s, m, h, d), the larger unit first; or `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let malformed = || DURATION.to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut millis, mut larger) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(malformed()),
        };
        let number: u64 = number.parse().map_err(|_| malformed())?;
        if unit_ms >= larger {
            return Err(malformed());
        }
        millis = number.checked_mul(unit_ms).and_then(|ms| millis.checked_add(ms)).ok_or_else(malformed)?;
        (rest, larger) = (tail, unit_ms);
    }
    Ok(Duration::from_millis(millis))
}

/// A duration within limits, which are written as durations.
pub fn duration_within(least: &'static str, most: &'static str) -> impl Fn(&str) -> Result<Duration, String> {
    let limit = |text| duration(text).unwrap_or_else(|_| panic!("{text} is a duration"));
    let range = limit(least)..=limit(most);
    move |text| match duration(text) {
        Ok(value) if range.contains(&value) => Ok(value),
        Ok(_) => Err(format!("from \"{least}\" to \"{most}\"")),
        Err(malformed) => Err(format!("{malformed}, from \"{least}\" to \"{most}\"")),
    }
}

/// A whole number within limits.
pub fn number_within<N: FromStr + PartialOrd + Display>(
    least: N,
    most: N,
) -> impl Fn(&str) -> Result<N, String> {
    move |text| match text.parse() {
        Ok(number) if (&least..=&most).contains(&&number) => Ok(number),
        _ => Err(format!("a whole number from {least} to {most}")),
    }
}

/// A size within limits in bytes: a whole number, or one with KiB, MiB or GiB.
pub fn size_within(least: u64, most: u64) -> impl Fn(&str) -> Result<usize, String> {
    let size = |text: &str| -> Option<u64> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit {
            "" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(1 << shift)
    };
    move |text| match size(text)
        .filter(|size| (least..=most).contains(size))
        .and_then(|size| usize::try_from(size).ok())
    {
        Some(size) => Ok(size),
        None => Err(format!(
            "a size from {} to {}, such as \"64KiB\", \"256MiB\" or a number of bytes",
            written(least),
            written(most)
        )),
    }
}

fn written(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        30.. => format!("{}GiB", bytes >> 30),
        20..=29 => format!("{}MiB", bytes >> 20),
        10..=19 => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// One of the names of an enum.
pub fn one_of<T: Copy>(
    values: &'static [T],
    name: fn(T) -> &'static str,
) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let known = values.iter().copied().find(|value| name(*value) == text);
        known.ok_or_else(|| {
            format!("one of: {}", values.iter().map(|value| name(*value)).collect::<Vec<_>>().join(", "))
        })
    }
}

/// A text that is not empty, such as a path.
pub fn path(text: &str) -> Result<std::path::PathBuf, String> {
    if text.is_empty() || text.contains('\0') { Err("a path".to_owned()) } else { Ok(text.into()) }
}

/// The name of an environment variable.
pub fn variable(text: &str) -> Result<String, String> {
    let sound = text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    if sound && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
        Ok(text.to_owned())
    } else {
        Err("the name of an environment variable, in capital letters; the key itself belongs into that variable".to_owned())
    }
}

/// A cookie's name: a token (RFC 9110 §5.6.2). What browsers read as a prefix must be spelt as they spell it
/// (CKE-15).
pub fn cookie_name(text: &str) -> Result<String, String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 256 || !text.bytes().all(token) {
        return Err("a cookie name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~".to_owned());
    }
    for prefix in ["__Host-Http-", "__Host-", "__Http-", "__Secure-"] {
        let Some((begin, rest)) = text.split_at_checked(prefix.len()) else { continue };
        if begin.eq_ignore_ascii_case(prefix) {
            return if begin == prefix && !rest.is_empty() {
                Ok(text.to_owned())
            } else {
                Err(format!("{prefix}, spelt so, and a name behind it"))
            };
        }
    }
    Ok(text.to_owned())
}

/// A level, or directives that name one each. A lone word that is no level would silently be taken for a
/// module's name.
pub fn log_level(text: &str) -> Result<String, String> {
    let is_level = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphabetic())
            && text.parse::<LevelFilter>().is_ok()
    };
    let named = |directive: &str| {
        directive.rsplit_once('=').map_or(is_level(directive), |(_, level)| is_level(level))
    };
    if text.split(',').all(named) && EnvFilter::builder().parse(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err("off, error, warn, info, debug or trace, or directives such as \"info,poem=debug\"".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
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
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert_eq!(duration_within("1s", "1h")("2h").unwrap_err(), "from \"1s\" to \"1h\"");
        assert!(duration_within("1s", "1h")("1s").is_ok());
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let size = size_within(1, 1 << 30);
        assert_eq!(
            (size("64KiB"), size("256MiB"), size("1GiB"), size("7")),
            (Ok(65_536), Ok(268_435_456), Ok(1 << 30), Ok(7))
        );
        for bad in [
            "",
            "0",
            "KiB",
            "64KB",
            "64kib",
            "64 KiB",
            "1.5MiB",
            "-1",
            "2GiB",
            "99999999999999999999",
            "17179869185GiB",
        ] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert!(size("0").unwrap_err().contains("from 1 to 1GiB"));
    }

    /// CKE-08, CKE-09, CKE-15: a token, short enough for name and value to be kept, and no prefix in a case
    /// that browsers do not honour.
    #[test]
    fn a_cookie_name_is_a_token_with_its_prefix_spelt_exactly() {
        for good in ["__Host-keyfob", "__Secure-sid", "__Host-Http-sid", "sid"] {
            assert!(cookie_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a b",
            "a=b",
            "a;b",
            "ä",
            "__host-keyfob",
            "__HOST-x",
            "__secure-x",
            "__Host-",
            "__Host-http-x",
        ] {
            assert!(cookie_name(bad).is_err(), "{bad:?}");
        }
        assert!(cookie_name(&"x".repeat(256)).is_ok() && cookie_name(&"x".repeat(257)).is_err());
    }

    #[test]
    fn a_key_pasted_where_its_variable_is_named_is_no_variable() {
        assert!(variable("KEYFOB_MASTER_KEY").is_ok());
        assert!(variable("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").is_err());
        assert!(variable("").is_err() && variable("1A").is_err());
    }

    #[test]
    fn a_word_that_is_no_level_is_no_directive() {
        for good in
            ["off", "error", "warn", "info", "DEBUG", "trace", "info,keyfob::store=debug", "keyfob=trace"]
        {
            assert!(log_level(good).is_ok(), "{good}");
        }
        for bad in ["", "inof", "verbose", "info,", "keyfob", "keyfob=", "keyfob=loud", "3", "[=info"] {
            assert!(log_level(bad).is_err(), "{bad:?}");
        }
    }
}
