//! The contents of an access token, before it is signed and after its signature was verified.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::hidden::hidden;
use super::id::{ClientId, Position, SessionId, Subject, TokenId};
use super::names::names;
use super::policy::Lifetimes;
use super::refusal::Refused;
use super::scope::ScopeSet;
use super::text::{json_text, short_text};
use super::time::Timestamp;

/// The most methods that `amr` may name.
const AMR_MAX: usize = 16;
/// How far in the future a reported authentication may be: the clock of the caller may be ahead.
const AUTH_TIME_AHEAD_MAX: Duration = Duration::from_secs(60);
/// The largest `claims`, in bytes of JSON. Every access token of the session holds them.
const CLAIMS_BYTES_MAX: usize = 4 * 1024;

/// The claims of an access token (contract, section 6). Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// `iss`.
    pub issuer: Box<str>,
    /// `sub`; the client itself if there is no session.
    pub subject: Subject,
    /// `aud`.
    pub audience: Box<str>,
    /// `nbf`, which only tokens of an earlier keyfob have.
    pub not_before: Option<i64>,
    /// `iat`.
    pub issued_at: i64,
    /// `exp`: the first second at which it is not valid.
    pub expires_at: i64,
    /// `jti`.
    pub id: TokenId,
    /// The client that it was issued to.
    pub client_id: ClientId,
    /// `scope`; may be empty.
    pub scope: ScopeSet,
    /// What it was issued for, and ends with.
    pub issued_for: IssuedFor,
}

impl AccessToken {
    /// Whether it is from `issuer` and has not expired.
    pub fn is_unexpired(&self, issuer: &str, now: Timestamp) -> bool {
        *self.issuer == *issuer && now.seconds() < self.expires_at
    }
}

/// What an access token was issued for, and ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuedFor {
    Session {
        /// `sid`.
        id: SessionId,
        /// `fam`; the token then also ends with this family.
        family: Option<u16>,
        authentication: Authentication,
        /// The claims of the session.
        claims: Option<Claims>,
    },
    /// The client itself, by `client_credentials`.
    Client {
        /// `rh`: the event position at which it was issued, for cut-offs.
        issued: Position,
    },
}

names! {
    /// The form of an access token.
    #[derive(Serialize, Deserialize)]
    pub enum TokenFormat {
        /// PASETO v4.public.
        Paseto = "paseto",
        /// RFC 9068 `at+jwt` with EdDSA.
        Jwt = "jwt",
        /// RFC 9068 `at+jwt` with ES256.
        JwtEs256 = "jwt_es256",
    }
}

impl TokenFormat {
    /// The algorithm of the keys that sign tokens of this format.
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Paseto | Self::Jwt => Algorithm::EdDsa,
            Self::JwtEs256 => Algorithm::Es256,
        }
    }
}

/// How and when a subject authenticated (RFC 9470, RFC 8176).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// When. Tokens carry whole seconds of it, as `auth_time`.
    pub at: Timestamp,
    /// The authentication context class.
    pub acr: Option<Box<str>>,
    pub amr: Vec<Box<str>>,
}

impl Authentication {
    /// An authentication as a caller reports it; `at` is now if it is absent or up to a minute in the future.
    ///
    /// # Errors
    /// `Invalid`, naming `auth_time`, `amr` or `acr`.
    pub fn new(
        acr: Option<&str>,
        amr: &[String],
        at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let at = at.unwrap_or(now);
        if at > now.plus(AUTH_TIME_AHEAD_MAX) {
            return Err(Refused::invalid("auth_time", "must be at most 60 seconds in the future"));
        }
        if amr.len() > AMR_MAX {
            return Err(Refused::invalid("amr", format!("must name at most {AMR_MAX} methods")));
        }
        let amr = amr.iter().map(|method| short_text("amr", method)).collect::<Result<_, _>>()?;
        Ok(Self { at: at.min(now), acr: acr.map(|acr| short_text("acr", acr)).transpose()?, amr })
    }

    /// When a session of this authentication expires, whatever its activity.
    ///
    /// # Errors
    /// `Invalid`, naming `auth_time`, if that is not in the future.
    pub fn expiry(&self, lifetimes: Lifetimes, now: Timestamp) -> Result<Timestamp, Refused> {
        let expires_at = self.at.plus(lifetimes.absolute_lifetime);
        if expires_at > now {
            return Ok(expires_at);
        }
        Err(Refused::invalid("auth_time", "is so long ago that the session would have expired already"))
    }
}

/// A JSON object as canonical text, for tokens and introspection. Personal: `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims(pub Box<str>);

impl Claims {
    /// The canonical text of an object of at most 4 KiB.
    ///
    /// # Errors
    /// `Invalid`, naming `claims`.
    pub fn from_object(object: &Map<String, Value>) -> Result<Self, Refused> {
        json_text("claims", object, CLAIMS_BYTES_MAX).map(Self)
    }
}

hidden!(Claims);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Policy;
    use crate::domain::refusal::Refusal;

    const NOW: i64 = 1_000_000;

    fn reported(amr: usize, ahead_s: i64) -> Result<Authentication, Refusal> {
        let at = Timestamp::from_seconds(NOW + ahead_s);
        let methods = vec!["otp".to_owned(); amr];
        let reported = Authentication::new(None, &methods, Some(at), Timestamp::from_seconds(NOW));
        reported.map_err(|refused| refused.refusal)
    }

    #[test]
    fn an_authentication_is_at_most_a_minute_ahead_and_counts_as_one_of_now() {
        let at = |ahead_s| reported(1, ahead_s).map(|authentication| authentication.at.seconds() - NOW);
        assert_eq!((at(-5), at(0), at(60)), (Ok(-5), Ok(0), Ok(0)));
        assert_eq!(at(61), Err(Refusal::Invalid { field: "auth_time" }));
    }

    #[test]
    fn an_authentication_names_at_most_16_methods() {
        assert_eq!(reported(16, 0).unwrap().amr.len(), 16);
        assert_eq!(reported(17, 0), Err(Refusal::Invalid { field: "amr" }));
    }

    #[test]
    fn an_authentication_is_too_old_when_its_session_would_have_expired() {
        let lifetimes = Policy::default().lifetimes(false);
        let age_s = i64::try_from(lifetimes.absolute_lifetime.as_secs()).unwrap();
        let now = Timestamp::from_seconds(NOW);
        let last = reported(1, 1 - age_s).unwrap().expiry(lifetimes, now);
        assert_eq!(last.unwrap(), Timestamp::from_seconds(NOW + 1));
        let refused = reported(1, -age_s).unwrap().expiry(lifetimes, now).unwrap_err();
        assert_eq!(refused.refusal, Refusal::Invalid { field: "auth_time" });
    }
}
