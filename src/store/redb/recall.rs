//! The memory of decoded sessions: what is found here is what a read would find in the file.
//!
//! No lock is shared with the writer. Every session has a count of changes, odd while one is on its way to
//! the disk. A reader takes the count before its snapshot and keeps it with what it read; that is valid for
//! as long as the count is the same and even. So what was read before a change is never found once anybody
//! can have seen the change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::id::SessionId;
use crate::domain::session::Session;

/// How many counts there are. Sessions share them: a neighbour's change costs a read and no more.
const COUNTS: usize = 4096;
/// What a session takes apart from its longer texts, about, and what each of its families does.
const SESSION_BYTES: usize = 1024;
const FAMILY_BYTES: usize = 384;
/// Which part of the file's cache is spent on this, and at most how much.
const SHARE: usize = 32;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The memory, and the counts.
pub(super) struct Recall {
    sessions: Cache<SessionId, Remembered, Weight>,
    counts: Box<[AtomicU64]>,
}

/// A count of changes, taken before a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count(u64);

#[derive(Clone)]
struct Remembered {
    session: Arc<Session>,
    at: Count,
}

#[derive(Clone)]
struct Weight;

impl Weighter<SessionId, Remembered> for Weight {
    fn weight(&self, _: &SessionId, Remembered { session, .. }: &Remembered) -> u64 {
        let claims = session.claims.as_ref().map_or(0, |claims| claims.0.len());
        (SESSION_BYTES
            + claims
            + session.families.len() * FAMILY_BYTES
            + size_of_val(&*session.revoked_tokens)) as u64
    }
}

impl Recall {
    /// An empty one beside a file's cache of `cache_bytes`.
    pub fn new(cache_bytes: usize) -> Self {
        let bytes = (cache_bytes / SHARE).min(BYTES_MAX);
        let sessions = Cache::with_weighter(bytes / (2 * SESSION_BYTES), bytes as u64, Weight);
        Self { sessions, counts: (0..COUNTS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The count of a session, to be taken before a snapshot; `None` while a change is on its way.
    pub fn count(&self, id: SessionId) -> Option<Count> {
        let count = self.place(id).load(Ordering::Acquire);
        count.is_multiple_of(2).then_some(Count(count))
    }

    /// The session, if what is remembered of it is of this count.
    pub fn get(&self, id: SessionId, at: Count) -> Option<Arc<Session>> {
        self.sessions.get(&id).filter(|remembered| remembered.at == at).map(|remembered| remembered.session)
    }

    /// Remembers what was read from a snapshot that is younger than `at`. A session with an open retry window
    /// is not: its salt is to be erased in time, here too.
    pub fn put(&self, session: &Arc<Session>, at: Count) {
        if session.families.iter().all(|family| family.window.is_none()) {
            self.sessions.insert(session.id, Remembered { session: session.clone(), at });
        }
    }

    /// From here on nothing is recalled of these sessions: to be called before the commit that changes them.
    pub fn changing(&self, ids: &[SessionId]) {
        for id in ids {
            self.place(*id).fetch_or(1, Ordering::AcqRel);
        }
    }

    /// They can be remembered again: to be called after that commit, by its only caller, before anybody is
    /// told of it.
    pub fn changed(&self, ids: &[SessionId]) {
        for id in ids {
            let count = self.place(*id).load(Ordering::Relaxed);
            if !count.is_multiple_of(2) {
                self.place(*id).store(count + 1, Ordering::Release);
            }
        }
    }

    /// The last bytes of an id are random.
    fn place(&self, SessionId(id): SessionId) -> &AtomicU64 {
        &self.counts[usize::from(u16::from_be_bytes([id[14], id[15]])) % COUNTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::tests::session;

    fn remembered() -> (Recall, Arc<Session>, Count) {
        let (recall, session) = (Recall::new(64 << 20), Arc::new(session()));
        let at = recall.count(session.id).unwrap();
        recall.put(&session, at);
        (recall, session, at)
    }

    /// What a reader that begins now finds.
    fn found(recall: &Recall, id: SessionId) -> Option<Arc<Session>> {
        recall.get(id, recall.count(id)?)
    }

    #[test]
    fn what_was_read_is_found_until_it_changes_and_from_before_the_commit_on_it_is_not() {
        let (recall, session, at) = remembered();
        assert!(found(&recall, session.id).is_some_and(|found| Arc::ptr_eq(&found, &session)));
        recall.changing(&[session.id]);
        assert_eq!(recall.count(session.id), None);
        recall.changed(&[session.id]);
        assert_eq!(found(&recall, session.id), None);
        recall.put(&session, at);
        assert_eq!(found(&recall, session.id), None, "read before the change, put after it");
        recall.put(&session, recall.count(session.id).unwrap());
        assert!(found(&recall, session.id).is_some());
    }

    #[test]
    fn a_session_that_one_commit_changes_twice_is_recalled_after_it() {
        let (recall, session, _) = remembered();
        recall.changing(&[session.id, session.id]);
        recall.changed(&[session.id, session.id]);
        assert_eq!(found(&recall, session.id), None);
        assert!(recall.count(session.id).is_some());
    }

    #[test]
    fn a_session_of_the_same_place_is_another_session() {
        let (recall, session, at) = remembered();
        let mut other = session.id;
        other.0[0] ^= 1;
        assert_eq!(recall.count(other), Some(at));
        assert_eq!(found(&recall, other), None);
        recall.changing(&[other]);
        recall.changed(&[other]);
        assert_eq!(found(&recall, session.id), None, "forgotten with it, which is safe");
    }

    #[test]
    fn the_memory_has_an_end() {
        let (recall, session, at) = remembered();
        for number in 0..100_000_u32 {
            let mut id = session.id;
            id.0[..4].copy_from_slice(&number.to_be_bytes());
            recall.put(&Arc::new(Session { id, ..(*session).clone() }), at);
        }
        assert!((100..=2048).contains(&recall.sessions.len()), "{}", recall.sessions.len());
    }
}
