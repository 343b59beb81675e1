//! JWTs of one kind: access tokens (RFC 9068) signed with Ed25519 (RFC 8037), as compact JWS (RFC 7515 §7.1).
//! No other type or algorithm is known here.

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;

use super::json::has_unique_keys;
use super::paseto::{PublicKey, TOKEN_BYTES_MAX};
use crate::domain::id::KeyId;

/// The header of the tokens that the key of this name signs, as it is in them. To verify it is never read,
/// only compared.
pub(super) fn encoded_header(key: &KeyId) -> String {
    Base64UrlUnpadded::encode_string(format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{key}"}}"#).as_bytes())
}

/// Signs `message` under a header made by [`encoded_header`].
pub(super) fn sign(key: &SigningKey, encoded_header: &str, message: &[u8]) -> String {
    let mut token = format!("{encoded_header}.{}", Base64UrlUnpadded::encode_string(message));
    let signature = key.sign(token.as_bytes());
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&signature.to_bytes()));
    token
}

/// Why a header is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignHeader {
    /// It is no JSON object, or one that names something twice.
    #[error("its header cannot be read")]
    Unreadable,
    /// It is signed in another way, or not at all.
    #[error("it is not signed with EdDSA, as keyfob's are: its `alg` is another, and `none` is no signature")]
    Algorithm,
    /// It asks for something that must be understood (RFC 7515 §4.1.11).
    #[error("its header has `crit`: what that asks for is not known here")]
    Critical,
}

/// A token taken apart. Nothing in it is verified.
#[derive(Clone, Copy)]
pub struct Unverified<'a> {
    signed: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Takes a token of permitted length apart; `None` if it has not exactly three parts.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { signed, header, payload, signature })
    }

    /// The header as it is in the token.
    pub fn encoded_header(&self) -> &'a str {
        self.header
    }

    /// The header and the message, which anybody may have written: to be shown to a person, never to be
    /// believed.
    ///
    /// # Errors
    /// When the header is none that we could have written, whoever signed it.
    pub fn expose_unverified(&self) -> Result<(Value, Vec<u8>), ForeignHeader> {
        let decode = |part: &str| Base64UrlUnpadded::decode_vec(part).map_err(|_| ForeignHeader::Unreadable);
        let header = String::from_utf8(decode(self.header)?).map_err(|_| ForeignHeader::Unreadable)?;
        let header = Some(header)
            .filter(|text| has_unique_keys(text))
            .and_then(|text| serde_json::from_str(&text).ok());
        let header: Value = header.filter(Value::is_object).ok_or(ForeignHeader::Unreadable)?;
        match (&header["alg"], header.get("crit")) {
            (Value::String(alg), None) if alg == "EdDSA" => Ok((header, decode(self.payload)?)),
            (Value::String(alg), Some(_)) if alg == "EdDSA" => Err(ForeignHeader::Critical),
            _ => Err(ForeignHeader::Algorithm),
        }
    }

    /// The message, if `key` signed it under this header.
    pub fn verify(&self, key: &PublicKey) -> Option<Vec<u8>> {
        let signature = Base64UrlUnpadded::decode_vec(self.signature).ok()?;
        if !key.has_signed(self.signed.as_bytes(), signature.as_slice().try_into().ok()?) {
            return None;
        }
        Base64UrlUnpadded::decode_vec(self.payload).ok()
    }
}

#[cfg(test)]
mod tests;
