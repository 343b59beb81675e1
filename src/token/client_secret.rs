//! Client secrets: `kfc_` and 32 random bytes in base64url; only a hash is stored.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::opaque::SecretText;
use crate::domain::hidden::hidden;
use crate::domain::id::Hash;

const PREFIX: &str = "kfc_";

/// Encodes 32 random bytes as a client secret.
pub fn client_secret(random: &[u8; 32]) -> SecretText {
    let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(random));
    SecretText::new([PREFIX, &encoded].concat())
}

/// A client secret that was presented, of which only the hash is kept; `None` if it does not have the form of
/// one.
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub struct PresentedSecret(pub Option<Hash>);
hidden!(PresentedSecret);

impl PresentedSecret {
    /// Hashes the text of a secret.
    pub fn new(text: &str) -> Self {
        Self(hash_client_secret(text))
    }
}

/// The hash that is stored and compared: SHA-256 of the text, which is enough for 256 random bits. `None`
/// unless `text` is `kfc_` and 43 characters of canonical base64url.
pub fn hash_client_secret(text: &str) -> Option<Hash> {
    let mut random = Zeroizing::new([0; 32]);
    let decoded = Base64UrlUnpadded::decode(text.strip_prefix(PREFIX)?, &mut *random).ok()?;
    (decoded.len() == 32).then(|| Hash(Sha256::digest(text).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_secret_is_kfc_and_43_canonical_characters() {
        let secret = client_secret(&[0xfb; 32]);
        assert_eq!(secret.expose().len(), 4 + 43);
        assert!(hash_client_secret(secret.expose()) == Some(Hash(Sha256::digest(secret.expose()).into())));
        assert_eq!(format!("{secret:?}"), "SecretText(…)");
        let body = &secret.expose()[4..];
        for wrong in [
            String::new(),
            "kfc_".into(),
            body.into(),
            format!("KFC_{body}"),
            format!("kfc_{}", &body[1..]),
            format!("kfc_{body}A"),
            format!("kfc_{body}="),
            format!("kfc_{} ", &body[1..]),
            format!("kfc_{}+", &body[..42]),
            format!("kfc_{}t", &body[..42]),
        ] {
            assert!(hash_client_secret(&wrong).is_none(), "{wrong}");
        }
        assert!(body.ends_with('s'), "the t above differs in spare bits only");
    }
}
