//! Changing what a session carries: claims, private data, the device's label.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::open::{CLAIMS_BYTES_MAX, DATA_BYTES_MAX, TEXT_BYTES_MAX, json_text, short_text};
use super::read::View;
use super::{Engine, Result};
use crate::domain::access::Claims;
use crate::domain::caller::Caller;
use crate::domain::client::Permission;
use crate::domain::id::SessionId;
use crate::domain::refusal::Refusal;
use crate::domain::session::{Changes, Data, Decision};
use crate::store::{Lane, Store};

/// What to change; what is absent stays, and what is `None` inside is taken away.
#[derive(Debug, Default)]
pub struct ChangeSession {
    /// What goes into tokens and introspection.
    pub claims: Option<Option<Map<String, Value>>>,
    /// What stays with the session.
    pub data: Option<Option<Map<String, Value>>>,
    /// What a person calls the device.
    pub label: Option<Option<String>>,
    /// The versions of which one must still be the current one.
    pub if_version: Option<Vec<u32>>,
}

impl<S: Store> Engine<S> {
    /// Changes a session; it is on the disk when this returns. Tokens that were issued keep the claims that
    /// they have.
    ///
    /// # Errors
    /// `NotFound` when there is none, or it is not the caller's to see; `Forbidden` when the caller may only
    /// read and end it; `Invalid` naming a field; `PreconditionFailed` at another version; `Conflict` for a
    /// session that lives no longer.
    pub async fn change_session(
        &self,
        caller: &Caller,
        id: SessionId,
        change: ChangeSession,
    ) -> Result<View> {
        caller.require(Permission::Sessions)?;
        let claims = change
            .claims
            .map(|claims| claims.map(|c| json_text("claims", &c, CLAIMS_BYTES_MAX).map(Claims)).transpose())
            .transpose()?;
        let data = change
            .data
            .map(|data| json_text("data", &data.unwrap_or_default(), DATA_BYTES_MAX).map(Data))
            .transpose()?;
        let label = change
            .label
            .map(|l| l.map(|l| short_text("device.label", l, TEXT_BYTES_MAX)).transpose())
            .transpose()?;
        if let Some(Some(claims)) = &claims {
            self.check_token_size(caller, id, claims).await?;
        }
        let changes = Changes { claims, label, data: data.is_some() };
        let (now, who, if_version) = (self.clock.now().wall, caller.clone(), change.if_version);
        let changed = self.update_session(id, Lane::Ordinary, move |session, cuts| {
            if !who.may_see(session) {
                return Decision::answer(None);
            }
            if !who.may_change(session) {
                return Decision::answer(Some(Err(
                    Refusal::Forbidden.because("only the session's opener and administrators change it")
                )));
            }
            if if_version.as_ref().is_some_and(|versions| !versions.contains(&session.version)) {
                let why =
                    format!("If-Match names another version; the session is at version {}", session.version);
                return Decision::answer(Some(Err(Refusal::PreconditionFailed.because(why))));
            }
            let Some(events) = session.change(&changes, who.name(), now, cuts) else {
                return Decision::answer(Some(Err(Refusal::Conflict.because("the session lives no longer"))));
            };
            Decision { answer: Some(Ok(session.clone())), events, data: data.clone() }
        });
        let session = changed
            .await?
            .flatten()
            .ok_or_else(|| Refusal::NotFound.because("there is no such session"))??;
        self.view(caller, session).await
    }

    /// Claims that would make a token longer than any that we accept, of the session itself or of a family,
    /// are refused before they are written.
    async fn check_token_size(&self, caller: &Caller, id: SessionId, claims: &Claims) -> Result<()> {
        let Some(mut session) = self
            .read_session(id)
            .await?
            .map(Arc::unwrap_or_clone)
            .filter(|session| caller.may_change(session))
        else {
            return Ok(());
        };
        let (registry, now) = (self.store.registry(), self.clock.now().wall);
        session.claims = Some(claims.clone());
        if let Some(client) = registry.clients.get(&session.client_id) {
            self.issue_at_sign_in(&session, client, now)?;
        }
        for family in session.families.iter().filter(|family| family.end(&registry.cuts).is_none()) {
            if let Some(client) = registry.clients.get(&family.client_id) {
                self.issue_for_family(&session, family, client, now)?;
            }
        }
        Ok(())
    }
}
