//! Introspection (RFC 7662): looks up what a token refers to. `domain/introspection.rs` decides the answer.

use super::authenticate::Authenticated;
use super::counts::{Introspected, TokenKind};
use super::{Engine, Result, validity};
use crate::domain::access::IssuedFor;
use crate::domain::caller::{Granted, IntrospectTokens};
use crate::domain::id::{ClientId, Position};
use crate::domain::introspection::{Active, Judgement};
use crate::domain::refusal::Refused;
use crate::domain::session::RevokedToken;
use crate::store::Store;
use crate::token::opaque::{Opaque, OpaqueKind};

/// A valid token, and the position in the event log at which it was valid.
#[derive(Debug)]
pub struct ActiveAt {
    /// The answer.
    pub active: Active,
    /// The answer takes account of every event up to this one.
    pub as_of: Position,
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
        let answer = if active.is_some() { Introspected::Active } else { Introspected::Inactive };
        self.counts.introspections.one((kind, answer));
        Ok(active.map(|active| ActiveAt { active, as_of }))
    }

    async fn look_up(
        &self,
        caller: &Granted<IntrospectTokens>,
        token: &str,
    ) -> Result<(TokenKind, Option<Active>)> {
        let registry = self.store.registry();
        let judgement = |client: &ClientId| Judgement {
            caller,
            validity: validity(&registry, client, self.clock.now().wall),
        };
        if let Some(token) = Opaque::decode(token, &self.opaque) {
            let session = self.read_session(token.link.session).await?;
            let (kind, active) = match token.kind {
                OpaqueKind::Session => (
                    TokenKind::Session,
                    session.and_then(|session| {
                        let judgement = judgement(&session.client_id);
                        judgement.session_token(&session, token.link.generation, &token.hash())
                    }),
                ),
                OpaqueKind::Refresh => (
                    TokenKind::Refresh,
                    session.and_then(|session| {
                        let judgement = judgement(&session.family(token.link.family)?.client_id);
                        judgement.refresh_token(
                            &session,
                            token.link.family,
                            token.link.generation,
                            &token.hash(),
                        )
                    }),
                ),
            };
            return Ok((kind, active));
        }
        let Some(token) = self.verifier.verify(token, &self.keyring.load()) else {
            return Ok((TokenKind::Unknown, None));
        };
        let (session, revoked) = match &token.issued_for {
            IssuedFor::Session { id, .. } => (self.read_session(*id).await?, false),
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
