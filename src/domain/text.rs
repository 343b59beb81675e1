//! The form of what callers send as free text and free objects: length limits and characters.

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::refusal::Refused;

/// What a value's text looks like, for the readers of the document: its length in characters (0: not stated)
/// and a regular expression of ECMA-262. A test compares it with what the value's parser accepts.
#[derive(Clone, Copy, Debug)]
pub struct TextPattern {
    pub min: usize,
    pub max: usize,
    pub regex: &'static str,
}

/// The longest short text (`acr`, an entry of `amr`, `device.label`, `device.ip`, `reason`), in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// The pattern of a [`bounded_text`].
pub const fn bounded_pattern(bytes_max: usize) -> TextPattern {
    TextPattern { min: 1, max: bytes_max, regex: r"^[^\u0000-\u001f\u007f-\u009f]*$" }
}

/// A short text: 1 to 256 bytes without control characters.
///
/// # Errors
/// `Invalid`, naming `field`.
pub fn short_text(field: &'static str, text: &str) -> Result<Box<str>, Refused> {
    bounded_text(field, text, TEXT_BYTES_MAX)
}

/// The reason that a caller gives for ending sessions; an empty one counts as none.
///
/// # Errors
/// `Invalid`, naming `reason`.
pub fn note(text: Option<String>) -> Result<Option<Box<str>>, Refused> {
    text.filter(|text| !text.is_empty()).map(|text| short_text("reason", &text)).transpose()
}

/// A text of 1 to `bytes_max` bytes without control characters.
///
/// # Errors
/// `Invalid`, naming `field`.
pub fn bounded_text(field: &'static str, text: &str, bytes_max: usize) -> Result<Box<str>, Refused> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        let problem = format!("must have 1 to {bytes_max} bytes and no control characters");
        return Err(Refused::invalid(field, problem));
    }
    Ok(text.into())
}

/// The canonical text of a JSON object of at most `bytes_max` bytes.
///
/// # Errors
/// `Invalid`, naming `field`.
pub fn json_text(
    field: &'static str,
    object: &Map<String, Value>,
    bytes_max: usize,
) -> Result<Box<str>, Refused> {
    let text = serde_json::to_string(object)
        .map_err(|_| Refused::invalid(field, "must be an object that can be written as JSON"))?;
    if text.len() > bytes_max {
        let problem = format!("has {} bytes of JSON; at most {bytes_max} are stored", text.len());
        return Err(Refused::invalid(field, problem));
    }
    Ok(text.into())
}

/// Whether a text is one JSON object.
pub fn is_json_object(text: &str) -> bool {
    text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Claims;
    use crate::domain::refusal::Refusal;
    use crate::domain::session::Data;

    #[test]
    fn a_text_has_1_to_its_limit_of_bytes_and_no_control_characters() {
        for valid in ["a", "a b", "\u{e9}", &"a".repeat(256)] {
            assert_eq!(&*short_text("acr", valid).unwrap(), valid);
        }
        for invalid in ["", "a\n", "\u{7f}", &"a".repeat(257), &"\u{e9}".repeat(129)] {
            assert_eq!(short_text("acr", invalid).unwrap_err().refusal, Refusal::Invalid { field: "acr" });
        }
    }

    #[test]
    fn an_empty_reason_is_none() {
        assert_eq!(note(None).unwrap(), None);
        assert_eq!(note(Some(String::new())).unwrap(), None);
        assert_eq!(note(Some("stolen".into())).unwrap().as_deref(), Some("stolen"));
        assert!(note(Some("a".repeat(257))).is_err());
    }

    /// Contract, section 5: 4 KiB of claims and 16 KiB of data.
    #[test]
    fn an_object_is_stored_up_to_its_limit_of_bytes() {
        // {"k":"…"} has 8 bytes beside its text.
        let object = |bytes: usize| Map::from_iter([("k".into(), Value::from("x".repeat(bytes - 8)))]);
        assert_eq!(Claims::from_object(&object(4_096)).unwrap().0.len(), 4_096);
        assert!(Claims::from_object(&object(4_097)).is_err());
        assert_eq!(Data::from_object(&object(16_384)).unwrap().0.len(), 16_384);
        assert!(Data::from_object(&object(16_385)).is_err());
    }

    #[test]
    fn a_json_object_is_a_whole_object_and_nothing_else() {
        assert!(is_json_object("{}") && is_json_object(r#"{"a":[1]}"#));
        for other in ["", "[]", "1", "{", "{} {}", "null"] {
            assert!(!is_json_object(other), "{other}");
        }
    }
}
