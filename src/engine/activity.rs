//! Activity since the last write: kept in memory, written at most once per session and interval, never on the path of a read.
//!
//! Nobody expires early. In this run every use is known, written or not. What an earlier run knew and had not written counts in the person's
//! favour: a session last used before this run began is taken for used one interval later, though not later than that beginning.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::id::SessionId;
use crate::domain::session::Session;
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
}

impl Activity {
    /// Nothing is known yet in a run that begins at `began`.
    pub fn new(began: Timestamp) -> Self {
        Self { began, shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }

    /// Brings a session, as it is written, to what is known of its use.
    pub fn apply(&self, session: &mut Session) {
        let known = self.shard(&session.id).get(&session.id).map(|known| known.last);
        let favoured = session.last_used_at.plus(session.activity_grace()).min(self.began);
        session.touch(known.unwrap_or(favoured));
    }

    /// Notes a use of a session. True when it is to be written now, because the written one has grown old.
    pub fn note(&self, session: &Session, now: Timestamp) -> bool {
        let interval = session.activity_interval();
        let mut shard = self.shard(&session.id);
        let known = shard.entry(session.id).or_insert(Use { last: now, due: session.last_used_at.plus(interval) });
        known.last = known.last.max(now);
        let due = known.due <= now;
        if due {
            known.due = now.plus(interval);
        }
        due
    }

    /// The uses that are to be written by `now`.
    pub fn due(&self, now: Timestamp) -> Vec<(SessionId, Timestamp)> {
        let due = |shard: &Mutex<HashMap<SessionId, Use>>| {
            lock(shard).iter().filter(|(_, known)| known.due <= now).map(|(id, known)| (*id, known.last)).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(due).collect()
    }

    /// Every use, for the end of the run.
    pub fn all(&self) -> Vec<(SessionId, Timestamp)> {
        self.shards.iter().flat_map(|shard| lock(shard).iter().map(|(id, known)| (*id, known.last)).collect::<Vec<_>>()).collect()
    }

    /// This use is on the disk now, or its session is gone: if there was none since, nothing is left to know.
    pub fn written(&self, id: &SessionId, used: Timestamp) {
        let mut shard = self.shard(id);
        if shard.get(id).is_some_and(|known| known.last <= used) {
            shard.remove(id);
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
