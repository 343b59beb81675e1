//! Making access tokens from what was granted.

use super::{Engine, Result};
use crate::domain::access::{AccessToken, Authentication, IssuedFor};
use crate::domain::client::Client;
use crate::domain::family::Stamp;
use crate::domain::id::{ClientId, TokenId};
use crate::domain::refusal::Refused;
use crate::domain::scope::ScopeSet;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::token::access;
use crate::token::paseto::TOKEN_BYTES_MAX;

/// A signed access token.
#[derive(Clone)]
pub struct Issued {
    /// The token.
    pub access_token: String,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// Its scope; may be empty.
    pub scope: ScopeSet,
}

/// The contents of a token that do not come from the session itself.
pub(super) struct ForSession<'a> {
    pub family: Option<u16>,
    pub client_id: &'a ClientId,
    pub audience: &'a str,
    pub scope: ScopeSet,
    pub authentication: &'a Authentication,
    pub id: TokenId,
    pub stamp: &'a Stamp,
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

    /// The access token of an opening or a renewal.
    pub(super) fn issue_at_sign_in(
        &self,
        session: &Session,
        client: &Client,
        now: Timestamp,
    ) -> Result<Issued> {
        let grant = ForSession {
            family: session.own_family,
            client_id: &session.client_id,
            audience: &session.audience,
            scope: session.scope.clone(),
            authentication: &session.authentication,
            id: TokenId(self.clock.random()),
            stamp: &self.stamp(session, client, now)?,
        };
        not_too_long(self.issue_for_session(session, grant, now)?)
    }

    /// An access token of a session.
    pub(super) fn issue_for_session(
        &self,
        session: &Session,
        grant: ForSession,
        now: Timestamp,
    ) -> Result<Issued> {
        let token = AccessToken {
            issuer: self.rules.issuer.clone(),
            subject: session.subject.clone(),
            audience: grant.audience.into(),
            not_before: None,
            issued_at: grant.stamp.issued_at,
            expires_at: grant.stamp.expires_at,
            id: grant.id,
            client_id: grant.client_id.clone(),
            scope: grant.scope,
            issued_for: IssuedFor::Session {
                id: session.id,
                family: grant.family,
                authentication: grant.authentication.clone(),
                claims: session.claims.clone(),
            },
        };
        self.sign(&token, grant.stamp, now)
    }

    /// A client's own access token: its subject is the client, and cut-offs compare the event position at
    /// which it was issued.
    ///
    /// # Errors
    /// `Conflict` if the client was deleted since it was authenticated.
    pub(super) fn issue_for_client(
        &self,
        client: &Client,
        audience: Box<str>,
        scope: ScopeSet,
        stamp: &Stamp,
        now: Timestamp,
    ) -> Result<Issued> {
        // Read before the registry: a deletion that the registry does not show yet has a later position, and
        // its cut-off ends the token.
        let issued = self.store.head();
        self.store.registry().cuts.check_registered(&[client.this_incarnation()])?;
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
        let keyring = self.keyring.load();
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

/// Refuses a token that is longer than any that keyfob accepts.
pub(super) fn not_too_long(issued: Issued) -> Result<Issued> {
    if issued.access_token.len() > TOKEN_BYTES_MAX {
        let problem = "together with subject, scope and amr make an access token of more than 8 KiB; use data for what APIs do not need";
        return Err(Refused::invalid("claims", problem).into());
    }
    Ok(issued)
}
