//! Which answers of the database count.
//!
//! A primary that has lost its cluster still answers reads. So each process writes a heartbeat, and an answer
//! counts only if it was read together with a heartbeat that was sent less than `max_staleness` ago: the
//! database acknowledged it, so it was the primary then. And on a timeline that is new, nothing is
//! acknowledged for as long, so that no answer of a former primary is younger than an acknowledgement of its
//! successor.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::{Result, StoreError};

/// How many heartbeats are remembered. Older ones prove nothing.
const BEATS_MAX: usize = 256;

pub(super) struct Fence {
    /// The time since the machine started, also while it slept.
    elapsed: fn() -> Duration,
    max_staleness: Duration,
    require_synchronous: bool,
    state: Mutex<Proofs>,
}

#[derive(Default)]
struct Proofs {
    /// The heartbeats by their numbers, with the time at which each was sent.
    sent: VecDeque<(i64, Duration)>,
    /// When the last acknowledged heartbeat was sent, and its number.
    acknowledged: Option<(Duration, i64)>,
    /// The highest timeline that was seen, and the time from which it may acknowledge.
    timeline: i64,
    acknowledges_from: Duration,
    /// Whether the database waits for a second copy.
    is_synchronous: bool,
}

impl Fence {
    pub fn new(elapsed: fn() -> Duration, max_staleness: Duration, require_synchronous: bool) -> Self {
        Self { elapsed, max_staleness, require_synchronous, state: Mutex::default() }
    }

    /// A heartbeat is about to be sent. Returns its number, which none before it had.
    pub fn sending(&self) -> i64 {
        let now = (self.elapsed)();
        let mut state = self.state();
        let beat = state.sent.back().map_or(1, |(last, _)| last + 1);
        state.sent.push_back((beat, now));
        if state.sent.len() > BEATS_MAX {
            state.sent.pop_front();
        }
        beat
    }

    /// The database has committed a heartbeat; `is_synchronous` is whether it waits for a second copy.
    pub fn acknowledged(&self, beat: i64, is_synchronous: bool) {
        let mut state = self.state();
        state.is_synchronous = is_synchronous;
        let sent = state.sent_at(beat).map(|sent| (sent, beat));
        state.acknowledged = state.acknowledged.max(sent);
    }

    /// The number of the last heartbeat that the database has committed.
    pub fn last_acknowledged(&self) -> Option<i64> {
        self.state().acknowledged.map(|(_, beat)| beat)
    }

    /// Checks an answer that has just arrived together with this heartbeat.
    pub fn check_read(&self, beat: Option<i64>, timeline: i64) -> Result<()> {
        let now = (self.elapsed)();
        let state = self.state();
        let sent = beat.and_then(|beat| state.sent_at(beat));
        if timeline < state.timeline {
            return Err(outage("the answer is from a primary that was replaced"));
        }
        match sent {
            Some(sent) if now.saturating_sub(sent) < self.max_staleness => Ok(()),
            _ => Err(outage("the database has not acknowledged a heartbeat within store.max_staleness")),
        }
    }

    /// Checks whether a commit on this timeline may be acknowledged, before it is requested.
    pub fn check_write(&self, timeline: i64) -> Result<()> {
        let now = (self.elapsed)();
        let state = self.state();
        if timeline < state.timeline {
            return Err(outage("the connection is to a primary that was replaced"));
        }
        if now < state.acknowledges_from {
            return Err(outage("a new primary has taken over; writes continue after store.max_staleness"));
        }
        if self.require_synchronous && !state.is_synchronous {
            return Err(outage(NOT_SYNCHRONOUS));
        }
        Ok(())
    }

    /// For how long the present timeline is too new for acknowledgements.
    pub fn new_for(&self) -> Duration {
        self.state().acknowledges_from.saturating_sub((self.elapsed)())
    }

    /// Whether writes would be acknowledged now.
    pub fn ready(&self) -> Result<()> {
        let (now, timeline) = ((self.elapsed)(), self.state().timeline);
        self.check_write(timeline)?;
        match self.state().acknowledged {
            Some((sent, _)) if now.saturating_sub(sent) < self.max_staleness => Ok(()),
            _ => Err(outage("the database does not acknowledge heartbeats")),
        }
    }

    /// How old the last acknowledged heartbeat is, whether the database waits for a second copy, and the
    /// highest timeline that was seen.
    pub fn proofs(&self) -> (Option<Duration>, bool, i64) {
        let now = (self.elapsed)();
        let state = self.state();
        let age = state.acknowledged.map(|(sent, _)| now.saturating_sub(sent));
        (age, state.is_synchronous, state.timeline)
    }

