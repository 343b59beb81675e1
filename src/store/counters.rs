//! Counters of a backend's work since it was opened.

use crate::domain::end::EndReason;
use crate::domain::event::{Event, EventKind};
use crate::meter::{Counter, DURATIONS, Histogram, Tally};
use crate::store::{Figures, Lane};

/// Histogram bounds for decisions per commit.
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Counters since the store was opened.
pub struct StoreCounters {
    pub commits: Counter,
    pub decisions: Counter,
    pub batches: Histogram,
    pub commit_nanos: Histogram,
    pub failures: Counter,
    pub busy: [Counter; 3],
    pub events: Tally<EventKind>,
    pub ends: Tally<EndReason>,
}

/// What the batch in progress adds to the counters when it is committed.
#[derive(Default)]
pub struct UncommittedCounts {
    events: Vec<(EventKind, Option<EndReason>)>,
    ended: Vec<(EndReason, u64)>,
}

impl UncommittedCounts {
    pub fn event(&mut self, event: &Event) {
        self.events.push((event.kind, event.reason));
    }

    /// Sessions that a cut-off ended, without events of their own.
    pub fn ended(&mut self, reason: EndReason, sessions: u64) {
        self.ended.push((reason, sessions));
    }
}

impl StoreCounters {
    pub fn new() -> Self {
        Self {
            commits: Counter::default(),
            decisions: Counter::default(),
            batches: Histogram::new(BATCHES),
            commit_nanos: Histogram::new(DURATIONS),
            failures: Counter::default(),
            busy: Default::default(),
            events: Tally::new(EventKind::ALL),
            ends: Tally::new(EndReason::ALL),
        }
    }

    /// A write was rejected because the queue or the disk was full.
    pub fn rejected(&self, lane: Lane) {
        self.busy[lane as usize].one();
    }

    /// What was counted, with the state of a queue of `places`.
    pub fn figures(&self, waiting: usize, places: usize) -> Figures {
        Figures {
            commits: self.commits.get(),
            decisions: self.decisions.get(),
            failures: self.failures.get(),
            batches: self.batches.read(),
            commit_nanos: self.commit_nanos.read(),
            waiting: waiting as u64,
            places: places as u64,
            busy: self.busy.each_ref().map(Counter::get),
            events_written: self.events.read(),
            sessions_ended: self.ends.read(),
            ..Figures::default()
        }
    }

    /// Adds what was just committed.
    pub fn committed(&self, batch: &mut UncommittedCounts) {
        for (kind, reason) in batch.events.drain(..) {
            self.events.one(kind);
            if let (EventKind::SessionEnded, Some(reason)) = (kind, reason) {
                self.ends.one(reason);
            }
        }
        batch.ended.drain(..).for_each(|(reason, number)| self.ends.add(reason, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn what_was_committed_and_what_was_rejected_is_counted() {
        let counters = StoreCounters::new();
        for (lane, times) in [(Lane::Opening, 1), (Lane::Ordinary, 2), (Lane::Revocation, 3)] {
            (0..times).for_each(|_| counters.rejected(lane));
        }
        let mut batch = UncommittedCounts::default();
        let mut ended = Event::new(EventKind::SessionEnded, Timestamp::from_seconds(0), "app");
        ended.reason = Some(EndReason::Logout);
        let mut opened = Event::new(EventKind::SessionOpened, Timestamp::from_seconds(0), "app");
        opened.reason = Some(EndReason::Logout);
        [&ended, &ended, &opened].into_iter().for_each(|event| batch.event(event));
        batch.ended(EndReason::AllRevoked, 5);
        counters.committed(&mut batch);
        counters.committed(&mut batch);
        (0..7).for_each(|_| counters.failures.one());

        let figures = counters.figures(4, 9);
        assert_eq!((figures.waiting, figures.places, figures.busy), (4, 9, [1, 2, 3]));
        assert_eq!(figures.failures, 7);
        let of = |kind| figures.events_written.iter().find(|(known, _)| *known == kind).unwrap().1;
        assert_eq!((of(EventKind::SessionEnded), of(EventKind::SessionOpened)), (2, 1));
        let ended = figures.sessions_ended.iter().filter(|(_, number)| *number > 0);
        let ended: Vec<_> = ended.map(|(reason, number)| (*reason, *number)).collect();
        assert_eq!(ended.len(), 2);
        assert!(ended.contains(&(EndReason::Logout, 2)) && ended.contains(&(EndReason::AllRevoked, 5)));
    }
}
