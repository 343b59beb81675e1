//! PASETO v4.public (<https://github.com/paseto-standard/paseto-spec>, Version 4); no other version or
//! purpose is supported.

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// Prefix of every token.
pub(super) const HEADER: &str = "v4.public.";

/// Longest accepted access token of either format, in bytes of text.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Longest accepted footer, in bytes before encoding.
const FOOTER_BYTES_MAX: usize = 512;

/// An Ed25519 public key: a point of the curve, not of small order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ed25519PublicKey(VerifyingKey);

/// Why 32 bytes are not a valid public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsoundKey {
    /// Not a point of the curve.
    #[error("it is not a point of the curve")]
    OffCurve,
    /// Under such a key one signature verifies for almost every message.
    #[error("it is of small order")]
    SmallOrder,
}

impl Ed25519PublicKey {
    /// Checks and wraps the bytes of a public key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, UnsoundKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| UnsoundKey::OffCurve)?;
        if key.is_weak() { Err(UnsoundKey::SmallOrder) } else { Ok(Self(key)) }
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Verifies `signature` by the strict rule, under which signatures cannot be altered into other valid
    /// ones.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// Signs `message`, `footer` and `implicit`; the last is not part of the token.
pub(super) fn sign(key: &SigningKey, mut message: Vec<u8>, footer: &[u8], implicit: &[u8]) -> String {
    let signature = key.sign(&pre_authentication_encoding(&[HEADER.as_bytes(), &message, footer, implicit]));
    message.extend_from_slice(&signature.to_bytes());
    let mut token = String::with_capacity(HEADER.len() + (message.len() + footer.len()).div_ceil(3) * 4 + 2);
    token.push_str(HEADER);
    token.push_str(&Base64UrlUnpadded::encode_string(&message));
    if !footer.is_empty() {
        token.push('.');
        token.push_str(&Base64UrlUnpadded::encode_string(footer));
    }
    token
}

/// A token split into its parts. Nothing in it is verified.
#[derive(Clone, Copy)]
pub struct UnverifiedPaseto<'a> {
    body: &'a str,
    footer: &'a str,
}

impl<'a> UnverifiedPaseto<'a> {
    /// Splits a token; `None` if it is longer than [`TOKEN_BYTES_MAX`] or not of the form `v4.public.body` or
    /// `v4.public.body.footer`.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let rest = text.strip_prefix(HEADER)?;
        let (body, footer) = match rest.split_once('.') {
            None => (rest, ""),
            Some((_, "")) => return None,
            Some(parts) => parts,
        };
        (!footer.contains('.') && footer.len() <= (FOOTER_BYTES_MAX * 4).div_ceil(3))
            .then_some(Self { body, footer })
    }

    /// The footer, still encoded; empty if there is none.
    pub fn encoded_footer(&self) -> &'a str {
        self.footer
    }

    /// The message, if `key` signed it with this footer and `implicit`.
    pub fn verify(&self, key: &Ed25519PublicKey, implicit: &[u8]) -> Option<Vec<u8>> {
        let (mut message, signature) = self.split()?;
        let footer = Base64UrlUnpadded::decode_vec(self.footer).ok()?;
        let signed =
            pre_authentication_encoding(&[HEADER.as_bytes(), &message[..signature], &footer, implicit]);
        if !key.has_signed(&signed, message[signature..].try_into().ok()?) {
            return None;
        }
        message.truncate(signature);
        Some(message)
    }

    /// Message and footer, decoded but not verified: for display only.
    pub fn expose_unverified(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut message, signature) = self.split()?;
        message.truncate(signature);
        Some((message, Base64UrlUnpadded::decode_vec(self.footer).ok()?))
    }

    /// The decoded body, and the offset of the signature in it.
    fn split(&self) -> Option<(Vec<u8>, usize)> {
        let body = Base64UrlUnpadded::decode_vec(self.body).ok()?;
        let signature = body.len().checked_sub(64)?;
        Some((body, signature))
    }
}

