//! The encoding of forms, queries and HTTP Basic (`application/x-www-form-urlencoded`), read strictly.

use std::borrow::Cow;

/// Decodes one name or value: `+` is a space, `%` is followed by two hexadecimal digits, and the result is
/// UTF-8. `None` if it is not so encoded.
pub fn decode(encoded: &[u8]) -> Option<Cow<'_, str>> {
    // Two searches, each many bytes at a time, are faster than one loop over the bytes.
    if !encoded.contains(&b'%') && !encoded.contains(&b'+') {
        return std::str::from_utf8(encoded).ok().map(Cow::Borrowed);
    }
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        decoded.push(match first {
            b'+' => b' ',
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                hexadecimal(digits[0])? << 4 | hexadecimal(digits[1])?
            }
            byte => *byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_is_a_space_and_a_percent_sign_two_digits() {
        assert_eq!(decode(b"a+b%20c%2B%C5%BC=").as_deref(), Some("a b c+\u{17c}="));
        assert_eq!(decode(b"").as_deref(), Some(""));
    }

    #[test]
    fn an_incomplete_escape_and_bytes_that_are_not_utf_8_are_rejected() {
        for invalid in [&b"%"[..], b"%4", b"%GG", b"%+1", b"%ff", b"\xff", b"a%c5"] {
            assert_eq!(decode(invalid), None, "{invalid:?}");
        }
    }
}
