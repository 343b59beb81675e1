//! How the value of one setting is written: its type, the valid values and the parser, as one value.

use std::borrow::Cow;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::domain::console::CONSOLE_COOKIE_NAME;
use crate::domain::time::parse_duration;

/// The format of a setting. Errors and the reference of all settings are made from it.
pub struct Format<T> {
    pub(super) kind: Kind,
    valid: Cow<'static, str>,
    read: Reader<T>,
}

type Reader<T> = Box<dyn Fn(&str) -> Result<T, Invalid>>;

/// The type of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Duration,
    Size,
    WholeNumber,
    Boolean,
    Text,
}

/// Why a text is not a value of a format.
pub(super) enum Invalid {
    /// It is none of the values that the format describes.
    Value,
    /// It breaks this rule of the format.
    Rule(String),
}

impl Kind {
    /// Its name in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Size => "size",
            Self::WholeNumber => "whole number",
            Self::Boolean => "true or false",
            Self::Text => "text",
        }
    }
}

impl<T: 'static> Format<T> {
    fn new(
        kind: Kind,
        valid: impl Into<Cow<'static, str>>,
        read: impl Fn(&str) -> Option<T> + 'static,
    ) -> Self {
        Self { kind, valid: valid.into(), read: Box::new(move |text| read(text).ok_or(Invalid::Value)) }
    }

    /// A text of which `valid` describes the values.
    pub(super) fn text(
        valid: impl Into<Cow<'static, str>>,
        read: impl Fn(&str) -> Option<T> + 'static,
    ) -> Self {
        Self::new(Kind::Text, valid, read)
    }

    /// The same, with a parser that can name the rule that a text breaks.
    pub(super) fn text_with_rules(
        valid: &'static str,
        read: impl Fn(&str) -> Result<T, Invalid> + 'static,
    ) -> Self {
        Self { kind: Kind::Text, valid: valid.into(), read: Box::new(read) }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// What is valid, as it follows the word "expected".
    pub fn parse(&self, text: &str) -> Result<T, String> {
        (self.read)(text).map_err(|invalid| match invalid {
            Invalid::Value => self.expected(),
            Invalid::Rule(rule) => rule,
        })
    }

    fn expected(&self) -> String {
        let Self { kind, valid, .. } = self;
        match kind {
            Kind::Duration if valid.is_empty() => format!("a duration such as {DURATIONS}"),
            Kind::Duration => format!("a duration {valid}, such as {DURATIONS}"),
            Kind::Size => format!("a size {valid}, such as {SIZES}"),
            Kind::WholeNumber => format!("a whole number {valid}"),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Text => valid.to_string(),
        }
    }

    /// The valid values, where the kind does not say it.
    pub(super) fn valid(&self) -> Option<&str> {
        Some(&*self.valid).filter(|valid| !valid.is_empty())
    }
}

const DURATIONS: &str = "\"500ms\", \"10s\", \"5m\", \"1h30m\" or \"90d\"";
const SIZES: &str = "\"64KiB\", \"256MiB\" or a number of bytes";

/// A duration, read as [`parse_duration`] does.
pub(super) fn duration() -> Format<Duration> {
    Format::new(Kind::Duration, "", parse_duration)
}

/// A duration within limits, which are written as durations.
pub(super) fn duration_within(least: &'static str, most: &'static str) -> Format<Duration> {
    let limit = |text| parse_duration(text).expect("limits are durations");
    let range = limit(least)..=limit(most);
    Format::new(Kind::Duration, format!("from {least} to {most}"), move |text| {
        parse_duration(text).filter(|value| range.contains(value))
    })
}

/// A whole number within limits.
pub(super) fn number_within<N>(least: N, most: N) -> Format<N>
where
    N: FromStr + PartialOrd + Display + 'static,
{
    Format::new(Kind::WholeNumber, format!("from {least} to {most}"), move |text| {
        text.parse().ok().filter(|number| (&least..=&most).contains(&number))
    })
}

/// A size within limits in bytes: a whole number, or one with KiB, MiB or GiB.
pub fn size_within(least: u64, most: u64) -> Format<usize> {
    let valid = format!("from {} to {}", written(least), written(most));
    Format::new(Kind::Size, valid, move |text| {
        size(text).filter(|size| (least..=most).contains(size)).and_then(|size| size.try_into().ok())
    })
}

