//! Changing the claims, the private data and the device label of a session.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::read::View;
use super::{Engine, Result};
use crate::domain::access::Claims;
use crate::domain::caller::{Granted, UseSessions};
use crate::domain::id::SessionId;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Changes, Data, Decision};
use crate::domain::text::short_text;
use crate::store::{Lane, Store};

/// What to change. Absent members stay as they are; `Some(None)` removes.
#[derive(Debug, Default)]
pub struct ChangeSession {
    /// The claims for tokens and introspection.
    pub claims: Option<Option<Map<String, Value>>>,
    pub data: Option<Option<Map<String, Value>>>,
    /// The label of the device.
    pub label: Option<Option<String>>,
    /// The versions of which one must be the current one (`If-Match`).
    pub if_version: Option<Vec<u32>>,
}

impl<S: Store> Engine<S> {
    /// Changes a session. Issued tokens keep their claims.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Invalid`, `PreconditionFailed` at another version, `Conflict` for a session
    /// that is not active.
    pub async fn change_session(
        &self,
        caller: &Granted<UseSessions>,
        id: SessionId,
        change: ChangeSession,
    ) -> Result<View> {
        let claims = change.claims.map(|claims| claims.map(|c| Claims::from_object(&c)).transpose());
        let claims = claims.transpose()?;
        let data = change.data.map(|data| Data::from_object(&data.unwrap_or_default())).transpose()?;
        let label = change.label.map(|label| label.map(|l| short_text("device.label", &l)).transpose());
        let changes = Changes { claims, label: label.transpose()?, data: data.is_some() };
        if let Some(Some(claims)) = &changes.claims {
            self.check_token_size(caller, id, claims).await?;
        }
        let (now, who, if_version) = (self.clock.now().wall, caller.clone(), change.if_version);
        let changed = self.try_update_session(id, Lane::Ordinary, now, move |session, cuts| {
            who.check_current(cuts)?;
            who.check_change(session)?;
            if if_version.as_ref().is_some_and(|versions| !versions.contains(&session.version)) {
                let why =
                    format!("If-Match names another version; the session is at version {}", session.version);
                return Err(Refusal::PreconditionFailed.because(why));
            }
            let events = session.change(&changes, who.name(), now, cuts)?;
            Ok(Decision { answer: session.clone(), events, data: data.clone() })
        });
        let session = changed.await?.ok_or_else(Refused::no_such_session)?;
        self.view(caller, session, now).await
    }

    /// Refuses, before anything is written, claims with which an access token of the session or of one of its
    /// families would be too long.
    async fn check_token_size(
        &self,
        caller: &Granted<UseSessions>,
        id: SessionId,
        claims: &Claims,
    ) -> Result<()> {
        let now = self.clock.now().wall;
        let found = self.read_session(id, now).await?.filter(|session| caller.may_change(session));
        let Some(mut session) = found.map(Arc::unwrap_or_clone) else { return Ok(()) };
        let registry = self.store.registry();
        session.claims = Some(claims.clone());
        if let Some(client) = registry.cuts.registered.get(&session.client_id) {
            self.issue_new(&session, &session, client, now)?;
        }
        for family in session.active_families(&registry.cuts) {
            if let Some(client) = registry.cuts.registered.get(&family.client_id) {
                self.issue_new(&session, family, client, now)?;
            }
        }
        Ok(())
    }
}
