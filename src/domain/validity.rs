//! Whether a token is valid: the one rule for introspection, forward-auth, `/v1/session` and bearer
//! authentication. Who may learn it is a second question (`introspection.rs`).

use super::access::{AccessToken, IssuedFor};
use super::client::Client;
use super::cutoff::CutOffs;
use super::family::Family;
use super::id::Hash;
use super::session::Session;
use super::time::Timestamp;

/// What a token is checked against: the time, and the cut-offs and clients of one state of the store.
#[derive(Clone, Copy, Debug)]
pub struct Validity<'a> {
    /// The time of the check.
    pub now: Timestamp,
    /// Every cut-off.
    pub cuts: &'a CutOffs,
    /// The client that the token was issued to, if it is registered.
    pub client: Option<&'a Client>,
}

/// How far in the future a token may have been issued: by another server of the same store whose clock is ahead.
/// Further ahead, the clock of this server was set back.
const ISSUED_AHEAD_MAX_S: i64 = 60;

impl Validity<'_> {
    /// Whether an access token whose signature is valid can be used now. `session` is the session that it
    /// names; `revoked` is whether a token without a session was revoked by its `jti`.
    pub fn access_token(
        &self,
        token: &AccessToken,
        issuer: &str,
        session: Option<&Session>,
        revoked: bool,
    ) -> bool {
        if !token.is_unexpired(issuer, self.now)
            || self.now.seconds() < token.not_before.unwrap_or(token.issued_at - ISSUED_AHEAD_MAX_S)
            || !self.client_is_enabled()
        {
            return false;
        }
        match &token.issued_for {
            IssuedFor::Client { issued } => {
                !revoked
                    && self
                        .client
                        .is_some_and(|client| client.has_own_token(token.client_id.as_str(), *issued))
                    && self.cuts.end_of(&token.client_id, *issued).is_none()
            }
            IssuedFor::Session { id, family, .. } => session.is_some_and(|session| {
                session.id == *id
                    && session.is_active(self.now, self.cuts)
                    && !session.has_revoked(&token.id, token.expires_at)
                    && family.is_none_or(|number| session.family_is_active(number, self.cuts))
            }),
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
    ) -> Option<&'s Family> {
        let family = session.family(family)?;
        (self.client_is_enabled()
            && session.is_active(self.now, self.cuts)
            && family.is_active(self.cuts)
            && family.is_current(generation, hash))
        .then_some(family)
    }

    /// Whether a genuine session token of `session` can be used now.
    pub fn session_token(&self, session: &Session, renewals: u32, hash: &Hash) -> bool {
        self.client_is_enabled()
            && session.is_active(self.now, self.cuts)
            && session.is_current_token(renewals, hash)
    }

    /// The tokens of deleted and disabled clients are invalid.
    fn client_is_enabled(&self) -> bool {
        self.client.is_some_and(|client| !client.disabled)
    }
}
