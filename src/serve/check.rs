//! Checks the database of a stopped server, without an engine: it finds damage that prevents a start, too.

use super::AppError;
use super::backend::refuse_shared;
use super::installation::{lock_existing, open_when_free, places, variable};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::first_start::read_master_key;
use crate::store::check::Note;
use crate::store::redb::{OpenError, check_file};
use crate::store::{Result, StoreError};
use crate::token::keys::Keys;

/// Checks the database file and every record in it. `report` gets progress and finds, and stops the check by
/// an error.
///
/// # Errors
/// `NotInitialised`, and whatever prevents opening the file. What is found in it is reported, not returned.
pub fn check(
    config: &Config,
    now: Timestamp,
    report: &mut dyn FnMut(Note) -> Result<()>,
) -> std::result::Result<(), AppError> {
    refuse_shared(config)?;
    let places = places(config);
    let _lock = lock_existing(&places, None)?;
    let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
    let checked =
        open_when_free(|| check_file(&places.database, &keys, config.store.cache_bytes, now, &mut *report));
    checked.map_err(|cause| match cause {
        // `report` stops the check by this error.
        OpenError::Store(StoreError::Unavailable(why)) => AppError::Interrupted(why),
        cause => AppError::store(&places.database, cause),
    })
}
