//! Checks the database without a running server and without an engine: it finds damage that prevents a start,
//! too.

use super::AppError;
use super::installation::{lock_existing, open_when_free, places, variable};
#[cfg(feature = "postgres")]
use super::{backend::shared_options, shared};
use crate::config::Config;
use crate::domain::time::Timestamp;
#[cfg(feature = "postgres")]
use crate::engine::clock::Clock;
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
    let places = places(config);
    #[cfg(feature = "postgres")]
    if let Some(options) = shared_options(config, &Clock::system()) {
        let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
        return shared::check(&options, &keys, &places, now, report);
    }
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
