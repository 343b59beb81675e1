//! The store as a whole: backed up, checked and measured while everything else goes on.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::open::invalid;
use super::{Engine, Error, Result};
use crate::domain::caller::Caller;
use crate::domain::client::Permission;
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::check::{Find, Note};
use crate::store::{Pieces, Stats, Store, StoreError};

/// How many backups and checks may go on at once: each keeps a snapshot, whose pages cannot be used again
/// meanwhile.
pub(super) const WALKS_MAX: usize = 2;
/// How fast a backup is read if nobody says how fast, in bytes a second.
pub const RATE_DEFAULT: u64 = 64 * 1024 * 1024;
/// The slowest backup: one that never ends keeps its snapshot for ever.
pub const RATE_MIN: u64 = 1024 * 1024;

/// A walk over the whole store, in pieces.
pub struct Walk<T> {
    /// What it gives.
    pub pieces: Pieces<T>,
    /// How many bytes a second may be taken.
    pub rate: Option<u64>,
    /// When it began.
    pub at: Timestamp,
    /// Its place among those that may go on.
    pub place: OwnedSemaphorePermit,
}

impl<S: Store> Engine<S> {
    /// A backup of the store as it is now, to be taken at no more than `rate` bytes a second. Writers go on
    /// meanwhile.
    ///
    /// # Errors
    /// `Forbidden` to all but administrators; `Invalid` for a rate below 1 MiB; `TooMany` while others go on.
    pub fn backup(&self, caller: &Caller, rate: Option<u64>) -> Result<Walk<Bytes>> {
        caller.require(Permission::Admin)?;
        let rate = rate.unwrap_or(RATE_DEFAULT);
        if rate < RATE_MIN {
            return Err(invalid("rate", "must be at least 1048576 bytes a second").into());
        }
        let (at, place) = (self.clock.now().wall, self.walk()?);
        tracing::info!(by = caller.name(), "a backup begins");
        Ok(Walk { pieces: self.store.backup(at)?, rate: Some(rate), at, place })
    }

    /// Holds every record and every index of the store as it is now against each other. Writers go on
    /// meanwhile.
    ///
    /// # Errors
    /// `Forbidden` to all but administrators; `TooMany` while others go on.
    pub fn check_store(&self, caller: &Caller) -> Result<Walk<Note>> {
        caller.require(Permission::Admin)?;
        let (at, place) = (self.clock.now().wall, self.walk()?);
        Ok(Walk { pieces: self.store.check(at)?, rate: None, at, place })
    }

    /// What is in the store, and how large it is.
    ///
    /// # Errors
    /// `Forbidden` to all but administrators; `TooMany` while others go on; a store that cannot answer.
    pub async fn stats(&self, caller: &Caller) -> Result<Stats> {
        caller.require(Permission::Admin)?;
        let _place = self.walk()?;
        Ok(self.store.stats().await?)
    }

    fn walk(&self) -> Result<OwnedSemaphorePermit> {
        let busy = || {
            Error::from(
                Refusal::TooMany { retry_after: Duration::from_secs(60) }
                    .because("two backups or checks are going on already"),
            )
        };
        self.walks.clone().try_acquire_owned().map_err(|_| busy())
    }
}

/// How many finds of a check are logged one by one: a broken index has one for each session.
const FINDS_LOGGED: u64 = 10;

/// Logs what a check finds, for somebody has to look at it, whoever asked: the first finds, and at the end
/// how many there were.
#[derive(Debug, Default)]
pub struct FindLog(u64);

impl FindLog {
    /// Logs what is told, if it is to be logged; answers whether it was.
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
                    "a check of the store found more damage than is logged: `keyfob db check` names it all"
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
    fn a_broken_index_does_not_flood_the_log() {
        let mut log = FindLog::default();
        let find = Note::Find(Find { table: "expiry", key: "00".into(), cause: "it belongs to no session" });
        let logged = (0..1_000).filter(|_| log.hear(&find)).count();
        assert_eq!((logged, log.hear(&Note::Done(Checked::default()))), (10, true));
        assert!(!FindLog::default().hear(&Note::Done(Checked::default())));
    }
}
