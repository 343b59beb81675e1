//! Verifies access tokens, with a cache of verified signatures.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::access::verify_with_key;
use super::keyring::Keyring;
use super::paseto::TOKEN_BYTES_MAX;
use crate::domain::access::AccessToken;
use crate::domain::id::KeyId;

const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Approximate size of a cached token apart from its text.
const ENTRY_BYTES: usize = 512;

/// Verifies access tokens; a token seen again costs one hash. The cache records only that a signature is
/// valid: whether its key is still in the ring is checked each time, all else is for the caller.
#[derive(Debug)]
pub struct AccessVerifier {
    verified: Cache<[u8; 32], Verified, Weight>,
}

#[derive(Clone, Debug)]
struct Verified {
    token: Arc<AccessToken>,
    key: KeyId,
    text_bytes: u16,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<[u8; 32], Verified> for Weight {
    fn weight(&self, _: &[u8; 32], verified: &Verified) -> u64 {
        (ENTRY_BYTES + usize::from(verified.text_bytes)) as u64
    }
}

impl Default for AccessVerifier {
    fn default() -> Self {
        let entries = CACHE_BYTES_MAX as usize / (2 * ENTRY_BYTES);
        Self { verified: Cache::with_weighter(entries, CACHE_BYTES_MAX, Weight) }
    }
}

impl AccessVerifier {
    /// As [`super::access::verify`].
    pub fn verify(&self, text: &str, keyring: &Keyring) -> Option<Arc<AccessToken>> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(text).into();
        if let Some(known) = self.verified.get(&hash) {
            return keyring.find(&known.key).map(|_| known.token);
        }
        let (token, key) = verify_with_key(text, keyring)?;
        let token = Arc::new(token);
        let text_bytes = u16::try_from(text.len()).expect("TOKEN_BYTES_MAX fits in 16 bits");
        self.verified.insert(hash, Verified { token: Arc::clone(&token), key, text_bytes });
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::TokenFormat;
    use crate::domain::key::KeyStatus;
    use crate::token::access::tests::{keyring, keys, of_client, of_session, record, record_es256, signed};

    /// PAS-52: the cache holds valid signatures, not valid tokens.
    #[test]
    fn a_cached_token_is_invalid_once_its_key_is_revoked() {
        for format in TokenFormat::ALL {
            let (ring, verifier) = (keyring(), AccessVerifier::default());
            let text = signed(&of_session(), *format, &ring);
            let first = verifier.verify(&text, &ring).unwrap();
            let second = verifier.verify(&text, &ring).unwrap();
            assert!(Arc::ptr_eq(&first, &second), "the second is from the cache");
            assert!(*first == of_session());
            let rotated = [
                record(2, KeyStatus::Retired),
                record(3, KeyStatus::Active),
                record_es256(2, KeyStatus::Retired),
            ];
            let rotated = Keyring::open(&rotated, &keys()).unwrap();
            assert!(verifier.verify(&text, &rotated).is_some(), "a retired key still verifies");
            let revoked = Keyring::open(&[record(3, KeyStatus::Active)], &keys()).unwrap();
            assert!(verifier.verify(&text, &revoked).is_none());
            assert!(verifier.verify(&text, &ring).is_some());
        }
    }

    #[test]
    fn rejected_tokens_are_not_cached_and_the_cache_is_bounded() {
        let (ring, verifier) = (keyring(), AccessVerifier::default());
        let text = signed(&of_client(), TokenFormat::Paseto, &ring);
        let other = Keyring::open(&[record(9, KeyStatus::Active)], &keys()).unwrap();
        let foreign = signed(&of_client(), TokenFormat::Paseto, &other);
        for rejected in [&foreign, &text[1..], &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(verifier.verify(rejected, &ring).is_none());
        }
        assert!(verifier.verified.is_empty());
        let known = Verified { token: Arc::new(of_client()), key: ring.active().id, text_bytes: 8192 };
        for number in 0..4096_u32 {
            verifier.verified.insert(Sha256::digest(number.to_be_bytes()).into(), known.clone());
        }
        assert!((100..=1000).contains(&verifier.verified.len()), "{}", verifier.verified.len());
        assert!(verifier.verified.weight() <= CACHE_BYTES_MAX);
    }
}
