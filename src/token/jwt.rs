//! Access tokens as JWTs (RFC 9068) signed with EdDSA (RFC 8037) or ES256 (RFC 7518 §3.4), as compact JWS
//! (RFC 7515 §7.1). No other type or algorithm is supported.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::json::has_unique_keys;
use super::paseto::TOKEN_BYTES_MAX;
use super::public_key::PublicKey;
use crate::domain::algorithm::Algorithm;
use crate::domain::id::KeyId;

/// The encoded header of the tokens that this key signs. For verification it is compared, never parsed.
pub(super) fn encoded_header(key: &KeyId) -> String {
    let algorithm = key.algorithm().as_str();
    Base64UrlUnpadded::encode_string(
        format!(r#"{{"typ":"at+jwt","alg":"{algorithm}","kid":"{key}"}}"#).as_bytes(),
    )
}

/// Signs `message` under a header made by [`encoded_header`].
pub(super) fn sign(encoded_header: &str, message: &[u8], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
    let mut token = format!("{encoded_header}.{}", Base64UrlUnpadded::encode_string(message));
    let signature = sign(token.as_bytes());
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&signature));
    token
}

/// Why a header cannot be one that keyfob wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignHeader {
    /// It is not a JSON object, or it has duplicate keys.
    #[error("the header is not a JSON object with unique members")]
    Unreadable,
    /// `alg` is neither EdDSA nor ES256.
    #[error("`alg` in the header is neither EdDSA nor ES256, the algorithms that keyfob signs with")]
    Algorithm,
    /// It names extensions that a reader must understand (RFC 7515 §4.1.11).
    #[error("the header has `crit`: its extensions are not supported")]
    Critical,
}

/// A token split into its parts. Nothing in it is verified.
#[derive(Clone, Copy)]
pub struct UnverifiedJwt<'a> {
    signed: &'a str,
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> UnverifiedJwt<'a> {
    /// Splits a token; `None` if it is longer than [`TOKEN_BYTES_MAX`] or does not have exactly three parts.
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        (!payload.contains('.')).then_some(Self { signed, header, payload, signature })
    }

    /// The header, still encoded.
    pub fn encoded_header(&self) -> &'a str {
        self.header
    }

    /// Header and payload, decoded but not verified: for display only.
    ///
    /// # Errors
    /// When keyfob cannot have written the header.
    pub fn expose_unverified(&self) -> Result<(Value, Vec<u8>), ForeignHeader> {
        let decode = |part: &str| Base64UrlUnpadded::decode_vec(part).map_err(|_| ForeignHeader::Unreadable);
        let header = String::from_utf8(decode(self.header)?).map_err(|_| ForeignHeader::Unreadable)?;
        let header = Some(header)
            .filter(|text| has_unique_keys(text))
            .and_then(|text| serde_json::from_str(&text).ok());
        let header: Value = header.filter(Value::is_object).ok_or(ForeignHeader::Unreadable)?;
        let algorithm = header["alg"].as_str().and_then(|alg| alg.parse::<Algorithm>().ok());
        match (algorithm, header.get("crit")) {
            (None, _) => Err(ForeignHeader::Algorithm),
            (Some(_), Some(_)) => Err(ForeignHeader::Critical),
            (Some(_), None) => Ok((header, decode(self.payload)?)),
        }
    }

    /// The payload, if `key` signed it and the header is the one of this key's tokens.
    pub fn verify(&self, key: &PublicKey) -> Option<Vec<u8>> {
        (self.header == encoded_header(&key.id())).then(|| self.verify_signature(key)).flatten()
    }

    /// The payload, if `key` signed it with this header, which the caller has compared.
    pub(super) fn verify_signature(&self, key: &PublicKey) -> Option<Vec<u8>> {
        let signature = Base64UrlUnpadded::decode_vec(self.signature).ok()?;
        if !key.has_signed(self.signed.as_bytes(), signature.as_slice().try_into().ok()?) {
            return None;
        }
        Base64UrlUnpadded::decode_vec(self.payload).ok()
    }
}

#[cfg(test)]
mod tests;
