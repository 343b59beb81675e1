//! Encryption at rest: AES-256-GCM-SIV (RFC 8452), which stays secure when a nonce repeats.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};

use super::keys::SecretKey;

/// Encrypts personal and secret values of the store. Each value is bound to its record name: it does not open
/// under another one.
#[derive(Clone)]
pub struct Sealer(Aes256GcmSiv);

impl Sealer {
    pub fn new(key: &SecretKey) -> Self {
        Self(Aes256GcmSiv::new_from_slice(key.expose_bytes()).expect("the key has 32 bytes"))
    }

    /// Seals `plain` under `name`, which contains the record's key. The nonce depends on the name alone: with
    /// GCM-SIV a repetition reveals only that two versions of one record are equal.
    pub fn seal(&self, name: &[u8], plain: &[u8]) -> Vec<u8> {
        self.0
            .encrypt(&nonce(name), Payload { msg: plain, aad: name })
            .expect("records are far below the cipher's limit of 64 GiB")
    }

    /// Opens a value; `None` unless it was sealed under the same name and key.
    pub fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&nonce(name), Payload { msg: sealed, aad: name }).ok()
    }
}

/// The last 12 bytes of the name: in a session id these are the random ones.
fn nonce(name: &[u8]) -> Nonce {
    let mut nonce = [0; 12];
    let taken = name.len().min(12);
    nonce[12 - taken..].copy_from_slice(&name[name.len() - taken..]);
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that sealing adds.
    const SEAL_BYTES: usize = 16;

    #[test]
    fn a_sealed_value_opens_only_unchanged_under_its_own_name_and_key() {
        let sealer = Sealer::new(&SecretKey::new([1; 32]));
        let sealed = sealer.seal(b"session/1", b"alice");
        assert_eq!(sealed.len(), 5 + SEAL_BYTES);
        assert_eq!(sealer.open(b"session/1", &sealed).as_deref(), Some(&b"alice"[..]));
        assert_eq!(sealer.open(b"session/2", &sealed), None);
        assert_eq!(Sealer::new(&SecretKey::new([2; 32])).open(b"session/1", &sealed), None);
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(b"session/1", &changed), None);
        }
        assert_eq!(sealer.open(b"session/1", b""), None);
    }

    /// Records that were sealed earlier must open: the nonce is fixed by the name.
    #[test]
    fn the_nonce_is_the_last_12_bytes_of_the_name_after_zeros() {
        let cipher = Aes256GcmSiv::new_from_slice(&[1; 32]).unwrap();
        for (name, nonce) in [
            (&b""[..], b"\0\0\0\0\0\0\0\0\0\0\0\0"),
            (b"keys", b"\0\0\0\0\0\0\0\0keys"),
            (b"twelve bytes", b"twelve bytes"),
            (b"more than twelve bytes", b"twelve bytes"),
        ] {
            let sealed = cipher.encrypt(&Nonce::from(*nonce), Payload { msg: b"alice", aad: name }).unwrap();
            assert_eq!(Sealer::new(&SecretKey::new([1; 32])).seal(name, b"alice"), sealed, "{name:?}");
        }
    }
}
