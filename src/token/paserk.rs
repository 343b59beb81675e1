//! Keys as text: PASERK `k4.public`, `k4.secret` and their ids (<https://github.com/paseto-standard/paserk>).
//!
//! Text to bytes and back, no more: whether the bytes are a sound key is for [`super::paseto::PublicKey`] to say.

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
