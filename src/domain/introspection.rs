//! Whether a token is good, and what may be told of it. Begins at inactive and returns at each doubt.

use super::access::{AccessToken, Authentication, Claims, IssuedFor};
use super::caller::Caller;
use super::client::{Client, Permission};
use super::cutoff::CutOffs;
use super::id::{ClientId, Hash, SessionId, Subject, TokenId};
use super::scope::ScopeSet;
use super::session::Session;
use super::time::Timestamp;

/// What is told of a good token (RFC 7662 §2.2). Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Whom it speaks for.
    pub subject: Subject,
    /// To whom it was issued.
    pub client_id: ClientId,
    /// What it allows.
    pub scope: ScopeSet,
    /// For whom it is meant; refresh and session tokens are for us.
    pub audience: Option<Box<str>>,
    /// When it expires.
    pub expires_at: i64,
    /// When it was issued, for access tokens.
    pub issued_at: Option<i64>,
    /// From when it is good, for access tokens.
    pub not_before: Option<i64>,
    /// Its name, for access tokens.
    pub id: Option<TokenId>,
    /// The session it lives by.
    pub session: Option<SessionId>,
    /// How its subject authenticated.
    pub authentication: Option<Authentication>,
    /// The session's own claims.
    pub claims: Option<Claims>,
}

/// What a token is judged by: who asks, the clock, the cut-offs and the registered clients of one state of
/// the store.
pub struct Judgement<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// The clock.
    pub now: Timestamp,
    /// The cut-offs.
    pub cuts: &'a CutOffs,
    /// The client that the token was issued to, if there still is one.
    pub client: Option<&'a Client>,
}

impl Judgement<'_> {
    /// An access token whose signature is good. `session` is the one it names; `revoked` whether a token
    /// without session was revoked by itself.
    pub fn access_token(
        &self,
        token: &AccessToken,
        issuer: &str,
        session: Option<&Session>,
        revoked: bool,
    ) -> Option<Active> {
        let now = self.now.seconds();
        if *token.issuer != *issuer
            || now >= token.expires_at
            || now < token.not_before
            || !self.client_is_good()
        {
            return None;
        }
        if !self.may_read_access_token(token) {
            return None;
        }
        let (id, authentication, claims) = match &token.issued_for {
            IssuedFor::Client { issued } => {
                if revoked || self.cuts.end_of(&token.client_id, *issued).is_some() {
                    return None;
                }
                (None, None, None)
            }
            IssuedFor::Session { id, family, authentication, claims } => {
                let session = session?;
                if session.id != *id
                    || !session.is_active(self.now, self.cuts)
                    || session.has_revoked(&token.id)
                {
                    return None;
                }
                if family.is_some_and(|number| !session.family_is_active(number, self.cuts)) {
                    return None;
                }
                (Some(*id), Some(authentication.clone()), claims.clone())
            }
        };
        Some(Active {
            subject: token.subject.clone(),
            client_id: token.client_id.clone(),
            scope: token.scope.clone(),
            audience: Some(token.audience.clone()),
            expires_at: token.expires_at,
            issued_at: Some(token.issued_at),
            not_before: Some(token.not_before),
            id: Some(token.id),
            session: id,
            authentication,
            claims,
        })
    }

    /// A genuine refresh token of `session`. Only the current one is active (C-09).
    pub fn refresh_token(
        &self,
        session: &Session,
        family: u16,
        generation: u32,
        hash: &Hash,
    ) -> Option<Active> {
        let family = session.family(family)?;
        if !self.may_read_of_session(session, &family.client_id) || !self.client_is_good() {
            return None;
        }
        if !session.is_active(self.now, self.cuts)
            || family.end(self.cuts).is_some()
            || !family.is_current(generation, hash)
        {
            return None;
        }
        Some(self.of_session(session, &family.client_id, family.scope.clone(), family.authentication.clone()))
    }

    /// A genuine session token of `session`.
    pub fn session_token(&self, session: &Session, renewals: u32, hash: &Hash) -> Option<Active> {
        if !self.may_read_of_session(session, &session.client_id) || !self.client_is_good() {
            return None;
        }
        if !session.is_active(self.now, self.cuts) || !session.is_current_token(renewals, hash) {
            return None;
        }
        Some(self.of_session(
            session,
            &session.client_id,
            session.scope.clone(),
            session.authentication.clone(),
        ))
    }

    fn of_session(
        &self,
        session: &Session,
        client: &ClientId,
        scope: ScopeSet,
        authentication: Authentication,
    ) -> Active {
        Active {
            subject: session.subject.clone(),
            client_id: client.clone(),
            scope,
            audience: None,
            expires_at: session.deadline().seconds(),
            issued_at: None,
            not_before: None,
            id: None,
            session: Some(session.id),
            authentication: Some(authentication),
            claims: session.claims.clone(),
        }
    }

    /// A deleted or disabled client's tokens are dead.
    fn client_is_good(&self) -> bool {
        self.client.is_some_and(|client| !client.disabled)
    }

    /// Issued to the caller, or meant for a resource that the caller is.
    fn may_read_access_token(&self, token: &AccessToken) -> bool {
        self.caller.may(Permission::IntrospectAny)
            || match self.caller {
                Caller::AdminSocket => true,
                Caller::Client(caller) => {
                    caller.id == token.client_id || caller.serves.contains(&token.audience)
                }
            }
    }

    /// Issued to the caller, or of a session that the caller opened.
    fn may_read_of_session(&self, session: &Session, issued_to: &ClientId) -> bool {
        self.caller.may(Permission::IntrospectAny) || self.caller.is(issued_to) || self.caller.opened(session)
    }
}

#[cfg(test)]
mod tests;
