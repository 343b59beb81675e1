//! Access tokens: what they say, as PASETO v4.public.
//!
//! A token is read as strictly as it is written. A member that we do not write makes it foreign, even with a good signature: whatever else
//! these keys may sign one day, it is no access token.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{has_unique_keys, not_null};
use super::keyring::{Keyring, SigningKeyEntry};
use super::paseto::Unverified;
use crate::domain::access::{AccessToken, Authentication, Claims, Origin};
use crate::domain::id::{KeyId, Position};
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// The payload, member by member in the order in which they are written (contract, section 6).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    exp: Cow<'a, str>,
    #[serde(borrow)]
    nbf: Cow<'a, str>,
    #[serde(borrow)]
    iat: Cow<'a, str>,
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

impl<'a> Payload<'a> {
    fn of(token: &'a AccessToken) -> Self {
        let time = |seconds| Cow::Owned(Timestamp::from_seconds(seconds).to_string());
        let mut payload = Self {
            iss: Cow::Borrowed(&token.issuer),
            sub: Cow::Borrowed(token.subject.as_str()),
            aud: Cow::Borrowed(&token.audience),
            exp: time(token.expires_at),
            nbf: time(token.not_before),
            iat: time(token.issued_at),
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
        match &token.origin {
            Origin::Session { id, family, authentication, claims } => {
                payload.sid = Some(id.to_string());
                payload.fam = *family;
                payload.auth_time = Some(u64::try_from(authentication.at.seconds()).unwrap_or(0));
                payload.acr = authentication.acr.as_deref().map(Cow::Borrowed);
                payload.amr = authentication.amr.iter().map(|method| Cow::Borrowed(&**method)).collect();
                payload.claims =
                    claims.as_ref().map(|Claims(text)| serde_json::from_str(text).expect("claims are JSON, or there would be no Claims"));
            }
            Origin::Client { issued } => payload.rh = Some(issued.0.to_string()),
        }
        payload
    }

    fn read(self) -> Option<AccessToken> {
        let origin = match (self.sid, self.auth_time, self.rh) {
            (Some(sid), Some(auth_time), None) => Origin::Session {
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
            (None, None, Some(rh)) if self.fam.is_none() && self.acr.is_none() && self.amr.is_empty() && self.claims.is_none() => {
                Origin::Client { issued: cursor(&rh)? }
            }
            _ => return None,
        };
        Some(AccessToken {
            issuer: self.iss.into(),
            subject: self.sub.parse().ok()?,
            audience: self.aud.into(),
            not_before: seconds(&self.nbf, Rounding::Up)?,
            issued_at: seconds(&self.iat, Rounding::Down)?,
            expires_at: seconds(&self.exp, Rounding::Down)?,
            id: self.jti.parse().ok()?,
            client_id: self.client_id.parse().ok()?,
            scope: self.scope.parse::<ScopeSet>().ok()?,
            origin,
        })
    }
}

/// The claims of a session: an object.
fn claims_of(text: &str) -> Option<Claims> {
    (text.starts_with('{') && has_unique_keys(text)).then(|| Claims(text.into()))
}

/// An event position as cursors are written: decimal, no sign, no leading zero.
fn cursor(text: &str) -> Option<Position> {
    let position: u64 = text.parse().ok()?;
    (position.to_string() == text).then_some(Position(position))
}

/// To which side a fraction of a second goes: never to the one that makes a token good for longer (INT-85).
#[derive(PartialEq)]
enum Rounding {
    Up,
    Down,
}

fn seconds(text: &str, rounding: Rounding) -> Option<i64> {
    let at = text.parse::<Timestamp>().ok()?.seconds();
    // Timestamps end at milliseconds, so the digits themselves are asked.
    let fraction = text.get(19..)?.strip_prefix('.').unwrap_or_default();
    let whole = fraction.bytes().take_while(u8::is_ascii_digit).all(|digit| digit == b'0');
    Some(if whole || rounding == Rounding::Down { at } else { at + 1 })
}

/// The token as text, signed by `key`.
pub fn sign(token: &AccessToken, key: &SigningKeyEntry) -> String {
    key.sign(serde_json::to_vec(&Payload::of(token)).expect("the payload has nothing that JSON cannot write"))
}

/// What a token says, if a key of the ring signed it. Times are not judged here: a token that has expired is still genuine.
pub fn verify(text: &str, keyring: &Keyring) -> Option<AccessToken> {
    verify_with_key(text, keyring).map(|(token, _)| token)
}

/// What a token says, and which key of the ring signed it.
pub(super) fn verify_with_key(text: &str, keyring: &Keyring) -> Option<(AccessToken, KeyId)> {
    let unverified = Unverified::parse(text)?;
    let key = keyring.find_by_footer(unverified.encoded_footer())?;
    let message = unverified.verify(&key.public, b"")?;
    Some((read(&message)?, key.id))
}

/// Reads a verified payload.
fn read(message: &[u8]) -> Option<AccessToken> {
    // serde would also take an array of the members' values for the object.
    if message.first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice::<Payload>(message).ok()?.read()
}

#[cfg(test)]
pub(super) mod tests;
