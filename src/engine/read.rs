//! Reading sessions: one, or a page of those that the caller may see.

use std::sync::Arc;

use super::{Engine, Result};
use crate::domain::caller::{Caller, Granted, ReadSessions};
use crate::domain::id::{ClientId, SessionId, Subject};
use crate::domain::refusal::Refused;
use crate::domain::session::{Data, Session, Standing, State};
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::token::cursor::{open_cursor, seal_cursor};

/// The most sessions that one page examines, so that no request reads the whole store. A page whose filter
/// excludes most of them is short, and its cursor continues after them.
const EXAMINED_MAX: usize = 2_000;

/// A session as a caller may see it.
#[derive(Debug)]
pub struct View {
    pub session: Session,
    pub standing: Standing,
    /// For each of its families, in order, whether it is active by itself.
    pub active_families: Vec<bool>,
    /// Its private data: absent if the caller may not see it, `None` inside if there is none.
    pub data: Option<Option<Data>>,
}

#[derive(Debug, Default)]
pub struct SessionFilter {
    pub subject: Option<Subject>,
    pub client_id: Option<ClientId>,
    pub state: Option<State>,
}

impl<S: Store> Engine<S> {
    /// One session.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn session(&self, caller: &Granted<ReadSessions>, id: SessionId) -> Result<View> {
        let now = self.clock.now().wall;
        let session = self.read_session(id, now).await?.ok_or_else(Refused::no_such_session)?;
        caller.check_see(&session)?;
        self.view(caller, Arc::unwrap_or_clone(session), now).await
    }

    /// At most `limit` sessions after `after`, in the order of their opening, and the cursor to continue from
    /// if there may be more. The cursor is a session, so that openings and ends in between do not move it; it
    /// is sealed, since it can be a session that the caller may not see.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this caller did not get; a store that cannot answer.
    pub async fn sessions(
        &self,
        caller: &Granted<ReadSessions>,
        filter: SessionFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<View>, Option<String>)> {
        let open = |cursor| {
            open_cursor(&self.keys, caller.name(), cursor).ok_or_else(|| {
                Refused::invalid("cursor", "must be the next_cursor of an earlier answer to this client")
            })
        };
        let mut after = cursor.map(open).transpose()?;
        let now = self.clock.now().wall;
        let mut found = vec![];
        let mut examined = 0;
        loop {
            let batch = match (&filter.subject, filter.state) {
                (Some(subject), Some(State::Active)) => {
                    let (subject, client) = (subject.clone(), filter.client_id.clone());
                    self.store.active_sessions(subject, client, after, limit + 1).await?
                }
                (subject, _) => self.store.sessions(subject.clone(), after, limit + 1).await?,
            };
            let exhausted = batch.len() <= limit;
            for mut session in batch {
                if found.len() == limit || examined == EXAMINED_MAX {
                    let next = after.map(|id| seal_cursor(&self.keys, caller.name(), id));
                    return Ok((found, next));
                }
                examined += 1;
                after = Some(session.id);
                if !caller.may_see(&session)
                    || filter.client_id.as_ref().is_some_and(|id| *id != session.client_id)
                {
                    continue;
                }
                self.activity.apply(&mut session, now);
                let view = self.view(caller, session, now).await?;
                if filter.state.is_none_or(|state| state == State::from(&view.standing)) {
                    found.push(view);
                }
            }
            if exhausted {
                return Ok((found, None));
            }
        }
    }

    /// What `caller` sees of `session` at `now`: the private data only if it owns the session.
    pub(super) async fn view(&self, caller: &Caller, session: Session, now: Timestamp) -> Result<View> {
        let data = if caller.owns(&session) { Some(self.store.data(session.id).await?) } else { None };
        Ok(self.view_with(session, data, now))
    }

    /// What its opener sees of a session that it has just opened.
    pub fn view_opened(&self, session: Session, data: Option<Option<Data>>) -> View {
        self.view_with(session, data, self.clock.now().wall)
    }

    /// What a caller sees of `session` at `now`: the holder of one of its tokens gets everything but the
    /// private data.
    pub fn view_with(&self, session: Session, data: Option<Option<Data>>, now: Timestamp) -> View {
        let cuts = &self.store.registry().cuts;
        let standing = session.standing(now, cuts);
        let active_families = session.families.iter().map(|family| family.is_active(cuts)).collect();
        View { session, standing, active_families, data }
    }
}
