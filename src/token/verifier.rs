//! Verifies tokens, with a cache of those that were verified before.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::access::verify_with_key;
use super::keyring::Keyring;
use super::opaque::{Link, Opaque, OpaqueKeys, OpaqueKind};
use super::text_names::TextNames;
use crate::domain::access::AccessToken;
use crate::domain::id::{Hash, KeyId};

const ACCESS_BYTES_MAX: u64 = 8 * 1024 * 1024;
const OPAQUE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Approximate size of a cached access token apart from its text.
const ACCESS_BYTES: usize = 512;
/// Approximate size of a cached opaque token.
const OPAQUE_BYTES: usize = 128;

/// Verifies tokens; one seen again costs one keyed hash. The caches record only that a MAC or a signature is
/// valid: whether the key of a signature is still in the ring is checked each time, all else is for the
/// caller.
#[derive(Debug)]
pub struct TokenVerifier {
    access: Seen<VerifiedAccess>,
    opaque: Seen<VerifiedOpaque>,
}

/// An opaque token whose MAC is valid, with the hash of its secret.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedOpaque {
    pub kind: OpaqueKind,
    pub link: Link,
    pub hash: Hash,
}

#[derive(Clone, Debug)]
struct VerifiedAccess {
    token: Arc<AccessToken>,
    key: KeyId,
    text_bytes: u16,
}

impl TokenVerifier {
    /// `random` keys the hashes of the caches.
    pub fn new(random: [u8; 16]) -> Self {
        let names = TextNames::new(&random);
        Self {
            access: Seen::new(names, ACCESS_BYTES_MAX, ACCESS_BYTES),
            opaque: Seen::new(names, OPAQUE_BYTES_MAX, OPAQUE_BYTES),
        }
    }

    /// As [`super::access::verify`].
    pub fn access(&self, text: &str, keyring: &Keyring) -> Option<Arc<AccessToken>> {
        let name = self.access.names.of(text.as_bytes());
        if let Some(known) = self.access.cache.get(&name) {
            return keyring.find(&known.key).map(|_| known.token);
        }
        let (token, key) = verify_with_key(text, keyring)?;
        let token = Arc::new(token);
        let text_bytes = u16::try_from(text.len()).expect("it is at most TOKEN_BYTES_MAX long");
        self.access.cache.insert(name, VerifiedAccess { token: Arc::clone(&token), key, text_bytes });
        Some(token)
    }

    /// As [`Opaque::decode`].
    pub fn opaque(&self, text: &str, keys: &OpaqueKeys) -> Option<VerifiedOpaque> {
        if !Opaque::has_form(text) {
            return None;
        }
        let name = self.opaque.names.of(text.as_bytes());
        if let Some(known) = self.opaque.cache.get(&name) {
            return Some(known);
        }
        let token = Opaque::decode(text, keys)?;
        let verified = VerifiedOpaque { kind: token.kind, link: token.link, hash: token.hash() };
        self.opaque.cache.insert(name, verified);
        Some(verified)
    }
}

/// What was verified, by the name of its text.
#[derive(Debug)]
struct Seen<V> {
    names: TextNames,
    cache: Cache<u128, V, Weight>,
}

