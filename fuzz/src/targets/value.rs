//! The texts of values: what is accepted is printed as what is accepted again.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use keyfob::domain::algorithm::Algorithm;
use keyfob::domain::id::{ClientId, KeyId, Position, SessionId, Subject, TokenId};
use keyfob::domain::time::{Timestamp, parse_duration};
use keyfob::fuzzing::{Network, ScopeSet, Versions, is_gate_name};

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for printed in [
        printed::<SessionId>(text),
        printed::<TokenId>(text),
        printed::<ClientId>(text),
        printed::<KeyId>(text),
        printed::<Position>(text),
    ] {
        assert!(printed.is_none_or(|printed| printed == text), "it has one spelling");
    }
    assert!(printed::<Timestamp>(text).is_none_or(|printed| (20..=24).contains(&printed.len())));
    printed::<Network>(text);
    if let Ok(scope) = text.parse::<ScopeSet>() {
        assert_eq!(scope.as_str().parse(), Ok(scope.clone()));
        assert!(scope.contains_all(&scope) && scope.intersection(&scope) == scope);
        assert!(scope.as_str().len() <= text.len());
    }
    if let Ok(subject) = Subject::new(text) {
        assert_eq!(subject.as_str(), text);
    }
    if let Ok(versions) = text.parse::<Versions>()
        && versions.0.as_ref().is_none_or(|list| !list.is_empty())
    {
        let again = versions.to_string().parse::<Versions>();
        assert!(again.is_ok_and(|again| again.0 == versions.0));
    }
    if let Ok(algorithm) = text.parse::<Algorithm>() {
        assert_eq!(algorithm.as_str(), text);
    }
    if let Some(duration) = parse_duration(text)
        && let Ok(ms) = u64::try_from(duration.as_millis())
    {
        assert_eq!(parse_duration(&format!("{ms}ms")), Some(duration));
    }
    assert!(!is_gate_name(text) || (1..=64).contains(&text.len()));
}

/// The text of the value that `text` is parsed as, which is the same value.
fn printed<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<String> {
    let value: T = text.parse().ok()?;
    let printed = value.to_string();
    assert!(printed.parse().is_ok_and(|again: T| again == value), "{text} is printed as {printed}");
    Some(printed)
}
