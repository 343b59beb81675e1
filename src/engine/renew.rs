//! Step-up: the subject authenticated again.

use std::sync::Arc;

use super::open::{DISABLED, Opened, authentication};
use super::{Engine, Result};
use crate::domain::caller::Caller;
use crate::domain::client::{Client, Grant, Permission};
use crate::domain::id::SessionId;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, NewFamily, Renewal, Session};
use crate::domain::time::Timestamp;
use crate::engine::open::invalid;
use crate::store::{Lane, Store};
use crate::token::opaque::{OpaqueKind, Secret};

/// How the subject authenticated this time.
#[derive(Debug, Default)]
pub struct RenewSession {
    /// To which level; none if absent, whatever it was before.
    pub acr: Option<String>,
    /// By which methods.
    pub amr: Vec<String>,
    /// When; now if absent.
    pub auth_time: Option<Timestamp>,
}

impl<S: Store> Engine<S> {
    /// Renews a session: a new session token, both timeouts from their start, the family that came with the
    /// old token replaced.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden` when the caller may only read and end it; `Invalid` for an `auth_time` in the
    /// future, or before the last one; `Conflict` for a session that lives no longer, or whose client is
    /// disabled.
    pub async fn renew(&self, caller: &Caller, id: SessionId, request: RenewSession) -> Result<Opened> {
        caller.require(Permission::Sessions)?;
        let now = self.clock.now().wall;
        let found = self.read_session(id).await?.filter(|session| caller.may_see(session));
        let session = found.ok_or_else(|| Refusal::NotFound.because("there is no such session"))?;
        if !caller.may_change(&session) {
            return Err(Refusal::Forbidden
                .because("only the session's opener and administrators renew it")
                .into());
        }
        let registry = self.store.registry();
        let client = registry.clients.get(&session.client_id).ok_or_else(over)?;
        if client.disabled {
            return Err(Refusal::Conflict.because(format!("the session's client {DISABLED}")).into());
        }
        let secret = Secret::new(self.clock.random());
        let refresh_secret = client.has_grant(Grant::RefreshToken).then(|| Secret::new(self.clock.random()));
        let lifetimes = self.policy(client).lifetimes(session.remember);
        let renewal = Renewal {
            token: secret.hash(OpaqueKind::Session),
            authentication: authentication(request.acr, request.amr, request.auth_time, now)?,
            lifetimes,
            family: refresh_secret.as_ref().map(|secret| own_family(&session, secret)),
            by: caller.name().into(),
        };
        if renewal.authentication.at.plus(lifetimes.absolute_lifetime) <= now {
            return Err(
                invalid("auth_time", "is so long ago that the session would have expired already").into()
            );
        }
        // A token that would be too long is refused while the old session token still lives.
        let mut foretaste = Arc::unwrap_or_clone(session);
        foretaste.authentication = renewal.authentication.clone();
        self.issue_at_sign_in(&foretaste, client, now)?;
        let session = self.decide_renewal(id, renewal, now).await?;
        let access = self.issue_at_sign_in(&session, client, now)?;
        self.counts.tokens.one(client.access_token_format);
        let refresh_token = refresh_secret
            .zip(session.own_family)
            .map(|(secret, family)| self.text(OpaqueKind::Refresh, session.id, family, 0, secret));
        let session_token = self.text(OpaqueKind::Session, session.id, 0, session.renewals, secret);
        let data = if owns(caller, &session, client) { self.store.data(id).await? } else { None };
        Ok(Opened { session, data, session_token, access, refresh_token })
    }

    async fn decide_renewal(&self, id: SessionId, renewal: Renewal, now: Timestamp) -> Result<Session> {
        let renewed = self.update_session(id, Lane::Ordinary, move |session, cuts| {
            if renewal.authentication.at < session.authentication.at {
                return Decision::answer(Err(invalid(
                    "auth_time",
                    "must not be before the previous authentication",
                )));
            }
            match session.renew(renewal.clone(), now, cuts) {
                Some(decision) => Decision::with_events(Ok(session.clone()), decision.events),
                None => Decision::answer(Err(over())),
            }
        });
        Ok(renewed.await?.unwrap_or_else(|| Err(over()))?)
    }
}

fn own_family(session: &Session, secret: &Secret) -> NewFamily {
    NewFamily {
        client_id: session.client_id.clone(),
        scope: session.scope.clone(),
        audience: session.audience.clone(),
        secret: secret.hash(OpaqueKind::Refresh),
    }
}

fn owns(caller: &Caller, session: &Session, client: &Client) -> bool {
    caller.is(&client.id) || caller.opened(session)
}

fn over() -> Refused {
    Refusal::Conflict.because("the session lives no longer")
}
