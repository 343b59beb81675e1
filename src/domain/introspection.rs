//! What introspection reveals of a valid token, and to which callers. It starts at inactive and returns at
//! each doubt.

use super::access::{AccessToken, Authentication, Claims, IssuedFor};
use super::caller::Caller;
use super::id::{ClientId, Hash, SessionId, Subject, TokenId};
use super::scope::ScopeSet;
use super::session::Session;
use super::validity::{Inactive, Validity};

/// The answer for a valid token (RFC 7662 §2.2). Times are whole seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// `sub`.
    pub subject: Subject,
    /// The client that it was issued to.
    pub client_id: ClientId,
    /// `scope`; may be empty.
    pub scope: ScopeSet,
    /// `aud`; absent for refresh and session tokens, which are for keyfob itself.
    pub audience: Option<Box<str>>,
    /// `exp`.
    pub expires_at: i64,
    /// `iat`, for access tokens.
    pub issued_at: Option<i64>,
    /// `nbf`, for access tokens.
    pub not_before: Option<i64>,
    /// `jti`, for access tokens.
    pub id: Option<TokenId>,
    /// `sid`; absent for a client's own token.
    pub session: Option<SessionId>,
    pub authentication: Option<Authentication>,
    /// The claims of the session.
    pub claims: Option<Claims>,
}

/// A caller that introspects, and what its token is checked against.
pub struct Judgement<'a> {
    pub caller: &'a Caller,
    /// The state of the store.
    pub validity: Validity<'a>,
}

impl Judgement<'_> {
    /// The answer for an access token whose signature is valid; arguments as for [`Validity::access_token`].
    pub fn access_token(
        &self,
        token: &AccessToken,
        issuer: &str,
        session: Option<&Session>,
        revoked: bool,
    ) -> Result<Active, Inactive> {
        self.validity.access_token(token, issuer, session, revoked)?;
        if !self.caller.may_introspect_access_token(&token.client_id, &token.audience) {
            let (audience, issued_to) = (token.audience.clone(), token.client_id.clone());
            return Err(Inactive::Audience { audience, issued_to });
        }
        let (session, authentication, claims) = match &token.issued_for {
            IssuedFor::Client { .. } => (None, None, None),
            IssuedFor::Session { id, authentication, claims, .. } => {
                (Some(*id), Some(authentication.clone()), claims.clone())
            }
        };
        Ok(Active {
            subject: token.subject.clone(),
            client_id: token.client_id.clone(),
            scope: token.scope.clone(),
            audience: Some(token.audience.clone()),
            expires_at: token.expires_at,
            issued_at: Some(token.issued_at),
            not_before: token.not_before,
            id: Some(token.id),
            session,
            authentication,
            claims,
        })
    }

    /// The answer for a genuine refresh token of `session`.
    pub fn refresh_token(
        &self,
        session: &Session,
        family: u16,
        generation: u32,
        hash: &Hash,
    ) -> Result<Active, Inactive> {
        let family = self.validity.refresh_token(session, family, generation, hash)?;
        self.of_session(session, &family.client_id, &family.scope, &family.authentication)
    }

    /// The answer for a genuine session token of `session`.
    pub fn session_token(&self, session: &Session, renewals: u32, hash: &Hash) -> Result<Active, Inactive> {
        self.validity.session_token(session, renewals, hash)?;
        self.of_session(session, &session.client_id, &session.scope, &session.authentication)
    }

    fn of_session(
        &self,
        session: &Session,
        client_id: &ClientId,
        scope: &ScopeSet,
        authentication: &Authentication,
    ) -> Result<Active, Inactive> {
        if !self.caller.may_introspect_token_of(session, client_id) {
            let (issued_to, opened_by) = (client_id.clone(), session.opened_by.clone());
            return Err(Inactive::Owner { issued_to, opened_by });
        }
        Ok(Active {
            subject: session.subject.clone(),
            client_id: client_id.clone(),
            scope: scope.clone(),
            audience: None,
            expires_at: session.deadline().ceiling_seconds(),
            issued_at: None,
            not_before: None,
            id: None,
            session: Some(session.id),
            authentication: Some(authentication.clone()),
            claims: session.claims.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
