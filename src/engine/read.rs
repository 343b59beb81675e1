//! Reading sessions: one, or a page of those the caller may see.

use std::sync::Arc;

use super::{Engine, Result};
use crate::domain::caller::Caller;
use crate::domain::client::Permission;
use crate::domain::cutoff::CutOffs;
use crate::domain::id::{ClientId, SessionId, Subject};
use crate::domain::refusal::Refusal;
use crate::domain::session::{Data, Session, Standing, State};
use crate::domain::time::Timestamp;
use crate::store::Store;

/// How many sessions one page may look at. A page whose filter rejects most of them is short, and its cursor
/// leads on.
const LOOKED_AT_MAX: usize = 2_000;

/// A session as a caller sees it.
#[derive(Debug)]
pub struct View {
    /// The session.
    pub session: Session,
    /// Whether it lives, now.
    pub standing: Standing,
    /// For each of its families, in order, whether it lives by itself.
    pub live_families: Vec<bool>,
    /// Its private data: absent if it is not the caller's to see, `None` inside if there is none.
    pub data: Option<Option<Data>>,
}

/// Which sessions to list.
#[derive(Debug, Default)]
pub struct Filter {
    /// Only this subject's.
    pub subject: Option<Subject>,
    /// Only this client's.
    pub client_id: Option<ClientId>,
    /// Only those whose state has this name.
    pub state: Option<State>,
}

impl<S: Store> Engine<S> {
    /// One session.
    ///
    /// # Errors
    /// `NotFound` when there is none, or it is not the caller's to see.
    pub async fn session(&self, caller: &Caller, id: SessionId) -> Result<View> {
        caller.require(Permission::Sessions)?;
        let session = self.read_session(id).await?.filter(|session| caller.may_see(session));
        let session = session.ok_or_else(|| Refusal::NotFound.because("there is no such session"))?;
        self.view(caller, Arc::unwrap_or_clone(session)).await
    }

    /// At most `limit` sessions after the one named, in the order of their opening, and where to go on if
    /// there may be more. An opening or an ending in between moves nothing: the cursor is a place, not a
    /// count.
    ///
    /// # Errors
    /// `Forbidden` without the permission `sessions`.
    pub async fn sessions(
        &self,
        caller: &Caller,
        filter: Filter,
        mut after: Option<SessionId>,
        limit: usize,
    ) -> Result<(Vec<View>, Option<SessionId>)> {
        caller.require(Permission::Sessions)?;
        let mut found = vec![];
        let mut looked_at = 0;
        loop {
            let batch = self.store.sessions(filter.subject.clone(), after, limit + 1).await?;
            let exhausted = batch.len() <= limit;
            for mut session in batch {
                if found.len() == limit || looked_at == LOOKED_AT_MAX {
                    return Ok((found, after));
                }
                looked_at += 1;
                after = Some(session.id);
                if !caller.may_see(&session)
                    || filter.client_id.as_ref().is_some_and(|id| *id != session.client_id)
                {
                    continue;
                }
                self.activity.apply(&mut session);
                let view = self.view(caller, session).await?;
                if filter.state.is_none_or(|state| state == State::from(&view.standing)) {
                    found.push(view);
                }
            }
            if exhausted {
                return Ok((found, None));
            }
        }
    }

    /// How `session`, as it is now, looks to `caller`.
    pub(super) async fn view(&self, caller: &Caller, session: Session) -> Result<View> {
        let owns = caller.is(&session.client_id) || caller.opened(&session);
        let data = if owns { Some(self.store.data(session.id).await?) } else { None };
        let registry = self.store.registry();
        Ok(view_at(session, data, self.clock.now().wall, &registry.cuts))
    }

    /// How a session looks to whoever holds one of its tokens: without the private data.
    pub fn view_without_data(&self, session: Session) -> View {
        view_at(session, None, self.clock.now().wall, &self.store.registry().cuts)
    }

    /// How a session that was just opened looks to its opener.
    pub fn view_of_opened(&self, session: Session, data: Option<Data>) -> View {
        view_at(session, Some(data), self.clock.now().wall, &self.store.registry().cuts)
    }
}

fn view_at(session: Session, data: Option<Option<Data>>, now: Timestamp, cuts: &CutOffs) -> View {
    let standing = session.standing(now, cuts);
    let live_families = session.families.iter().map(|family| family.end(cuts).is_none()).collect();
    View { session, standing, live_families, data }
}