impl<V: Clone> Seen<V>
where
    Weight: Weighter<u128, V>,
{
    fn new(names: TextNames, bytes_max: u64, entry_bytes: usize) -> Self {
        let entries = bytes_max as usize / (2 * entry_bytes);
        Self { names, cache: Cache::with_weighter(entries, bytes_max, Weight) }
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<u128, VerifiedAccess> for Weight {
    fn weight(&self, _: &u128, verified: &VerifiedAccess) -> u64 {
        (ACCESS_BYTES + usize::from(verified.text_bytes)) as u64
    }
}

impl Weighter<u128, VerifiedOpaque> for Weight {
    fn weight(&self, _: &u128, _: &VerifiedOpaque) -> u64 {
        OPAQUE_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::TokenFormat;
    use crate::domain::id::SessionId;
    use crate::domain::key::KeyStatus;
    use crate::token::access::tests::{keyring, keys, of_client, of_session, record, record_es256, signed};
    use crate::token::opaque::Secret;
    use crate::token::paseto::TOKEN_BYTES_MAX;

    /// PAS-52: the cache holds valid signatures, not valid tokens.
    #[test]
    fn a_cached_token_is_invalid_once_its_key_is_revoked() {
        for format in TokenFormat::ALL {
            let (ring, verifier) = (keyring(), TokenVerifier::new([7; 16]));
            let text = signed(&of_session(), *format, &ring);
            let first = verifier.access(&text, &ring).unwrap();
            let second = verifier.access(&text, &ring).unwrap();
            assert!(Arc::ptr_eq(&first, &second), "the second is from the cache");
            assert!(*first == of_session());
            let rotated = [
                record(2, KeyStatus::Retired),
                record(3, KeyStatus::Active),
                record_es256(2, KeyStatus::Retired),
            ];
            let rotated = Keyring::open(&rotated, &keys()).unwrap();
            assert!(verifier.access(&text, &rotated).is_some(), "a retired key still verifies");
            let revoked = Keyring::open(&[record(3, KeyStatus::Active)], &keys()).unwrap();
            assert!(verifier.access(&text, &revoked).is_none());
            assert!(verifier.access(&text, &ring).is_some());
        }
    }

    #[test]
    fn rejected_tokens_are_not_cached_and_the_cache_is_bounded() {
        let (ring, verifier) = (keyring(), TokenVerifier::new([7; 16]));
        let text = signed(&of_client(), TokenFormat::Paseto, &ring);
        let other = Keyring::open(&[record(9, KeyStatus::Active)], &keys()).unwrap();
        let foreign = signed(&of_client(), TokenFormat::Paseto, &other);
        for rejected in [&foreign, &text[1..], &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(verifier.access(rejected, &ring).is_none());
        }
        assert!(verifier.access.cache.is_empty());
        let known = VerifiedAccess { token: Arc::new(of_client()), key: ring.active().id, text_bytes: 8192 };
        for number in 0..4096 {
            verifier.access.cache.insert(number, known.clone());
        }
        assert!((100..=1000).contains(&verifier.access.cache.len()), "{}", verifier.access.cache.len());
        assert!(verifier.access.cache.weight() <= ACCESS_BYTES_MAX);
    }

    #[test]
    fn an_opaque_token_seen_before_is_verified_like_a_new_one_and_no_other_text_is() {
        let (keys, verifier) = (OpaqueKeys::new(&keys()), TokenVerifier::new([7; 16]));
        let link = Link { session: SessionId([3; 16]), family: 0, generation: 2 };
        let token = Opaque { kind: OpaqueKind::Session, link, secret: Secret::new([9; 32]) };
        let text = token.encode(&keys);
        for _ in 0..2 {
            let verified = verifier.opaque(text.expose(), &keys).unwrap();
            assert!(verified.kind == token.kind && verified.link == link && verified.hash == token.hash());
        }
        for at in 0..text.expose().len() {
            let mut changed = text.expose().to_owned();
            let other = if changed.as_bytes()[at] == b'A' { "B" } else { "A" };
            changed.replace_range(at..=at, other);
            assert!(verifier.opaque(&changed, &keys).is_none(), "{at}");
        }
        assert_eq!(verifier.opaque.cache.len(), 1, "rejected tokens are not cached");
    }

    #[test]
    fn the_cache_of_opaque_tokens_is_bounded() {
        let verifier = TokenVerifier::new([7; 16]);
        let link = Link { session: SessionId([3; 16]), family: 0, generation: 2 };
        let known = VerifiedOpaque { kind: OpaqueKind::Session, link, hash: Hash([1; 32]) };
        (0..100_000).for_each(|number| verifier.opaque.cache.insert(number, known));
        assert!((10_000..=40_000).contains(&verifier.opaque.cache.len()), "{}", verifier.opaque.cache.len());
    }
}
