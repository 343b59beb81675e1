//! What the backend has done since it was opened, and what it holds: for whoever watches it.

use std::path::Path;

use redb::{ReadableTable, ReadableTableMetadata};

use super::error::failed;
use super::tables::{EVENTS, EXPIRY, SESSIONS};
use super::{Redb, Result};
use crate::domain::end::EndReason;
use crate::domain::event::{Event, EventKind};
use crate::domain::time::Timestamp;
use crate::meter::{Counter, DURATIONS, Gauge, Histogram, Tally};
use crate::store::{Figures, Lane};

/// Bounds for how many decisions share a commit.
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// What is counted while the store runs.
pub(super) struct Counts {
    pub commits: Counter,
    pub decisions: Counter,
    pub batches: Histogram,
    pub commit_nanos: Histogram,
    pub failures: Counter,
    busy: [Counter; 2],
    live: Gauge,
    events: Tally<EventKind>,
    ends: Tally<EndReason>,
}

/// Events on their way to the disk, which count when they are there.
#[derive(Default)]
pub(super) struct Told(Vec<(EventKind, Option<EndReason>)>, Vec<(EndReason, u64)>);

impl Told {
    /// This event is being written.
    pub fn event(&mut self, event: &Event) {
        self.0.push((event.kind, event.reason));
    }

    /// So many sessions ended without events of their own.
    pub fn ended(&mut self, reason: EndReason, sessions: u64) {
        self.1.push((reason, sessions));
    }
}

impl Counts {
    pub fn new(live: u64) -> Self {
        let counts = Self {
            commits: Counter::default(),
            decisions: Counter::default(),
            batches: Histogram::new(BATCHES),
            commit_nanos: Histogram::new(DURATIONS),
            failures: Counter::default(),
            busy: Default::default(),
            live: Gauge::default(),
            events: Tally::new(EventKind::ALL),
            ends: Tally::new(EndReason::ALL),
        };
        counts.live.set(live);
        counts
    }

    /// A write found no place in the queue.
    pub fn refused(&self, lane: Lane) {
        self.busy[usize::from(lane == Lane::Revocation)].one();
    }

    /// What was told is on the disk, and so many sessions live now.
    pub fn committed(&self, told: &mut Told, live: u64) {
        for (kind, reason) in told.0.drain(..) {
            self.events.one(kind);
            if let (EventKind::SessionEnded, Some(reason)) = (kind, reason) {
                self.ends.one(reason);
            }
        }
        told.1.drain(..).for_each(|(reason, number)| self.ends.add(reason, number));
        self.live.set(live);
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
            live: counts.live.get(),
            sessions: read.open_table(SESSIONS).map_err(failed)?.len().map_err(failed)?,
            events: read.open_table(EVENTS).map_err(failed)?.len().map_err(failed)?,
            live_by_client: self.read_live()?,
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
            told: counts.events.read(),
            ended: counts.ends.read(),
        })
    }
}

/// When the sweep is to look at a session next: the front of its key in the index.
fn slot_of(key: &[u8; 24]) -> Timestamp {
    let mut front = [0; 8];
    front.copy_from_slice(&key[..8]);
    Timestamp::from_millis(i64::try_from(u64::from_be_bytes(front)).unwrap_or(i64::MAX))
}

/// What the file system has left for us.
pub(super) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}
