//! The memory budget of unfinished requests: what they hold is counted, and the largest is closed first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::meter::{Counter, RateLimitedLog};

/// The bytes that all unfinished requests may hold together: heads and bodies, as they were received.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    held: AtomicUsize,
    /// How many connections were closed because the budget was spent.
    pub closed: Counter,
    register: Mutex<Register>,
}

#[derive(Debug, Default)]
struct Register {
    last_id: u64,
    by_id: HashMap<u64, Arc<Share>>,
}

/// What the request of one connection holds.
#[derive(Debug, Default)]
pub(crate) struct Share {
    bytes: AtomicUsize,
    /// Whether the request has arrived completely: it is not closed any more, for it is about to be answered.
    is_complete: AtomicBool,
    is_closed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A connection's part in the budget, until it is dropped.
pub(crate) struct Member {
    budget: Arc<Budget>,
    id: u64,
    share: Arc<Share>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(64 << 20)
    }
}

impl Budget {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, held: AtomicUsize::new(0), closed: Counter::default(), register: Mutex::default() }
    }

    /// Adds a connection, which holds nothing yet.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        let share = Arc::new(Share::default());
        let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        register.last_id += 1;
        let id = register.last_id;
        register.by_id.insert(id, share.clone());
        Member { budget: self.clone(), id, share }
    }

    /// The bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Closes connections with incomplete requests, those that hold most first. An eighth of the budget is
    /// freed at once, so that the search does not run for each further byte.
    fn close_largest(&self) {
        static SPENT: RateLimitedLog = RateLimitedLog::new();
        let register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        if self.held() <= self.bytes_max {
            return;
        }
        let size = |share: &Arc<Share>| share.bytes.load(Ordering::Relaxed);
        let mut incomplete: Vec<_> = register
            .by_id
            .values()
            .filter(|share| !share.is_complete.load(Ordering::Relaxed))
            .map(|share| (size(share), share))
            .collect();
        incomplete.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        for (_, share) in incomplete {
            if self.held() <= self.bytes_max - self.bytes_max / 8 {
                break;
            }
            share.close();
            self.release(share);
            self.closed.one();
            if let Some(connections) = SPENT.record_now() {
                tracing::warn!(
                    connections,
                    "limits.buffered_bytes_max is reached: closed the unfinished requests that hold most; \
                     at most one line a minute"
                );
            }
        }
    }

    fn release(&self, share: &Share) {
        self.held.fetch_sub(share.bytes.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Share {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }
}

impl Member {
    /// Counts bytes that were received.
    pub fn add(&self, bytes: usize) {
        if self.share.is_closed.load(Ordering::Relaxed) {
            return;
        }
        // The sum first: it must never be less than its parts.
        let held = self.budget.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.share.bytes.fetch_add(bytes, Ordering::Relaxed);
        if held > self.budget.bytes_max {
            self.budget.close_largest();
        }
    }

    /// The request has arrived completely.
    pub fn complete(&self) {
        self.share.is_complete.store(true, Ordering::Relaxed);
    }

    /// The request is answered and holds nothing any more.
    pub fn release(&self) {
        self.budget.release(&self.share);
        self.share.is_complete.store(false, Ordering::Relaxed);
    }

    /// Ready when the connection is to be closed.
    pub fn poll_closed(&self, context: &Context<'_>) -> Poll<()> {
        let mut waker = self.share.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if self.share.is_closed.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.budget.register.lock().unwrap_or_else(PoisonError::into_inner).by_id.remove(&self.id);
        self.budget.release(&self.share);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_closed(member: &Member) -> bool {
        member.poll_closed(&Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_unfinished_request_that_holds_most_is_closed_first() {
        let budget = Arc::new(Budget::new(1000));
        let [small, large, complete] = [budget.join(), budget.join(), budget.join()];
        small.add(100);
        large.add(300);
        complete.add(600);
        complete.complete();
        assert!(![&small, &large, &complete].into_iter().any(is_closed), "the budget is just not exceeded");
        small.add(1);
        assert_eq!([&small, &large, &complete].map(is_closed), [false, true, false]);
        assert_eq!((budget.held(), budget.closed.get()), (701, 1));
        large.add(500);
        assert_eq!(budget.held(), 701, "a connection that is being closed holds nothing");
    }

    #[test]
    fn a_request_that_is_answered_or_gone_holds_nothing() {
        let budget = Arc::new(Budget::new(1000));
        let (answered, gone) = (budget.join(), budget.join());
        answered.add(400);
        gone.add(400);
        answered.complete();
        answered.release();
        drop(gone);
        assert_eq!(budget.held(), 0);
        answered.add(1001);
        assert!(is_closed(&answered), "its next request is a new one");
    }

    #[test]
    fn closing_frees_an_eighth_of_the_budget() {
        let budget = Arc::new(Budget::new(1000));
        let members: Vec<_> = (0..101).map(|_| budget.join()).collect();
        members.iter().for_each(|member| member.add(10));
        assert_eq!((budget.held(), budget.closed.get()), (870, 14));
    }

    #[test]
    fn closing_wakes_the_connection() {
        struct Flag(AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (budget, flag) = (Arc::new(Budget::new(10)), Arc::new(Flag(AtomicBool::new(false))));
        let member = budget.join();
        assert!(member.poll_closed(&Context::from_waker(&flag.clone().into())).is_pending());
        member.add(11);
        assert!(flag.0.load(Ordering::Relaxed) && is_closed(&member));
    }
}
