//! Keys as text: PASERK `k4.public`, `k4.secret` and their ids (<https://github.com/paseto-standard/paserk>).
//!
//! Text to bytes and back, no more: whether the bytes are a sound key is for [`super::paseto::PublicKey`] to
//! say.

use base64ct::{Base64UrlUnpadded, Encoding};
use blake2::digest::consts::U33;
use blake2::{Blake2b, Digest};
use zeroize::Zeroizing;

use super::opaque::SecretText;
use crate::domain::id::KeyId;

const PUBLIC: &str = "k4.public.";
const SECRET: &str = "k4.secret.";

/// The text of a public key.
pub fn public_text(key: &[u8; 32]) -> String {
    format!("{PUBLIC}{}", Base64UrlUnpadded::encode_string(key))
}

/// The bytes behind `k4.public.`; `None` for anything else.
pub fn parse_public(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let decoded = Base64UrlUnpadded::decode(text.strip_prefix(PUBLIC)?, &mut key).ok()?;
    (decoded.len() == 32).then_some(key)
}

/// The text of a secret key: seed ‖ public key.
pub fn secret_text(key: &[u8; 64]) -> SecretText {
    let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(key));
    let mut text = String::with_capacity(SECRET.len() + encoded.len());
    text.push_str(SECRET);
    text.push_str(&encoded);
    SecretText::new(text)
}

/// The bytes behind `k4.secret.`; `None` for anything else.
pub fn parse_secret(text: &str) -> Option<Zeroizing<[u8; 64]>> {
    let mut key = Zeroizing::new([0; 64]);
    let length = Base64UrlUnpadded::decode(text.strip_prefix(SECRET)?, &mut *key).ok()?.len();
    (length == 64).then_some(key)
}

/// The name of a public key, `k4.pid`.
pub fn public_id(key: &[u8; 32]) -> KeyId {
    KeyId(digest("k4.pid.", &public_text(key)))
}

/// The name of a secret key, `k4.sid`, as text.
pub fn secret_id(key: &[u8; 64]) -> String {
    format!("k4.sid.{}", Base64UrlUnpadded::encode_string(&digest("k4.sid.", secret_text(key).expose())))
}

fn digest(header: &str, text: &str) -> [u8; 33] {
    Blake2b::<U33>::new().chain_update(header).chain_update(text).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PAS-42, PAS-47.
    #[test]
    fn only_the_canonical_text_of_a_version_4_key_is_read() {
        let (public, secret) = (public_text(&[7; 32]), secret_text(&[7; 64]).expose().to_owned());
        assert_eq!(parse_public(&public), Some([7; 32]));
        assert_eq!(parse_secret(&secret).as_deref(), Some(&[7; 64]));
        let other_versions = ["k2.public.", "k3.public.", "K4.public.", "k4.secret.", "k4.local.", ""];
        let mut wrong: Vec<String> =
            other_versions.iter().map(|header| public.replace(PUBLIC, header)).collect();
        wrong.extend(
            ["k2.secret.", "k3.secret.", "k4.public.", "k4.local."]
                .iter()
                .map(|header| secret.replace(SECRET, header)),
        );
        wrong.extend([0, 31, 33, 63, 65].iter().flat_map(|length| {
            let encoded = Base64UrlUnpadded::encode_string(&vec![7; *length]);
            [format!("{PUBLIC}{encoded}"), format!("{SECRET}{encoded}")]
        }));
        // 32 and 64 bytes leave two and four spare bits in the last character.
        assert!(public.ends_with('c') && secret.ends_with('w'));
        for text in [&public, &secret] {
            let (rest, last) = text.split_at(text.len() - 1);
            let next = char::from(last.as_bytes()[0] + 1);
            wrong.extend([
                format!("{text}="),
                format!("{text}=="),
                format!("{text} "),
                format!("{rest}{next}"),
                rest.to_owned(),
            ]);
        }
        for text in wrong {
            assert!(parse_public(&text).is_none() && parse_secret(&text).is_none(), "{text}");
        }
    }

    /// PAS-47, for names.
    #[test]
    fn the_name_of_a_key_has_33_bytes_and_one_spelling() {
        let name = public_id(&[7; 32]);
        let text = name.to_string();
        assert_eq!((text.len(), text.parse()), (7 + 44, Ok(name)));
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
