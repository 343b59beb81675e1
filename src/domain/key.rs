//! Signing keys: published, then active, then retired, then removed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::KeyId;
use super::names::names;
use super::policy::{ACCESS_TOKEN_TTL_MAX, RETRY_WINDOW_MAX};
use super::time::Timestamp;

/// How long a key is published before it signs, so that verifiers that cache the key set know it by then.
pub const PUBLISHED_AHEAD: Duration = Duration::from_secs(3600);

/// One signing key. Its secret half is sealed; only the keyring opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its identifier, computed from its public half.
    pub id: KeyId,
    pub status: KeyStatus,
    /// The Ed25519 public key.
    pub public: [u8; 32],
    /// The seed, sealed under the wrapping key.
    pub sealed_seed: Vec<u8>,
    pub created_at: Timestamp,
    /// When it started to sign.
    pub active_since: Option<Timestamp>,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
}

/// The stage of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// Published ahead; signs after the next rotation.
    Next,
    /// Signs.
    Active,
    /// Verifies until the last token that it signed has expired.
    Retired,
}

names!(KeyStatus { Next = "next", Active = "active", Retired = "retired" });

/// Makes the next key active, retires the active one, and publishes `fresh` as the next. Returns the active
/// key.
pub fn rotate(keys: &mut Vec<KeyRecord>, fresh: KeyRecord, now: Timestamp) -> KeyId {
    for key in keys.iter_mut().filter(|key| key.status == KeyStatus::Active) {
        (key.status, key.retired_at) = (KeyStatus::Retired, Some(now));
    }
    promote(keys, fresh, now)
}

/// Removes a compromised key: what it signed is invalid at once. The next key replaces the active one, and
/// `fresh` the next one. Returns the active key; `None` when there is no key `id`.
pub fn revoke(keys: &mut Vec<KeyRecord>, id: &KeyId, fresh: KeyRecord, now: Timestamp) -> Option<KeyId> {
    let at = keys.iter().position(|key| key.id == *id)?;
    match keys.remove(at).status {
        KeyStatus::Active => Some(promote(keys, fresh, now)),
        KeyStatus::Next => {
            keys.push(KeyRecord { status: KeyStatus::Next, ..fresh });
            signing(keys)
        }
        KeyStatus::Retired => signing(keys),
    }
}

/// Whether to rotate: the active key has signed for `every`, and the next one was published long enough.
pub fn rotation_is_due(keys: &[KeyRecord], every: Duration, now: Timestamp) -> bool {
    let old = keys.iter().any(|key| {
        key.status == KeyStatus::Active && key.active_since.is_some_and(|since| since.plus(every) <= now)
    });
    let known =
        keys.iter().any(|key| key.status == KeyStatus::Next && key.created_at.plus(PUBLISHED_AHEAD) <= now);
    old && known
}

/// Whether the key may sign a token again, for a retried refresh: a retired key may for as long as the longest
/// retry window.
pub fn may_sign_again(status: KeyStatus, retired_at: Option<Timestamp>, now: Timestamp) -> bool {
    match status {
        KeyStatus::Retired => retired_at.is_some_and(|at| now < at.plus(RETRY_WINDOW_MAX)),
        KeyStatus::Active | KeyStatus::Next => true,
    }
}

/// Removes retired keys whose last token has expired, whatever policy it was issued under.
pub fn forget_retired(keys: &mut Vec<KeyRecord>, now: Timestamp) {
    keys.retain(|key| key.retired_at.is_none_or(|at| now < at.plus(ACCESS_TOKEN_TTL_MAX)));
}

fn promote(keys: &mut Vec<KeyRecord>, fresh: KeyRecord, now: Timestamp) -> KeyId {
    let signs = match keys.iter_mut().find(|key| key.status == KeyStatus::Next) {
        Some(next) => {
            (next.status, next.active_since) = (KeyStatus::Active, Some(now));
            next.id
        }
        // A store always has a next key. Without one the fresh key must sign.
        None => {
            let id = fresh.id;
            keys.push(KeyRecord { status: KeyStatus::Active, active_since: Some(now), ..fresh });
            return id;
        }
    };
    keys.push(KeyRecord { status: KeyStatus::Next, ..fresh });
    signs
}

fn signing(keys: &[KeyRecord]) -> Option<KeyId> {
    keys.iter().find(|key| key.status == KeyStatus::Active).map(|key| key.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8, status: KeyStatus) -> KeyRecord {
        let active_since = (status == KeyStatus::Active).then_some(Timestamp::from_seconds(0));
        let (public, sealed_seed, created_at) = ([n; 32], vec![], Timestamp::from_seconds(0));
        KeyRecord {
            id: KeyId([n; 33]),
            status,
            public,
            sealed_seed,
            created_at,
            active_since,
            retired_at: None,
        }
    }

    fn statuses(keys: &[KeyRecord]) -> Vec<(u8, &'static str)> {
        keys.iter().map(|key| (key.public[0], key.status.as_str())).collect()
    }

    fn pair() -> Vec<KeyRecord> {
        vec![key(1, KeyStatus::Active), key(2, KeyStatus::Next)]
    }

    /// PAS-49: published, then signing, then retired until the last token's expiry, then removed.
    #[test]
    fn a_key_is_published_signs_is_retired_and_is_removed() {
        let mut keys = pair();
        let now = Timestamp::from_seconds(1_000);
        assert_eq!(rotate(&mut keys, key(3, KeyStatus::Next), now), KeyId([2; 33]));
        assert_eq!(statuses(&keys), [(1, "retired"), (2, "active"), (3, "next")]);
        forget_retired(&mut keys, now.plus(ACCESS_TOKEN_TTL_MAX).minus(Duration::from_millis(1)));
        assert_eq!(keys.len(), 3);
        forget_retired(&mut keys, now.plus(ACCESS_TOKEN_TTL_MAX));
        assert_eq!(statuses(&keys), [(2, "active"), (3, "next")]);
    }

    #[test]
    fn a_revoked_key_is_removed_at_once_and_one_key_is_always_active() {
        let now = Timestamp::from_seconds(1_000);
        let revoked = |id: u8| {
            let mut keys = pair();
            let signs = revoke(&mut keys, &KeyId([id; 33]), key(3, KeyStatus::Next), now);
            (signs.map(|id| id.0[0]), statuses(&keys))
        };
        assert_eq!(revoked(1), (Some(2), vec![(2, "active"), (3, "next")]));
        assert_eq!(revoked(2), (Some(1), vec![(1, "active"), (3, "next")]));
        assert_eq!(revoked(9), (None, vec![(1, "active"), (2, "next")]));
    }

    #[test]
    fn a_rotation_is_due_when_the_key_is_old_and_the_next_is_known() {
        let every = Duration::from_secs(10_000);
        let due = |keys: &[KeyRecord], at| rotation_is_due(keys, every, Timestamp::from_seconds(at));
        assert!(!due(&pair(), 9_999));
        assert!(due(&pair(), 10_000));
        let mut keys = pair();
        keys[1].created_at = Timestamp::from_seconds(9_000);
        assert!(!due(&keys, 10_000), "the next key was published only a moment ago");
        assert!(due(&keys, 9_000 + 3_600));
    }
}
