//! Access tokens: what they say, as PASETO v4.public, and the memory of those that were verified.
//!
//! A token is read as strictly as it is written. A member that we do not write makes it foreign, even with a good signature: whatever else
//! these keys may sign one day, it is no access token.

use std::borrow::Cow;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::json::{has_unique_keys, not_null};
use super::keyring::{Keyring, SigningKeyEntry};
use super::paseto::{TOKEN_BYTES_MAX, Unverified};
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

fn verify_with_key(text: &str, keyring: &Keyring) -> Option<(AccessToken, KeyId)> {
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

/// What the memory of verified tokens may hold, in bytes.
const MEMORY_BYTES: u64 = 8 * 1024 * 1024;

/// What one remembered token costs apart from its text, about.
const ENTRY_BYTES: usize = 512;

/// Verifies access tokens and remembers those that were good, so that a token seen again costs one hash. What is remembered is only that
/// the signature was good: whether the key is still trusted is asked each time, and everything else is the caller's to judge each time.
#[derive(Debug)]
pub struct AccessVerifier {
    verified: Cache<[u8; 32], Verified, Weight>,
}

#[derive(Clone, Debug)]
struct Verified {
    token: Arc<AccessToken>,
    key: KeyId,
    text_bytes: u16,
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<[u8; 32], Verified> for Weight {
    fn weight(&self, _: &[u8; 32], verified: &Verified) -> u64 {
        (ENTRY_BYTES + usize::from(verified.text_bytes)) as u64
    }
}

impl AccessVerifier {
    /// With an empty memory.
    pub fn new() -> Self {
        Self { verified: Cache::with_weighter(MEMORY_BYTES as usize / (2 * ENTRY_BYTES), MEMORY_BYTES, Weight) }
    }

    /// As [`verify`].
    pub fn verify(&self, text: &str, keyring: &Keyring) -> Option<Arc<AccessToken>> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let hash: [u8; 32] = Sha256::digest(text).into();
        if let Some(known) = self.verified.get(&hash) {
            return keyring.find(&known.key).map(|_| known.token);
        }
        let (token, key) = verify_with_key(text, keyring)?;
        let token = Arc::new(token);
        let text_bytes = u16::try_from(text.len()).expect("tokens are at most 8 KiB");
        self.verified.insert(hash, Verified { token: Arc::clone(&token), key, text_bytes });
        Some(token)
    }
}

impl Default for AccessVerifier {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::{SessionId, TokenId};
    use crate::domain::key::{KeyRecord, KeyStatus};
    use crate::token::keyring::generate;
    use crate::token::keys::{Keys, SecretKey};

    fn keys() -> Keys {
        Keys::derive(&SecretKey::new([1; 32]))
    }

    fn record(seed: u8, status: KeyStatus) -> KeyRecord {
        generate([seed; 32], &keys(), status, Timestamp::from_seconds(1))
    }

    fn keyring() -> Keyring {
        Keyring::open(&[record(2, KeyStatus::Active), record(3, KeyStatus::Retired)], &keys()).unwrap()
    }

    fn of_session() -> AccessToken {
        AccessToken {
            issuer: "https://id.example".into(),
            subject: "ali\"ce\\ żółw".parse().unwrap(),
            audience: "https://api.example".into(),
            not_before: 1_700_000_000,
            issued_at: 1_700_000_000,
            expires_at: 1_700_000_300,
            id: TokenId([9; 16]),
            client_id: "app".parse().unwrap(),
            scope: "write read".parse().unwrap(),
            origin: Origin::Session {
                id: SessionId::new(Timestamp::from_seconds(1_700_000_000), &[5; 10]),
                family: Some(1),
                authentication: Authentication {
                    at: Timestamp::from_seconds(1_699_999_999),
                    acr: Some("aal2".into()),
                    amr: vec!["pwd".into(), "otp".into()],
                },
                claims: Some(Claims(r#"{"a":[1,{"b":null}],"name":"Ż"}"#.into())),
            },
        }
    }

    fn of_client() -> AccessToken {
        AccessToken { scope: ScopeSet::default(), origin: Origin::Client { issued: Position(42) }, ..of_session() }
    }

    #[test]
    fn a_token_says_after_verification_what_it_said_before_signing() {
        let ring = keyring();
        for token in [of_session(), of_client()] {
            let text = sign(&token, ring.active());
            assert!(verify(&text, &ring) == Some(token));
        }
    }
}
