//! Making access tokens from what was granted.

use std::sync::Arc;

use super::{Engine, Result};
use crate::domain::access::{AccessToken, Authentication, IssuedFor};
use crate::domain::caller::Caller;
use crate::domain::client::{Client, Party};
use crate::domain::family::{Family, Stamp};
use crate::domain::id::{ClientId, TokenId};
use crate::domain::key;
use crate::domain::refusal::Refused;
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Data, Session};
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::token::access;
use crate::token::opaque::SecretText;
use crate::token::paseto::TOKEN_BYTES_MAX;

/// A signed access token.
#[derive(Clone)]
pub struct Issued {
    pub access_token: String,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// Its scope; may be empty.
    pub scope: ScopeSet,
}

/// A session just opened or renewed, with its tokens, which are shown once.
pub struct Opened {
    pub session: Session,
    /// Its private data: absent if the caller may not see it, `None` inside if there is none.
    pub data: Option<Option<Data>>,
    /// The session token, for the cookie.
    pub session_token: SecretText,
    pub access: Issued,
    /// The refresh token, if the client has that grant.
    pub refresh_token: Option<SecretText>,
}

/// What a session or one of its families was granted, for a token.
pub(super) struct ForSession<'a> {
    pub family: Option<u16>,
    pub client_id: &'a ClientId,
    pub audience: &'a str,
    pub scope: ScopeSet,
    pub authentication: &'a Authentication,
}

impl<'a> From<&'a Session> for ForSession<'a> {
    fn from(session: &'a Session) -> Self {
        let Session { own_family: family, client_id, audience, authentication, .. } = session;
        Self { family: *family, client_id, audience, scope: session.scope.clone(), authentication }
    }
}

impl<'a> From<&'a Family> for ForSession<'a> {
    fn from(family: &'a Family) -> Self {
        let Family { number, client_id, audience, authentication, .. } = family;
        Self { family: Some(*number), client_id, audience, scope: family.scope.clone(), authentication }
    }
}

/// The clients that must still be as they were when something is issued for `client` at the request of
/// `caller`.
pub(super) fn parties(caller: &Caller, client: &Arc<Client>) -> Vec<Party> {
    caller.party().into_iter().chain([Party { client: client.clone(), is_caller: false }]).collect()
}

impl<S: Store> Engine<S> {
    /// What an access token issued now to `client` in `session` is made from.
    ///
    /// # Errors
    /// `Unavailable` when there is no key for the client's format yet.
    pub(super) fn stamp(&self, session: &Session, client: &Client, now: Timestamp) -> Result<Stamp> {
        let (ttl, format) = (self.policy(client).access_token_ttl, client.access_token_format);
        Ok(session.stamp(ttl, self.signing_key(format)?, format, now))
    }

    pub(super) fn may_issue_again(
        &self,
        session: &Session,
        client: &Client,
        id: &TokenId,
        stamp: &Stamp,
        now: Timestamp,
    ) -> bool {
        let keyring = self.keyring();
        let key = keyring.find(&stamp.key);
        let signs = key.is_some_and(|key| key::may_sign_again(key.status, key.retired_at, now));
        session.may_issue_again(id, stamp, client.access_token_format, signs, now)
    }

    /// A new access token with all that was granted: at an opening or a renewal to the session, else to a
    /// family.
    ///
    /// # Errors
    /// `Invalid` for a token that is longer than any that keyfob accepts.
    pub(super) fn issue_new<'a>(
        &self,
        session: &Session,
        grant: impl Into<ForSession<'a>>,
        client: &Client,
        now: Timestamp,
    ) -> Result<Issued> {
        let stamp = self.stamp(session, client, now)?;
        self.issue_first(session, grant, TokenId(self.clock.random()), &stamp, now)
    }

    /// The same with a given `jti`.
    pub(super) fn issue_first<'a>(
        &self,
        session: &Session,
        grant: impl Into<ForSession<'a>>,
        id: TokenId,
        stamp: &Stamp,
        now: Timestamp,
    ) -> Result<Issued> {
        let issued = self.issue_for_session(session, grant.into(), id, stamp, now)?;
        if issued.access_token.len() > TOKEN_BYTES_MAX {
            let problem = "together with subject, scope and amr make an access token of more than 8 KiB; use \
                           data for what APIs do not need";
            return Err(Refused::invalid("claims", problem).into());
        }
        Ok(issued)
    }

    /// An access token of a session.
    pub(super) fn issue_for_session(
        &self,
        session: &Session,
        grant: ForSession,
        id: TokenId,
        stamp: &Stamp,
        now: Timestamp,
    ) -> Result<Issued> {
        let token = AccessToken {
            issuer: self.rules.issuer.clone(),
            subject: session.subject.clone(),
            audience: grant.audience.into(),
            not_before: None,
            issued_at: stamp.issued_at,
            expires_at: stamp.expires_at,
            id,
            client_id: grant.client_id.clone(),
            scope: grant.scope,
            issued_for: IssuedFor::Session {
                id: session.id,
                family: grant.family,
                authentication: grant.authentication.clone(),
                claims: session.claims.clone(),
            },
        };
        self.sign(&token, stamp, now)
    }

    /// A client's own access token: its subject is the client, and cut-offs compare the event position at
    /// which it was issued.
    ///
    /// # Errors
    /// `InvalidClient` if the client was deleted or disabled, or its secrets or own tokens were ended, since
    /// it was authenticated; `Conflict` if it lost a right.
    pub(super) fn issue_for_client(
        &self,
        client: &Arc<Client>,
        audience: Box<str>,
        scope: ScopeSet,
        stamp: &Stamp,
        now: Timestamp,
    ) -> Result<Issued> {
        // Read before the registry: a deletion or revocation that the registry does not show yet has a later
        // position, and ends the token.
        let (issued, registry) = (self.store.head(), self.store.registry());
        registry.cuts.check_registered(&parties(&Caller::Client(client.clone()), client))?;
        let token = AccessToken {
            issuer: self.rules.issuer.clone(),
            subject: client.id.as_str().parse().expect("every client_id has the form of a subject"),
            audience,
            not_before: None,
            issued_at: stamp.issued_at,
            expires_at: stamp.expires_at,
            id: TokenId(self.clock.random()),
            client_id: client.id.clone(),
            scope,
            issued_for: IssuedFor::Client { issued },
        };
        self.sign(&token, stamp, now)
    }

    fn sign(&self, token: &AccessToken, stamp: &Stamp, now: Timestamp) -> Result<Issued> {
        let keyring = self.keyring();
        let key = keyring
            .find(&stamp.key)
            .ok_or_else(|| StoreError::Unavailable("the signing key was removed".into()))?;
        let access_token = access::sign(token, stamp.format, key)
            .ok_or_else(|| StoreError::Failed("the signing key has another algorithm".into()))?;
        Ok(Issued {
            access_token,
            expires_in: (token.expires_at - now.seconds()).max(0),
            scope: token.scope.clone(),
        })
    }
}
