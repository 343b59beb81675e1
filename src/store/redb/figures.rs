//! Counters of the backend's work since it was opened, and its figures for the metrics.

use std::path::Path;

use redb::{ReadableTable, ReadableTableMetadata};

use super::active_counts::ActiveCounts;
use super::error::failed;
use super::tables::{ACTIVE_COUNTS, EVENTS, EXPIRY, SESSIONS};
use super::{Redb, Result};
use crate::domain::end::EndReason;
use crate::domain::event::{Event, EventKind};
use crate::domain::time::Timestamp;
use crate::meter::{Counter, DURATIONS, Gauge, Histogram, Tally};
use crate::store::{Figures, Lane};

/// Histogram bounds for decisions per commit.
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// Counters since the store was opened.
pub(super) struct StoreCounters {
    pub commits: Counter,
    pub decisions: Counter,
    pub batches: Histogram,
    pub commit_nanos: Histogram,
    pub failures: Counter,
    busy: [Counter; 2],
    active: Gauge,
    events: Tally<EventKind>,
    ends: Tally<EndReason>,
}

/// What the batch in progress adds to the counters when it is committed.
#[derive(Default)]
pub(super) struct UncommittedCounts {
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
    pub fn new(active: u64) -> Self {
        let counts = Self {
            commits: Counter::default(),
            decisions: Counter::default(),
            batches: Histogram::new(BATCHES),
            commit_nanos: Histogram::new(DURATIONS),
            failures: Counter::default(),
            busy: Default::default(),
            active: Gauge::default(),
            events: Tally::new(EventKind::ALL),
            ends: Tally::new(EndReason::ALL),
        };
        counts.active.set(active);
        counts
    }

    /// A write was rejected because the queue was full.
    pub fn rejected(&self, lane: Lane) {
        self.busy[usize::from(lane == Lane::Revocation)].one();
    }

    /// Adds what was just committed. `active` is the number of active sessions now.
    pub fn committed(&self, batch: &mut UncommittedCounts, active: u64) {
        for (kind, reason) in batch.events.drain(..) {
            self.events.one(kind);
            if let (EventKind::SessionEnded, Some(reason)) = (kind, reason) {
                self.ends.one(reason);
            }
        }
        batch.ended.drain(..).for_each(|(reason, number)| self.ends.add(reason, number));
        self.active.set(active);
    }
}

impl Redb {
    pub(super) fn read_figures(&self) -> Result<Figures> {
        let counts = &self.shared.counts;
        let read = self.read()?;
        let due = read
            .open_table(EXPIRY)
            .map_err(failed)?
            .first()
            .map_err(failed)?
            .map(|(key, _)| slot_of(key.value()));
        Ok(Figures {
            active: counts.active.get(),
            sessions: read.open_table(SESSIONS).map_err(failed)?.len().map_err(failed)?,
            events: read.open_table(EVENTS).map_err(failed)?.len().map_err(failed)?,
            active_by_client: ActiveCounts::read(&read.open_table(ACTIVE_COUNTS).map_err(failed)?)?
                .into_numbers(),
            table_bytes: self.measured.load().iter().copied().collect(),
            file_bytes: self.path.as_deref().and_then(|path| path.metadata().ok()).map(|file| file.len()),
            free_bytes: self.path.as_deref().and_then(|path| free_bytes(path).ok()),
            due,
            commits: counts.commits.get(),
            decisions: counts.decisions.get(),
            failures: counts.failures.get(),
            batches: counts.batches.read(),
            commit_nanos: counts.commit_nanos.read(),
            waiting: self.shared.counters().waiting as u64,
            places: self.shared.places() as u64,
            busy: counts.busy.each_ref().map(Counter::get),
            events_written: counts.events.read(),
            sessions_ended: counts.ends.read(),
        })
    }
}

/// The time at the start of a key of the expiry index.
fn slot_of(key: &[u8; 24]) -> Timestamp {
    let mut front = [0; 8];
    front.copy_from_slice(&key[..8]);
    Timestamp::from_millis(i64::try_from(u64::from_be_bytes(front)).unwrap_or(i64::MAX))
}

/// Free bytes of the file system for an unprivileged process.
pub(super) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}
