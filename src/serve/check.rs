//! Checking a database that nobody has open: without an engine, so that damage that keeps one from starting
//! is found too.

use super::{AppError, lock_existing, open_patiently, places, variable};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::first_start::read_master_key;
use crate::store::check::Note;
use crate::store::redb::{OpenError, check_file};
use crate::store::{Result, StoreError};
use crate::token::keys::Keys;

/// Checks the database file and every record in it, telling as it goes on.
///
/// # Errors
/// `NotInitialised`, and whatever keeps the file from being opened; not what is found in it.
pub fn check(
    config: &Config,
    now: Timestamp,
    tell: &mut dyn FnMut(Note) -> Result<()>,
) -> std::result::Result<(), AppError> {
    let places = places(config);
    let _lock = lock_existing(&places)?;
    let keys = Keys::derive(&read_master_key(&places.master_key, variable)?);
    let checked =
        open_patiently(|| check_file(&places.database, &keys, config.store.cache_bytes, now, &mut *tell));
    checked.map_err(|cause| match cause {
        // Whoever is told stops it so.
        OpenError::Store(StoreError::Unavailable(why)) => AppError::Interrupted(why),
        cause => AppError::store(&places.database, cause),
    })
}
