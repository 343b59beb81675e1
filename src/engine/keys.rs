//! The signing keys: generated at the first start, rotated, revoked.

use std::sync::Arc;

use super::clock::Clock;
use super::{Engine, Result};
use crate::domain::caller::{Administer, Granted};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::KeyId;
use crate::domain::key::{self, KeyRecord, KeyStatus};
use crate::domain::names::ENGINE;
use crate::domain::refusal::Refusal;
use crate::domain::session::Decision;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::token::keyring::{self, Keyring};
use crate::token::keys::Keys;

impl<S: Store> Engine<S> {
    /// The keys in use.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keyring.load_full()
    }

    /// All keys, in the order in which they were generated.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn keys(&self, _: &Granted<Administer>) -> Result<Vec<KeyRecord>> {
        Ok(self.store.keys().await?)
    }

    /// Makes the next key active now. Tokens that the previous one signed stay valid until they expire.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn rotate_key(&self, caller: &Granted<Administer>) -> Result<KeyId> {
        self.rotate_by(caller.name()).await
    }

    /// Revokes a compromised key: every token that it signed is invalid when this returns.
    ///
    /// # Errors
    /// `NotFound`; a store that cannot write.
    pub async fn revoke_key(&self, caller: &Granted<Administer>, id: KeyId) -> Result<()> {
        let (now, fresh) = self.fresh_key();
        let event = about(EventKind::KeyRevoked, id, now, caller.name());
        let revoked = self.store.update_keys(move |keys| match key::revoke(keys, &id, fresh.clone(), now) {
            Some(_) => Decision::with_events(Some(keys.clone()), vec![event.clone()]),
            None => Decision::answer(None),
        });
        let keys = revoked.await?.ok_or_else(|| Refusal::NotFound.because("there is no such key"))?;
        tracing::warn!(kid = %id, "a signing key was revoked: every token that it signed is invalid");
        self.take_over(&keys).await
    }

    /// Rotates the keys if it is time, and removes those whose tokens have all expired. Part of the sweep.
    ///
    /// # Errors
    /// A store that cannot answer or write.
    pub async fn tend_keys(&self) -> Result<()> {
        let now = self.clock.now().wall;
        let keys = self.store.keys().await?;
        let mut kept = keys.clone();
        key::forget_retired(&mut kept, now);
        if kept.len() != keys.len() {
            let kept = self.store.update_keys(move |keys| {
                key::forget_retired(keys, now);
                Decision::answer(keys.clone())
            });
            self.take_over(&kept.await?).await?;
        }
        if key::rotation_is_due(&keys, self.rules.rotate_every, now) {
            self.rotate_by(ENGINE).await?;
        }
        Ok(())
    }

    async fn rotate_by(&self, by: &str) -> Result<KeyId> {
        let (now, fresh) = self.fresh_key();
        let by = by.to_owned();
        let rotated = self.store.update_keys(move |keys| {
            let signs = key::rotate(keys, fresh.clone(), now);
            Decision::with_events((signs, keys.clone()), vec![about(EventKind::KeyRotated, signs, now, &by)])
        });
        let (signs, keys) = rotated.await?;
        tracing::info!(kid = %signs, "signing key rotated");
        self.take_over(&keys).await?;
        Ok(signs)
    }

    fn fresh_key(&self) -> (Timestamp, KeyRecord) {
        let now = self.clock.now().wall;
        (now, keyring::generate(self.clock.random(), &self.keys, KeyStatus::Next, now))
    }

    /// Signs and verifies with what is written. Two concurrent changes can arrive here in any order, so the
    /// stored keys are read again.
    async fn take_over(&self, written: &[KeyRecord]) -> Result<()> {
        let mut records = written.to_vec();
        loop {
            self.keyring.store(Arc::new(open(&records, &self.keys)?));
            let stored = self.store.keys().await?;
            if stored == records {
                return Ok(());
            }
            records = stored;
        }
    }
}

fn about(kind: EventKind, key: KeyId, at: Timestamp, by: &str) -> Event {
    let mut event = Event::new(kind, at, by);
    event.key = Some(key);
    event
}

fn open(records: &[KeyRecord], keys: &Keys) -> std::result::Result<Keyring, StoreError> {
    Keyring::open(records, keys).map_err(|cause| StoreError::Failed(cause.to_string().into()))
}

/// The keyring of the store. A new store gets an active key and a next one.
pub(super) async fn load_or_create<S: Store>(store: &S, keys: &Keys, clock: &Clock) -> Result<Keyring> {
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
    Ok(open(&records, keys)?)
}
