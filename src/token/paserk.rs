//! Public keys as text: PASERK `k4.public` and `k4.pid` (<https://github.com/paseto-standard/paserk>).
//!
//! Converts text and bytes only; [`super::public_key::PublicKey`] checks whether the bytes are a valid key.

use base64ct::{Base64UrlUnpadded, Encoding};
use blake2::digest::consts::U33;
use blake2::{Blake2b, Digest};

use crate::domain::id::KeyId;

const PUBLIC: &str = "k4.public.";

/// Writes a public key as `k4.public`.
pub fn public_text(key: &[u8; 32]) -> String {
    format!("{PUBLIC}{}", Base64UrlUnpadded::encode_string(key))
}

/// Reads `k4.public`; `None` for any other text.
pub fn parse_public(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let decoded = Base64UrlUnpadded::decode(text.strip_prefix(PUBLIC)?, &mut key).ok()?;
    (decoded.len() == 32).then_some(key)
}

/// The id of a public key, `k4.pid`.
pub fn public_id(key: &[u8; 32]) -> KeyId {
    KeyId::Ed25519(
        Blake2b::<U33>::new().chain_update("k4.pid.").chain_update(public_text(key)).finalize().into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PAS-42, PAS-47.
    #[test]
    fn only_the_canonical_text_of_a_version_4_public_key_is_accepted() {
        let public = public_text(&[7; 32]);
        assert_eq!(parse_public(&public), Some([7; 32]));
        let other_versions = ["k2.public.", "k3.public.", "K4.public.", "k4.secret.", "k4.local.", ""];
        let mut wrong: Vec<String> =
            other_versions.iter().map(|header| public.replace(PUBLIC, header)).collect();
        wrong.extend(
            [0, 31, 33, 63, 64, 65]
                .iter()
                .map(|length| format!("{PUBLIC}{}", Base64UrlUnpadded::encode_string(&vec![7; *length]))),
        );
        assert!(public.ends_with('c'), "32 bytes leave two spare bits in the last character");
        let rest = &public[..public.len() - 1];
        wrong.extend([
            format!("{public}="),
            format!("{public}=="),
            format!("{public} "),
            format!("{rest}d"),
            rest.to_owned(),
        ]);
        for text in wrong {
            assert!(parse_public(&text).is_none(), "{text}");
        }
    }

    /// PAS-47, for ids.
    #[test]
    fn the_id_of_a_key_has_33_bytes_and_one_spelling() {
        let id = public_id(&[7; 32]);
        let text = id.to_string();
        assert_eq!((text.len(), text.parse()), (7 + 44, Ok(id)));
        for wrong in [
            format!("{text}="),
            text.replace("k4.pid.", "k3.pid."),
            text.replace("k4.pid.", "k4.sid."),
            text[..50].to_owned(),
            format!("{text}A"),
        ] {
            assert!(wrong.parse::<KeyId>().is_err(), "{wrong}");
        }
    }
}
