//! The keyring that is made of the stored signing keys, and the first keys of a new store.

use super::clock::Clock;
use crate::domain::key::{KeyRecord, KeyStatus};
use crate::domain::session::Decision;
use crate::store::{Store, StoreError};
use crate::token::keyring::{self, Keyring};
use crate::token::keys::Keys;

/// The keyring of the store. A new store gets an active key and a next one.
pub(super) async fn load_or_create<S: Store>(
    store: &S,
    keys: &Keys,
    clock: &Clock,
) -> Result<Keyring, StoreError> {
    let now = clock.now().wall;
    let first = KeyRecord {
        active_since: Some(now),
        ..keyring::generate(clock.random(), keys, KeyStatus::Active, now)
    };
    let next = keyring::generate(clock.random(), keys, KeyStatus::Next, now);
    let records = store.keys().await?;
    let records = if records.is_empty() {
        let make = move |records: &mut Vec<_>| {
            if records.is_empty() {
                *records = vec![first.clone(), next.clone()];
            }
            Decision::answer(records.clone())
        };
        store.update_keys(make).await?
    } else {
        records
    };
    open(&records, keys)
}

/// Opens the stored keys with the master key.
pub(super) fn open(records: &[KeyRecord], keys: &Keys) -> Result<Keyring, StoreError> {
    Keyring::open(records, keys).map_err(|cause| StoreError::Failed(cause.to_string().into()))
}
