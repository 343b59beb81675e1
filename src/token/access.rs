//! The payload of access tokens, as PASETO v4.public and as JWT.
//!
//! Reading is as strict as writing: a payload with a member that we do not write is rejected even if its
//! signature is valid, so that nothing else these keys sign can be taken for an access token.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{has_unique_keys, not_null};
use super::keyring::{Keyring, SigningKeyEntry};
use super::{jwt, paseto};
use crate::domain::access::{AccessToken, Authentication, Claims, IssuedFor, TokenFormat};
use crate::domain::id::KeyId;
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

mod time;

use time::{NumericDate, Rfc3339, Rounding, Time};

/// The claims, in the order in which they are written. The formats differ only in how they write times;
/// `auth_time` is a number in both.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a, T> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    exp: T,
    /// Only tokens of an earlier keyfob have it: it equals `iat`, and rejects tokens where clocks differ.
    #[serde(
        default = "Option::default",
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    nbf: Option<T>,
    iat: T,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    fam: Option<u16>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    scope: Cow<'a, str>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    #[serde(borrow, default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    acr: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    amr: Vec<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    claims: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    rh: Option<String>,
}

impl<'a, T: Time> Payload<'a, T> {
    fn of(token: &'a AccessToken) -> Self {
        let mut payload = Self {
            iss: Cow::Borrowed(&token.issuer),
            sub: Cow::Borrowed(token.subject.as_str()),
            aud: Cow::Borrowed(&token.audience),
            exp: T::from_seconds(token.expires_at),
            nbf: token.not_before.map(T::from_seconds),
            iat: T::from_seconds(token.issued_at),
            jti: Cow::Owned(token.id.to_string()),
            sid: None,
            fam: None,
            client_id: Cow::Borrowed(token.client_id.as_str()),
            scope: Cow::Borrowed(token.scope.as_str()),
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            claims: None,
            rh: None,
        };
        match &token.issued_for {
            IssuedFor::Session { id, family, authentication, claims } => {
                payload.sid = Some(id.to_string());
                payload.fam = *family;
                payload.auth_time = Some(u64::try_from(authentication.at.seconds()).unwrap_or(0));
                payload.acr = authentication.acr.as_deref().map(Cow::Borrowed);
                payload.amr = authentication.amr.iter().map(|method| Cow::Borrowed(&**method)).collect();
                payload.claims = claims.as_ref().map(|Claims(text)| {
                    serde_json::from_str(text).expect("Claims are checked to be JSON when they are made")
                });
            }
            IssuedFor::Client { issued } => payload.rh = Some(issued.0.to_string()),
        }
        payload
    }

    fn read(self) -> Option<AccessToken> {
        let issued_for = match (self.sid, self.auth_time, self.rh) {
            (Some(sid), Some(auth_time), None) => IssuedFor::Session {
                id: sid.parse().ok()?,
                family: self.fam,
                authentication: Authentication {
                    at: Timestamp::from_seconds(i64::try_from(auth_time).ok()?),
                    acr: self.acr.map(|acr| acr.into()),
                    amr: self.amr.into_iter().map(|method| method.into()).collect(),
                },
                claims: match self.claims {
                    None => None,
                    Some(claims) => Some(claims_of(claims.get())?),
                },
            },
            (None, None, Some(rh))
                if self.fam.is_none()
                    && self.acr.is_none()
                    && self.amr.is_empty()
                    && self.claims.is_none() =>
            {
                IssuedFor::Client { issued: rh.parse().ok()? }
            }
            _ => return None,
        };
        Some(AccessToken {
            issuer: self.iss.into(),
            subject: self.sub.parse().ok()?,
            audience: self.aud.into(),
            not_before: match self.nbf {
                Some(nbf) => Some(nbf.seconds(Rounding::Up)?),
                None => None,
            },
            issued_at: self.iat.seconds(Rounding::Down)?,
            expires_at: self.exp.seconds(Rounding::Down)?,
            id: self.jti.parse().ok()?,
            client_id: self.client_id.parse().ok()?,
            scope: self.scope.parse::<ScopeSet>().ok()?,
            issued_for,
        })
    }
}

/// The session's own claims: a JSON object without duplicate keys.
fn claims_of(text: &str) -> Option<Claims> {
    (text.starts_with('{') && has_unique_keys(text)).then(|| Claims(text.into()))
}

/// Writes the token in `format`, signed by `key`; `None` if the format needs a key of another algorithm.
pub fn sign(token: &AccessToken, format: TokenFormat, key: &SigningKeyEntry) -> Option<String> {
    let message = match format {
        TokenFormat::Paseto => serde_json::to_vec(&Payload::<Rfc3339>::of(token)),
        TokenFormat::Jwt | TokenFormat::JwtEs256 => serde_json::to_vec(&Payload::<NumericDate>::of(token)),
    };
    key.sign(message.expect("every member of the payload can be written as JSON"), format)
}

/// Signs any payload, so that the targets in `fuzz/` reach what reads a verified one.
#[cfg(feature = "fuzzing")]
pub fn sign_payload(payload: &[u8], format: TokenFormat, key: &SigningKeyEntry) -> Option<String> {
    key.sign(payload.to_vec(), format)
}

/// The content of a token that a key of the ring signed. Times are not checked here: an expired token still
/// verifies.
pub fn verify(text: &str, keyring: &Keyring) -> Option<AccessToken> {
    verify_with_key(text, keyring).map(|(token, _)| token)
}

/// The content of a token and the key that signed it. The first bytes decide the format; a token that fails
/// in one format is not tried in the other.
pub(super) fn verify_with_key(text: &str, keyring: &Keyring) -> Option<(AccessToken, KeyId)> {
    if text.starts_with(paseto::HEADER) {
        let unverified = paseto::UnverifiedPaseto::parse(text)?;
        let (id, key) = keyring.find_by_footer(unverified.encoded_footer())?;
        let message = unverified.verify(key, b"")?;
        Some((read::<Rfc3339>(&message)?, id))
    } else {
        let unverified = jwt::UnverifiedJwt::parse(text)?;
        let key = keyring.find_by_jwt_header(unverified.encoded_header())?;
        let message = unverified.verify_signature(&key.public)?;
        Some((read::<NumericDate>(&message)?, key.id))
    }
}

/// Parses a verified payload.
fn read<'a, T: Time + Deserialize<'a>>(message: &'a [u8]) -> Option<AccessToken> {
    // serde also accepts an array of the values in place of the object.
    if message.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice::<Payload<T>>(message).ok()?.read()
}

#[cfg(test)]
pub(super) mod tests;
