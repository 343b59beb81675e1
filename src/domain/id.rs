//! Identifiers: of sessions, clients, subjects, tokens and keys, and positions in the event log.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::algorithm::Algorithm;
use super::hidden::hidden;
use super::malformed::Malformed;
use super::text::{TextPattern, bounded_pattern};
use super::time::Timestamp;

/// `Debug` with the type and the text of an identifier.
macro_rules! debug_by_text {
    ($($type:ident),+) => {$(
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }
    )+};
}

debug_by_text!(TokenId, SessionId, ClientId, KeyId);

/// A token identifier (`jti`): 16 bytes, unique to one access token. Its text is unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId(pub [u8; 16]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(&self.0))
    }
}

impl FromStr for TokenId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut bytes = [0; 16];
        let decoded = Base64UrlUnpadded::decode(text, &mut bytes).map_err(|_| Malformed)?;
        if decoded.len() == 16 { Ok(Self(bytes)) } else { Err(Malformed) }
    }
}

/// A session's identifier: a UUIDv7, so that new sessions go to one edge of the store (RFC 9562 §5.7).
/// Public: it is `sid` in tokens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    pub const EXPECTED: &'static str = "must be the identifier of a session, a UUID in lower case";
    pub const PATTERN: TextPattern = TextPattern {
        min: 0,
        max: 0,
        regex: "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
    };

    /// An identifier for a session created at `at`, with `random` from the operating system.
    pub fn new(at: Timestamp, random: &[u8; 10]) -> Self {
        let millis = u64::try_from(at.millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid().into_bytes())
    }

    /// The time in it, in milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = Malformed;
    /// Accepts only the canonical form that we print: lower case, with hyphens.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let id = Self(uuid::Uuid::try_parse(text).map_err(|_| Malformed)?.into_bytes());
        if id.to_string() == text { Ok(id) } else { Err(Malformed) }
    }
}

/// Whether clients remove `text` from a path, even percent-encoded, together with the segment before it
/// (RFC 3986 §5.2.4; WHATWG URL, "double-dot URL path segment").
pub fn is_dot_segment(text: &str) -> bool {
    matches!(text, "." | "..")
}

/// A client's identifier: 1 to 64 characters of `[A-Za-z0-9._~-]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// What a `client_id` must be; continues the sentence that the field's name starts.
    pub const EXPECTED: &'static str = "must have 1 to 64 characters of [A-Za-z0-9._~-], and must not be . \
                                        or .. (URL libraries remove these)";
    pub const PATTERN: TextPattern = TextPattern { min: 1, max: 64, regex: "^[A-Za-z0-9._~-]*$" };

    /// A new identifier. Those that exist are parsed, and may be `.` or `..`.
    ///
    /// # Errors
    /// A text that is no identifier, or that would not survive in a path.
    pub fn new(text: &str) -> Result<Self, Malformed> {
        if is_dot_segment(text) { Err(Malformed) } else { text.parse() }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
        if (1..=Self::PATTERN.max).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(Malformed)
        }
    }
}

impl From<ClientId> for String {
    fn from(id: ClientId) -> Self {
        id.0.into()
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The application's identifier of a user: 1 to 256 bytes without control characters. Personal: `Debug` shows
/// nothing.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject(Box<str>);

impl Subject {
    /// What a `subject` must be; continues the sentence that the field's name starts.
    pub const EXPECTED: &'static str = "must have 1 to 256 bytes and no control characters, and must not be \
                                        . or .. (URL libraries remove these)";
    pub const PATTERN: TextPattern = bounded_pattern(256);

    /// A new subject. Those that exist are parsed, and may be `.` or `..`.
    ///
    /// # Errors
    /// A text that is no subject, or that would not survive in a path.
    pub fn new(text: &str) -> Result<Self, Malformed> {
        if is_dot_segment(text) { Err(Malformed) } else { text.parse() }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.0.into()
    }
}

impl FromStr for Subject {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let valid = (1..=Self::PATTERN.max).contains(&text.len()) && !text.chars().any(char::is_control);
        if valid { Ok(Self(text.into())) } else { Err(Malformed) }
    }
}

/// A position in the event log. Positions have no gaps, except before an epoch; the first event is at 1, and
/// 0 is before every event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position(pub u64);

impl Position {
    pub const EXPECTED: &'static str = "must be a cursor: the `cursor` or `head` of an earlier answer";
    pub const PATTERN: TextPattern = TextPattern { min: 0, max: 20, regex: "^(0|[1-9][0-9]*)$" };

