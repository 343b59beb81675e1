//! Who is there: by session cookie, session token or access token. Being there is activity.

use std::sync::Arc;

use super::{Engine, Result};
use crate::domain::access::{Authentication, IssuedFor};
use crate::domain::end::{End, EndReason};
use crate::domain::id::{ClientId, SessionId};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Decision, Session};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Opaque, OpaqueKind};

/// Somebody who is signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// The session.
    pub session: Session,
    /// The client that was shown the token: the session's, or the family's.
    pub client_id: ClientId,
    /// What the token allows.
    pub scope: ScopeSet,
    /// How the subject authenticated, as the token says.
    pub authentication: Authentication,
    /// The last use that is on the disk.
    written: Timestamp,
}

impl<S: Store> Engine<S> {
    /// Who holds this token: a session token, or an access token of a session that is meant for `audience`.
    /// `None` when it is not good. A refresh token says nothing here. Counts as activity.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn signed_in(&self, token: &str, audience: &str) -> Result<Option<SignedIn>> {
        let now = self.clock.now().wall;
        let mut present = match Opaque::decode(token, &self.opaque) {
            Some(token) if token.kind == OpaqueKind::Session => self.by_session_token(&token, now).await?,
            Some(_) => None,
            None => self.by_access_token(token, audience, now).await?,
        };
        if let Some(present) = &mut present {
            self.note_use(&present.session, present.written, now);
            present.session.touch(now);
        }
        Ok(present)
    }

    async fn by_session_token(&self, token: &Opaque, now: Timestamp) -> Result<Option<SignedIn>> {
        let registry = self.store.registry();
        let Some((session, written)) = self.read_session_and_written_use(token.session).await? else {
            return Ok(None);
        };
        let good = session.is_active(now, &registry.cuts)
            && session.is_current_token(token.generation, &token.hash())
            && registry.clients.get(&session.client_id).is_some_and(|client| !client.disabled);
        let (client_id, scope, authentication) =
            (session.client_id.clone(), session.scope.clone(), session.authentication.clone());
        Ok(good.then_some(SignedIn { session, client_id, scope, authentication, written }))
    }

    async fn read_session_and_written_use(&self, id: SessionId) -> Result<Option<(Session, Timestamp)>> {
        Ok(self.store.session(id).await?.map(|session| {
            let mut session = Arc::unwrap_or_clone(session);
            let written = session.last_used_at;
            self.activity.apply(&mut session);
            (session, written)
        }))
    }

    async fn by_access_token(&self, token: &str, audience: &str, now: Timestamp) -> Result<Option<SignedIn>> {
        let Some(token) = self.verifier.verify(token, &self.keyring.load()) else { return Ok(None) };
        let IssuedFor::Session { id, family, authentication, .. } = &token.issued_for else {
            return Ok(None);
        };
        let seconds = now.seconds();
        if *token.issuer != *self.rules.issuer
            || *token.audience != *audience
            || seconds >= token.expires_at
            || seconds < token.not_before
        {
            return Ok(None);
        }
        let registry = self.store.registry();
        let Some((session, written)) = self.read_session_and_written_use(*id).await? else { return Ok(None) };
        let good = session.is_active(now, &registry.cuts)
            && !session.has_revoked(&token.id)
            && family.is_none_or(|number| session.family_is_active(number, &registry.cuts))
            && registry.clients.get(&token.client_id).is_some_and(|client| !client.disabled);
        let (client_id, scope, authentication) =
            (token.client_id.clone(), token.scope.clone(), authentication.clone());
        Ok(good.then_some(SignedIn { session, client_id, scope, authentication, written }))
    }

    /// Logs out by session token: its session ends. False when the token was not good, so that nothing ended.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn log_out(&self, token: &str) -> Result<bool> {
        let Some(token) =
            Opaque::decode(token, &self.opaque).filter(|token| token.kind == OpaqueKind::Session)
        else {
            return Ok(false);
        };
        let now = self.clock.now().wall;
        let ended = self.update_session(token.session, Lane::Revocation, move |session, cuts| {
            if !session.is_active(now, cuts) || !session.is_current_token(token.generation, &token.hash()) {
                return Decision::answer(false);
            }
            let end = End { at: now, reason: EndReason::Logout, by: session.client_id.as_str().into() };
            Decision::with_events(true, session.close(end, now, cuts))
        });
        Ok(ended.await?.unwrap_or(false))
    }
}
