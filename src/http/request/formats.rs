//! The format of each value in requests and answers: parser, sentence and pattern are those of its type.

use std::borrow::Cow;
use std::time::Duration;

use poem_openapi::registry::MetaSchema;

use super::if_match::Versions;
use super::query::REQUIREMENT;
use super::types::{Described, TextFormat};
use crate::domain::access::TokenFormat;
use crate::domain::client::{AUDIENCE, ClientKind, Grant, Permission};
use crate::domain::console::ConsoleRole;
use crate::domain::end::EndReason;
use crate::domain::event::EventKind;
use crate::domain::gate::GATE_NAME;
use crate::domain::id::{ClientId, KeyId, Position, SessionId, Subject};
use crate::domain::key::KeyStatus;
use crate::domain::policy::{POLICY_NAME, WhenFull};
use crate::domain::scope::{REQUIRED_SCOPE, SCOPE_NAME, ScopeSet};
use crate::domain::session::{OpeningKey, State, USER_AGENT_BYTES_MAX};
use crate::domain::text::{TEXT_BYTES_MAX, TextPattern, bounded_pattern};
use crate::domain::time::{DURATION_EXPECTED, DURATION_PATTERN, Timestamp, parse_duration};
use crate::token::cursor::SEALED_CURSOR;

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
/// Required scope names.
pub enum RequiredScope {}
/// The audience that a proxy requires.
pub enum AudienceParameter {}
/// The name of a gate of the configuration.
pub enum GateName {}
/// The name of a policy of the configuration.
pub enum PolicyName {}
/// A cursor that only the server can read.
pub enum SealedCursor {}
/// One name of a scope.
pub enum ScopeName {}

fn text(TextPattern { min, max, regex }: TextPattern) -> MetaSchema {
    MetaSchema {
        min_length: (min > 0).then_some(min),
        max_length: (max > 0).then_some(max),
        pattern: Some(regex.to_owned()),
        ..MetaSchema::new("string")
    }
}

/// Describes texts by name and pattern.
macro_rules! described {
    ($($type:ty: $name:literal, $pattern:expr;)*) => {$(
        impl Described for $type {
            const NAME: &'static str = $name;

            fn schema() -> MetaSchema {
                text($pattern)
            }
        }
    )*};
}

described! {
    SessionId: "session", Self::PATTERN;
    ClientId: "client", Self::PATTERN;
    Subject: "subject", Self::PATTERN;
    ScopeSet: "scope", Self::PATTERN;
    KeyId: "key", Self::PATTERN;
    Position: "cursor", Self::PATTERN;
    Duration: "duration", DURATION_PATTERN;
    OpeningKey: "key", Self::PATTERN;
    Versions: "version", Self::PATTERN;
    ShortText: "text", bounded_pattern(TEXT_BYTES_MAX);
    UserAgent: "text", bounded_pattern(USER_AGENT_BYTES_MAX);
    NoteText: "text", TextPattern { min: 0, ..bounded_pattern(TEXT_BYTES_MAX) };
    Audience: "audience", AUDIENCE;
    AcrValues: "text", REQUIREMENT;
    RequiredScope: "scope", REQUIRED_SCOPE;
    AudienceParameter: "audience", REQUIREMENT;
    GateName: "gate", GATE_NAME;
    PolicyName: "policy", POLICY_NAME;
    SealedCursor: "cursor", SEALED_CURSOR;
    ScopeName: "scope", SCOPE_NAME;
}

impl Described for Timestamp {
    const NAME: &'static str = "time";

    fn schema() -> MetaSchema {
        MetaSchema { format: Some("date-time"), ..text(Self::PATTERN) }
    }
}

