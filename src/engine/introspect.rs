//! Introspection (RFC 7662). What is told of which token is decided in `domain/introspection.rs`; here it is
//! only looked up.

use super::counts::{Introspected, TokenKind};
use super::{Engine, Result};
use crate::domain::access::IssuedFor;
use crate::domain::client::Permission;
use crate::domain::id::{ClientId, Position};
use crate::domain::introspection::{Active, Judgement};
use crate::domain::refusal::Refusal;
use crate::domain::session::RevokedToken;
use crate::engine::authenticate::Authenticated;
use crate::store::{Registry, Store};
use crate::token::opaque::{Opaque, OpaqueKind};

/// A live token, and the position in the event log at which that was true.
#[derive(Debug)]
pub struct Live {
    /// What is told of it.
    pub active: Active,
    /// Every event up to here is in the answer.
    pub as_of: Position,
}

impl<S: Store> Engine<S> {
    /// What may be told of a token; `None` is inactive, whatever the reason. Changes nothing and is no
    /// activity (C-11).
    ///
    /// # Errors
    /// `Forbidden` (or `InsufficientScope` for a bearer) without the permission `introspect`; a store that
    /// cannot answer.
    pub async fn introspect(&self, who: &Authenticated, token: &str) -> Result<Option<Live>> {
        if !who.caller.may(Permission::Introspect) && !who.caller.may(Permission::IntrospectAny) {
            self.counts.introspections.one((TokenKind::Unread, Introspected::Refused));
            let refusal = if who.by_bearer { Refusal::InsufficientScope } else { Refusal::Forbidden };
            return Err(refusal.because("the client does not have the permission introspect").into());
        }
        let (kind, live) = self.look_up(who, token).await?;
        self.counts
            .introspections
            .one((kind, if live.is_some() { Introspected::Active } else { Introspected::Inactive }));
        Ok(live)
    }

    async fn look_up(&self, who: &Authenticated, token: &str) -> Result<(TokenKind, Option<Live>)> {
        // Read before the state: then the answer is at least as new as this position says.
        let as_of = self.store.head();
        let registry = self.store.registry();
        let judgement = |client: &ClientId| Judgement {
            caller: &who.caller,
            now: self.clock.now().wall,
            cuts: &registry.cuts,
            client: client_of(&registry, client),
        };
        let (kind, active) = if let Some(token) = Opaque::decode(token, &self.opaque) {
            let kind = match token.kind {
                OpaqueKind::Session => TokenKind::Session,
                OpaqueKind::Refresh => TokenKind::Refresh,
            };
            let Some(session) = self.read_session(token.session).await? else { return Ok((kind, None)) };
            let active = match token.kind {
                OpaqueKind::Session => {
                    judgement(&session.client_id).session_token(&session, token.generation, &token.hash())
                }
                OpaqueKind::Refresh => {
                    let Some(family) = session.family(token.family) else { return Ok((kind, None)) };
                    judgement(&family.client_id).refresh_token(
                        &session,
                        token.family,
                        token.generation,
                        &token.hash(),
                    )
                }
            };
            (kind, active)
        } else {
            let Some(token) = self.verifier.verify(token, &self.keyring.load()) else {
                return Ok((TokenKind::Unknown, None));
            };
            let (session, revoked) = match &token.issued_for {
                IssuedFor::Session { id, .. } => (self.read_session(*id).await?, false),
                IssuedFor::Client { .. } => (
                    None,
                    self.store
                        .is_revoked(RevokedToken { id: token.id, expires_at: token.expires_at })
                        .await?,
                ),
            };
            (
                TokenKind::Access,
                judgement(&token.client_id).access_token(
                    &token,
                    &self.rules.issuer,
                    session.as_deref(),
                    revoked,
                ),
            )
        };
        Ok((kind, active.map(|active| Live { active, as_of })))
    }
}

fn client_of<'a>(registry: &'a Registry, id: &ClientId) -> Option<&'a crate::domain::client::Client> {
    registry.clients.get(id).map(AsRef::as_ref)
}
