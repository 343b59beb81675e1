//! The signing keys: generated when they are needed first, rotated, revoked.

use std::sync::Arc;
use std::time::Duration;

use super::stored_keys::{self, StoredKeyring};
use super::{Engine, Result};
use crate::domain::access::TokenFormat;
use crate::domain::algorithm::Algorithm;
use crate::domain::caller::{Administer, Granted, Inspect};
use crate::domain::client::Party;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::KeyId;
use crate::domain::key::{self, KeyRecord, KeyStatus};
use crate::domain::names::ENGINE;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::Decision;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError};
use crate::token::keyring::{self, Keyring};

impl<S: Store> Engine<S> {
    /// The keyring of the keys that are stored now. It is made here, not by the request that changes them,
    /// because that request can be cancelled after its commit.
    pub fn keyring(&self) -> Arc<Keyring> {
        let stored = &self.store.registry().keys;
        let known = self.keyring.load();
        if Arc::ptr_eq(stored, &known.records) {
            return known.keyring.clone();
        }
        match StoredKeyring::open(stored.clone(), &self.keys) {
            Ok(opened) => {
                let keyring = opened.keyring.clone();
                self.keyring.store(Arc::new(opened));
                keyring
            }
            Err(error) => {
                // Every stored key was sealed with this master key: a fault of keyfob.
                tracing::error!(%error, "the stored signing keys do not open with the master key");
                known.keyring.clone()
            }
        }
    }

    /// The same of the keys that are stored now in the whole installation; of those last known if the store
    /// cannot answer, because verifiers keep a copy anyway, and must not be without keys in an outage.
    pub async fn current_keyring(&self) -> Arc<Keyring> {
        if let Err(error) = self.store.current().await {
            tracing::debug!(%error, "the published keys are those last known");
        }
        self.keyring()
    }

    /// All keys, in the order in which they were generated.
    pub fn keys(&self, _: &Granted<Inspect>) -> Arc<Vec<KeyRecord>> {
        self.store.registry().keys.clone()
    }

    /// Makes the next key of each algorithm active now. Tokens that the previous ones signed stay valid until
    /// they expire. Returns the active keys.
    ///
    /// # Errors
    /// `Conflict` while a verifier that caches the published keys may not know a next key, unless `force`; a
    /// store that cannot write.
    pub async fn rotate_keys(&self, caller: &Granted<Administer>, force: bool) -> Result<Vec<KeyId>> {
        let when = if force { When::Now } else { When::Known };
        self.rotate_by(caller.name(), caller.party(), when).await
    }

    /// Revokes a compromised key: every token that it signed is invalid when this returns.
    ///
    /// # Errors
    /// `NotFound`; a store that cannot write.
    pub async fn revoke_key(&self, caller: &Granted<Administer>, id: KeyId) -> Result<()> {
        let (now, fresh) = self.fresh_keys();
        let event = about(EventKind::KeyRevoked, id, now, caller.name());
        let who = caller.clone();
        let revoked = self.store.update_keys(move |keys, cuts| {
            let checked = who.check_current(cuts);
            Decision::of(checked.and_then(|()| match key::revoke(keys, &id, &fresh, now) {
                true => Ok(Decision::with_events((), vec![event.clone()])),
                false => Err(Refusal::NotFound.because("there is no such key")),
            }))
        });
        revoked.await??;
        tracing::warn!(kid = %id, "a signing key was revoked: every token that it signed is invalid");
        Ok(())
    }

    /// Rotates the keys if it is time, and removes those whose tokens have all expired. Part of the sweep.
    ///
    /// # Errors
    /// A store that cannot answer or write.
    pub async fn tend_keys(&self) -> Result<()> {
        let now = self.clock.now().wall;
        let keys = self.store.registry().keys.clone();
        let mut kept = keys.to_vec();
        key::forget_retired(&mut kept, now);
        if kept.len() != keys.len() {
            self.change_keys(move |keys| key::forget_retired(keys, now)).await?;
        }
        if key::rotation_is_due(&keys, self.rules.rotate_every, now) {
            self.rotate_by(ENGINE, None, When::Due).await?;
        }
        self.withdraw_unused_keys(now).await
    }

    /// The key that signs new tokens in this format.
    ///
    /// # Errors
    /// `Unavailable` in the moment before its first key is stored.
    pub(super) fn signing_key(&self, format: TokenFormat) -> Result<KeyId> {
        let keyring = self.keyring();
        let key = keyring.active_for(format).ok_or_else(|| {
            StoreError::Unavailable(format!("there is no key for {} yet", format.as_str()).into())
        })?;
        Ok(key.id)
    }

