//! Uses of sessions that are not written yet: in memory, and written at most once per session and interval.
//! No request waits for that write.
//!
//! A crash loses unwritten uses, and no session may expire early for that. So a session that would have
//! expired by its written use counts as used later, but not after the start of this run
//! ([`Session::last_use_at`]). This supposed use is not written: each restart would add to it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::cutoff::CutOffs;
use crate::domain::id::SessionId;
use crate::domain::session::{Decision, Session};
use crate::domain::time::Timestamp;

/// The number of locks, so that requests for different sessions seldom wait for each other.
const SHARDS: usize = 64;

/// The uses that this run knows and has not written.
pub(super) struct UnwrittenUses {
    began: Timestamp,
    shards: Vec<Mutex<HashMap<SessionId, Use>>>,
    hasher: RandomState,
}

struct Use {
    last: Timestamp,
    /// When to write it.
    due: Timestamp,
    /// The time between two writes.
    interval: Duration,
}

impl UnwrittenUses {
    /// No uses, in a run that starts at `began`; with other runs at the same time, the end of time.
    pub fn new(began: Timestamp) -> Self {
        Self { began, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// Whether this run knows a use of the session that is not written yet.
    pub fn knows(&self, id: &SessionId) -> bool {
        self.shard(id).contains_key(id)
    }

    /// The last known or supposed use of a session at `now`, if it is later than the written one.
    pub fn later_use(&self, session: &Session, now: Timestamp) -> Option<Timestamp> {
        let (_, used) = self.uses(session, now);
        (used > session.last_used_at).then_some(used)
    }

    /// Applies the last known or supposed use to a session as it is written. Returns the known one.
    pub fn apply(&self, session: &mut Session, now: Timestamp) -> Option<Timestamp> {
        let (known, used) = self.uses(session, now);
        session.touch(used);
        known
    }

    /// The known use of a session, and the known or supposed one at `now`.
    fn uses(&self, session: &Session, now: Timestamp) -> (Option<Timestamp>, Timestamp) {
        let known = self.shard(&session.id).get(&session.id).map(|known| known.last);
        (known, known.unwrap_or_else(|| session.last_use_at(now, self.began)))
    }

    /// Runs `decide` on a session with its last use at `now`. Unless the decision is a use itself, a known
    /// use is written only with other changes, and a supposed one never: a refused token must not cause a
    /// write.
    pub fn decide<T>(
        &self,
        session: &mut Session,
        cuts: &CutOffs,
        now: Timestamp,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T>,
    ) -> Decision<T> {
        let written = session.last_used_at;
        let known = self.apply(session, now);
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

    /// Notes a use of a session whose last written use was at `written`. True when the new one is to be
    /// written now.
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

    /// The uses that are due at `now`, in the order of the file. The caller writes them: they are not due
    /// again for an interval.
    pub fn due(&self, now: Timestamp) -> Vec<(SessionId, Timestamp)> {
        let mut found = vec![];
        for shard in &self.shards {
            for (id, known) in lock(shard).iter_mut().filter(|(_, known)| known.due <= now) {
                known.due = now.plus(known.interval);
                found.push((*id, known.last));
            }
        }
        found.sort_unstable();
        found
    }

    /// Every use, for the stop of the server.
    pub fn all(&self) -> Vec<(SessionId, Timestamp)> {
        let mut all = vec![];
        for shard in &self.shards {
            all.extend(lock(shard).iter().map(|(id, known)| (*id, known.last)));
        }
        all.sort_unstable();
        all
    }

    /// Removes a use that is on the disk, or whose session is gone, if there was no later one.
    pub fn written(&self, id: &SessionId, used: Timestamp) {
        let mut shard = self.shard(id);
        if shard.get(id).is_some_and(|known| known.last <= used) {
            shard.remove(id);
        }
    }

    /// Makes a use that could not be written due again at once.
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

/// No code that can panic runs while such a lock is held.
fn lock(shard: &Mutex<HashMap<SessionId, Use>>) -> MutexGuard<'_, HashMap<SessionId, Use>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
