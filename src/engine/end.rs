//! Ending sessions: one, all of a subject, all there are.

use super::open::{TEXT_BYTES_MAX, invalid};
use super::{Engine, Result};
use crate::domain::caller::Caller;
use crate::domain::client::Permission;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{SessionId, Subject};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, Session};
use crate::store::{Lane, Store};

impl<S: Store> Engine<S> {
    /// Ends one session. Ending it again changes nothing.
    ///
    /// # Errors
    /// `NotFound` when there is none, or it is not the caller's to see.
    pub async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<()> {
        caller.require(Permission::Sessions)?;
        let now = self.clock.now().wall;
        let who = caller.clone();
        let ended = self.update_session(id, Lane::Revocation, move |session, cuts| {
            if !who.may_see(session) {
                return Decision::answer(false);
            }
            let owns = who.opened(session) || who.is(&session.client_id);
            let reason = if owns && !matches!(who, Caller::AdminSocket) {
                EndReason::Logout
            } else {
                EndReason::Admin
            };
            let end = End { at: now, reason, by: who.name().into() };
            Decision::with_events(true, session.close(end, now, cuts))
        });
        match ended.await? {
            Some(true) => Ok(()),
            _ => Err(Refusal::NotFound.because("there is no such session").into()),
        }
    }

    /// Logs a subject out everywhere, but for the session `except`, in one transaction; answers how many
    /// sessions ended. An administrator ends all of them; another client its own, and its families in others,
    /// which are not counted.
    ///
    /// # Errors
    /// `Forbidden` without the permission `sessions`.
    pub async fn end_subject(
        &self,
        caller: &Caller,
        subject: Subject,
        except: Option<SessionId>,
        note: Option<String>,
    ) -> Result<usize> {
        caller.require(Permission::Sessions)?;
        let now = self.clock.now().wall;
        let mut closing = Event::new(EventKind::SubjectRevoked, now, caller.name());
        closing.subject = Some(subject.clone());
        closing.note = checked(note)?;
        let who = caller.clone();
        let activity = self.activity.clone();
        let decide = move |session: &mut Session, cuts: &CutOffs| {
            if Some(session.id) == except {
                return Decision::answer(false);
            }
            let end = End { at: now, reason: EndReason::SubjectRevoked, by: who.name().into() };
            if who.may_see(session) {
                let events = session.close(end, now, cuts);
                return Decision::with_events(!events.is_empty(), events);
            }
            let own: Vec<u16> = session
                .families
                .iter()
                .filter(|family| who.is(&family.client_id))
                .map(|family| family.number)
                .collect();
            let events = own
                .into_iter()
                .flat_map(|number| session.close_family(number, end.clone(), now, cuts))
                .collect();
            Decision::with_events(false, events)
        };
        let decide = move |session: &mut Session, cuts: &CutOffs| activity.decide(session, cuts, &decide);
        Ok(self.store.update_subject(subject, closing, decide).await?)
    }

    /// Ends everything there is, by one entry.
    ///
    /// # Errors
    /// `Forbidden` to all but administrators.
    pub async fn end_everything(&self, caller: &Caller, note: Option<String>) -> Result<()> {
        caller.require(Permission::Admin)?;
        let mut event = Event::new(EventKind::AllRevoked, self.clock.now().wall, caller.name());
        event.note = checked(note)?;
        tracing::warn!(by = caller.name(), "every session was ended");
        Ok(self.store.end_everything(event).await?)
    }
}

/// The caller's own words for why, which go into the log of events.
fn checked(note: Option<String>) -> std::result::Result<Option<Box<str>>, Refused> {
    match note {
        Some(note) if note.len() > TEXT_BYTES_MAX || note.chars().any(char::is_control) => {
            Err(invalid("reason", "must have at most 256 bytes and no control characters"))
        }
        note => Ok(note.filter(|note| !note.is_empty()).map(Into::into)),
    }
}
