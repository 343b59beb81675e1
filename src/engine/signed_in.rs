//! The signed-in subject of a request, by session cookie, session token or access token, and logging out.

use std::sync::Arc;

use super::{Engine, Result, validity};
use crate::domain::access::{Authentication, IssuedFor};
use crate::domain::id::{ClientId, SessionId};
use crate::domain::scope::ScopeSet;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Opaque, OpaqueKind};

/// A signed-in subject.
#[derive(Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Session,
    /// The client that the token was issued to.
    pub client_id: ClientId,
    /// The scope of the token.
    pub scope: ScopeSet,
    /// The authentication that the token attests.
    pub authentication: Authentication,
    /// The last use that is on the disk.
    written: Timestamp,
}

impl<S: Store> Engine<S> {
    /// The subject of a valid token: a session token, or an access token with a session whose audience is
    /// `audience`. Counts as activity if `is_use`.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn signed_in(&self, token: &str, audience: &str, is_use: bool) -> Result<Option<SignedIn>> {
        let now = self.clock.now().wall;
        let mut found = match Opaque::decode(token, &self.opaque) {
            Some(token) if token.kind == OpaqueKind::Session => self.by_session_token(&token, now).await?,
            Some(_) => None,
            None => self.by_access_token(token, audience, now).await?,
        };
        if let Some(found) = found.as_mut().filter(|_| is_use) {
            self.note_use(&found.session, found.written, now);
            found.session.touch(now);
        }
        Ok(found)
    }

    async fn by_session_token(&self, token: &Opaque, now: Timestamp) -> Result<Option<SignedIn>> {
        let registry = self.store.registry();
        let Some((session, written)) = self.read_session_and_written_use(token.session).await? else {
            return Ok(None);
        };
        let valid = validity(&registry, &session.client_id, now).session_token(
            &session,
            token.generation,
            &token.hash(),
        );
        let (client_id, scope) = (session.client_id.clone(), session.scope.clone());
        let authentication = session.authentication.clone();
        Ok(valid.then_some(SignedIn { session, client_id, scope, authentication, written }))
    }

    async fn by_access_token(&self, token: &str, audience: &str, now: Timestamp) -> Result<Option<SignedIn>> {
        let Some(token) = self.verifier.verify(token, &self.keyring.load()) else { return Ok(None) };
        let IssuedFor::Session { id, authentication, .. } = &token.issued_for else { return Ok(None) };
        if *token.audience != *audience {
            return Ok(None);
        }
        let registry = self.store.registry();
        let Some((session, written)) = self.read_session_and_written_use(*id).await? else { return Ok(None) };
        let valid = validity(&registry, &token.client_id, now).access_token(
            &token,
            &self.rules.issuer,
            Some(&session),
            false,
        );
        let (client_id, scope) = (token.client_id.clone(), token.scope.clone());
        let authentication = authentication.clone();
        Ok(valid.then_some(SignedIn { session, client_id, scope, authentication, written }))
    }

    async fn read_session_and_written_use(&self, id: SessionId) -> Result<Option<(Session, Timestamp)>> {
        Ok(self.store.session(id).await?.map(|session| {
            let mut session = Arc::unwrap_or_clone(session);
            let written = session.last_used_at;
            self.activity.apply(&mut session);
            (session, written)
        }))
    }

    /// Logs out by session token: ends its session. False when the token is not valid, so that nothing ended.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn log_out(&self, token: &str) -> Result<bool> {
        let genuine = Opaque::decode(token, &self.opaque).filter(|token| token.kind == OpaqueKind::Session);
        let Some(token) = genuine else { return Ok(false) };
        let now = self.clock.now().wall;
        let ended = self.update_session(token.session, Lane::Revocation, move |session, cuts| {
            session.log_out(token.generation, &token.hash(), now, cuts)
        });
        Ok(ended.await?.unwrap_or(false))
    }
}