    /// Generates the keys for this format if there are none. To be called before and after a client gets the
    /// format: then a concurrent [`Self::withdraw_unused_keys`] leaves no client without keys.
    ///
    /// # Errors
    /// A store that cannot answer or write.
    pub(super) async fn prepare_keys(&self, format: TokenFormat) -> Result<()> {
        if self.keyring().active_for(format).is_some() {
            return Ok(());
        }
        let pair = stored_keys::new_pair(format.algorithm(), &self.keys, &self.clock);
        self.change_keys(move |keys| _ = key::introduce(keys, pair.clone())).await?;
        tracing::info!(algorithm = format.algorithm().as_str(), "signing keys generated");
        Ok(())
    }

    /// Generates the keys for the formats of all clients.
    ///
    /// # Errors
    /// A store that cannot answer or write.
    pub(super) async fn prepare_all_keys(&self) -> Result<()> {
        for format in TokenFormat::ALL {
            if self.is_used(format.algorithm()) {
                self.prepare_keys(*format).await?;
            }
        }
        Ok(())
    }

    /// Retires the ES256 keys when no client has that format any more: they are published until their last
    /// token has expired.
    async fn withdraw_unused_keys(&self, now: Timestamp) -> Result<()> {
        let unused =
            self.keyring().active_for(TokenFormat::JwtEs256).is_some() && !self.is_used(Algorithm::Es256);
        if unused {
            self.change_keys(move |keys| key::withdraw(keys, Algorithm::Es256, now)).await?;
            self.prepare_all_keys().await?;
        }
        Ok(())
    }

    fn is_used(&self, algorithm: Algorithm) -> bool {
        let registry = self.store.registry();
        registry.cuts.registered.values().any(|client| client.access_token_format.algorithm() == algorithm)
    }

    async fn rotate_by(&self, by: &str, caller: Option<Party>, when: When) -> Result<Vec<KeyId>> {
        let (now, fresh) = self.fresh_keys();
        let every = self.rules.rotate_every;
        let by = by.to_owned();
        let rotated = self.store.update_keys(move |keys, cuts| {
            if let Err(refused) = cuts.check_registered(caller.as_slice()) {
                return Decision::answer(Err(refused));
            }
            // Another replica may have rotated them meanwhile.
            if when == When::Due && !key::rotation_is_due(keys, every, now) {
                return Decision::answer(Ok(vec![]));
            }
            if let Some(wait) = key::wait_before_rotation(keys, now).filter(|_| when == When::Known) {
                return Decision::answer(Err(too_early(wait)));
            }
            let signing = key::rotate(keys, &fresh, now);
            let events = signing.iter().map(|id| about(EventKind::KeyRotated, *id, now, &by)).collect();
            Decision::with_events(Ok(signing), events)
        });
        let signing = rotated.await??;
        for kid in &signing {
            tracing::info!(%kid, "signing key rotated");
        }
        Ok(signing)
    }

    /// A new key for each algorithm.
    fn fresh_keys(&self) -> (Timestamp, Vec<KeyRecord>) {
        let now = self.clock.now().wall;
        let fresh = |algorithm: &Algorithm| {
            keyring::generate(*algorithm, self.clock.random(), &self.keys, KeyStatus::Next, now)
        };
        (now, Algorithm::ALL.iter().map(fresh).collect())
    }

    async fn change_keys(&self, change: impl Fn(&mut Vec<KeyRecord>) + Send + 'static) -> Result<()> {
        let changed = self.store.update_keys(move |keys, _| {
            change(keys);
            Decision::answer(())
        });
        Ok(changed.await?)
    }
}

/// When keys are rotated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Now,
    /// Unless a verifier that caches the published keys may not know a next key.
    Known,
    /// If it is time.
    Due,
}

fn too_early(wait: Duration) -> Refused {
    Refusal::Conflict.because(format!(
        "resource servers may use a cached copy of the keys for {} seconds and not know the next key yet: \
         rotate in {} seconds, or now with force (`key rotate --force`, `?force=true`)",
        key::KEY_SET_MAX_AGE.as_secs(),
        wait.as_millis().div_ceil(1000)
    ))
}

fn about(kind: EventKind, key: KeyId, at: Timestamp, by: &str) -> Event {
    Event { key: Some(key), ..Event::new(kind, at, by) }
}
