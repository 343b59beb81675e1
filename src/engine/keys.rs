//! The signing keys: generated at the first start, rotated, revoked.

use std::sync::Arc;

use super::{Engine, Result, stored_keys};
use crate::domain::caller::{Administer, Granted};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::KeyId;
use crate::domain::key::{self, KeyRecord, KeyStatus};
use crate::domain::names::ENGINE;
use crate::domain::refusal::Refusal;
use crate::domain::session::Decision;
use crate::domain::time::Timestamp;
use crate::store::Store;
use crate::token::keyring::{self, Keyring};

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
            self.keyring.store(Arc::new(stored_keys::open(&records, &self.keys)?));
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
