//! ES256: ECDSA on P-256 with SHA-256 (RFC 7518 §3.4), with deterministic signatures (RFC 6979).
//!
//! Of the two signatures (r, s) and (r, n - s) that are valid for one message, only the one with the smaller
//! s is written and accepted, so that a token cannot be altered into another valid one.

use base64ct::{Base64UrlUnpadded, Encoding};
use p256::ecdsa::signature::{Signer, Verifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::domain::id::KeyId;

/// Length of a public key: x ‖ y.
pub const PUBLIC_BYTES: usize = 64;

/// A P-256 public key: a point of the curve, not the point at infinity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct P256PublicKey(VerifyingKey);

impl P256PublicKey {
    /// Checks and wraps x ‖ y; `None` if that is not a point of the curve.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != PUBLIC_BYTES {
            return None;
        }
        // SEC 1 §2.3.4: 4 stands for an uncompressed point.
        VerifyingKey::from_sec1_bytes(&[&[4], bytes].concat()).ok().map(Self)
    }

    /// x ‖ y.
    pub fn to_bytes(&self) -> [u8; PUBLIC_BYTES] {
        let point = self.0.to_sec1_point(false);
        point.as_bytes()[1..].try_into().expect("an uncompressed point is 4, x and y")
    }

    /// x and y in base64url, as in a JWK (RFC 7518 §6.2.1).
    pub fn coordinates(&self) -> (String, String) {
        let bytes = self.to_bytes();
        let (x, y) = bytes.split_at(PUBLIC_BYTES / 2);
        (Base64UrlUnpadded::encode_string(x), Base64UrlUnpadded::encode_string(y))
    }

    /// The thumbprint of the JWK (RFC 7638 §3).
    pub fn id(&self) -> KeyId {
        let (x, y) = self.coordinates();
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        KeyId::P256(Sha256::digest(jwk).into())
    }

    /// Verifies r ‖ s; s must be in the lower half.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|sig| sig.normalize_s() == sig && self.0.verify(message, &sig).is_ok())
    }
}

/// A P-256 secret key. It is zeroed when dropped.
pub(super) struct P256SecretKey(SigningKey);

impl P256SecretKey {
    /// From 32 random bytes. Bytes that are no secret key, which 1 in 2^32 are, are hashed until they are
    /// one.
    pub(super) fn generate(random: [u8; 32]) -> Self {
        let mut candidate = Zeroizing::new(random);
        loop {
            match SigningKey::from_slice(&*candidate) {
                Ok(key) => return Self(key),
                Err(_) => *candidate = Sha256::digest(*candidate).into(),
            }
        }
    }

    /// From the bytes of [`Self::to_bytes`].
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    /// The secret scalar, big-endian.
    pub(super) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    pub(super) fn public(&self) -> P256PublicKey {
        P256PublicKey(*self.0.verifying_key())
    }

    /// r ‖ s over `message`, the same each time.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.0.sign(message);
        signature.normalize_s().to_bytes().into()
    }
}

#[cfg(test)]
mod tests;
