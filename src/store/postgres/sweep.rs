//! The sweep: reports expired sessions and removes what is past its retention, in bounded slices. What is due
//! is searched without a lock, and looked at again by the transaction.

use uuid::Uuid;

use super::decisions::Decisions;
use super::known::position_of;
use super::reads::{Reads, SweepReads};
use super::rows::{session_id, uuid};
use crate::domain::id::SessionId;
use crate::domain::time::Timestamp;
use crate::store::layout::REVOKED_UNTIL;
use crate::store::{Result, StoreError, Sweep, Swept};

/// What was due when it was searched.
#[derive(Clone, Default)]
pub(super) struct Due {
    pub sessions: Vec<SessionId>,
    /// Each with the time in its row.
    pub windows: Vec<(i64, SessionId)>,
    pub repeats: Vec<SessionId>,
    /// Whether an event or the revocation of a token is past its retention.
    pub others: bool,
    /// Whether there are more sessions, windows or repeats.
    pub more: bool,
}

/// The limits between which times and ids are not due.
pub(super) struct DueBounds {
    pub now: i64,
    pub window_beyond: i64,
    pub repeat_closed: Uuid,
    pub repeat_beyond: Uuid,
    /// In seconds.
    pub token_expired_by: i64,
    /// One more than the sweep may touch.
    pub limit: i64,
}

impl DueBounds {
    pub fn of(sweep: Sweep) -> Self {
        Self {
            now: sweep.now.wall.millis(),
            window_beyond: sweep.window_beyond().millis(),
            repeat_closed: uuid(sweep.repeat_closed()),
            repeat_beyond: uuid(sweep.repeat_beyond()),
            token_expired_by: sweep.token_expired_by(),
            limit: i64::try_from(sweep.entries_max).unwrap_or(i64::MAX - 1) + 1,
        }
    }
}

impl Due {
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.windows.is_empty() && self.repeats.is_empty() && !self.others
    }

    /// Keeps what one sweep may touch.
    pub fn truncate(&mut self, entries_max: usize) {
        let lengths = [self.sessions.len(), self.windows.len(), self.repeats.len()];
        self.more |= lengths.iter().any(|length| *length > entries_max);
        self.sessions.truncate(entries_max);
        self.windows.truncate(entries_max);
        self.repeats.truncate(entries_max);
    }

    pub fn reads(&self, sweep: Sweep) -> Reads {
        let DueBounds { limit, token_expired_by: expired_by, .. } = DueBounds::of(sweep);
        Reads {
            head: true,
            ids: self.sessions.iter().chain(self.windows.iter().map(|(_, id)| id)).copied().collect(),
            sweep: Some(SweepReads { limit, expired_by }),
            ..Reads::default()
        }
    }
}

impl Decisions<'_> {
    pub fn sweep(&mut self, sweep: Sweep, due: &Due) -> Result<Swept> {
        let mut swept = Swept::default();
        if self.is_leased {
            return Ok(swept);
        }
        self.rows.takes_lease = true;
        swept.more = due.more;
        for id in &due.sessions {
            self.sweep_session(*id, sweep, &mut swept)?;
        }
        for (closes_at, id) in &due.windows {
            self.rows.windows_swept.push((*closes_at, uuid(*id)));
            swept.windows += self.erase_windows(*id, sweep)?;
        }
        for id in &due.repeats {
            self.erase_repeat(*id);
            swept.windows += 1;
        }
        self.sweep_events(sweep, &mut swept);
        self.sweep_tokens(sweep, &mut swept);
        Ok(swept)
    }

    /// Reports a due session, purges it, or moves it to the time at which it is due.
    fn sweep_session(&mut self, id: SessionId, sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let before = match self.session(id) {
            Ok(Some(session)) => session.clone(),
            Ok(None) => return Ok(()),
            Err(error @ StoreError::Corrupt { .. }) => {
                // The record stays for inspection.
                tracing::error!(%error, "the sweep skips a corrupt session");
                self.rows.set_aside.push(uuid(id));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if self.slot(id).is_none_or(|slot| slot > sweep.now.wall) {
            return Ok(());
        }
        let mut session = before.clone();
        let (reported, due) = sweep.report(&mut session, &self.registry.cuts, swept);
        self.append(&reported);
        match due {
            None => self.purge(id),
            Some(due) => self.replace(&before, session, due),
        }
        Ok(())
    }

    /// Erases the salts of the closed windows of a session, and of windows that close later than a clock that
    /// never went back can have written. Returns their number.
    fn erase_windows(&mut self, id: SessionId, sweep: Sweep) -> Result<usize> {
        let now = sweep.now.wall;
        let before = match self.session(id) {
            Ok(Some(session)) => session.clone(),
            Ok(None) | Err(StoreError::Corrupt { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let (mut session, mut erased) = (before.clone(), 0);
        for family in &mut session.families {
            let closes_at = family.window.as_ref().map(|window| window.erased_at());
            let is_due = |at: Timestamp| at <= now || at > sweep.window_beyond() && at < Timestamp::MAX;
            if closes_at.is_some_and(is_due) {
                family.window = None;
                erased += 1;
            }
        }
        if let Some(slot) = self.slot(id).filter(|_| erased > 0) {
            self.replace(&before, session, slot);
        }
        Ok(erased)
    }

    fn sweep_events(&mut self, sweep: Sweep, swept: &mut Swept) {
        let oldest = std::mem::take(&mut self.oldest_events);
        let past =
            oldest.into_iter().take_while(|(position, start)| sweep.is_past(position_of(*position).0, start));
        let mut past: Vec<i64> = past.map(|(position, _)| position).collect();
        swept.more |= past.len() > sweep.entries_max;
        past.truncate(sweep.entries_max);
        swept.events += past.len();
        self.rows.events_swept = past;
    }

    /// Removes a revocation a retention after the token's expiry. Tokens that expired by then count as
    /// revoked for ever: by a clock that was ahead and went back they have not expired.
    fn sweep_tokens(&mut self, sweep: Sweep, swept: &mut Swept) {
        let mut expired = std::mem::take(&mut self.due_revoked);
        swept.more |= expired.len() > sweep.entries_max;
        expired.truncate(sweep.entries_max);
        swept.tokens += expired.len();
        if let Some((last, _)) = expired.last() {
            self.revoked_until = self.revoked_until.max(*last);
            self.rows.meta.insert(REVOKED_UNTIL, self.revoked_until.to_be_bytes().to_vec());
        }
        self.rows.revoked_swept = expired;
    }
}

/// Ids of rows.
pub(super) fn ids(rows: &[tokio_postgres::Row]) -> Vec<SessionId> {
    rows.iter().map(|row| session_id(row.get(0))).collect()
}
