//! `If-Match` (RFC 9110 §13.1.1) on the `version` of a session.

use crate::http::response::error::Problem;

/// The versions of which one must be the current one; `None` is any. A weak tag, or one that is not a number,
/// matches no version.
pub fn versions(header: &str) -> Result<Option<Vec<u32>>, Problem> {
    if header.trim() == "*" {
        return Ok(None);
    }
    let mut versions = vec![];
    for tag in header.split(',').map(str::trim) {
        let (weak, tag) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
        let opaque =
            tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).filter(|rest| !rest.contains('"'));
        match (opaque, number(opaque.unwrap_or(tag))) {
            (Some(_), Some(version)) if !weak => versions.push(version),
            (Some(_), _) => {}
            // Many clients omit the quotation marks, and the meaning is unambiguous.
            (None, Some(version)) if !weak => versions.push(version),
            (None, _) => {
                return Err(Problem::invalid(
                    "If-Match",
                    "If-Match must be the version of a session, such as \"3\"",
                ));
            }
        }
    }
    Ok(Some(versions))
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}
