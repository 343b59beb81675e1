//! Introspection (RFC 7662): looks up what a token refers to. `domain/introspection.rs` decides the answer.

use super::authenticate::Authenticated;
use super::counts::{Introspected, TokenKind};
use super::{Engine, Result, validity};
use crate::domain::access::IssuedFor;
use crate::domain::caller::{Caller, Granted, Inspect, IntrospectTokens};
use crate::domain::client::ClientKind;
use crate::domain::id::{ClientId, Position, SessionId};
use crate::domain::introspection::{Active, Judgement};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{RevokedToken, Session};
use crate::domain::validity::Inactive;
use crate::store::Store;
use crate::token::opaque::OpaqueKind;

/// A valid token, and the position in the event log at which it was valid.
#[derive(Debug)]
pub struct ActiveAt {
    pub active: Active,
    /// The answer takes account of every event up to this one.
    pub as_of: Position,
}

/// What a token is, for an operator.
pub struct Explained {
    pub kind: TokenKind,
    pub identity: TokenIdentity,
    /// The answer of introspection, or why it is inactive.
    pub answer: std::result::Result<ActiveAt, Inactive>,
}

/// What a genuine token belongs to, active or not.
#[derive(Debug, Default)]
pub struct TokenIdentity {
    pub session: Option<SessionId>,
    pub family: Option<u16>,
    /// Of a refresh token.
    pub generation: Option<u32>,
    pub client: Option<ClientId>,
}

impl<S: Store> Engine<S> {
    /// The permission to introspect. A refusal is counted.
    ///
    /// # Errors
    /// `Forbidden`, or `InsufficientScope` for a bearer.
    pub fn may_introspect(
        &self,
        who: &Authenticated,
    ) -> std::result::Result<Granted<IntrospectTokens>, Refused> {
        who.require().inspect_err(|_| {
            self.counts.introspections.one((TokenKind::Unread, Introspected::Refused));
        })
    }

    /// The answer for a token; `None` is inactive, for whatever reason. It is not activity, and changes
    /// nothing (C-11).
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn introspect(
        &self,
        caller: &Granted<IntrospectTokens>,
        token: &str,
    ) -> Result<Option<ActiveAt>> {
        // Read before the state, so that the answer is at least as new as this position.
        let as_of = self.store.head();
        let (kind, active) = self.look_up(caller, token).await?;
        if let Err(Inactive::Audience { audience, .. }) = &active {
            self.counts.unserved(caller, audience, self.clock.now());
        }
        let answer = if active.is_ok() { Introspected::Active } else { Introspected::Inactive };
        self.counts.introspections.one((kind, answer));
        Ok(active.ok().map(|active| ActiveAt { active, as_of }))
    }

    /// The answer that the client `id` would get, or why the token is inactive for it; for the operator, who
    /// has the admin socket.
    ///
    /// # Errors
    /// `NotFound` if there is no such client, `Conflict` if its introspections are rejected; a store that
    /// cannot answer.
    pub async fn introspect_as(
        &self,
        _: &Granted<Inspect>,
        id: &str,
        token: &str,
    ) -> Result<std::result::Result<ActiveAt, Inactive>> {
        let as_of = self.store.head();
        let (_, active) = self.look_up(&self.introspecting_client(id)?, token).await?;
        Ok(active.map(|active| ActiveAt { active, as_of }))
    }

    /// What a token is, and the answer that the client `id` would get; without a client the answer for an
    /// administrator.
    ///
    /// # Errors
    /// As for [`Self::introspect_as`].
    pub async fn explain(
        &self,
        operator: &Granted<Inspect>,
        id: Option<&str>,
        token: &str,
    ) -> Result<Explained> {
        let as_of = self.store.head();
        let caller = match id {
            Some(id) => self.introspecting_client(id)?,
            None => operator.require()?,
        };
        let (kind, active) = self.look_up(&caller, token).await?;
        let identity = self.identity_of(token).await?;
        Ok(Explained { kind, identity, answer: active.map(|active| ActiveAt { active, as_of }) })
    }

