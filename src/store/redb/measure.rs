//! The figures of the embedded store for the metrics.

use redb::{ReadableTable, ReadableTableMetadata};

use super::Result;
use super::active_counts::ActiveCounts;
use super::backend::Redb;
use super::error::failed;
use super::figures::free_bytes;
use super::tables::{ACTIVE_COUNTS, EVENTS, EXPIRY, SESSIONS};
use crate::domain::time::Timestamp;
use crate::meter::Counter;
use crate::store::Figures;

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
