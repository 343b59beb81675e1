//! Signing keys: published, then active, then retired, then removed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::algorithm::Algorithm;
use super::id::KeyId;
use super::names::names;
use super::policy::{ACCESS_TOKEN_TTL_MAX, RETRY_WINDOW_MAX};
use super::time::Timestamp;

/// How long a key is published before it signs, so that verifiers that cache the key set know it by then.
const PUBLISHED_AHEAD: Duration = Duration::from_secs(3600);

/// How long verifiers may cache the published keys: the `max-age` of the JWKS.
pub const KEY_SET_MAX_AGE: Duration = Duration::from_secs(300);

/// One signing key. Its secret half is sealed; only the keyring opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its identifier, computed from its public half; it tells the algorithm.
    pub id: KeyId,
    pub status: KeyStatus,
    /// The public key: 32 bytes of Ed25519, or x ‖ y of P-256.
    pub public: Box<[u8]>,
    /// The seed of Ed25519 or the scalar of P-256, sealed under the wrapping key.
    pub sealed_seed: Vec<u8>,
    pub created_at: Timestamp,
    /// When it started to sign.
    pub active_since: Option<Timestamp>,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
}

names! {
    /// The stage of a key.
    #[derive(Serialize, Deserialize)]
    pub enum KeyStatus {
        /// Published ahead; signs after the next rotation.
        Next = "next",
        /// Signs.
        Active = "active",
        /// Verifies until the last token that it signed has expired.
        Retired = "retired",
    }
}

/// Adds an active key and its successor, unless its algorithm has an active key. Returns whether it did.
pub fn introduce(keys: &mut Vec<KeyRecord>, pair: [KeyRecord; 2]) -> bool {
    let absent = active(keys, pair[0].id.algorithm()).is_none();
    if absent {
        keys.extend(pair);
    }
    absent
}

/// Ends the use of an algorithm: its active key is retired, its next key removed.
pub fn withdraw(keys: &mut Vec<KeyRecord>, algorithm: Algorithm, now: Timestamp) {
    keys.retain(|key| key.id.algorithm() != algorithm || key.status != KeyStatus::Next);
    retire(keys, algorithm, now);
}

/// Rotates the keys of every algorithm in use together: retires the active key, makes the next one active and
/// publishes a `fresh` one, of which there is one for each algorithm. Returns the active keys.
pub fn rotate(keys: &mut Vec<KeyRecord>, fresh: &[KeyRecord], now: Timestamp) -> Vec<KeyId> {
    let mut signing = vec![];
    for fresh in
        fresh.iter().filter(|fresh| active(keys, fresh.id.algorithm()).is_some()).cloned().collect::<Vec<_>>()
    {
        retire(keys, fresh.id.algorithm(), now);
        signing.push(promote(keys, fresh, now));
    }
    signing
}

/// Removes a compromised key: what it signed is invalid at once. The next key of its algorithm replaces an
/// active one, and the `fresh` one a next one. Returns whether there was a key `id`.
pub fn revoke(keys: &mut Vec<KeyRecord>, id: &KeyId, fresh: &[KeyRecord], now: Timestamp) -> bool {
    let Some(at) = keys.iter().position(|key| key.id == *id) else { return false };
    let status = keys.remove(at).status;
    if let Some(fresh) = fresh.iter().find(|fresh| fresh.id.algorithm() == id.algorithm()).cloned() {
        match status {
            KeyStatus::Active => _ = promote(keys, fresh, now),
            KeyStatus::Next => keys.push(KeyRecord { status: KeyStatus::Next, ..fresh }),
            KeyStatus::Retired => {}
        }
    }
    true
}

/// Whether to rotate: an active key has signed for `every`, and each next one was published long enough.
pub fn rotation_is_due(keys: &[KeyRecord], every: Duration, now: Timestamp) -> bool {
    let of = |status| keys.iter().filter(move |key| key.status == status);
    let old = of(KeyStatus::Active).any(|key| key.active_since.is_some_and(|since| since.plus(every) <= now));
    let mut next = of(KeyStatus::Next).peekable();
    old && next.peek().is_some() && next.all(|key| key.created_at.plus(PUBLISHED_AHEAD) <= now)
}

/// How long to wait until every verifier that caches the published keys knows each next key; `None` if they
/// all do.
pub fn wait_before_rotation(keys: &[KeyRecord], now: Timestamp) -> Option<Duration> {
    let next = keys.iter().filter(|key| key.status == KeyStatus::Next);
    let known_at = next.map(|key| key.created_at.plus(KEY_SET_MAX_AGE)).max()?;
    let millis = u64::try_from(known_at.millis() - now.millis()).ok().filter(|millis| *millis > 0)?;
    Some(Duration::from_millis(millis))
}

