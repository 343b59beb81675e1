//! The tables and keys of the embedded store, which are also those of a backup of any backend: each entry is
//! a key and a value in bytes.

use crate::domain::id::{Position, SessionId};
use crate::store::record::ordered;

/// The tables of a backup. The first one comes first, because a restore recognises the store by it.
pub const BACKUP_TABLES: [&str; 15] = [
    "meta",
    "sessions",
    "data",
    "subjects",
    "active",
    "expiry",
    "windows",
    "opening_keys",
    "opened_by_key",
    "repeats",
    "events",
    "clients",
    "cut_offs",
    "revoked",
    "live",
];

/// Format 2 added the index of active sessions. In format 3 the index of subjects omits those.
pub const FORMAT_VERSION: u32 = 3;
/// Identifies a keyfob database; the version follows.
pub const FORMAT_NAME: &[u8] = b"keyfob/";

/// The file's format and its version, in the table `meta`.
pub const FORMAT: &str = "format";
/// Identifies the master key.
pub const KEY_CHECK: &str = "key_check";
/// The position of the last event ever written.
pub const HEAD: &str = "head";
/// The signing keys.
pub const KEYS: &str = "keys";
/// The latest expiry, in seconds, of the revocations of clients' own tokens that the sweep removed. Every
/// such token that expires no later counts as revoked.
pub const REVOKED_UNTIL: &str = "revoked_until";
/// The epochs that restores started; absent in a store that was never restored.
pub const EPOCHS: &str = "epochs";

/// The name of the cut-off of the last restore. No client can have it.
pub const RESTORED: &str = "/restored";

/// The value of [`FORMAT`].
pub fn format_of(version: u32) -> Vec<u8> {
    [FORMAT_NAME, &version.to_be_bytes()].concat()
}

/// The version in a value of [`FORMAT`]; `None` for that of another program.
pub fn version_of(format: &[u8]) -> Option<u32> {
    let version = format.strip_prefix(FORMAT_NAME)?.try_into().ok()?;
    Some(u32::from_be_bytes(version))
}

/// A position as the value of [`HEAD`].
pub fn position(bytes: &[u8]) -> Option<Position> {
    bytes.try_into().ok().map(|bytes| Position(u64::from_be_bytes(bytes)))
}

/// The key of a session in the index of subjects.
pub fn subject_key(index: [u8; 16], id: SessionId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&index);
    key[16..].copy_from_slice(&id.0);
    key
}

/// The key of a session in the index of active sessions.
pub fn active_key(subject: [u8; 16], client: [u8; 16], id: SessionId) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(&subject);
    key[16..32].copy_from_slice(&client);
    key[32..].copy_from_slice(&id.0);
    key
}

/// A number that sorts, then 16 bytes: the keys of the expiry index and of revoked tokens.
pub fn dated_key(number: i64, name: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&ordered(number));
    key[8..].copy_from_slice(&name);
    key
}
