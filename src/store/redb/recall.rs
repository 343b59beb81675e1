//! The cache of decoded sessions. A hit is what a read of the file would return.
//!
//! No lock is shared with the writer. Every session has a count of changes, which is odd while a change is
//! being committed. A reader takes the count before its snapshot and caches it with the session; the entry is
//! valid while the count is even and the same. So an old state is never returned after a change is visible.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::domain::id::SessionId;
use crate::domain::session::Session;

/// The number of change counts. Sessions share them: another session's change only costs a read.
const COUNTS: usize = 4096;
/// Approximate size of a session without families and claims, and of a family.
const SESSION_BYTES: usize = 1024;
const FAMILY_BYTES: usize = 384;
/// The cache takes this fraction of all that is for caches, at most `BYTES_MAX`.
const SHARE: usize = 32;
const BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) struct Recall {
    sessions: Cache<SessionId, Remembered, SessionWeight>,
    counts: Box<[AtomicU64]>,
}

/// A count of changes, taken before a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChangeCount(u64);

#[derive(Clone)]
struct Remembered {
    session: Arc<Session>,
    at: ChangeCount,
}

#[derive(Clone)]
struct SessionWeight;

impl Weighter<SessionId, Remembered> for SessionWeight {
    fn weight(&self, _: &SessionId, Remembered { session, .. }: &Remembered) -> u64 {
        let claims = session.claims.as_ref().map_or(0, |claims| claims.0.len());
        (SESSION_BYTES
            + claims
            + session.families.len() * FAMILY_BYTES
            + size_of_val(&*session.revoked_tokens)) as u64
    }
}

impl Recall {
    /// `cache_bytes` is for this cache and the page cache together.
    pub fn new(cache_bytes: usize) -> Self {
        let bytes = (cache_bytes / SHARE).min(BYTES_MAX);
        let sessions = Cache::with_weighter(bytes / (2 * SESSION_BYTES), bytes as u64, SessionWeight);
        Self { sessions, counts: (0..COUNTS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// To be taken before a snapshot; `None` while a change is being committed.
    pub fn count(&self, id: SessionId) -> Option<ChangeCount> {
        let count = self.place(id).load(Ordering::Acquire);
        count.is_multiple_of(2).then_some(ChangeCount(count))
    }

    /// The cached session, if it was read at this count.
    pub fn get(&self, id: SessionId, at: ChangeCount) -> Option<Arc<Session>> {
        self.sessions.get(&id).filter(|remembered| remembered.at == at).map(|remembered| remembered.session)
    }

    /// Caches what was read from a snapshot taken after `at`. A session with an open retry window is not
    /// cached, because its salt must be erased in time.
    pub fn put(&self, session: &Arc<Session>, at: ChangeCount) {
        if session.families.iter().all(|family| family.window.is_none()) {
            self.sessions.insert(session.id, Remembered { session: session.clone(), at });
        }
    }

    /// Invalidates these sessions; to be called before the commit that changes them.
    pub fn changing(&self, ids: &[SessionId]) {
        for id in ids {
            self.place(*id).fetch_or(1, Ordering::AcqRel);
        }
    }

    /// Allows these sessions to be cached again; to be called by the writer after that commit, before it
    /// answers.
    pub fn changed(&self, ids: &[SessionId]) {
        for id in ids {
            let count = self.place(*id).load(Ordering::Relaxed);
            if !count.is_multiple_of(2) {
                self.place(*id).store(count + 1, Ordering::Release);
            }
        }
    }

    /// Selects by the last bytes of the id, which are random.
    fn place(&self, SessionId(id): SessionId) -> &AtomicU64 {
        &self.counts[usize::from(u16::from_be_bytes([id[14], id[15]])) % COUNTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::Claims;
    use crate::domain::id::TokenId;
    use crate::domain::session::tests::session;
    use crate::domain::session::{Revocation, RevokedToken};

    fn remembered() -> (Recall, Arc<Session>, ChangeCount) {
        let (recall, session) = (Recall::new(64 << 20), Arc::new(session()));
        let at = recall.count(session.id).unwrap();
        recall.put(&session, at);
        (recall, session, at)
    }

    /// What a reader that starts now gets.
    fn found(recall: &Recall, id: SessionId) -> Option<Arc<Session>> {
        recall.get(id, recall.count(id)?)
    }

    #[test]
    fn a_cached_session_is_returned_until_the_commit_of_a_change_starts() {
        let (recall, session, at) = remembered();
        assert!(found(&recall, session.id).is_some_and(|found| Arc::ptr_eq(&found, &session)));
        recall.changing(&[session.id]);
        assert_eq!(recall.count(session.id), None);
        recall.changed(&[session.id]);
        assert_eq!(found(&recall, session.id), None);
        recall.put(&session, at);
        assert_eq!(found(&recall, session.id), None, "read before the change, cached after it");
        recall.put(&session, recall.count(session.id).unwrap());
        assert!(found(&recall, session.id).is_some());
    }

    #[test]
    fn a_session_that_one_commit_changes_twice_can_be_cached_after_it() {
        let (recall, session, _) = remembered();
        recall.changing(&[session.id, session.id]);
        recall.changed(&[session.id, session.id]);
        assert_eq!(found(&recall, session.id), None);
        assert!(recall.count(session.id).is_some());
    }

    #[test]
    fn sessions_that_share_a_change_count_are_not_mixed_up() {
        let (recall, session, at) = remembered();
        let mut other = session.id;
        other.0[0] ^= 1;
        assert_eq!(recall.count(other), Some(at));
        assert_eq!(found(&recall, other), None);
        recall.changing(&[other]);
        recall.changed(&[other]);
        assert_eq!(found(&recall, session.id), None, "invalidated as well, which is safe");
    }

    #[test]
    fn the_cache_is_bounded() {
        let (recall, session, at) = remembered();
        for number in 0..100_000_u32 {
            let mut id = session.id;
            id.0[..4].copy_from_slice(&number.to_be_bytes());
            recall.put(&Arc::new(Session { id, ..(*session).clone() }), at);
        }
        assert!((100..=2048).contains(&recall.sessions.len()), "{}", recall.sessions.len());
    }

    /// A thirty-second of all that is for caches, at most 8 MiB.
    #[test]
    fn the_cache_takes_its_share_and_a_session_counts_with_all_that_it_has() {
        let capacity = |cache_bytes| Recall::new(cache_bytes).sessions.capacity();
        assert_eq!([64 << 20, 256 << 20, 1 << 30].map(capacity), [2 << 20, 8 << 20, 8 << 20]);
        let weight = |session: Session| {
            let (session, at) = (Arc::new(session), ChangeCount(0));
            SessionWeight.weight(&session.id, &Remembered { session: session.clone(), at })
        };
        let one = Session { claims: None, revoked_tokens: vec![], ..session() };
        assert_eq!((one.families.len(), weight(one.clone())), (1, 1024 + 384));
        let families = vec![one.families[0].clone(); 3];
        assert_eq!(weight(Session { families, ..one.clone() }), 1024 + 3 * 384);
        let claims = Some(Claims(format!(r#"{{"a":"{}"}}"#, "x".repeat(92)).into()));
        assert_eq!(weight(Session { claims, ..one.clone() }), 1024 + 384 + 100);
        let token = RevokedToken { id: TokenId([1; 16]), expires_at: 1 };
        let revoked_tokens = vec![Revocation { token, family: None }; 10];
        assert!(weight(Session { revoked_tokens, ..one }) >= 1024 + 384 + 10 * 24);
    }
}
