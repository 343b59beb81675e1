//! Renewing a session, after the subject authenticated again (step-up).

use std::sync::Arc;

use super::issue::{ForSession, Opened, parties};
use super::{Engine, Result};
use crate::domain::access::Authentication;
use crate::domain::caller::{Granted, UseSessions};
use crate::domain::client::Grant;
use crate::domain::id::SessionId;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, NewFamily, Renewal};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Link, OpaqueKind, Secret};

/// The new authentication, as the caller reports it.
#[derive(Debug, Default)]
pub struct RenewSession {
    /// The authentication context class; none if absent, whatever it was before.
    pub acr: Option<String>,
    pub amr: Vec<String>,
    /// When; if absent, the later of now and the previous time.
    pub auth_time: Option<Timestamp>,
}

impl<S: Store> Engine<S> {
    /// Renews a session: issues a new session token, restarts both timeouts, and replaces the family that
    /// came with the old token.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid`, `InvalidScope`, `InvalidTarget`; `Conflict` for a session that is
    /// not active, or whose client is disabled.
    pub async fn renew(
        &self,
        caller: &Granted<UseSessions>,
        id: SessionId,
        request: RenewSession,
    ) -> Result<Opened> {
        let now = self.clock.now().wall;
        let session = self.read_session(id, now).await?.ok_or_else(Refused::no_such_session)?;
        caller.check_renew(&session)?;
        let registry = self.store.registry();
        let client =
            registry.cuts.registered.get(&session.client_id).ok_or_else(Refused::session_not_active)?;
        client.check_issue(Refusal::Conflict, "the session's client")?;
        let mut session = Arc::unwrap_or_clone(session);
        session.audience = client.audience_now(&session.audience, &self.rules.issuer).into();
        let scope = client.narrow(&session.scope, &session.audience, &self.rules.issuer)?;
        let secret = Secret::new(self.clock.random());
        let refresh_secret = client.has_grant(Grant::RefreshToken).then(|| Secret::new(self.clock.random()));
        let lifetimes = self.policy(client).lifetimes(session.remember);
        let authentication =
            Authentication::new(request.acr.as_deref(), &request.amr, request.auth_time, now)?;
        authentication.expiry(lifetimes, now)?;
        let renewal = Renewal {
            token: secret.hash(OpaqueKind::Session),
            scope: scope.clone(),
            audience: session.audience.clone(),
            authentication,
            reports_time: request.auth_time.is_some(),
            lifetimes,
            family: refresh_secret.as_ref().map(|secret| NewFamily {
                scope: scope.clone(),
                ..session.own_family_of(secret.hash(OpaqueKind::Refresh))
            }),
            by: caller.name().into(),
        };
        // An access token that would be too long is refused while the old session token is still valid.
        let mut candidate = session;
        candidate.authentication = renewal.authentication.clone();
        let grant = ForSession { scope: scope.clone(), ..ForSession::from(&candidate) };
        self.issue_new(&candidate, grant, client, now)?;
        let requires = parties(caller, client);
        let renewed = self.try_update_session(id, Lane::Ordinary, now, move |session, cuts| {
            cuts.check_registered(&requires)?;
            let events = session.renew(renewal.clone(), now, cuts)?.events;
            Ok(Decision::with_events(session.clone(), events))
        });
        let session = renewed.await?.ok_or_else(Refused::session_not_active)?;
        let access = self.issue_new(&session, ForSession { scope, ..(&session).into() }, client, now)?;
        self.counts.tokens.one(client.access_token_format);
        let refresh_token = refresh_secret.zip(session.own_family).map(|(secret, family)| {
            self.text(OpaqueKind::Refresh, Link { session: session.id, family, generation: 0 }, secret)
        });
        let link = Link { session: session.id, family: 0, generation: session.renewals };
        let session_token = self.text(OpaqueKind::Session, link, secret);
        let data = if caller.owns(&session) { Some(self.store.data(id).await?) } else { None };
        Ok(Opened { session, data, session_token, access, refresh_token })
    }
}
