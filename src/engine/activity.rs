//! Activity since the last write: kept in memory, written at most once per session and interval, never on the
//! path of a read.
//!
//! Nobody expires early. In this run every use is known, written or not. What an earlier run knew and had not
//! written counts in the person's favour: a session last used before this run began is taken for used a
//! little later ([`Session::activity_grace`]), though not later than that beginning. What is only supposed is
//! never written, or each restart would add to it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::cutoff::CutOffs;
use crate::domain::id::SessionId;
use crate::domain::session::{Decision, Session};
use crate::domain::time::Timestamp;

/// Locks, so that requests of different sessions seldom meet.
const SHARDS: usize = 64;

/// The uses that this run knows of and has not written.
pub(super) struct Activity {
    began: Timestamp,
    shards: Vec<Mutex<HashMap<SessionId, Use>>>,
    hasher: RandomState,
}

struct Use {
    last: Timestamp,
    /// When it is to be written.
    due: Timestamp,
    /// How long after that the next one is.
    interval: Duration,
}

impl Activity {
    /// Nothing is known yet in a run that begins at `began`.
    pub fn new(began: Timestamp) -> Self {
        Self { began, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// The last use of a session that is known or must be supposed, if it is later than the one that is
    /// written.
    pub fn later_use(&self, session: &Session) -> Option<Timestamp> {
        let known = self.shard(&session.id).get(&session.id).map(|known| known.last);
        let used =
            known.unwrap_or_else(|| session.last_used_at.plus(session.activity_grace()).min(self.began));
        (used > session.last_used_at).then_some(used)
    }

    /// Brings a session, as it is written, to what is known or must be supposed of its use. Answers what is
    /// known.
    pub fn apply(&self, session: &mut Session) -> Option<Timestamp> {
        let known = self.shard(&session.id).get(&session.id).map(|known| known.last);
        let favoured = session.last_used_at.plus(session.activity_grace()).min(self.began);
        session.touch(known.unwrap_or(favoured));
        known
    }

    /// Runs `decide` on a session as it is now. Unless the decision is a use itself, a known use is written
    /// only along with what else is, and a supposed one never: a refused token must not buy a write.
    pub fn decide<T>(
        &self,
        session: &mut Session,
        cuts: &CutOffs,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T>,
    ) -> Decision<T> {
        let written = session.last_used_at;
        let known = self.apply(session);
        let applied = session.last_used_at;
        let decision = decide(session, cuts);
        if session.last_used_at == applied {
            session.last_used_at = written;
            if let Some(known) = known.filter(|_| !decision.events.is_empty()) {
                session.touch(known);
            }
        }
        decision
    }

    /// Notes a use of a session whose last written use was at `written`. True when it is to be written now,
    /// because that one has grown old.
    pub fn note(&self, session: &Session, written: Timestamp, now: Timestamp) -> bool {
        let interval = session.activity_interval();
        let mut shard = self.shard(&session.id);
        let known =
            shard.entry(session.id).or_insert(Use { last: now, due: written.plus(interval), interval });
        known.last = known.last.max(now);
        let due = known.due <= now;
        if due {
            known.due = now.plus(interval);
        }
        due
    }

    /// The uses that are to be written by `now`. Whoever asks writes them: nobody is told of them again for
    /// an interval.
    pub fn due(&self, now: Timestamp) -> Vec<(SessionId, Timestamp)> {
        let mut found = vec![];
        for shard in &self.shards {
            for (id, known) in lock(shard).iter_mut().filter(|(_, known)| known.due <= now) {
                known.due = now.plus(known.interval);
                found.push((*id, known.last));
            }
        }
        found
    }

    /// Every use, for the end of the run.
    pub fn all(&self) -> Vec<(SessionId, Timestamp)> {
        self.shards
            .iter()
            .flat_map(|shard| lock(shard).iter().map(|(id, known)| (*id, known.last)).collect::<Vec<_>>())
            .collect()
    }

    /// This use is on the disk now, or its session is gone: if there was none since, nothing is left to know.
    pub fn written(&self, id: &SessionId, used: Timestamp) {
        let mut shard = self.shard(id);
        if shard.get(id).is_some_and(|known| known.last <= used) {
            shard.remove(id);
        }
    }

    /// This use could not be written: it is due again at once.
    pub fn not_written(&self, id: &SessionId, used: Timestamp) {
        if let Some(known) = self.shard(id).get_mut(id) {
            known.due = known.due.min(used);
        }
    }

    fn shard(&self, id: &SessionId) -> MutexGuard<'_, HashMap<SessionId, Use>> {
        let place = usize::from(self.hasher.hash_one(id).to_le_bytes()[0]) % SHARDS;
        lock(&self.shards[place])
    }
}

/// Nothing that can panic runs under these locks.
fn lock(shard: &Mutex<HashMap<SessionId, Use>>) -> MutexGuard<'_, HashMap<SessionId, Use>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
