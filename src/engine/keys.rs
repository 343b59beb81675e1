//! The signing keys: made at the first start, published to whoever verifies.

use std::sync::Arc;

use super::clock::Clock;
use super::{Engine, Result};
use crate::domain::key::KeyStatus;
use crate::domain::session::Decision;
use crate::store::{Store, StoreError};
use crate::token::keyring::{self, Keyring};
use crate::token::keys::Keys;

impl<S: Store> Engine<S> {
    /// The keys as they are now.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }
}

/// The keyring of the store. A new store gets a key that signs and one that is published ahead of its turn.
pub(super) async fn load_or_create<S: Store>(store: &S, keys: &Keys, clock: &Clock) -> Result<Keyring> {
    let now = clock.now().wall;
    let first = keyring::generate(clock.random(), keys, KeyStatus::Active, now);
    let next = keyring::generate(clock.random(), keys, KeyStatus::Next, now);
    let records = store.keys().await?;
    let records = if records.is_empty() {
        let make = move |records: &mut Vec<_>| {
            if records.is_empty() {
                *records = vec![first.clone(), next.clone()];
            }
            Decision::quiet(records.clone())
        };
        store.update_keys(make).await?
    } else {
        records
    };
    let keyring = Keyring::open(&records, keys).map_err(|cause| StoreError::Failed(cause.to_string().into()))?;
    Ok(keyring)
}
