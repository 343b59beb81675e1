//! The keyring that is made of the stored signing keys, and the first keys of a new store.

use super::clock::Clock;
use crate::domain::algorithm::Algorithm;
use crate::domain::key::{self, KeyRecord, KeyStatus};
use crate::domain::session::Decision;
use crate::store::{Store, StoreError};
use crate::token::keyring::{self, Keyring};
use crate::token::keys::Keys;

/// The keyring of the store. A new store gets an active Ed25519 key and a next one.
pub(super) async fn load_or_create<S: Store>(
    store: &S,
    keys: &Keys,
    clock: &Clock,
) -> Result<Keyring, StoreError> {
    let records = store.keys().await?;
    let records = if records.is_empty() {
        let pair = new_pair(Algorithm::EdDsa, keys, clock);
        let generate = move |records: &mut Vec<_>, _: &_| {
            key::introduce(records, pair.clone());
            Decision::answer(records.clone())
        };
        store.update_keys(generate).await?
    } else {
        records
    };
    open(&records, keys)
}

/// An active key and the next one.
pub(super) fn new_pair(algorithm: Algorithm, keys: &Keys, clock: &Clock) -> [KeyRecord; 2] {
    let now = clock.now().wall;
    [KeyStatus::Active, KeyStatus::Next]
        .map(|status| keyring::generate(algorithm, clock.random(), keys, status, now))
}

/// Opens the stored keys with the master key.
pub(super) fn open(records: &[KeyRecord], keys: &Keys) -> Result<Keyring, StoreError> {
    Keyring::open(records, keys).map_err(|cause| StoreError::Failed(cause.to_string().into()))
}
