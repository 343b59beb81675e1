//! The keyring that is made of the stored signing keys, and the first keys of a new store.

use std::sync::Arc;

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
) -> Result<StoredKeyring, StoreError> {
    if store.registry().keys.is_empty() {
        let pair = new_pair(Algorithm::EdDsa, keys, clock);
        let generate = move |records: &mut Vec<_>, _: &_| {
            key::introduce(records, pair.clone());
            Decision::answer(())
        };
        store.update_keys(generate).await?;
    }
    StoredKeyring::open(store.registry().keys.clone(), keys)
}

/// An active key and the next one.
pub(super) fn new_pair(algorithm: Algorithm, keys: &Keys, clock: &Clock) -> [KeyRecord; 2] {
    let now = clock.now().wall;
    [KeyStatus::Active, KeyStatus::Next]
        .map(|status| keyring::generate(algorithm, clock.random(), keys, status, now))
}

/// A keyring, and the stored keys that it was made of.
pub(super) struct StoredKeyring {
    pub records: Arc<Vec<KeyRecord>>,
    pub keyring: Arc<Keyring>,
}

impl StoredKeyring {
    /// Opens the stored keys with the master key.
    pub fn open(records: Arc<Vec<KeyRecord>>, keys: &Keys) -> Result<Self, StoreError> {
        let keyring =
            Keyring::open(&records, keys).map_err(|cause| StoreError::Failed(cause.to_string().into()));
        Ok(Self { keyring: Arc::new(keyring?), records })
    }
}
