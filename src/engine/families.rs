//! Further families in one session: single sign-on for other clients.

use std::sync::Arc;

use super::issue::{Issued, parties};
use super::{Engine, Result};
use crate::domain::caller::{Granted, UseSessions};
use crate::domain::client::{Client, Grant};
use crate::domain::end::{End, EndReason};
use crate::domain::id::{Position, SessionId};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Decision, NewFamily};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Link, OpaqueKind, Secret, SecretText};

/// A further family, as it is requested.
#[derive(Debug, Default)]
pub struct OpenFamily {
    /// The client that it is for; the caller itself if absent.
    pub client_id: Option<String>,
    /// The scope; all of the client's if absent.
    pub scope: Option<String>,
    /// The audience; the client's only one if absent.
    pub audience: Option<String>,
}

/// A family just opened, with its tokens.
pub struct OpenedFamily {
    /// Its number in the session.
    pub number: u16,
    pub access: Issued,
    pub refresh_token: SecretText,
}

impl<S: Store> Engine<S> {
    /// Opens a family for a client in a session that the caller may change. The client gets no right to the
    /// session.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `UnauthorizedClient`, `InvalidScope`, `InvalidTarget`; `Conflict` for a
    /// session that is not active or has as many families as it can have.
    pub async fn open_family(
        &self,
        caller: &Granted<UseSessions>,
        id: SessionId,
        request: OpenFamily,
    ) -> Result<OpenedFamily> {
        let client = self.client_opened_for(caller, request.client_id.as_deref())?;
        client.check_grant(Grant::RefreshToken)?;
        let asked = request.scope.as_deref().map(ScopeSet::requested).transpose()?;
        let secret = Secret::new(self.clock.random());
        let new = NewFamily {
            client_id: client.id.clone(),
            scope: client.grant_scope(asked.as_ref())?,
            audience: client.grant_audience(request.audience.as_deref(), &self.rules.issuer)?,
            secret: secret.hash(OpaqueKind::Refresh),
        };
        let (now, who, requires) = (self.clock.now().wall, caller.clone(), parties(caller, &client));
        self.try_family(caller, id, new.clone(), &client, now).await?;
        let opened = self.try_update_session(id, Lane::Opening, now, move |session, cuts| {
            cuts.check_registered(&requires)?;
            who.check_change(session)?;
            let (number, event) = session.open_family(new.clone(), who.name(), now, cuts)?;
            Ok(Decision::with_events((session.clone(), number), vec![event]))
        });
        let (session, number) = opened.await?.ok_or_else(Refused::no_such_session)?;
        let family = session.family(number).expect("the family was just opened in this session");
        let access = self.issue_new(&session, family, &client, now)?;
        self.counts.tokens.one(client.access_token_format);
        let link = Link { session: id, family: number, generation: 0 };
        let refresh_token = self.text(OpaqueKind::Refresh, link, secret);
        Ok(OpenedFamily { number, access, refresh_token })
    }

    /// Refuses, before anything is written, a family whose access token would be too long. The transaction
    /// checks everything else.
    async fn try_family(
        &self,
        caller: &Granted<UseSessions>,
        id: SessionId,
        new: NewFamily,
        client: &Client,
        now: Timestamp,
    ) -> Result<()> {
        let found = self.read_session(id, now).await?.filter(|session| caller.may_change(session));
        let Some(mut session) = found.map(Arc::unwrap_or_clone) else { return Ok(()) };
        let number = session.add_family(new, Position::default(), now, &self.store.registry().cuts);
        if let Some(family) = number.and_then(|number| session.family(number)) {
            self.issue_new(&session, family, client, now)?;
        }
        Ok(())
    }

    /// Ends a family; the session stays active. Ending it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn end_family(&self, caller: &Granted<UseSessions>, id: SessionId, number: u16) -> Result<()> {
        let (now, who) = (self.clock.now().wall, caller.clone());
        let ended = self.try_update_session(id, Lane::Revocation, now, move |session, cuts| {
            who.check_current(cuts)?;
            who.check_see(session)?;
            if session.family(number).is_none() {
                return Err(Refusal::NotFound.because("there is no such family in this session"));
            }
            let end = End { at: now, reason: EndReason::TokenRevoked, by: who.name().into() };
            Ok(Decision::with_events((), session.close_family(number, end, now, cuts)))
        });
        Ok(ended.await?.ok_or_else(Refused::no_such_session)?)
    }
}