/// PAE (PASETO, Common, "Authentication Padding"): two different lists of pieces give different bytes.
fn pre_authentication_encoding(pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoding = Vec::with_capacity(8 + pieces.iter().map(|piece| 8 + piece.len()).sum::<usize>());
    encoding.extend_from_slice(&le64(pieces.len()));
    for piece in pieces {
        encoding.extend_from_slice(&le64(piece.len()));
        encoding.extend_from_slice(piece);
    }
    encoding
}

/// Little-endian with the highest bit cleared, for languages without unsigned integers.
fn le64(number: usize) -> [u8; 8] {
    (number as u64 & (u64::MAX >> 1)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{paseto_v4, text, unhex};
    use super::*;

    fn public() -> Ed25519PublicKey {
        Ed25519PublicKey::from_bytes(&unhex(text(&paseto_v4("4-S-1"), "public-key")).try_into().unwrap())
            .unwrap()
    }

    fn token(name: &str) -> String {
        text(&paseto_v4(name), "token").to_owned()
    }

    /// Verifies with this implicit assertion.
    fn verifies(token: &str, implicit: &str) -> bool {
        UnverifiedPaseto::parse(token)
            .is_some_and(|unverified| unverified.verify(&public(), implicit.as_bytes()).is_some())
    }

    const IMPLICIT: &str = r#"{"test-vector":"4-S-3"}"#;

    /// PAS-01, PAS-02.
    #[test]
    fn pieces_are_encoded_with_their_number_and_lengths() {
        assert_eq!(pre_authentication_encoding(&[]), unhex("0000000000000000"));
        assert_eq!(pre_authentication_encoding(&[b""]), unhex("01000000000000000000000000000000"));
        assert_eq!(
            pre_authentication_encoding(&[b"test"]),
            unhex("0100000000000000040000000000000074657374")
        );
        assert_eq!(le64(0x0102_0304), [4, 3, 2, 1, 0, 0, 0, 0]);
        assert_eq!(le64(usize::MAX), [255, 255, 255, 255, 255, 255, 255, 127]);
    }

    /// VEC-04, ASV-01.
    #[test]
    fn a_token_with_any_bit_flipped_or_truncated_is_rejected() {
        let valid = token("4-S-3");
        assert!(verifies(&valid, IMPLICIT));
        for bit in 0..valid.len() * 8 {
            let mut changed = valid.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(
                String::from_utf8(changed).map_or(true, |changed| !verifies(&changed, IMPLICIT)),
                "bit {bit} of the text"
            );
        }
        for length in 0..valid.len() {
            assert!(!verifies(&valid[..length], IMPLICIT), "{length} bytes");
        }
        let (body, footer) = valid[HEADER.len()..].split_once('.').unwrap();
        for part in [body, footer] {
            let bytes = Base64UrlUnpadded::decode_vec(part).unwrap();
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    !verifies(&valid.replace(part, &Base64UrlUnpadded::encode_string(&changed)), IMPLICIT),
                    "bit {bit} of a part"
                );
            }
        }
    }

    /// PAS-07, PAS-52: a token has one spelling, so a revoked one cannot be used under another.
    #[test]
    fn all_fifteen_other_spellings_of_the_last_character_are_rejected() {
        let valid = token("4-S-1");
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = alphabet.find(&valid[valid.len() - 1..]).unwrap();
        assert_eq!(last % 16, 0, "four spare bits, all zero");
        assert!(verifies(&valid, ""));
        for spelling in last + 1..last + 16 {
            let other = format!("{}{}", &valid[..valid.len() - 1], &alphabet[spelling..=spelling]);
            assert!(!verifies(&other, ""), "{other}");
        }
    }

    /// VEC-05: the same signature with S + L.
    #[test]
    fn a_malleated_signature_is_rejected() {
        let malleated = concat!(
            "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMV",
            "QwMDowMDowMCswMDowMCJ9bg_XBBzds8lTZShVlwwKSgeKpLT3yukTw6JUz3W4h_EehfvaWaiLOw5DXN",
            "revTWneef1QlXEFtkqxT1ciiQEHA"
        );
        assert_eq!(malleated.len(), token("4-S-1").len());
        assert!(!verifies(malleated, ""));
    }

    /// PAS-04, PAS-05, PAS-06, PAS-08, ASV-02.
    #[test]
    fn only_the_canonical_form_is_accepted() {
        let bare = token("4-S-1");
        let footed = token("4-S-3");
        let (body, footer) = footed[HEADER.len()..].split_once('.').unwrap();
        assert!(verifies(&bare, "") && verifies(&footed, IMPLICIT));
        for wrong in [
            bare.replacen("v4.public.", "v4.local.", 1),
            bare.replacen("v4.public.", "v3.public.", 1),
            bare.replacen("v4.public.", "V4.public.", 1),
            bare.replacen("v4.public.", "v4.Public.", 1),
            bare.replacen("v4.public.", "", 1),
            "v4.public".into(),
            "v4.public.".into(),
            "v4.public..".into(),
            String::new(),
            format!("{bare}."),
            format!("{bare}.."),
            format!("{bare}="),
            format!("{bare}=="),
            format!("{bare}\n"),
            format!(" {bare}"),
            format!("{} {}", &bare[..40], &bare[40..]),
            bare.replace('_', "/"),
            bare.replace('-', "+").replace('_', "/"),
        ] {
            assert_ne!(wrong, bare);
            assert!(!verifies(&wrong, ""), "{wrong}");
        }
        for wrong in [
            format!("{footed}."),
            format!("{footed}.{footer}"),
            format!("{footed}="),
            format!("v4.public.{footer}.{body}"),
        ] {
            assert!(!verifies(&wrong, IMPLICIT), "{wrong}");
        }
        assert!(
            UnverifiedPaseto::parse(&format!("{footed}.{footer}")).is_none(),
            "rejected before it is displayed"
        );
    }

    /// PAS-09.
    #[test]
    fn a_body_shorter_than_a_signature_is_rejected() {
        for length in 0..64 {
            assert!(
                !verifies(&format!("v4.public.{}", Base64UrlUnpadded::encode_string(&vec![0; length])), ""),
                "{length}"
            );
        }
    }

    /// PAS-10, PAS-11, VEC-04.
    #[test]
    fn footer_and_implicit_assertion_are_signed() {
        let (bare, footed, implied) = (token("4-S-1"), token("4-S-2"), token("4-S-3"));
        assert!(verifies(&footed, "") && verifies(&implied, IMPLICIT));
        assert!(!verifies(&implied, ""), "dropped");
        assert!(!verifies(&implied, r#"{"test-vector":"4-S-2"}"#), "another");
        assert!(!verifies(&footed, IMPLICIT), "added");
        let (body, footer) = footed[HEADER.len()..].split_once('.').unwrap();
        assert!(!verifies(&format!("v4.public.{body}"), ""), "footer removed");
        assert!(!verifies(&format!("{bare}.{footer}"), ""), "footer added");
        let key = SigningKey::from_bytes(&[1; 32]);
        let public = Ed25519PublicKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
        let (one, two) = (sign(&key, b"1".to_vec(), b"a", b""), sign(&key, b"2".to_vec(), b"b", b""));
        let swapped = format!("{}.{}", one.rsplit_once('.').unwrap().0, two.rsplit_once('.').unwrap().1);
        assert!(UnverifiedPaseto::parse(&one).unwrap().verify(&public, b"").is_some());
        assert!(
            UnverifiedPaseto::parse(&swapped).unwrap().verify(&public, b"").is_none(),
            "footer of another token"
        );
    }

    /// PAS-13: the length is checked before anything is decoded.
    #[test]
    fn tokens_and_footers_over_their_limits_are_rejected_before_they_are_split() {
        let of_length = |length: usize| format!("v4.public.{}", "A".repeat(length - HEADER.len()));
        assert!(UnverifiedPaseto::parse(&of_length(TOKEN_BYTES_MAX)).is_some());
        assert!(UnverifiedPaseto::parse(&of_length(TOKEN_BYTES_MAX + 1)).is_none());
        let with_footer = |length: usize| {
            format!("v4.public.AAAA.{}", Base64UrlUnpadded::encode_string(&vec![b'x'; length]))
        };
        assert!(UnverifiedPaseto::parse(&with_footer(FOOTER_BYTES_MAX)).is_some());
        assert!(UnverifiedPaseto::parse(&with_footer(FOOTER_BYTES_MAX + 1)).is_none());
    }
}
