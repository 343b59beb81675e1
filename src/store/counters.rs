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