/// Whether the key may sign a token again, for a retried refresh: a retired key may for as long as the
/// longest retry window.
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

fn retire(keys: &mut [KeyRecord], algorithm: Algorithm, now: Timestamp) {
    for key in keys.iter_mut().filter(|key| signs(key, algorithm)) {
        (key.status, key.retired_at) = (KeyStatus::Retired, Some(now));
    }
}

fn promote(keys: &mut Vec<KeyRecord>, fresh: KeyRecord, now: Timestamp) -> KeyId {
    let algorithm = fresh.id.algorithm();
    let next = |key: &&mut KeyRecord| key.status == KeyStatus::Next && key.id.algorithm() == algorithm;
    let signs = match keys.iter_mut().find(next) {
        Some(next) => {
            (next.status, next.active_since) = (KeyStatus::Active, Some(now));
            next.id
        }
        // An algorithm in use always has a next key. Without one the fresh key must sign.
        None => {
            let id = fresh.id;
            keys.push(KeyRecord { status: KeyStatus::Active, active_since: Some(now), ..fresh });
            return id;
        }
    };
    keys.push(KeyRecord { status: KeyStatus::Next, ..fresh });
    signs
}

fn signs(key: &KeyRecord, algorithm: Algorithm) -> bool {
    key.status == KeyStatus::Active && key.id.algorithm() == algorithm
}