    /// Whether nothing is known of this timeline yet.
    pub fn is_new(&self, timeline: i64) -> bool {
        timeline > self.state().timeline
    }

    /// Whether a newer timeline than this one was seen.
    pub fn is_replaced(&self, timeline: i64) -> bool {
        timeline < self.state().timeline
    }

    /// A connection on this timeline was made; `age` is for how long the timeline has been in use.
    pub fn entered(&self, timeline: i64, age: Duration) {
        let now = (self.elapsed)();
        let wait = self.max_staleness.saturating_sub(age);
        let mut state = self.state();
        if timeline > state.timeline {
            state.timeline = timeline;
            state.acknowledges_from = now + wait;
        }
    }

    /// No code that can panic runs under this lock.
    fn state(&self) -> MutexGuard<'_, Proofs> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Proofs {
    fn sent_at(&self, beat: i64) -> Option<Duration> {
        self.sent.iter().rev().find(|(number, _)| *number == beat).map(|(_, sent)| *sent)
    }
}

const NOT_SYNCHRONOUS: &str = "the database would acknowledge writes that only one machine has: set up a \
                               synchronous standby, or set store.require_synchronous = false";

fn outage(why: &str) -> StoreError {
    StoreError::Outage(why.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// The clock of a test: each has its own function, because tests run at the same time.
    macro_rules! clock {
        ($now:ident, $elapsed:ident) => {
            static $now: AtomicU64 = AtomicU64::new(10_000);
            fn $elapsed() -> Duration {
                Duration::from_millis($now.load(Ordering::SeqCst))
            }
        };
    }

    fn fence(elapsed: fn() -> Duration, require_synchronous: bool) -> Fence {
        Fence::new(elapsed, Duration::from_secs(2), require_synchronous)
    }

    #[test]
    fn an_answer_counts_while_its_heartbeat_is_young() {
        clock!(TIME, elapsed);
        let fence = fence(elapsed, false);
        assert!(fence.check_read(None, 1).is_err() && fence.check_read(Some(1), 1).is_err());
        assert_eq!(fence.sending(), 1);
        TIME.fetch_add(1_999, Ordering::SeqCst);
        assert!(fence.check_read(Some(1), 1).is_ok());
        assert!(fence.ready().is_err(), "no heartbeat was acknowledged");
        fence.acknowledged(1, false);
        assert!(fence.ready().is_ok());
        TIME.fetch_add(1, Ordering::SeqCst);
        assert!(fence.check_read(Some(1), 1).is_err() && fence.ready().is_err());
        assert_eq!(fence.sending(), 2);
        assert!(fence.check_read(Some(1), 1).is_err(), "what was read is older than the new heartbeat");
        assert!(fence.check_read(Some(2), 1).is_ok());
    }

    #[test]
    fn nothing_is_acknowledged_at_first_on_a_new_timeline_nor_later_on_the_one_before() {
        clock!(TIME, elapsed);
        let fence = fence(elapsed, false);
        fence.entered(1, Duration::from_secs(60));
        assert!(fence.check_write(1).is_ok());
        fence.entered(2, Duration::from_millis(500));
        assert!(fence.check_write(1).is_err() && fence.check_write(2).is_err());
        assert_eq!(fence.new_for(), Duration::from_millis(1_500));
        assert_eq!(fence.sending(), 1);
        assert!(fence.check_read(Some(1), 1).is_err() && fence.check_read(Some(1), 2).is_ok());
        TIME.fetch_add(1_499, Ordering::SeqCst);
        fence.entered(2, Duration::ZERO);
        assert!(fence.check_write(2).is_err());
        TIME.fetch_add(1, Ordering::SeqCst);
        assert!(fence.check_write(2).is_ok() && fence.check_write(1).is_err());
        assert_eq!(fence.new_for(), Duration::ZERO);
    }

    #[test]
    fn a_database_with_one_copy_is_refused_where_two_are_required() {
        clock!(TIME, elapsed);
        let fence = fence(elapsed, true);
        fence.entered(1, Duration::from_secs(60));
        assert_eq!(fence.sending(), 1);
        fence.acknowledged(1, false);
        assert!(fence.check_write(1).is_err() && fence.ready().is_err());
        assert_eq!(fence.sending(), 2);
        fence.acknowledged(2, true);
        assert!(fence.check_write(1).is_ok() && fence.ready().is_ok());
        TIME.fetch_add(0, Ordering::SeqCst);
    }
}
