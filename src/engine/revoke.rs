//! Revocation by token (RFC 7009). Unknown, inactive and malformed tokens are answered like revoked ones;
//! another client's is refused (C-05).

use super::{Engine, Result};
use crate::domain::access::{AccessToken, IssuedFor};
use crate::domain::caller::Caller;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::SessionId;
use crate::domain::refusal::Refused;
use crate::domain::session::{Decision, RevokedToken};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Opaque, OpaqueKind};

impl<S: Store> Engine<S> {
    /// Revokes a token of any kind. A genuine token of any generation revokes its family: a logout with an old
    /// token must log out (C-10).
    ///
    /// # Errors
    /// `InvalidGrant` for a token that the caller may not revoke.
    pub async fn revoke(&self, caller: &Caller, token: &str) -> Result<()> {
        let now = self.clock.now().wall;
        if let Some(token) = Opaque::decode(token, &self.opaque) {
            return match token.kind {
                OpaqueKind::Refresh => {
                    self.revoke_family(caller.clone(), token.session, token.family, now).await
                }
                OpaqueKind::Session => self.revoke_session(caller.clone(), token.session, now).await,
            };
        }
        match self.verifier.verify(token, &self.keyring.load()) {
            Some(token) if token.is_unexpired(&self.rules.issuer, now) => {
                self.revoke_access_token(caller.clone(), &token, now).await
            }
            _ => Ok(()),
        }
    }

    async fn revoke_family(
        &self,
        caller: Caller,
        session: SessionId,
        family: u16,
        now: Timestamp,
    ) -> Result<()> {
        let revoked = self.update_session(session, Lane::Revocation, move |session, cuts| {
            let Some(client) = session.family(family).map(|family| family.client_id.clone()) else {
                return Decision::answer(Ok(()));
            };
            if !caller.may_revoke(&client, Some(session)) {
                return Decision::answer(Err(Refused::invalid_grant()));
            }
            Decision::with_events(Ok(()), session.revoke_family(family, caller.name(), now, cuts))
        });
        Ok(revoked.await?.unwrap_or(Ok(()))?)
    }

    async fn revoke_session(&self, caller: Caller, session: SessionId, now: Timestamp) -> Result<()> {
        let revoked = self.update_session(session, Lane::Revocation, move |session, cuts| {
            if !caller.may_revoke(&session.client_id, Some(session)) {
                return Decision::answer(Err(Refused::invalid_grant()));
            }
            let end = End { at: now, reason: EndReason::Logout, by: caller.name().into() };
            Decision::with_events(Ok(()), session.close(end, now, cuts))
        });
        Ok(revoked.await?.unwrap_or(Ok(()))?)
    }

    async fn revoke_access_token(&self, caller: Caller, token: &AccessToken, now: Timestamp) -> Result<()> {
        let revocation = RevokedToken { id: token.id, expires_at: token.expires_at };
        match token.issued_for {
            IssuedFor::Client { .. } => {
                if !caller.may_revoke(&token.client_id, None) {
                    return Err(Refused::invalid_grant().into());
                }
                let mut event = Event::new(EventKind::TokenRevoked, now, caller.name());
                event.client = Some(token.client_id.clone());
                event.token = Some(token.id);
                self.store.revoke_token(revocation, event).await?;
                Ok(())
            }
            IssuedFor::Session { id, family, .. } => {
                let client = token.client_id.clone();
                let revoked = self.update_session(id, Lane::Revocation, move |session, cuts| {
                    if !caller.may_revoke(&client, Some(session)) {
                        return Decision::answer(Err(Refused::invalid_grant()));
                    }
                    Decision::with_events(
                        Ok(()),
                        session.revoke_token(revocation, family, caller.name(), now, cuts),
                    )
                });
                Ok(revoked.await?.unwrap_or(Ok(()))?)
            }
        }
    }
}
