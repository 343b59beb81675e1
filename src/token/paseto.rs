//! PASETO v4.public, and nothing else (<https://github.com/paseto-standard/paseto-spec>, Version 4): no other version or purpose is known here.

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// What every token begins with.
const HEADER: &str = "v4.public.";

/// The longest token that is read, in bytes of text.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The longest footer that is read, in bytes before encoding.
pub const FOOTER_BYTES_MAX: usize = 512;

/// An Ed25519 public key that is a point of the curve and not of small order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// Why 32 bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsoundKey {
    /// They are no point of the curve.
    #[error("it is not a point of the curve")]
    OffCurve,
    /// A signature under such a key says nothing: it verifies almost every message.
    #[error("it is of small order")]
    SmallOrder,
}

impl PublicKey {
    /// The key these bytes are.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, UnsoundKey> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| UnsoundKey::OffCurve)?;
        if key.is_weak() { Err(UnsoundKey::SmallOrder) } else { Ok(Self(key)) }
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether `signature` is this key's over `message`, under the strictest rule there is: nobody else can make another that passes.
    fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

/// Signs `message`. The footer is readable and signed; `implicit` is signed and not in the token.
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

/// A token taken apart. Nothing in it is verified.
#[derive(Clone, Copy)]
pub struct Unverified<'a> {
    body: &'a str,
    footer: &'a str,
}

impl<'a> Unverified<'a> {
    /// Takes a token of permitted length apart; `None` if it is not of the form `v4.public.body` or `v4.public.body.footer`.
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
        (!footer.contains('.') && footer.len() <= (FOOTER_BYTES_MAX * 4).div_ceil(3)).then_some(Self { body, footer })
    }

    /// The footer as it is in the token: encoded, and empty if there is none.
    pub fn encoded_footer(&self) -> &'a str {
        self.footer
    }

    /// The message, if `key` signed it with this footer and `implicit`.
    pub fn verify(&self, key: &PublicKey, implicit: &[u8]) -> Option<Vec<u8>> {
        let (mut message, signature) = self.split()?;
        let footer = Base64UrlUnpadded::decode_vec(self.footer).ok()?;
        let signed = pre_authentication_encoding(&[HEADER.as_bytes(), &message[..signature], &footer, implicit]);
        if !key.has_signed(&signed, message[signature..].try_into().ok()?) {
            return None;
        }
        message.truncate(signature);
        Some(message)
    }

    /// The message and the footer, which anybody may have written: to be shown to a person, never to be believed.
    pub fn expose_unverified(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (mut message, signature) = self.split()?;
        message.truncate(signature);
        Some((message, Base64UrlUnpadded::decode_vec(self.footer).ok()?))
    }

    /// The decoded body, and where in it the signature begins.
    fn split(&self) -> Option<(Vec<u8>, usize)> {
        let body = Base64UrlUnpadded::decode_vec(self.body).ok()?;
        let signature = body.len().checked_sub(64)?;
        Some((body, signature))
    }
}

/// PAE (PASETO, Common, "Authentication Padding"): no two lists of pieces give the same bytes.
fn pre_authentication_encoding(pieces: &[&[u8]]) -> Vec<u8> {
    let length = 8 + pieces.iter().map(|piece| 8 + piece.len()).sum::<usize>();
    let mut encoding = Vec::with_capacity(length);
    encoding.extend_from_slice(&le64(pieces.len()));
    for piece in pieces {
        encoding.extend_from_slice(&le64(piece.len()));
        encoding.extend_from_slice(piece);
    }
    encoding
}

/// Little-endian, with the highest bit clear, because some languages have no unsigned numbers.
fn le64(number: usize) -> [u8; 8] {
    (number as u64 & (u64::MAX >> 1)).to_le_bytes()
}
