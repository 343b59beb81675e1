//! The master key, and one derived key for each purpose (standards, section 6.3).

use std::fmt;
use std::net::IpAddr;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The index of the master key in use. It is in every token, so that master keys can be rotated one day.
pub const KEY_INDEX: u8 = 0;

/// 32 bytes that must not be shown: zeroed when dropped, and `Debug` prints nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Never to be logged, stored or compared with `==`.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Every key of the engine, derived from the master key by HKDF-SHA256 with info = label ‖ key index.
/// Distinct labels, distinct keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Authenticates refresh tokens.
    pub refresh_mac: SecretKey,
    /// Authenticates session tokens.
    pub session_mac: SecretKey,
    /// Draws a refresh token's successor.
    pub rotation: SecretKey,
    /// Draws the identifiers of access tokens.
    pub token_id: SecretKey,
    /// Seals records at rest.
    pub seal: SecretKey,
    /// Wraps signing keys.
    pub wrap: SecretKey,
    /// Names subjects in the index.
    pub index: SecretKey,
    /// Hashes addresses for the event log.
    pub address: SecretKey,
    /// Tells whether a store belongs to this master key.
    pub check: SecretKey,
}

impl Keys {
    /// Derives them all.
    pub fn derive(master: &SecretKey) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, master.expose_bytes());
        let derive = |label: &str| {
            let mut key = [0; 32];
            hkdf.expand_multi_info(&[label.as_bytes(), &[KEY_INDEX]], &mut key)
                .expect("32 bytes are within what HKDF-SHA256 gives");
            SecretKey::new(key)
        };
        Self {
            refresh_mac: derive("kf/key/refresh-mac/v1"),
            session_mac: derive("kf/key/session-mac/v1"),
            rotation: derive("kf/key/rotation/v1"),
            token_id: derive("kf/key/token-id/v1"),
            seal: derive("kf/key/seal/v1"),
            wrap: derive("kf/key/wrap/v1"),
            index: derive("kf/key/index/v1"),
            address: derive("kf/key/address/v1"),
            check: derive("kf/key/check/v1"),
        }
    }

    /// What the event log keeps of an address: enough to see whether two are the same, and not which.
    pub fn address_hash(&self, address: IpAddr) -> [u8; 16] {
        let keyed = Hmac::<Sha256>::new_from_slice(self.address.expose_bytes())
            .expect("HMAC takes keys of any length");
        let full: [u8; 32] = keyed.chain_update(address.to_string()).finalize().into_bytes().into();
        let mut hash = [0; 16];
        hash.copy_from_slice(&full[..16]);
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// PAS-51, ASV-05: no two purposes share a key.
    #[test]
    fn every_purpose_has_a_key_of_its_own() {
        let k = Keys::derive(&SecretKey::new([7; 32]));
        let all = [
            &k.refresh_mac,
            &k.session_mac,
            &k.rotation,
            &k.token_id,
            &k.seal,
            &k.wrap,
            &k.index,
            &k.address,
            &k.check,
        ];
        let distinct: HashSet<&[u8; 32]> = all.iter().map(|key| key.expose_bytes()).collect();
        assert_eq!(distinct.len(), all.len());
        assert!(!distinct.contains(&[7; 32]));
        assert_eq!(format!("{:?}", k.seal), "SecretKey(…)");
    }
}
