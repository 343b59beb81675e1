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

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037 appendix A.2.
    const OKP: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// RFC 7515 appendix A.3.1, without the private key.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","use":"sig"}"#;

    #[test]
    fn a_jwk_is_read_whatever_else_it_has() {
        for (jwk, members) in [(OKP, &["x"][..]), (EC, &["x", "y"])] {
            let key = PublicKey::from_jwk(jwk).unwrap();
            let value: Value = serde_json::from_str(jwk).unwrap();
            let bytes =
                |member: &&str| Base64UrlUnpadded::decode_vec(value[member].as_str().unwrap()).unwrap();
            assert_eq!(*key.to_bytes(), *members.iter().map(bytes).collect::<Vec<_>>().concat());
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused_as_such() {
        for (algorithm, length) in [(Algorithm::EdDsa, 32), (Algorithm::Es256, 64)] {
            for wrong in [0, length - 1, length + 1] {
                let refused = PublicKey::from_bytes(algorithm, &vec![1; wrong]);
                assert!(matches!(refused, Err(InvalidKey::Length)), "{wrong}");
            }
        }
    }

    #[test]
    fn a_jwk_of_another_kind_or_length_is_refused() {
        let shifted = EC.replace("f83O", "").replace("\"y\":\"", "\"y\":\"f83O");
        for wrong in [
            OKP.replace("Ed25519", "X25519"),
            OKP.replace("OKP", "EC"),
            OKP.replace("\"x\"", "\"z\""),
            OKP.replace("11qY", ""),
            EC.replace("P-256", "P-384"),
            EC.replace("\"y\"", "\"z\""),
            EC.replace("f83O", "f83P"),
            shifted,
            "[]".into(),
            String::new(),
        ] {
            assert!(PublicKey::from_jwk(&wrong).is_none(), "{wrong}");
        }
    }
}
