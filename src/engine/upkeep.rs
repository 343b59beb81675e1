//! The store as a whole: backed up, checked and measured while everything else goes on.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::open::invalid;
use super::{Engine, Error, Result};
use crate::domain::client::{Caller, Permission};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::store::check::{Find, Note};
use crate::store::{Pieces, Stats, Store, StoreError};

/// How many backups and checks may go on at once: each keeps a snapshot, whose pages cannot be used again meanwhile.
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
    _place: OwnedSemaphorePermit,
}

impl<S: Store> Engine<S> {
    /// A backup of the store as it is now, to be taken at no more than `rate` bytes a second. Writers go on meanwhile.
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
        Ok(Walk { pieces: self.store.backup(at)?, rate: Some(rate), at, _place: place })
    }

    /// Holds every record and every index of the store as it is now against each other. Writers go on meanwhile.
    ///
    /// # Errors
    /// `Forbidden` to all but administrators; `TooMany` while others go on.
    pub fn check_store(&self, caller: &Caller) -> Result<Walk<Note>> {
        caller.require(Permission::Admin)?;
        let (at, place) = (self.clock.now().wall, self.walk()?);
        Ok(Walk { pieces: self.store.check(at)?, rate: None, at, _place: place })
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
        let busy =
            || Error::from(Refusal::TooMany { retry_after: Duration::from_secs(60) }.because("two backups or checks are going on already"));
        self.walks.clone().try_acquire_owned().map_err(|_| busy())
    }
}

/// Logs what a check finds, once for each find: somebody has to look at it, whoever asked.
pub fn log_find(find: &Find) {
    let error = StoreError::Corrupt { table: find.table, key: find.key.clone(), cause: find.cause };
    tracing::error!(%error, "a check of the store found damage");
}