    /// The position after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Position {
    /// A cursor; opaque to callers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Position {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let position = Self(text.parse().map_err(|_| Malformed)?);
        if position.to_string() == text { Ok(position) } else { Err(Malformed) }
    }
}

/// The identifier of a signing key. It is computed from the public key, and its form tells the algorithm.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyId {
    /// Ed25519: the bytes after PASERK `k4.pid.` (<https://github.com/paseto-standard/paserk>, types/pid).
    Ed25519([u8; 33]),
    /// P-256: the thumbprint of the JWK (RFC 7638).
    P256([u8; 32]),
}

/// The prefix of the text form of an Ed25519 key's [`KeyId`].
const KEY_ID_PREFIX: &str = "k4.pid.";

impl KeyId {
    pub const EXPECTED: &'static str =
        "must be the identifier of a key: a PASERK k4.pid. or a JWK thumbprint";
    pub const PATTERN: TextPattern =
        TextPattern { min: 0, max: 0, regex: r"^(k4\.pid\.[A-Za-z0-9_-]{44}|[A-Za-z0-9_-]{43})$" };

    /// The only algorithm that the key signs with.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
        }
    }

    /// The bytes of the identifier; their number differs between the algorithms.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(bytes) => bytes,
            Self::P256(bytes) => bytes,
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        match bytes.len() {
            33 => Ok(Self::Ed25519(bytes.try_into().map_err(|_| Malformed)?)),
            32 => Ok(Self::P256(bytes.try_into().map_err(|_| Malformed)?)),
            _ => Err(Malformed),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self {
            Self::Ed25519(_) => KEY_ID_PREFIX,
            Self::P256(_) => "",
        };
        write!(f, "{prefix}{}", Base64UrlUnpadded::encode_string(self.as_bytes()))
    }
}

impl FromStr for KeyId {
    type Err = Malformed;
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (encoded, algorithm) = match text.strip_prefix(KEY_ID_PREFIX) {
            Some(encoded) => (encoded, Algorithm::EdDsa),
            None => (text, Algorithm::Es256),
        };
        let mut bytes = [0; 33];
        let decoded = Base64UrlUnpadded::decode(encoded, &mut bytes).map_err(|_| Malformed)?;
        Self::from_bytes(decoded).ok().filter(|id| id.algorithm() == algorithm).ok_or(Malformed)
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (last, head) = self.as_bytes().split_last().expect("an identifier has bytes");
        (head, last).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (mut bytes, last) = <(Vec<u8>, u8)>::deserialize(deserializer)?;
        bytes.push(last);
        Self::from_bytes(&bytes).map_err(|_| serde::de::Error::custom("a key id has 32 or 33 bytes"))
    }
}

/// The SHA-256 of a secret, under a domain prefix. Compared in constant time; `Debug` shows nothing.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        // Constant time: one loop over all bytes, which the compiler can vectorise.
        let difference = self.0.iter().zip(&other.0).fold(0, |all, (a, b)| all | (a ^ b));
        difference.ct_eq(&0).into()
    }
}

impl Eq for Hash {}

/// Gives, with a spent refresh token, its successor again. Erased after the retry window.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct Salt(pub [u8; 32]);

