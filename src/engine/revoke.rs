//! Revocation by token (RFC 7009). Unknown, inactive and malformed tokens are answered like revoked ones;
//! another client's is refused (C-05).

use super::{Engine, Error, Result};
use crate::domain::access::{AccessToken, IssuedFor};
use crate::domain::caller::Caller;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind, Reach};
use crate::domain::id::SessionId;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, RevokedToken, Session};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Link, OpaqueKind};

impl<S: Store> Engine<S> {
    /// Revokes a token of any kind. A genuine token of any generation revokes its family: a logout with an
    /// old token must log out (C-10). An expired access token is revoked too, because the clock may be ahead.
    ///
    /// # Errors
    /// `InvalidGrant` for a token that the caller may not revoke, unless it is an expired access token.
    pub async fn revoke(&self, caller: &Caller, token: &str) -> Result<()> {
        let now = self.clock.now().wall;
        if let Some(token) = self.verifier.opaque(token, &self.opaque) {
            let Link { session, family, .. } = token.link;
            return match token.kind {
                OpaqueKind::Refresh => {
                    self.revoke_in(session, caller, now, move |session, caller, cuts| {
                        let issued_to = session.family(family).map(|family| family.client_id.clone());
                        let Some(client) = issued_to else { return Ok(vec![]) };
                        caller.check_revoke(&client, Some(session))?;
                        Ok(session.revoke_family(family, caller.name(), now, cuts))
                    })
                    .await
                }
                OpaqueKind::Session => {
                    self.revoke_in(session, caller, now, move |session, caller, cuts| {
                        caller.check_revoke(&session.client_id, Some(session))?;
                        let end = End { at: now, reason: EndReason::Logout, by: caller.name().into() };
                        Ok(session.close(end, now, cuts))
                    })
                    .await
                }
            };
        }
        match self.verifier.access(token, &self.keyring()) {
            Some(token) if *token.issuer == *self.rules.issuer => {
                let is_expired = !token.is_unexpired(&self.rules.issuer, now);
                match self.revoke_access_token(caller, &token, now).await {
                    Err(Error::Refused(Refused { refusal: Refusal::InvalidGrant, .. })) if is_expired => {
                        Ok(())
                    }
                    revoked => revoked,
                }
            }
            _ => Ok(()),
        }
    }

    /// Runs `revoke`, which judges times at `now`, on a session; where there is none, nothing is to be
    /// revoked.
    async fn revoke_in(
        &self,
        session: SessionId,
        caller: &Caller,
        now: Timestamp,
        revoke: impl Fn(&mut Session, &Caller, &CutOffs) -> std::result::Result<Vec<Event>, Refused>
        + Send
        + 'static,
    ) -> Result<()> {
        let caller = caller.clone();
        let revoked = self.try_update_session(session, Lane::Revocation, now, move |session, cuts| {
            caller.check_current(cuts)?;
            Ok(Decision::with_events((), revoke(session, &caller, cuts)?))
        });
        revoked.await.map(|_| ())
    }

    async fn revoke_access_token(&self, caller: &Caller, token: &AccessToken, now: Timestamp) -> Result<()> {
        let revocation = RevokedToken { id: token.id, expires_at: token.expires_at };
        match token.issued_for {
            IssuedFor::Client { issued } => {
                caller.check_revoke(&token.client_id, None)?;
                let parties = vec![(token.client_id.as_str().into(), issued)];
                let reach = Some(Reach { parties, audiences: vec![token.audience.clone()] });
                let (client, token) = (Some(token.client_id.clone()), Some(token.id));
                let event = Event::new(EventKind::TokenRevoked, now, caller.name());
                let event = Event { client, token, reach, ..event };
                self.store.revoke_token(caller.party(), revocation, event).await??;
                Ok(())
            }
            IssuedFor::Session { id, family, .. } => {
                let client = token.client_id.clone();
                self.revoke_in(id, caller, now, move |session, caller, cuts| {
                    caller.check_revoke(&client, Some(session))?;
                    Ok(session.revoke_token(revocation, family, caller.name(), now, cuts))
                })
                .await
            }
        }
    }
}