/// Reads by the parser of the type, and prints by its `Display` or by what stands behind `by`.
macro_rules! formats {
    ($($type:ty, by $text:expr;)*) => {$(
        impl TextFormat for $type {
            fn rule() -> Cow<'static, str> {
                Self::EXPECTED.into()
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
    Timestamp, by |at| at.to_string().into();
    SessionId, by |id| id.to_string().into();
    ClientId, by |id| id.as_str().into();
    Subject, by |subject| subject.as_str().into();
    ScopeSet, by |scope| scope.as_str().into();
    KeyId, by |id| id.to_string().into();
    OpeningKey, by |key| key.expose().into();
    Versions, by |versions| versions.to_string().into();
    Position, by |at| at.to_string().into();
}

impl TextFormat for Duration {
    fn rule() -> Cow<'static, str> {
        DURATION_EXPECTED.into()
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
    ConsoleRole: "role",
    WhenFull: "when_full",
    EndReason: "reason",
    ClientKind: "kind",
    Permission: "permission",
    Grant: "grant",
    TokenFormat: "format",
    KeyStatus: "status",
    EventKind: "type"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::string::string_regex;
    use regex::Regex;

    use super::*;
    use crate::domain::client::is_audience;
    use crate::domain::gate::is_gate_name;
    use crate::domain::text::short_text;
    use crate::http::request::query::names_nothing;

    /// A pattern, whether a text is valid, and whether every text that fits the pattern is valid: not if the
    /// parser also checks a calendar, a sum or an encoding.
    type Case = (TextPattern, fn(&str) -> bool, bool);

    const CASES: [Case; 15] = [
        (SessionId::PATTERN, parses::<SessionId>, true),
        (ClientId::PATTERN, parses::<ClientId>, true),
        (Subject::PATTERN, parses::<Subject>, true),
        (ScopeSet::PATTERN, parses::<ScopeSet>, true),
        (SCOPE_NAME, |name| !name.is_empty() && !name.contains(' ') && parses::<ScopeSet>(name), true),
        (REQUIRED_SCOPE, |text| ScopeSet::required(text).is_ok(), true),
        (OpeningKey::PATTERN, parses::<OpeningKey>, true),
        (AUDIENCE, is_audience, true),
        (GATE_NAME, is_gate_name, true),
        (REQUIREMENT, |text| !names_nothing(text), true),
        (bounded_pattern(TEXT_BYTES_MAX), |text| short_text("acr", text).is_ok(), true),
        (KeyId::PATTERN, parses::<KeyId>, false),
        (Position::PATTERN, parses::<Position>, false),
        (DURATION_PATTERN, parses::<Duration>, false),
        (Timestamp::PATTERN, parses::<Timestamp>, false),
    ];

    fn parses<T: TextFormat>(text: &str) -> bool {
        T::read(text).is_some()
    }

    /// Texts that fit a pattern, the same with one character more, long ones, and others.
    fn texts(pattern: TextPattern) -> impl Strategy<Value = String> {
        let fitting = || string_regex(pattern.regex.trim_matches(['^', '$'])).unwrap();
        let with = |(mut text, at, more): (String, Index, char)| {
            let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            text.insert(*at.get(&ends), more);
            text
        };
        let spoiling =
            proptest::char::ranges(vec![' '..='~', '\0'..='\u{a0}', '\u{2000}'..='\u{2030}'].into());
        prop_oneof![
            fitting(),
            (fitting(), any::<Index>(), spoiling).prop_map(with),
            (0..3_usize).prop_map(move |more| "a".repeat((pattern.max + more).saturating_sub(1))),
            any::<String>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Readers of the document check their requests by the patterns.
        #[test]
        fn a_pattern_accepts_what_the_parser_accepts(
            (at, text) in (0..CASES.len()).prop_flat_map(|at| (Just(at), texts(CASES[at].0)))
        ) {
            let (pattern, is_valid, is_exact) = CASES[at];
            let fits = Regex::new(pattern.regex).unwrap().is_match(&text) && pattern.min <= text.len();
            let is_at_most = |length| pattern.max == 0 || length <= pattern.max;
            if is_valid(&text) {
                prop_assert!(fits && is_at_most(text.chars().count()), "{pattern:?}");
            } else if is_exact {
                prop_assert!(!(fits && is_at_most(text.len())), "{pattern:?}");
            }
        }
    }
}
