//! Further families in one session: single sign-on for other clients.

use std::sync::Arc;

use super::issue::{ForSession, Issued};
use super::open::{not_too_long, parse_scope};
use super::{Engine, Result};
use crate::domain::caller::Caller;
use crate::domain::client::{Client, Grant, Permission};
use crate::domain::end::{End, EndReason};
use crate::domain::event::EventKind;
use crate::domain::family::Family;
use crate::domain::id::{Position, SessionId, TokenId};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, NewFamily, Session};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{OpaqueKind, Secret, SecretText};

/// For whom a further family is.
#[derive(Debug, Default)]
pub struct OpenFamily {
    /// The client; the caller itself if absent.
    pub client_id: Option<String>,
    /// The scope; all of the client's if absent.
    pub scope: Option<String>,
    /// The audience; the client's only one if absent.
    pub audience: Option<String>,
}

/// A family just opened.
pub struct OpenedFamily {
    /// Its number.
    pub number: u16,
    /// The access token.
    pub access: Issued,
    /// The refresh token.
    pub refresh_token: SecretText,
}

impl<S: Store> Engine<S> {
    /// Opens a family for a client in a session that the caller may change. It gives that client no right to
    /// the session.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` when the caller may only read and end the session, or may not open for the
    /// client; `UnauthorizedClient` when the client does not have the grant `refresh_token`; `InvalidScope`,
    /// `InvalidTarget`; `Conflict` for a session that lives no longer or has all the families that it may
    /// have.
    pub async fn open_family(
        &self,
        caller: &Caller,
        id: SessionId,
        request: OpenFamily,
    ) -> Result<OpenedFamily> {
        caller.require(Permission::Sessions)?;
        let client = self.client_opened_for(caller, request.client_id.as_deref())?;
        if !client.has_grant(Grant::RefreshToken) {
            return Err(Refusal::UnauthorizedClient
                .because("the client does not have the grant refresh_token")
                .into());
        }
        let asked = request.scope.as_deref().map(parse_scope).transpose()?;
        let secret = Secret::new(self.clock.random());
        let new = NewFamily {
            client_id: client.id.clone(),
            scope: client.grant_scope(asked.as_ref())?,
            audience: client.grant_audience(request.audience.as_deref(), &self.rules.issuer)?,
            secret: secret.hash(OpaqueKind::Refresh),
        };
        let (now, who) = (self.clock.now().wall, caller.clone());
        self.try_family(caller, id, new.clone(), &client, now).await?;
        let opened = self.update_session(id, Lane::Ordinary, move |session, cuts| {
            if !who.may_see(session) {
                return Decision::answer(Err(no_such_session()));
            }
            if !who.may_change(session) {
                return Decision::answer(Err(Refusal::Forbidden
                    .because("only the session's opener and administrators open families in it")));
            }
            if !session.is_active(now, cuts) {
                return Decision::answer(Err(Refusal::Conflict.because("the session lives no longer")));
            }
            let Some(number) = session.add_family(new.clone(), cuts.head.next(), now, cuts) else {
                return Decision::answer(Err(
                    Refusal::Conflict.because("the session has all the families that it may have")
                ));
            };
            let mut event = session.event(EventKind::FamilyOpened, now, who.name());
            (event.client, event.family) = (Some(new.client_id.clone()), Some(number));
            Decision::with_events(Ok((session.clone(), number)), vec![event])
        });
        let (session, number) = opened.await?.unwrap_or_else(|| Err(no_such_session()))?;
        let family = session.family(number).expect("the family was just opened in it");
        let access = self.issue_for_family(&session, family, &client, now)?;
        self.counts.tokens.one(client.access_token_format);
        Ok(OpenedFamily {
            number,
            access,
            refresh_token: self.text(OpaqueKind::Refresh, id, number, 0, secret),
        })
    }

    /// Refuses, before anything is written, a family whose access token would be too long. What else is wrong
    /// is judged in the transaction.
    async fn try_family(
        &self,
        caller: &Caller,
        id: SessionId,
        new: NewFamily,
        client: &Client,
        now: Timestamp,
    ) -> Result<()> {
        let Some(mut session) = self
            .read_session(id)
            .await?
            .map(Arc::unwrap_or_clone)
            .filter(|session| caller.may_change(session))
        else {
            return Ok(());
        };
        let number = session.add_family(new, Position::default(), now, &self.store.registry().cuts);
        if let Some(family) = number.and_then(|number| session.family(number)) {
            self.issue_for_family(&session, family, client, now)?;
        }
        Ok(())
    }

    /// An access token of a family as it was granted.
    pub(super) fn issue_for_family(
        &self,
        session: &Session,
        family: &Family,
        client: &Client,
        now: Timestamp,
    ) -> Result<Issued> {
        let stamp = session.stamp(
            self.policy(client).access_token_ttl,
            self.keyring.load().active().id,
            client.access_token_format,
            now,
        );
        let grant = ForSession {
            family: Some(family.number),
            client_id: &family.client_id,
            audience: &family.audience,
            scope: family.scope.clone(),
            authentication: &family.authentication,
            id: TokenId(self.clock.random()),
            stamp: &stamp,
        };
        not_too_long(self.issue_for_session(session, grant, now)?)
    }

    /// Ends a family; the session lives on. Ending it again changes nothing.
    ///
    /// # Errors
    /// `NotFound` when the session is not there or not the caller's to see, or never had such a family.
    pub async fn end_family(&self, caller: &Caller, id: SessionId, number: u16) -> Result<()> {
        caller.require(Permission::Sessions)?;
        let (now, who) = (self.clock.now().wall, caller.clone());
        let ended = self.update_session(id, Lane::Revocation, move |session, cuts| {
            let known = session.family(number).is_some();
            if !known || !(who.may_see(session)) {
                return Decision::answer(Err(no_such_session()));
            }
            let end = End { at: now, reason: EndReason::TokenRevoked, by: who.name().into() };
            Decision::with_events(Ok(()), session.close_family(number, end, now, cuts))
        });
        Ok(ended.await?.unwrap_or_else(|| Err(no_such_session()))?)
    }
}

fn no_such_session() -> Refused {
    Refusal::NotFound.because("there is no such session, or no such family in it")
}
