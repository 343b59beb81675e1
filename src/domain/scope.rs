//! Scopes: sets of names, compared without regard to order (RFC 6749 §3.3).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::malformed::Malformed;
use super::refusal::{Refusal, Refused};
use super::text::TextPattern;

/// The longest scope parameter, in bytes.
pub const SCOPE_BYTES_MAX: usize = 2048;
/// One name of a scope.
pub const SCOPE_NAME: TextPattern = TextPattern { min: 1, max: SCOPE_BYTES_MAX, regex: r"^[!#-\[\]-~]*$" };
/// A scope that is required: at least one name.
pub const REQUIRED_SCOPE: TextPattern =
    TextPattern { min: 1, regex: r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$", ..ScopeSet::PATTERN };

/// A set of scope names: sorted, each once; its text joins them by single spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ScopeSet(Box<str>);

impl ScopeSet {
    /// What a scope must be; continues the sentence that the field's name starts.
    pub const EXPECTED: &'static str = "must be names joined by single spaces, at most 2048 bytes";
    pub const PATTERN: TextPattern =
        TextPattern { min: 0, max: SCOPE_BYTES_MAX, regex: r"^([!#-\[\]-~]+( [!#-\[\]-~]+)*)?$" };

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|name| !name.is_empty())
    }

    /// The names as one string, sorted, joined by single spaces.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A scope that a caller requests.
    ///
    /// # Errors
    /// `InvalidScope` if it is malformed.
    pub fn requested(text: &str) -> Result<Self, Refused> {
        text.parse().map_err(|_| Refusal::InvalidScope.because(format!("scope {}", Self::EXPECTED)))
    }

    /// A scope that a caller requires.
    ///
    /// # Errors
    /// `Invalid` if it is malformed or names nothing.
    pub fn required(text: &str) -> Result<Self, Refused> {
        let scope = text.parse().ok().filter(|scope: &Self| !scope.is_empty());
        let expected = format!("{}; to require none, omit it", Self::EXPECTED);
        scope.ok_or_else(|| Refused::invalid("scope", expected))
    }

    /// The names that are in both sets.
    pub fn intersection(&self, other: &Self) -> Self {
        let both: Vec<&str> =
            self.names().filter(|name| other.names().any(|wanted| wanted == *name)).collect();
        Self(both.join(" ").into())
    }

    /// Whether every name of `other` is in this set.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.names().all(|wanted| self.names().any(|name| name == wanted))
    }
}

impl FromStr for ScopeSet {
    type Err = Malformed;
    /// Reads `name *( SP name )`; an empty text is the empty set. Names keep to %x21, %x23-5B, %x5D-7E.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let allowed = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let mut names: Vec<&str> = text.split(' ').collect();
        if text.len() > SCOPE_BYTES_MAX
            || names.iter().any(|name| name.is_empty() || !name.bytes().all(allowed))
        {
            return Err(Malformed);
        }
        names.sort_unstable();
        names.dedup();
        Ok(Self(names.join(" ").into()))
    }
}

impl From<ScopeSet> for String {
    fn from(scope: ScopeSet) -> Self {
        scope.0.into()
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFR-05, INT-81, INT-82.
    #[test]
    fn a_required_scope_is_any_scope_but_the_empty_one() {
        let required = REQUIRED_SCOPE.regex.trim_start_matches('^').trim_end_matches('$');
        assert_eq!(ScopeSet::PATTERN.regex, format!("^({required})?$"));
        assert_eq!((ScopeSet::PATTERN.min, REQUIRED_SCOPE.min), (0, 1));
        assert_eq!(ScopeSet::PATTERN.max, REQUIRED_SCOPE.max);
    }

    #[test]
    fn a_scope_is_a_set_of_valid_names() {
        let set: ScopeSet = "write read write".parse().unwrap();
        assert_eq!(set.as_str(), "read write");
        assert!(set.contains_all(&"read".parse().unwrap()));
        assert!(!set.contains_all(&"Read".parse().unwrap()), "names are case-sensitive");
        assert!(set.contains_all(&ScopeSet::default()));
        assert_eq!(set.intersection(&"admin write".parse().unwrap()).as_str(), "write");
        for bad in [
            " ",
            "a  b",
            " a",
            "a ",
            "a\"b",
            "a\\b",
            "a\tb",
            "ä",
            "a\u{7f}",
            &"x".repeat(SCOPE_BYTES_MAX + 1),
        ] {
            assert!(bad.parse::<ScopeSet>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(SCOPE_BYTES_MAX).parse::<ScopeSet>().is_ok());
    }

    #[test]
    fn a_requested_scope_may_be_empty_and_a_required_one_names_something() {
        assert!(ScopeSet::requested("").unwrap().is_empty());
        assert_eq!(ScopeSet::requested("b a").unwrap().to_string(), "a b");
        assert_eq!(ScopeSet::requested("a  b").unwrap_err().refusal, Refusal::InvalidScope);
        assert_eq!(String::from(ScopeSet::required("b a").unwrap()), "a b");
        for invalid in ["", "a  b"] {
            let refused = ScopeSet::required(invalid).unwrap_err();
            assert_eq!(refused.refusal, Refusal::Invalid { field: "scope" });
        }
    }
}