hidden!(Subject, Hash, Salt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_1_to_64_unreserved_characters() {
        assert!("a.B_9~-".parse::<ClientId>().is_ok());
        for bad in ["", "a b", "a:b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_subject_is_1_to_256_bytes_without_control_characters() {
        assert!("żółw 🐢".parse::<Subject>().is_ok());
        for bad in ["", "a\nb", "a\0", &"x".repeat(257)] {
            assert!(bad.parse::<Subject>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_identifier_is_written_as_it_was_read() {
        let (client, subject) = (ClientId::new("app").unwrap(), Subject::new("alice").unwrap());
        assert_eq!((client.to_string(), client.as_str(), subject.as_str()), ("app".into(), "app", "alice"));
        assert_eq!((String::from(client), String::from(subject)), ("app".into(), "alice".into()));
    }

    #[test]
    fn a_new_identifier_is_not_a_dot_segment() {
        for dots in [".", ".."] {
            assert!(ClientId::new(dots).is_err() && Subject::new(dots).is_err(), "{dots}");
            assert!(dots.parse::<ClientId>().is_ok() && dots.parse::<Subject>().is_ok(), "{dots} may exist");
        }
        assert!(ClientId::new("...").is_ok() && Subject::new("a/..").is_ok());
    }

    #[test]
    fn session_ids_sort_by_time_and_parse_only_in_canonical_form() {
        let early = SessionId::new(Timestamp::from_millis(1_000), &[0xff; 10]);
        let late = SessionId::new(Timestamp::from_millis(1_001), &[0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string(), "00000000-03e8-7fff-bfff-ffffffffffff", "RFC 9562 §5.7");
        assert_eq!((early.millis(), late.millis()), (1_000, 1_001));
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early.to_string().to_uppercase().parse::<SessionId>().is_err());
        assert!(early.to_string().replace('-', "").parse::<SessionId>().is_err());
    }

    #[test]
    fn personal_and_secret_values_print_nothing() {
        let shown =
            format!("{:?} {:?} {:?}", "alice".parse::<Subject>().unwrap(), Hash([7; 32]), Salt([7; 32]));
        assert_eq!(shown, "Subject(…) Hash(…) Salt(…)");
    }

    #[test]
    fn a_token_id_is_16_bytes_in_unpadded_base64url() {
        let (id, text) = (TokenId([0xfb; 16]), "-_v7-_v7-_v7-_v7-_v7-w");
        assert_eq!(
            (id.to_string(), format!("{id:?}"), text.parse()),
            (text.into(), format!("TokenId({text})"), Ok(id))
        );
        for invalid in ["", "-_v7-_v7-_v7-_v7-_v7", "-_v7-_v7-_v7-_v7-_v7-w==", "-_v7-_v7-_v7-_v7-_v7-_s"] {
            assert!(invalid.parse::<TokenId>().is_err(), "{invalid}");
        }
    }

    /// The bytes of one kind are not read as the other.
    #[test]
    fn the_text_of_a_key_tells_its_algorithm() {
        let (ed25519, p256) = (KeyId::Ed25519([7; 33]), KeyId::P256([7; 32]));
        for (id, algorithm) in [(ed25519, Algorithm::EdDsa), (p256, Algorithm::Es256)] {
            assert_eq!((id.to_string().parse(), id.algorithm()), (Ok(id), algorithm));
            assert_eq!(serde_json::from_value::<KeyId>(serde_json::to_value(id).unwrap()).unwrap(), id);
        }
        assert_eq!(ed25519.to_string().strip_prefix(KEY_ID_PREFIX).unwrap().parse::<KeyId>(), Err(Malformed));
        for invalid in
            [format!("{KEY_ID_PREFIX}{p256}"), KEY_ID_PREFIX.into(), "".into(), p256.to_string() + "AA"]
        {
            assert!(invalid.parse::<KeyId>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn a_cursor_is_a_decimal_number_in_its_one_form() {
        for (text, position) in [("0", 0), ("10", 10), ("18446744073709551615", u64::MAX)] {
            assert_eq!(text.parse(), Ok(Position(position)));
        }
        for invalid in ["", "01", "+1", "-1", " 1", "18446744073709551616"] {
            assert!(invalid.parse::<Position>().is_err(), "{invalid:?}");
        }
        assert_eq!((Position(0).next(), Position(u64::MAX).next()), (Position(1), Position(u64::MAX)));
    }

    #[test]
    fn hashes_differ_if_one_bit_does() {
        assert_eq!(Hash([7; 32]), Hash([7; 32]));
        for bit in 0..256 {
            let mut other = [7; 32];
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Hash([7; 32]), Hash(other), "{bit}");
        }
    }
}