fn size(text: &str) -> Option<u64> {
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
pub(super) fn boolean() -> Format<bool> {
    Format::new(Kind::Boolean, "", |text| text.parse().ok())
}

/// One of the names of an enum.
pub(super) fn one_of<T: Copy>(values: &'static [T], name: fn(T) -> &'static str) -> Format<T> {
    let names: Vec<&str> = values.iter().map(|value| name(*value)).collect();
    Format::text(format!("one of: {}", names.join(", ")), move |text| {
        values.iter().copied().find(|value| name(*value) == text)
    })
}

/// Any text.
pub(super) fn any_text() -> Format<Box<str>> {
    Format::text("", |text| Some(text.into()))
}

/// The path of a file.
pub(super) fn file_path() -> Format<PathBuf> {
    Format::text("the path of a file", |text| {
        let path = PathBuf::from(text);
        (path.file_name().is_some() && !text.ends_with('/') && !text.contains('\0')).then_some(path)
    })
}

/// The name of an environment variable.
pub(super) fn variable() -> Format<String> {
    let valid =
        "the name of an environment variable in capital letters; the key itself belongs in that variable";
    Format::text(valid, |text| {
        let begins = text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
        let rest = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        (begins && rest).then(|| text.to_owned())
    })
}

/// A cookie's name: a token (RFC 9110 §5.6.2). A prefix that browsers recognise must be spelt exactly
/// (CKE-15).
pub(super) fn cookie_name() -> Format<String> {
    let valid = "a cookie name: 1 to 256 letters, digits and !#$%&'*+-.^_`|~";
    Format::text_with_rules(valid, |text| {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if text.is_empty() || text.len() > 256 || !text.bytes().all(token) {
            return Err(Invalid::Value);
        }
        if text == CONSOLE_COOKIE_NAME {
            return Err(Invalid::Rule(format!(
                "another name than {CONSOLE_COOKIE_NAME}, which the console has"
            )));
        }
        for prefix in ["__Host-Http-", "__Host-", "__Http-", "__Secure-"] {
            let Some((begin, rest)) = text.split_at_checked(prefix.len()) else { continue };
            if begin.eq_ignore_ascii_case(prefix) {
                return if begin == prefix && !rest.is_empty() {
                    Ok(text.to_owned())
                } else {
                    Err(Invalid::Rule(format!("{prefix}, spelt exactly so, and a name after it")))
                };
            }
        }
        Ok(text.to_owned())
    })
}

/// A level, or directives that each name one. `Targets` would take a single misspelt level for a module, and
/// filters of spans for names.
pub(super) fn log_level() -> Format<String> {
    let valid = "off, error, warn, info, debug or trace, or directives such as \"info,poem=debug\"";
    let is_level = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphabetic())
            && text.parse::<LevelFilter>().is_ok()
    };
    Format::text(valid, move |text| {
        let names_level = |directive: &str| is_level(directive.rsplit('=').next().unwrap_or_default());
        let valid =
            text.split(',').all(names_level) && !text.contains('[') && text.parse::<Targets>().is_ok();
        valid.then(|| text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_outside_its_limits_is_rejected_with_them() {
        let format = duration_within("1s", "1h");
        assert_eq!(format.parse("1s"), Ok(Duration::from_secs(1)));
        assert_eq!(format.parse("2h").unwrap_err(), format!("a duration from 1s to 1h, such as {DURATIONS}"));
        assert_eq!(format.parse("2 h"), format.parse("2h"), "one description of what is valid");
        assert_eq!((format.kind, format.valid()), (Kind::Duration, Some("from 1s to 1h")));
    }

    #[test]
    fn sizes_are_bytes_or_have_a_binary_unit() {
        let format = size_within(1, 1 << 30);
        let size = |text| format.parse(text);
        assert_eq!(
            (size("64KiB"), size("256MiB"), size("1GiB"), size("7")),
            (Ok(65_536), Ok(268_435_456), Ok(1 << 30), Ok(7))
        );
        for invalid in [
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
            assert!(size(invalid).is_err(), "{invalid:?}");
        }
        assert!(size("0").unwrap_err().contains("from 1 to 1GiB"));
    }

    /// CKE-08, CKE-09, CKE-15: a token, short enough for name and value to be kept, and no prefix in a case
    /// that browsers ignore.
    #[test]
    fn a_cookie_name_is_a_token_with_its_prefix_spelt_exactly() {
        let format = cookie_name();
        for valid in ["__Host-keyfob", "__Secure-sid", "__Host-Http-sid", "sid"] {
            assert!(format.parse(valid).is_ok(), "{valid}");
        }
        for invalid in [
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
            assert!(format.parse(invalid).is_err(), "{invalid:?}");
        }
        assert!(format.parse(&"x".repeat(256)).is_ok() && format.parse(&"x".repeat(257)).is_err());
    }

    #[test]
    fn a_key_in_place_of_the_name_of_its_variable_is_rejected() {
        let format = variable();
        assert!(format.parse("KEYFOB_MASTER_KEY").is_ok());
        assert!(format.parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").is_err());
        assert!(format.parse("").is_err() && format.parse("1A").is_err());
    }

    #[test]
    fn a_misspelt_level_is_rejected() {
        let format = log_level();
        for valid in
            ["off", "error", "warn", "info", "DEBUG", "trace", "info,keyfob::store=debug", "keyfob=trace"]
        {
            assert!(format.parse(valid).is_ok(), "{valid}");
        }
        for invalid in ["", "inof", "verbose", "info,", "keyfob", "keyfob=", "keyfob=loud", "3", "[=info"] {
            assert!(format.parse(invalid).is_err(), "{invalid:?}");
        }
    }
}
