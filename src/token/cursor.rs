//! Cursors of lists: positions sealed for one caller, since the position can be of a session that it may not
//! see.

use base64ct::{Base64UrlUnpadded, Encoding};

use super::keys::Keys;
use super::seal::Sealer;
use crate::domain::id::SessionId;
use crate::domain::text::TextPattern;

/// A sealed cursor: 32 bytes of base64url.
pub const SEALED_CURSOR: TextPattern = TextPattern { min: 0, max: 0, regex: "^[A-Za-z0-9_-]{43}$" };

/// The cursor after the session `id`, for the caller `name`.
pub fn seal_cursor(keys: &Keys, name: &str, id: SessionId) -> String {
    Base64UrlUnpadded::encode_string(&Sealer::new(&keys.cursor).seal(name.as_bytes(), &id.0))
}

/// The session of a cursor that was sealed for the caller `name`; `None` for any other text.
pub fn open_cursor(keys: &Keys, name: &str, cursor: &str) -> Option<SessionId> {
    let mut sealed = [0; 32];
    let sealed = Base64UrlUnpadded::decode(cursor, &mut sealed).ok()?;
    let id = Sealer::new(&keys.cursor).open(name.as_bytes(), sealed)?;
    Some(SessionId(id.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::keys::SecretKey;

    #[test]
    fn a_cursor_opens_only_for_its_caller_and_shows_no_id() {
        let keys = Keys::derive(&SecretKey::new([7; 32]));
        let id = SessionId([9; 16]);
        let cursor = seal_cursor(&keys, "app", id);
        assert_eq!(open_cursor(&keys, "app", &cursor), Some(id));
        assert_eq!(cursor.len(), 43);
        assert!(!cursor.contains(&Base64UrlUnpadded::encode_string(&id.0)[..8]));
        let other = Keys::derive(&SecretKey::new([8; 32]));
        assert_eq!(open_cursor(&keys, "other", &cursor), None);
        assert_eq!(open_cursor(&other, "app", &cursor), None);
        for text in ["", "x", &cursor[1..], &format!("{cursor}A"), &id.to_string()] {
            assert_eq!(open_cursor(&keys, "app", text), None, "{text}");
        }
    }
}
