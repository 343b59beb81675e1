//! Backups, checks and statistics of the whole store, while requests continue.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Engine, Error, Result};
use crate::domain::caller::{Administer, Granted, Inspect};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::time::Timestamp;
use crate::store::check::{Find, Note};
use crate::store::{Pieces, Stats, Store, StoreError};

/// The default rate of a backup, in bytes per second.
const RATE_DEFAULT: u64 = 64 * 1024 * 1024;
/// The lowest rate of a backup: a backup that never ends holds its snapshot for ever.
pub const RATE_MIN: u64 = 1024 * 1024;

/// A walk over the whole store, in pieces.
pub struct StoreScan<T> {
    pub pieces: Pieces<T>,
    /// The most bytes to read per second.
    pub rate: Option<u64>,
    /// When it started.
    pub at: Timestamp,
    /// The permit, which is released when the walk is dropped.
    pub place: OwnedSemaphorePermit,
}

impl<S: Store> Engine<S> {
    /// A backup of the store as it is now, at no more than `rate` bytes per second. Writes continue.
    ///
    /// # Errors
    /// `Invalid` for a rate below 1 MiB; `TooMany` while two others run.
    pub fn backup(&self, caller: &Granted<Administer>, rate: Option<u64>) -> Result<StoreScan<Bytes>> {
        let rate = rate.unwrap_or(RATE_DEFAULT);
        if rate < RATE_MIN {
            return Err(Refused::invalid("rate", "must be at least 1048576 bytes per second").into());
        }
        let (at, place) = (self.clock.now().wall, self.walk()?);
        tracing::info!(by = caller.name(), "backup started");
        Ok(StoreScan { pieces: self.store.backup(at)?, rate: Some(rate), at, place })
    }

    /// Compares every record of the store as it is now with every index. Writes continue.
    ///
    /// # Errors
    /// `TooMany` while two others run.
    pub fn check_store(&self, _: &Granted<Administer>) -> Result<StoreScan<Note>> {
        let (at, place) = (self.clock.now().wall, self.walk()?);
        Ok(StoreScan { pieces: self.store.check(at)?, rate: None, at, place })
    }

    /// The contents and size of the store.
    ///
    /// # Errors
    /// `TooMany` while two others run; a store that cannot answer.
    pub async fn stats(&self, _: &Granted<Inspect>) -> Result<Stats> {
        let _place = self.walk()?;
        Ok(self.store.stats().await?)
    }

    pub(super) fn walk(&self) -> Result<OwnedSemaphorePermit> {
        let busy = || {
            Error::from(Refusal::TooMany { retry_after: Duration::from_secs(60) }.because(
                "two backups, checks or simulations are in progress already; try again when one has ended",
            ))
        };
        self.walks.clone().try_acquire_owned().map_err(|_| busy())
    }
}

/// How many findings of a check are logged one by one: a damaged index has one per session.
const FINDS_LOGGED: u64 = 10;

/// Logs the first findings of a check and their number, for the operator: also when a client requested
/// the check.
#[derive(Debug, Default)]
pub struct FindLog(u64);

impl FindLog {
    /// Logs a finding, or the end of a check with many; returns whether a line was logged.
    pub fn hear(&mut self, note: &Note) -> bool {
        match note {
            Note::Find(Find { table, key, cause }) => {
                self.0 += 1;
                if self.0 > FINDS_LOGGED {
                    return false;
                }
                let error = StoreError::Corrupt { table, key: key.clone(), cause };
                tracing::error!(%error, "a check of the store found damage");
            }
            Note::Done(_) if self.0 > FINDS_LOGGED => {
                tracing::error!(
                    finds = self.0,
                    "a check of the store found more damage than is logged: `keyfob db check` lists it all"
                );
            }
            Note::Done(_) | Note::Progress(_) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::check::Checked;

    #[test]
    fn a_damaged_index_does_not_flood_the_log() {
        let mut log = FindLog::default();
        let find = Note::Find(Find { table: "expiry", key: "00".into(), cause: "it belongs to no session" });
        let logged = (0..1_000).filter(|_| log.hear(&find)).count();
        assert_eq!((logged, log.hear(&Note::Done(Checked::default()))), (10, true));
        assert!(!FindLog::default().hear(&Note::Done(Checked::default())));
    }
}
