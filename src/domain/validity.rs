//! Whether a token is valid: the one rule for introspection, forward-auth, `/v1/session` and bearer
//! authentication. Who may learn it is a second question (`introspection.rs`).

use super::access::{AccessToken, IssuedFor};
use super::client::Client;
use super::cutoff::CutOffs;
use super::family::Family;
use super::id::{ClientId, Hash};
use super::session::{Session, Standing};
use super::time::Timestamp;

/// What a token is checked against: the time, and the cut-offs and clients of one state of the store.
#[derive(Clone, Copy, Debug)]
pub struct Validity<'a> {
    /// The time of the check.
    pub now: Timestamp,
    pub cuts: &'a CutOffs,
    /// The client that the token was issued to, if it is registered.
    pub client: Option<&'a Client>,
}

/// How far in the future a token may have been issued: by another server of the same store whose clock is
/// ahead. Further ahead, the clock of this server was set back.
const ISSUED_AHEAD_MAX_S: i64 = 60;

/// Why introspection answers that a token is inactive. Only the operator learns it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inactive {
    #[error(
        "it is no token of this server: another form, another server's, incomplete, or signed by a revoked \
         key"
    )]
    Unknown,
    #[error("it was issued by {0}, and this is another issuer")]
    Issuer(Box<str>),
    #[error("it expired at {0}")]
    Expired(Timestamp),
    #[error(
        "it is valid from {0} on: the clock of this server was set back, or that of another one is ahead"
    )]
    NotYetValid(Timestamp),
    #[error("the client that it was issued to has been deleted")]
    ClientDeleted,
    #[error("the client that it was issued to is disabled")]
    ClientDisabled,
    #[error("the client's own tokens of that time have ended")]
    ClientTokensEnded,
    #[error("its session is no longer stored")]
    SessionUnknown,
    #[error("its session expired at {0}")]
    SessionExpired(Timestamp),
    #[error("its session was ended ({0}); `keyfob session show` has the details")]
    SessionEnded(&'static str),
    #[error("its refresh-token family has ended")]
    FamilyEnded,
    #[error("it was revoked")]
    Revoked,
    #[error("a later token has replaced it: a refresh or a renewal issued another one")]
    Replaced,
    #[error(
        "its audience is {audience}, which the client does not serve (`client update --serves`), and it was \
         issued to {issued_to}; a token without an audience is for keyfob itself, so {issued_to} needs one \
         (`--audience`)"
    )]
    Audience { audience: Box<str>, issued_to: ClientId },
    #[error("it was issued to {issued_to} in a session that {opened_by} opened, and the client is neither")]
    Owner { issued_to: ClientId, opened_by: Box<str> },
}

impl Inactive {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Issuer(_) => "issuer",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::ClientDeleted => "client_deleted",
            Self::ClientDisabled => "client_disabled",
            Self::ClientTokensEnded => "client_tokens_ended",
            Self::SessionUnknown => "session_unknown",
            Self::SessionExpired(_) => "session_expired",
            Self::SessionEnded(_) => "session_ended",
            Self::FamilyEnded => "family_ended",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::Audience { .. } => "audience",
            Self::Owner { .. } => "owner",
        }
    }
}

/// `error`, unless the condition holds.
fn unless(holds: bool, error: impl FnOnce() -> Inactive) -> Result<(), Inactive> {
    if holds { Ok(()) } else { Err(error()) }
}

impl Validity<'_> {
    /// Whether an access token whose signature is valid can be used now. `session` is the session that it
    /// names; `revoked` is whether a token without a session was revoked by its `jti`.
    pub fn access_token(
        &self,
        token: &AccessToken,
        issuer: &str,
        session: Option<&Session>,
        revoked: bool,
    ) -> Result<(), Inactive> {
        let at = Timestamp::from_seconds;
        let from = token.not_before.unwrap_or(token.issued_at - ISSUED_AHEAD_MAX_S);
        unless(*token.issuer == *issuer, || Inactive::Issuer(token.issuer.clone()))?;
        unless(token.is_unexpired(issuer, self.now), || Inactive::Expired(at(token.expires_at)))?;
        unless(self.now.seconds() >= from, || Inactive::NotYetValid(at(from)))?;
        let client = self.enabled_client()?;
        match &token.issued_for {
            IssuedFor::Client { issued } => {
                unless(!revoked, || Inactive::Revoked)?;
                unless(client.has_own_token(token.client_id.as_str(), *issued), || {
                    Inactive::ClientTokensEnded
                })?;
                let end = self.cuts.end_of(&token.client_id, *issued);
                unless(end.is_none(), || Inactive::ClientTokensEnded)
            }
            IssuedFor::Session { id, family, .. } => {
                let session = session.filter(|session| session.id == *id).ok_or(Inactive::SessionUnknown)?;
                self.check_session(session)?;
                unless(!session.has_revoked(&token.id, token.expires_at), || Inactive::Revoked)?;
                let is_active = family.is_none_or(|number| session.family_is_active(number, self.cuts));
                unless(is_active, || Inactive::FamilyEnded)
            }
        }
    }

    /// The family of a genuine refresh token of `session`, if the token can be used now. Only the current one
    /// of the family can (C-09).
    pub fn refresh_token<'s>(
        &self,
        session: &'s Session,
        family: u16,
        generation: u32,
        hash: &Hash,
    ) -> Result<&'s Family, Inactive> {
        let family = session.family(family).ok_or(Inactive::FamilyEnded)?;
        self.enabled_client()?;
        self.check_session(session)?;
        unless(family.is_active(self.cuts), || Inactive::FamilyEnded)?;
        unless(family.is_current(generation, hash), || Inactive::Replaced)?;
        Ok(family)
    }

    /// Whether a genuine session token of `session` can be used now.
    pub fn session_token(&self, session: &Session, renewals: u32, hash: &Hash) -> Result<(), Inactive> {
        self.enabled_client()?;
        self.check_session(session)?;
        unless(session.is_current_token(renewals, hash), || Inactive::Replaced)
    }

    /// The same for a session of the operator's console, whose client is not registered.
    pub fn console_token(&self, session: &Session, renewals: u32, hash: &Hash) -> Result<(), Inactive> {
        self.check_session(session)?;
        unless(session.is_current_token(renewals, hash), || Inactive::Replaced)
    }

    fn check_session(&self, session: &Session) -> Result<(), Inactive> {
        match session.standing(self.now, self.cuts) {
            Standing::Active => Ok(()),
            Standing::Expired => Err(Inactive::SessionExpired(session.deadline())),
            Standing::Ended(end) => Err(Inactive::SessionEnded(end.reason.as_str())),
        }
    }

    /// The tokens of deleted and disabled clients are invalid.
    fn enabled_client(&self) -> Result<&Client, Inactive> {
        let client = self.client.ok_or(Inactive::ClientDeleted)?;
        client.check_enabled().map(|()| client).map_err(|_| Inactive::ClientDisabled)
    }
}
