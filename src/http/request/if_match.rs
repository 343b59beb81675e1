//! `If-Match` (RFC 9110 §13.1.1) on the `version` of a session.

use std::fmt;
use std::str::FromStr;

use crate::domain::malformed::Malformed;
use crate::domain::text::TextPattern;

/// The versions of which one must be the current one; `None` is any. A tag that is weak, or is not one of
/// ours, is no version: it matches nothing.
pub struct Versions(pub Option<Vec<u32>>);

impl Versions {
    pub const EXPECTED: &'static str = "must be the version of a session, such as \"3\"";
    pub const PATTERN: TextPattern = TextPattern {
        min: 0,
        max: 0,
        regex: r#"^(\*|[0-9]{1,9}|(W/)?"[!#-+\--~]*"(, ?(W/)?"[!#-+\--~]*")*)$"#,
    };
}

impl FromStr for Versions {
    type Err = Malformed;

    fn from_str(header: &str) -> Result<Self, Malformed> {
        if header.trim() == "*" {
            return Ok(Self(None));
        }
        let mut versions = vec![];
        for tag in header.split(',').map(str::trim) {
            let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
            let opaque = tag
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .filter(|rest| !rest.contains('"'));
            match (opaque, number(opaque.unwrap_or(tag))) {
                (Some(_), Some(version)) if !weak => versions.push(version),
                (Some(_), _) => {}
                // Many clients omit the quotation marks, and nothing else can be meant.
                (None, Some(version)) if !weak => versions.push(version),
                (None, _) => return Err(Malformed),
            }
        }
        Ok(Self(Some(versions)))
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(versions) = &self.0 else { return f.write_str("*") };
        let tags: Vec<_> = versions.iter().map(|version| format!("\"{version}\"")).collect();
        f.write_str(&tags.join(", "))
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
