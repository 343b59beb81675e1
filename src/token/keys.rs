//! The master key, and one derived key for each purpose.

use std::net::IpAddr;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::domain::hidden::hidden;

/// Index of the master key. Every opaque token carries it, so that master keys can be rotated later.
pub const KEY_INDEX: u8 = 0;

/// 32 secret bytes: zeroed when dropped, and `Debug` does not print them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret bytes. Never log, store or compare them with `==`.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

hidden!(SecretKey);

/// The keys derived from the master key by HKDF-SHA256 with info = label ‖ key index. Each purpose has its
/// own label.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Authenticates refresh tokens.
    pub refresh_mac: SecretKey,
    /// Authenticates session tokens.
    pub session_mac: SecretKey,
    /// Derives the successor of a refresh token.
    pub rotation: SecretKey,
    /// Derives the `jti` of access tokens.
    pub token_id: SecretKey,
    /// Derives the tokens of an opening that can be repeated.
    pub opening: SecretKey,
    /// Encrypts records at rest.
    pub seal: SecretKey,
    /// Encrypts the secret keys of signing keys.
    pub wrap: SecretKey,
    /// Hashes subjects for the index.
    pub index: SecretKey,
    /// Hashes addresses for the event log.
    pub address: SecretKey,
    /// Encrypts the cursors of lists.
    pub cursor: SecretKey,
    /// Authenticates backups.
    pub backup: SecretKey,
    /// Recognises the store that belongs to this master key.
    pub check: SecretKey,
}

impl Keys {
    pub fn derive(master: &SecretKey) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, master.expose_bytes());
        let derive = |label: &str| {
            let mut key = [0; 32];
            hkdf.expand_multi_info(&[label.as_bytes(), &[KEY_INDEX]], &mut key)
                .expect("HKDF-SHA256 gives up to 8160 bytes");
            SecretKey::new(key)
        };
        Self {
            refresh_mac: derive("kf/key/refresh-mac/v1"),
            session_mac: derive("kf/key/session-mac/v1"),
            rotation: derive("kf/key/rotation/v1"),
            token_id: derive("kf/key/token-id/v1"),
            opening: derive("kf/key/opening/v1"),
            seal: derive("kf/key/seal/v1"),
            wrap: derive("kf/key/wrap/v1"),
            index: derive("kf/key/index/v1"),
            address: derive("kf/key/address/v1"),
            cursor: derive("kf/key/cursor/v1"),
            backup: derive("kf/key/backup/v1"),
            check: derive("kf/key/check/v1"),
        }
    }

    /// The hash of an address in the event log: equal for equal addresses, and does not reveal them.
    pub fn address_hash(&self, address: IpAddr) -> [u8; 16] {
        let keyed = Hmac::<Sha256>::new_from_slice(self.address.expose_bytes())
            .expect("HMAC takes keys of any length");
        let full: [u8; 32] = keyed.chain_update(address.to_string()).finalize().into_bytes().into();
        *full.first_chunk().expect("it is longer")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::token::vectors::unhex;

    /// PAS-51, ASV-05: no two purposes share a key.
    #[test]
    fn every_purpose_has_its_own_key() {
        let k = Keys::derive(&SecretKey::new([7; 32]));
        let all = [
            &k.refresh_mac,
            &k.session_mac,
            &k.rotation,
            &k.token_id,
            &k.opening,
            &k.seal,
            &k.wrap,
            &k.index,
            &k.address,
            &k.cursor,
            &k.backup,
            &k.check,
        ];
        let distinct: HashSet<&[u8; 32]> = all.iter().map(|key| key.expose_bytes()).collect();
        assert_eq!(distinct.len(), all.len());
        assert!(!distinct.contains(&[7; 32]));
        assert_eq!(format!("{:?}", k.seal), "SecretKey(…)");
    }

    /// Computed by another program: an operator compares the hashes of events of any age.
    #[test]
    fn an_address_has_the_specified_hash_under_its_own_key() {
        let keys = Keys::derive(&SecretKey::new([7; 32]));
        let hash = |address: &str| keys.address_hash(address.parse().unwrap()).to_vec();
        assert_eq!(hash("192.0.2.1"), unhex("ab51377cf3da8c88d8a4f4727da3df73"));
        assert_eq!(hash("2001:db8::1"), unhex("e428ea7ce19c838108738bda46a693d8"));
    }
}
