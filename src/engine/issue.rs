//! Making access tokens from what was granted.

use super::{Engine, Result};
use crate::domain::access::{AccessToken, Authentication, IssuedFor};
use crate::domain::family::Stamp;
use crate::domain::id::{ClientId, TokenId};
use crate::domain::scope::ScopeSet;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::token::access;

/// A signed access token, ready to be handed out.
#[derive(Clone)]
pub struct Issued {
    /// The token.
    pub access_token: String,
    /// Seconds until it expires.
    pub expires_in: i64,
    /// What it allows; may be empty.
    pub scope: ScopeSet,
}

/// What is in the token that does not come from the session.
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
    /// An access token that lives by a session.
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
            not_before: grant.stamp.issued_at,
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

    /// A client's own access token: no session, the client as its subject, and the event position by which
    /// cut-offs judge it.
    pub(super) fn issue_for_client(
        &self,
        client: &ClientId,
        audience: Box<str>,
        scope: ScopeSet,
        stamp: &Stamp,
        now: Timestamp,
    ) -> Result<Issued> {
        let token = AccessToken {
            issuer: self.rules.issuer.clone(),
            subject: client.as_str().parse().expect("a client's name has the form of a subject"),
            audience,
            not_before: stamp.issued_at,
            issued_at: stamp.issued_at,
            expires_at: stamp.expires_at,
            id: TokenId(self.clock.random()),
            client_id: client.clone(),
            scope,
            issued_for: IssuedFor::Client { issued: self.store.head() },
        };
        self.sign(&token, stamp, now)
    }

    fn sign(&self, token: &AccessToken, stamp: &Stamp, now: Timestamp) -> Result<Issued> {
        let keyring = self.keyring.load();
        let key = keyring
            .find(&stamp.key)
            .ok_or_else(|| StoreError::Unavailable("the signing key was removed".into()))?;
        let access_token = access::sign(token, stamp.format, key);
        Ok(Issued {
            access_token,
            expires_in: (token.expires_at - now.seconds()).max(0),
            scope: token.scope.clone(),
        })
    }
}
