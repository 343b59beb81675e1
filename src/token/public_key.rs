//! Public keys of signing keys. The kind of a key fixes the one algorithm that it verifies (RFC 8725 §3.1).

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::{es256, paserk, paseto};
use crate::domain::algorithm::Algorithm;
use crate::domain::id::KeyId;

/// A checked public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Verifies PASETO v4.public and JWTs with EdDSA.
    Ed25519(paseto::Ed25519PublicKey),
    /// Verifies JWTs with ES256.
    P256(es256::P256PublicKey),
}

/// Why bytes are not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Neither 32 bytes of Ed25519 nor 64 of P-256.
    #[error("it has the wrong length")]
    Length,
    /// Not a point of Ed25519, or of small order.
    #[error(transparent)]
    Ed25519(#[from] paseto::UnsoundKey),
    /// Not a point of P-256.
    #[error("it is not a point of the curve")]
    P256,
}

impl PublicKey {
    /// Checks and wraps the bytes of a key for this algorithm.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, InvalidKey> {
        match algorithm {
            Algorithm::EdDsa => {
                let bytes = bytes.try_into().map_err(|_| InvalidKey::Length)?;
                Ok(Self::Ed25519(paseto::Ed25519PublicKey::from_bytes(bytes)?))
            }
            Algorithm::Es256 if bytes.len() != es256::PUBLIC_BYTES => Err(InvalidKey::Length),
            Algorithm::Es256 => {
                es256::P256PublicKey::from_bytes(bytes).map(Self::P256).ok_or(InvalidKey::P256)
            }
        }
    }

    /// Reads a JWK, whatever members it has besides the key (RFC 8037 §2, RFC 7518 §6.2.1).
    pub fn from_jwk(text: &str) -> Option<Self> {
        let jwk: Value = serde_json::from_str(text).ok()?;
        let bytes = |member: &str| Base64UrlUnpadded::decode_vec(jwk[member].as_str()?).ok();
        match (jwk["kty"].as_str()?, jwk["crv"].as_str()?) {
            ("OKP", "Ed25519") => Self::from_bytes(Algorithm::EdDsa, &bytes("x")?).ok(),
            ("EC", "P-256") => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                (x.len() == y.len()).then_some(())?;
                Self::from_bytes(Algorithm::Es256, &[x, y].concat()).ok()
            }
            _ => None,
        }
    }

    /// The identifier computed from the key.
    pub fn id(&self) -> KeyId {
        match self {
            Self::Ed25519(key) => paserk::public_id(key.as_bytes()),
            Self::P256(key) => key.id(),
        }
    }

    /// 32 bytes of Ed25519, or x ‖ y of P-256.
    pub fn to_bytes(&self) -> Box<[u8]> {
        match self {
            Self::Ed25519(key) => key.as_bytes().as_slice().into(),
            Self::P256(key) => key.to_bytes().as_slice().into(),
        }
    }

    /// Verifies a signature of this key's algorithm.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        match self {
            Self::Ed25519(key) => key.has_signed(message, signature),
            Self::P256(key) => key.has_signed(message, signature),
        }
    }
}
