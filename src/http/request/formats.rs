//! The format of each value of the domain: the rule is the domain's own parser; lengths and patterns say the
//! same to the readers of the document.

use std::borrow::Cow;
use std::time::Duration;

use poem_openapi::registry::MetaSchema;

use super::if_match::Versions;
use super::types::{Described, TextFormat};
use crate::domain::access::TokenFormat;
use crate::domain::client::{AUDIENCE_BYTES_MAX, ClientKind, Grant, Permission};
use crate::domain::end::EndReason;
use crate::domain::event::EventKind;
use crate::domain::id::{ClientId, KeyId, Position, SessionId, Subject};
use crate::domain::key::KeyStatus;
use crate::domain::scope::{SCOPE_BYTES_MAX, ScopeSet};
use crate::domain::session::{OpeningKey, State, USER_AGENT_BYTES_MAX};
use crate::domain::text::TEXT_BYTES_MAX;
use crate::domain::time::{Timestamp, parse_duration};

/// No control characters.
const PRINTABLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";
/// As [`names_nothing`](super::query::names_nothing) says.
const NAMES_SOMETHING: &str =
    r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]";

/// RFC 3339, §5.6.
const INSTANT: &str =
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$";

/// A short text: `acr`, a method of `amr`, a label, an address.
pub enum ShortText {}
/// The name that a browser or program gives itself.
pub enum UserAgent {}
/// The reason that a caller gives; may be empty.
pub enum NoteText {}
/// The audience of an access token.
pub enum Audience {}
/// Accepted authentication context classes, joined by spaces.
pub enum AcrValues {}
/// The audience that a proxy requires.
pub enum AudienceParameter {}
/// The name of a gate of the configuration.
pub enum GateName {}
/// A cursor that only the server can read.
pub enum SealedCursor {}
/// One name of a scope.
pub enum ScopeName {}

fn text(min: usize, max: usize, pattern: &str) -> MetaSchema {
    MetaSchema {
        min_length: (min > 0).then_some(min),
        max_length: (max > 0).then_some(max),
        pattern: Some(pattern.to_owned()),
        ..MetaSchema::new("string")
    }
}

/// Describes texts by name, least and greatest length (0: not stated) and pattern.
macro_rules! described {
    ($($type:ty: $name:literal, $min:expr, $max:expr, $pattern:expr;)*) => {$(
        impl Described for $type {
            const NAME: &'static str = $name;

            fn schema() -> MetaSchema {
                text($min, $max, $pattern)
            }
        }
    )*};
}

described! {
    SessionId: "session", 0, 0, r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    ClientId: "client", 1, 64, r"^[A-Za-z0-9._~-]*$";
    Subject: "subject", 1, 256, PRINTABLE;
    ScopeSet: "scope", 0, SCOPE_BYTES_MAX, r"^([!#-\[\]-~]+( [!#-\[\]-~]+)*)?$";
    KeyId: "key", 0, 0, r"^(k4\.pid\.[A-Za-z0-9_-]{44}|[A-Za-z0-9_-]{43})$";
    Position: "cursor", 0, 20, r"^(0|[1-9][0-9]*)$";
    Duration: "duration", 0, 0,
        "^(0|[0-9]+d([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?|[0-9]+h([0-9]+m)?([0-9]+s)?([0-9]+ms)?\
         |[0-9]+m([0-9]+s)?([0-9]+ms)?|[0-9]+s([0-9]+ms)?|[0-9]+ms)$";
    OpeningKey: "key", 1, 64, r"^[!-~]*$";
    Versions: "version", 0, 0, r#"^(\*|[0-9]{1,9}|(W/)?"[!#-+\--~]*"(, ?(W/)?"[!#-+\--~]*")*)$"#;
    ShortText: "text", 1, TEXT_BYTES_MAX, PRINTABLE;
    UserAgent: "text", 1, USER_AGENT_BYTES_MAX, PRINTABLE;
    NoteText: "text", 0, TEXT_BYTES_MAX, PRINTABLE;
    Audience: "audience", 1, AUDIENCE_BYTES_MAX,
        r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$";
    AcrValues: "text", 1, 0, NAMES_SOMETHING;
    AudienceParameter: "audience", 1, 0, NAMES_SOMETHING;
    GateName: "gate", 0, 0, r"^[A-Za-z0-9_-]{1,64}$";
    SealedCursor: "cursor", 0, 0, r"^[A-Za-z0-9_-]{43}$";
    ScopeName: "scope", 1, SCOPE_BYTES_MAX, r"^[!#-\[\]-~]*$";
}

impl Described for Timestamp {
    const NAME: &'static str = "time";

    fn schema() -> MetaSchema {
        MetaSchema { format: Some("date-time"), ..text(0, 0, INSTANT) }
    }
}

/// Reads by the domain's parser and prints by its `Display`, or by what stands behind `by`.
macro_rules! formats {
    ($($type:ty: $rule:expr, by $text:expr;)*) => {$(
        impl TextFormat for $type {
            fn rule() -> Cow<'static, str> {
                $rule.into()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn text(&self) -> Cow<'_, str> {
                let text: fn(&Self) -> Cow<'_, str> = $text;
                text(self)
            }
        }
    )*};
}

formats! {
    Timestamp: "must be an instant of RFC 3339, such as \"2026-01-31T12:00:00Z\"",
        by |at| at.to_string().into();
    SessionId: "must be the identifier of a session, a UUID in lower case", by |id| id.to_string().into();
    ClientId: ClientId::EXPECTED, by |id| id.as_str().into();
    Subject: Subject::EXPECTED, by |subject| subject.as_str().into();
    ScopeSet: "must be names joined by single spaces, at most 2048 bytes", by |scope| scope.as_str().into();
    KeyId: "must be the identifier of a key: a PASERK k4.pid. or a JWK thumbprint",
        by |id| id.to_string().into();
    OpeningKey: "must be 1 to 64 visible ASCII characters", by |key| key.expose().into();
    Versions: "must be the version of a session, such as \"3\"", by |versions| versions.to_string().into();
    Position: "must be a cursor: the `cursor` or `head` of an earlier answer", by |at| at.to_string().into();
}

impl TextFormat for Duration {
    fn rule() -> Cow<'static, str> {
        "must be a duration such as \"0s\", \"30m\" or \"24h\"".into()
    }

    fn read(text: &str) -> Option<Self> {
        parse_duration(text)
    }

    fn text(&self) -> Cow<'_, str> {
        format!("{}ms", self.as_millis()).into()
    }
}

/// Makes a [`TextFormat`] of a domain enum: the document and the rule list its words.
macro_rules! words {
    ($($type:ty: $name:literal),*) => {$(
        impl Described for $type {
            const NAME: &'static str = $name;

            fn schema() -> MetaSchema {
                let words = Self::ALL.iter().map(|value| value.as_str().into()).collect();
                MetaSchema { enum_items: words, ..MetaSchema::new("string") }
            }
        }

        impl TextFormat for $type {
            fn rule() -> Cow<'static, str> {
                let words: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                format!("must be one of: {}", words.join(", ")).into()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn text(&self) -> Cow<'_, str> {
                self.as_str().into()
            }
        }
    )*};
}

words!(
    State: "state",
    EndReason: "reason",
    ClientKind: "kind",
    Permission: "permission",
    Grant: "grant",
    TokenFormat: "format",
    KeyStatus: "status",
    EventKind: "type"
);
