//! The signed-in subject of a request, by session cookie, session token or access token, and logging out.

use std::sync::Arc;

use super::{Engine, Result, validity};
use crate::domain::access::{Authentication, IssuedFor};
use crate::domain::id::{ClientId, SessionId};
use crate::domain::scope::ScopeSet;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::OpaqueKind;
use crate::token::verifier::VerifiedOpaque;

#[derive(Debug)]
pub struct SignedIn {
    pub session: Session,
    /// The client that the token was issued to.
    pub client_id: ClientId,
    /// The scope of the token.
    pub scope: ScopeSet,
    /// The authentication that the token attests.
    pub authentication: Authentication,
    /// What only an access token has; `None` for a session token.
    pub access: Option<AccessPart>,
    /// When it was valid.
    pub at: Timestamp,
    /// The last use that is on the disk.
    written: Timestamp,
}

/// What an access token has and a session token has not.
#[derive(Debug)]
pub struct AccessPart {
    /// `aud`.
    pub audience: Box<str>,
    /// `fam`.
    pub family: Option<u16>,
    /// `exp`.
    pub expires_at: Timestamp,
}

/// Why a token does not identify a signed-in subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSignedIn {
    Invalid,
    /// It is a valid access token for another audience.
    OtherAudience,
}

impl<S: Store> Engine<S> {
    /// The subject of a valid token: a session token, or an access token with a session whose audience is
    /// `audience`. Counts as activity if `is_use`.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn signed_in(
        &self,
        token: &str,
        audience: &str,
        is_use: bool,
    ) -> Result<std::result::Result<SignedIn, NotSignedIn>> {
        self.store.current().await?;
        let now = self.clock.now().wall;
        let Some(mut found) = self.by_token(token, now).await? else {
            return Ok(Err(NotSignedIn::Invalid));
        };
        if found.access.as_ref().is_some_and(|access| *access.audience != *audience) {
            return Ok(Err(NotSignedIn::OtherAudience));
        }
        if is_use {
            self.count_use(&mut found, now);
        }
        Ok(Ok(found))
    }

    /// The subject of a valid session token, or of an access token with a session, for any audience. The
    /// caller has awaited the current registry.
    pub(super) async fn by_token(&self, token: &str, now: Timestamp) -> Result<Option<SignedIn>> {
        match self.verifier.opaque(token, &self.opaque) {
            Some(token) if token.kind == OpaqueKind::Session => self.by_session_token(token, now).await,
            Some(_) => Ok(None),
            None => self.by_access_token(token, now).await,
        }
    }

    /// Counts the presentation of a token as activity of its session.
    pub(super) fn count_use(&self, found: &mut SignedIn, now: Timestamp) {
        let session = &found.session;
        if let Some(client) = self.store.registry().cuts.registered.get(&session.client_id) {
            self.meters.of(&client.policy).used(session.remember, now.since(session.last_used_at));
        }
        self.note_use(&found.session, found.written, now);
        found.session.touch(now);
    }

    async fn by_session_token(&self, token: VerifiedOpaque, now: Timestamp) -> Result<Option<SignedIn>> {
        let registry = self.store.registry();
        let Some((session, written)) = self.read_session_and_written_use(token.link.session, now).await?
        else {
            return Ok(None);
        };
        let valid = validity(&registry, &session.client_id, now).session_token(
            &session,
            token.link.generation,
            &token.hash,
        );
        let (client_id, scope) = (session.client_id.clone(), session.scope.clone());
        let authentication = session.authentication.clone();
        Ok(valid.is_ok().then_some(SignedIn {
            session,
            client_id,
            scope,
            authentication,
            access: None,
            at: now,
            written,
        }))
    }

    async fn by_access_token(&self, token: &str, now: Timestamp) -> Result<Option<SignedIn>> {
        let Some(token) = self.verifier.access(token, &self.keyring()) else { return Ok(None) };
        let IssuedFor::Session { id, family, authentication, .. } = &token.issued_for else {
            return Ok(None);
        };
        let registry = self.store.registry();
        let Some((session, written)) = self.read_session_and_written_use(*id, now).await? else {
            return Ok(None);
        };
        let valid = validity(&registry, &token.client_id, now).access_token(
            &token,
            &self.rules.issuer,
            Some(&session),
            false,
        );
        let (client_id, scope) = (token.client_id.clone(), token.scope.clone());
        let authentication = authentication.clone();
        let access = Some(AccessPart {
            audience: token.audience.clone(),
            family: *family,
            expires_at: Timestamp::from_seconds(token.expires_at),
        });
        Ok(valid.is_ok().then_some(SignedIn {
            session,
            client_id,
            scope,
            authentication,
            access,
            at: now,
            written,
        }))
    }

    pub(super) async fn read_session_and_written_use(
        &self,
        id: SessionId,
        now: Timestamp,
    ) -> Result<Option<(Session, Timestamp)>> {
        Ok(self.store.session(id).await?.map(|session| {
            let mut session = Arc::unwrap_or_clone(session);
            let written = session.last_used_at;
            self.activity.apply(&mut session, now);
            (session, written)
        }))
    }

    /// Logs out by session token: ends its session. False when the token is not valid, so that nothing ended.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn log_out(&self, token: &str) -> Result<bool> {
        let genuine =
            self.verifier.opaque(token, &self.opaque).filter(|token| token.kind == OpaqueKind::Session);
        let Some(token) = genuine else { return Ok(false) };
        let now = self.clock.now().wall;
        let ended = self.update_session(token.link.session, Lane::Revocation, now, move |session, cuts| {
            session.log_out(token.link.generation, &token.hash, now, cuts)
        });
        Ok(ended.await?.unwrap_or(false))
    }
}