/// The active key of an algorithm; `None` if the algorithm is not in use.
fn active(keys: &[KeyRecord], algorithm: Algorithm) -> Option<&KeyRecord> {
    keys.iter().find(|key| signs(key, algorithm))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key of Ed25519, or from 100 on of P-256.
    fn key(n: u8, status: KeyStatus) -> KeyRecord {
        KeyRecord {
            id: if n < 100 { KeyId::Ed25519([n; 33]) } else { KeyId::P256([n; 32]) },
            status,
            public: [n].into(),
            sealed_seed: vec![],
            created_at: Timestamp::from_seconds(0),
            active_since: (status == KeyStatus::Active).then_some(Timestamp::from_seconds(0)),
            retired_at: None,
        }
    }

    fn statuses(keys: &[KeyRecord]) -> Vec<(u8, &'static str)> {
        keys.iter().map(|key| (key.public[0], key.status.as_str())).collect()
    }

    fn pair() -> Vec<KeyRecord> {
        vec![key(1, KeyStatus::Active), key(2, KeyStatus::Next)]
    }

    /// Both algorithms in use.
    fn pairs() -> Vec<KeyRecord> {
        [pair(), vec![key(101, KeyStatus::Active), key(102, KeyStatus::Next)]].concat()
    }

    /// The status that they have makes no difference.
    fn fresh() -> [KeyRecord; 2] {
        [key(3, KeyStatus::Retired), key(103, KeyStatus::Retired)]
    }

    /// PAS-49: published, then signing, then retired until the last token's expiry, then removed.
    #[test]
    fn a_key_is_published_signs_is_retired_and_is_removed() {
        let mut keys = pair();
        let now = Timestamp::from_seconds(1_000);
        assert_eq!(rotate(&mut keys, &fresh(), now), [KeyId::Ed25519([2; 33])]);
        assert_eq!(statuses(&keys), [(1, "retired"), (2, "active"), (3, "next")]);
        forget_retired(&mut keys, now.plus(ACCESS_TOKEN_TTL_MAX).minus(Duration::from_millis(1)));
        assert_eq!(keys.len(), 3);
        forget_retired(&mut keys, now.plus(ACCESS_TOKEN_TTL_MAX));
        assert_eq!(statuses(&keys), [(2, "active"), (3, "next")]);
    }

    #[test]
    fn both_algorithms_rotate_together() {
        let mut keys = pairs();
        let signing = rotate(&mut keys, &fresh(), Timestamp::from_seconds(1_000));
        assert_eq!(signing, [KeyId::Ed25519([2; 33]), KeyId::P256([102; 32])]);
        assert_eq!(
            statuses(&keys),
            [(1, "retired"), (2, "active"), (101, "retired"), (102, "active"), (3, "next"), (103, "next")]
        );
    }

    #[test]
    fn a_revoked_key_is_removed_at_once_and_one_key_of_its_algorithm_is_always_active() {
        let revoked = |id: KeyId| {
            let mut keys = pairs();
            (revoke(&mut keys, &id, &fresh(), Timestamp::from_seconds(1_000)), statuses(&keys))
        };
        let es256 = [(101, "active"), (102, "next")];
        let eddsa = [(1, "active"), (2, "next")];
        for (id, found, left) in [
            (KeyId::Ed25519([1; 33]), true, [(2, "active"), es256[0], es256[1], (3, "next")]),
            (KeyId::Ed25519([2; 33]), true, [(1, "active"), es256[0], es256[1], (3, "next")]),
            (KeyId::P256([101; 32]), true, [eddsa[0], eddsa[1], (102, "active"), (103, "next")]),
            (KeyId::P256([102; 32]), true, [eddsa[0], eddsa[1], (101, "active"), (103, "next")]),
            (KeyId::P256([1; 32]), false, [eddsa[0], eddsa[1], es256[0], es256[1]]),
        ] {
            assert_eq!(revoked(id), (found, left.to_vec()), "{id}");
        }
    }

    #[test]
    fn an_algorithm_is_introduced_once_and_withdrawn_without_invalidating_its_tokens() {
        let mut keys = pair();
        let now = Timestamp::from_seconds(1_000);
        assert!(!introduce(&mut keys, [key(8, KeyStatus::Active), key(9, KeyStatus::Next)]));
        assert!(introduce(&mut keys, [key(101, KeyStatus::Active), key(102, KeyStatus::Next)]));
        assert!(!introduce(&mut keys, [key(108, KeyStatus::Active), key(109, KeyStatus::Next)]));
        assert_eq!(keys, pairs());
        withdraw(&mut keys, Algorithm::Es256, now);
        assert_eq!(statuses(&keys), [(1, "active"), (2, "next"), (101, "retired")]);
        assert_eq!(keys[2].retired_at, Some(now));
        rotate(&mut keys, &fresh(), now);
        assert_eq!(statuses(&keys), [(1, "retired"), (2, "active"), (101, "retired"), (3, "next")]);
    }

    /// RFC 7517 says nothing about caches; the JWKS of keyfob does, by its `max-age`.
    #[test]
    fn a_rotation_waits_until_caches_know_every_next_key() {
        let wait = |keys: &[KeyRecord], at| wait_before_rotation(keys, Timestamp::from_seconds(at));
        assert_eq!(wait(&pairs(), 299), Some(Duration::from_secs(1)));
        assert_eq!(wait(&pairs(), 300), None);
        let mut keys = pairs();
        keys[3].created_at = Timestamp::from_seconds(200);
        assert_eq!(wait(&keys, 300), Some(Duration::from_secs(200)));
        assert_eq!(wait(&keys[..1], 0), None, "no key waits");
    }

    #[test]
    fn a_rotation_is_due_when_a_key_is_old_and_each_next_one_is_known() {
        let every = Duration::from_secs(10_000);
        let due = |keys: &[KeyRecord], at| rotation_is_due(keys, every, Timestamp::from_seconds(at));
        assert!(!due(&pair(), 9_999));
        assert!(due(&pair(), 10_000) && due(&pairs(), 10_000));
        for at in [1, 3] {
            let mut keys = pairs();
            keys[at].created_at = Timestamp::from_seconds(9_000);
            assert!(!due(&keys, 10_000), "this next key was published only a moment ago");
            assert!(due(&keys, 9_000 + 3_600));
        }
    }

    /// ROT-02: a retry gets the same access token, also if its key was retired in between.
    #[test]
    fn a_retired_key_signs_again_for_the_longest_retry_window() {
        let at = Timestamp::from_seconds;
        let may = |seconds| may_sign_again(KeyStatus::Retired, Some(at(0)), at(seconds));
        assert!(may(299) && !may(300));
        assert!(!may_sign_again(KeyStatus::Retired, None, at(0)));
        for status in [KeyStatus::Active, KeyStatus::Next] {
            assert!(may_sign_again(status, None, at(1_000_000)));
        }
    }

    #[test]
    fn without_a_next_key_no_rotation_is_due_and_the_fresh_key_signs() {
        let mut keys = vec![key(1, KeyStatus::Active)];
        assert!(!rotation_is_due(&keys, Duration::ZERO, Timestamp::from_seconds(10_000)));
        assert_eq!(rotate(&mut keys, &fresh(), Timestamp::from_seconds(1)), [KeyId::Ed25519([3; 33])]);
        assert_eq!(statuses(&keys), [(1, "retired"), (3, "active")]);
        assert_eq!(keys[1].active_since, Some(Timestamp::from_seconds(1)));
    }
}
