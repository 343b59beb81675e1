//! What this process knows of the database: the registry, and the position of the last event.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_postgres::Row;

use super::rows::client_id;
use crate::domain::cutoff::CutOffs;
use crate::domain::epoch::Epochs;
use crate::domain::id::Position;
use crate::domain::key::KeyRecord;
use crate::store::corrupt;
use crate::store::layout::{EPOCHS, KEYS, RESTORED};
use crate::store::record::{self, RecordFault};
use crate::store::{Registry, Result};

/// `max_staleness` of all replicas in milliseconds, in the table `meta`.
pub(super) const MAX_STALENESS: &str = "max_staleness_ms";

/// The registry as a writer has it while it decides, ahead of what is published.
#[derive(Clone, Default)]
pub(super) struct WriterRegistry {
    /// The number of changes of the registry; 0 if it is not known.
    pub version: i64,
    pub cuts: CutOffs,
    pub epochs: Epochs,
    pub keys: Arc<Vec<KeyRecord>>,
}

/// The registry and the head that were published last.
pub(super) struct Known {
    registry: ArcSwap<Registry>,
    head: AtomicU64,
    head_changes: watch::Sender<u64>,
    /// The version of the registry. Held while both are published.
    version: Mutex<i64>,
}

impl Known {
    pub fn new(first: &WriterRegistry) -> Self {
        Self {
            registry: ArcSwap::from_pointee(first.registry()),
            head: AtomicU64::new(first.cuts.head.0),
            head_changes: watch::Sender::new(first.cuts.head.0),
            version: Mutex::new(first.version),
        }
    }

    pub fn registry(&self) -> Arc<Registry> {
        self.registry.load_full()
    }

    pub fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    pub fn version(&self) -> i64 {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registry for a writer, if it has this version.
    pub fn at_version(&self, version: i64) -> Option<WriterRegistry> {
        let known = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = self.registry.load();
        (*known == version).then(|| WriterRegistry {
            version,
            cuts: registry.cuts.clone(),
            epochs: registry.epochs.clone(),
            keys: registry.keys.clone(),
        })
    }

    /// Whether someone waits for the next event.
    pub fn has_waiters(&self) -> bool {
        self.head_changes.receiver_count() > 0
    }

    pub async fn head_after(&self, position: Position) {
        // The sender is never dropped before `self`, so this returns only when the head has moved.
        let _ = self.head_changes.subscribe().wait_for(|head| Position(*head) > position).await;
    }

    /// Publishes a state that was read or committed, unless a later one is known: the registry if it is
    /// newer, then the head, so that a reader of this head finds every cut-off up to it.
    pub fn publish(&self, registry: Option<&WriterRegistry>, head: Position) {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = registry.filter(|registry| registry.version > *version) {
            let mut published = registry.registry();
            let before = self.registry.load();
            // The keyring is made anew when the allocation is another.
            if before.keys == published.keys {
                published.keys = before.keys.clone();
            }
            *version = registry.version;
            self.registry.store(Arc::new(published));
        }
        if head > self.head() {
            self.head.store(head.0, Ordering::Release);
            self.head_changes.send_replace(head.0);
        }
    }
}

impl WriterRegistry {
    pub fn registry(&self) -> Registry {
        Registry { cuts: self.cuts.clone(), epochs: self.epochs.clone(), keys: self.keys.clone() }
    }

    /// From the rows of the statement `registry`.
    pub fn of_rows(rows: &[Row]) -> Result<Self> {
        let mut registry = Self::default();
        let (mut clients, mut head) = (vec![], None);
        for row in rows {
            let (name, bytes): (&str, &[u8]) = (row.get(1), row.get(2));
            match row.get::<_, i32>(0) {
                0 => head = Some((row.get(3), row.get(4))),
                1 => clients.push((name, bytes)),
                2 => registry.put_cut_off(name, bytes)?,
                _ => registry.put_meta(name, bytes)?,
            }
        }
        for (name, bytes) in clients {
            let id = client_id("clients", name)?;
            let deleted = registry.cuts.clients.get(&id).map_or(Position::default(), |cut| cut.position);
            let client = record::decode_client(name, bytes, deleted);
            let client = client.map_err(|fault| corrupt("clients", name, fault))?;
            registry.cuts.registered.insert(id, Arc::new(client));
        }
        let (position, version) = head.ok_or_else(|| corrupt("head", "the only row", "absent"))?;
        (registry.cuts.head, registry.version) = (position_of(position), version);
        Ok(registry)
    }

    fn put_cut_off(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let cut = record::decode_cut_off(name, bytes).map_err(|fault| corrupt("cut_offs", name, fault))?;
        match name {
            "" => self.cuts.everything = Some(cut),
            RESTORED => self.cuts.restored = Some(cut),
            _ => _ = self.cuts.clients.insert(client_id("cut_offs", name)?, cut),
        }
        Ok(())
    }

    fn put_meta(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let fault = |fault: RecordFault| corrupt("meta", name, fault);
        match name {
            KEYS => self.keys = Arc::new(record::decode_keys(bytes).map_err(fault)?),
            EPOCHS => self.epochs = record::decode_epochs(bytes).map_err(fault)?,
            _ => {}
        }
        Ok(())
    }
}

/// A position as PostgreSQL has it. None is negative.
pub(super) fn position_of(number: i64) -> Position {
    Position(u64::try_from(number).unwrap_or(0))
}

/// The same for a column.
pub(super) fn number_of(position: Position) -> i64 {
    i64::try_from(position.0).expect("a position is far below 2^63")
}
