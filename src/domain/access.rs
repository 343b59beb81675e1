//! What an access token says, before it is signed and after it was verified.

use serde::{Deserialize, Serialize};

use super::id::{ClientId, Position, SessionId, Subject, TokenId};
use super::names::names;
use super::scope::ScopeSet;
use super::time::Timestamp;

/// The claims of an access token (contract, section 6). Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Who issued it.
    pub issuer: Box<str>,
    /// Whom it speaks for; the client itself if it has no session.
    pub subject: Subject,
    /// For whom it is meant.
    pub audience: Box<str>,
    /// From when it is good.
    pub not_before: i64,
    /// When it was issued.
    pub issued_at: i64,
    /// From when it is good no longer.
    pub expires_at: i64,
    /// Its own name.
    pub id: TokenId,
    /// To whom it was issued.
    pub client_id: ClientId,
    /// What it allows; may be empty.
    pub scope: ScopeSet,
    /// What it lives by.
    pub issued_for: IssuedFor,
}

/// What an access token lives by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuedFor {
    /// A session, and the family in it if there is one.
    Session {
        /// The session.
        id: SessionId,
        /// The family's number.
        family: Option<u16>,
        /// How the subject authenticated.
        authentication: Authentication,
        /// The session's own claims.
        claims: Option<Claims>,
    },
    /// The client's own credentials.
    Client {
        /// The event position at which it was issued.
        issued: Position,
    },
}

/// The form of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenFormat {
    /// PASETO v4.public.
    Paseto,
    /// RFC 9068 `at+jwt` with EdDSA.
    Jwt,
}

names!(TokenFormat { Paseto = "paseto", Jwt = "jwt" });

/// How and when a subject authenticated (RFC 9470, RFC 8176).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// When. Tokens carry its whole seconds.
    pub at: Timestamp,
    /// To which level.
    pub acr: Option<Box<str>>,
    /// By which methods.
    pub amr: Vec<Box<str>>,
}

/// A JSON object as canonical text. It goes into tokens and introspection. Personal: `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims(pub Box<str>);

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Claims(…)")
    }
}