    async fn identity_of(&self, token: &str) -> Result<TokenIdentity> {
        if let Some(token) = self.verifier.opaque(token, &self.opaque) {
            let (link, is_refresh) = (token.link, token.kind == OpaqueKind::Refresh);
            let session = self.store.session(link.session).await?;
            let of_family = |session: &Session| Some(session.family(link.family)?.client_id.clone());
            let client = session.and_then(|session| {
                if is_refresh { of_family(&session) } else { Some(session.client_id.clone()) }
            });
            return Ok(TokenIdentity {
                session: Some(link.session),
                family: is_refresh.then_some(link.family),
                generation: is_refresh.then_some(link.generation),
                client,
            });
        }
        let Some(token) = self.verifier.access(token, &self.keyring()) else {
            return Ok(TokenIdentity::default());
        };
        let (session, family) = match token.issued_for {
            IssuedFor::Session { id, family, .. } => (Some(id), family),
            IssuedFor::Client { .. } => (None, None),
        };
        Ok(TokenIdentity { session, family, generation: None, client: Some(token.client_id.clone()) })
    }

    /// A client that can introspect.
    fn introspecting_client(&self, id: &str) -> Result<Granted<IntrospectTokens>> {
        let unknown = || Refusal::NotFound.because(format!("there is no client {id:?}"));
        let client =
            id.parse().ok().and_then(|id: ClientId| self.store.registry().cuts.registered.get(&id).cloned());
        let client = client.ok_or_else(unknown)?;
        let disabled = |_| {
            let enable = format!("`client update {id} --enable`");
            Refusal::Conflict
                .because(format!("the client {id} is disabled and gets 401; enable it ({enable})"))
        };
        client.check_enabled().map_err(disabled)?;
        if client.kind == ClientKind::Public {
            let why = format!(
                "the client {id} is public and gets 401: without a secret it cannot introspect; its API or \
                 backend does, as a confidential client with the permission introspect: name that one"
            );
            return Err(Refusal::Conflict.because(why).into());
        }
        let granted = Caller::Client(client).require().map_err(|refused| {
            Refusal::Conflict.because(format!(
                "the client {id} gets 403: {}; add it to its permissions (`client update {id} --permission`)",
                refused.detail
            ))
        });
        Ok(granted?)
    }

    async fn look_up(
        &self,
        caller: &Granted<IntrospectTokens>,
        token: &str,
    ) -> Result<(TokenKind, std::result::Result<Active, Inactive>)> {
        let (registry, now) = (self.store.registry(), self.clock.now().wall);
        let judgement = |client: &ClientId| Judgement { caller, validity: validity(&registry, client, now) };
        if let Some(token) = self.verifier.opaque(token, &self.opaque) {
            let session = self.read_session(token.link.session, now).await?;
            let (link, hash) = (token.link, token.hash);
            let active = |session: &Session| match token.kind {
                OpaqueKind::Session => {
                    judgement(&session.client_id).session_token(session, link.generation, &hash)
                }
                OpaqueKind::Refresh => {
                    let family = session.family(link.family).ok_or(Inactive::FamilyEnded)?;
                    judgement(&family.client_id).refresh_token(session, link.family, link.generation, &hash)
                }
            };
            let kind = match token.kind {
                OpaqueKind::Session => TokenKind::Session,
                OpaqueKind::Refresh => TokenKind::Refresh,
            };
            return Ok((kind, session.as_deref().ok_or(Inactive::SessionUnknown).and_then(active)));
        }
        let Some(token) = self.verifier.access(token, &self.keyring()) else {
            return Ok((TokenKind::Unknown, Err(Inactive::Unknown)));
        };
        let (session, revoked) = match &token.issued_for {
            IssuedFor::Session { id, .. } => (self.read_session(*id, now).await?, false),
            IssuedFor::Client { .. } => {
                let revoked = RevokedToken { id: token.id, expires_at: token.expires_at };
                (None, self.store.is_revoked(revoked).await?)
            }
        };
        let judgement = judgement(&token.client_id);
        let active = judgement.access_token(&token, &self.rules.issuer, session.as_deref(), revoked);
        Ok((TokenKind::Access, active))
    }
}
