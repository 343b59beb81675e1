//! Ending sessions: one, all of a subject, all of the store.

use super::{Engine, Result};
use crate::domain::caller::{Administer, Granted, UseSessions};
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{SessionId, Subject};
use crate::domain::refusal::Refused;
use crate::domain::session::{Decision, Session};
use crate::domain::text;
use crate::store::{Lane, Store};

impl<S: Store> Engine<S> {
    /// Ends one session. Ending it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `InvalidClient` if the caller is no longer as it was authenticated.
    pub async fn end_session(&self, caller: &Granted<UseSessions>, id: SessionId) -> Result<()> {
        let (now, who) = (self.clock.now().wall, caller.clone());
        let ended = self.try_update_session(id, Lane::Revocation, now, move |session, cuts| {
            who.check_current(cuts)?;
            who.check_see(session)?;
            let end = End { at: now, reason: who.end_reason(session), by: who.name().into() };
            Ok(Decision::with_events((), session.close(end, now, cuts)))
        });
        Ok(ended.await?.ok_or_else(Refused::no_such_session)?)
    }

    /// Ends the sessions of a subject, except `except`; returns how many. An administrator ends all of them;
    /// another client its own, and its families in others, which are not counted. It may take several
    /// transactions.
    ///
    /// # Errors
    /// `Invalid`, naming `reason`; `InvalidClient` if the caller is no longer as it was authenticated.
    pub async fn end_subject(
        &self,
        caller: &Granted<UseSessions>,
        subject: Subject,
        except: Option<SessionId>,
        note: Option<String>,
    ) -> Result<usize> {
        let now = self.clock.now().wall;
        let closing = Event {
            subject: Some(subject.clone()),
            note: text::note(note)?,
            ..Event::new(EventKind::SubjectRevoked, now, caller.name())
        };
        let (who, activity) = (caller.clone(), self.activity.clone());
        let decide = move |session: &mut Session, cuts: &CutOffs| {
            if Some(session.id) == except {
                return Decision::answer(false);
            }
            let end = End { at: now, reason: EndReason::SubjectRevoked, by: who.name().into() };
            if who.may_see(session) {
                let events = session.close(end, now, cuts);
                let ended = events.iter().any(|event| event.kind == EventKind::SessionEnded);
                return Decision::with_events(ended, events);
            }
            let own = session.families.iter().filter(|family| who.owns_family(family));
            let own: Vec<u16> = own.map(|family| family.number).collect();
            let events = own.into_iter().flat_map(|n| session.close_family(n, end.clone(), now, cuts));
            Decision::with_events(false, events.collect())
        };
        let decide =
            move |session: &mut Session, cuts: &CutOffs| activity.decide(session, cuts, now, &decide);
        Ok(self.store.update_subject(subject, caller.party(), closing, decide).await??)
    }

    /// Ends every session of the store, by one cut-off.
    ///
    /// # Errors
    /// `Invalid`, naming `reason`; `InvalidClient` if the caller is no longer as it was authenticated.
    pub async fn end_everything(&self, caller: &Granted<Administer>, note: Option<String>) -> Result<()> {
        let event = Event::new(EventKind::AllRevoked, self.clock.now().wall, caller.name());
        let event = Event { note: text::note(note)?, ..event };
        self.store.end_everything(caller.party(), event).await??;
        tracing::warn!(by = caller.name(), "every session was ended");
        Ok(())
    }
}
