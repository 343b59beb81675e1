//! The embedded backend: one file, one writer thread that commits in groups, and reads that never wait for
//! it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arc_swap::ArcSwap;
use redb::{ReadTransaction, ReadableDatabase, StorageBackend};

use self::space::Space;
use super::record::Codec;
use super::{Opening, Registry, Result, StoreError, Sweep, Swept};
use crate::files::{if_present, sync_directory_of};
use crate::token::keys::Keys;

mod active_counts;
mod backend;
mod batch;
mod check;
mod error;
mod open;
mod options;
mod port;
mod recall;
mod restore;
mod space;
mod subject;
mod subject_updates;
mod sweep;
mod tables;
mod upgrade;
mod walk;
mod writer;

pub use backend::Redb;
pub use error::OpenError;
pub use options::Options;
pub use restore::{RestoreError, Restoring, check_file, reached};
pub use writer::{Counters, Writer};

impl Redb {
    /// Opens the database at `path`, or creates it durably with mode 0600. The directory must exist.
    pub fn open(path: &Path, keys: &Keys, options: Options) -> std::result::Result<Self, OpenError> {
        let mut store = Self::open_backend(open::backend(path)?, keys, options)?;
        store.path = Some(path.to_owned());
        Ok(store)
    }

    /// Creates an empty database at `path` atomically: an interrupted start leaves no incomplete file there.
    pub fn create(path: &Path, keys: &Keys) -> std::result::Result<(), OpenError> {
        let unfinished = path.with_extension("new");
        if_present(std::fs::remove_file(&unfinished))?;
        let options = Options { cache_bytes: 1 << 20, write_queue_max: 1 };
        let created = Self::open(&unfinished, keys, options).and_then(|store| {
            drop(store);
            Ok(std::fs::rename(&unfinished, path)?)
        });
        if created.is_err() {
            // On a full disk it would take space from other programs.
            let _ = std::fs::remove_file(&unfinished);
        }
        created?;
        Ok(sync_directory_of(path)?)
    }

    /// Creates an empty database in memory.
    pub fn in_memory(keys: &Keys, options: Options) -> std::result::Result<Self, OpenError> {
        Self::open_backend(redb::backends::InMemoryBackend::new(), keys, options)
    }

    /// Opens a database on another storage backend; for tests that make the disk fail.
    pub fn open_backend(
        backend: impl StorageBackend,
        keys: &Keys,
        options: Options,
    ) -> std::result::Result<Self, OpenError> {
        let (store, writer) = Self::open_stepped(backend, keys, options)?;
        let writer = thread::Builder::new().name("writer".into()).spawn(move || writer.run())?;
        *store.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(store)
    }

    /// The same without a thread: the caller runs the batches, and every wait for a write is a wait for that.
    /// For simulations.
    pub fn open_stepped(
        backend: impl StorageBackend,
        keys: &Keys,
        options: Options,
    ) -> std::result::Result<(Self, Writer), OpenError> {
        let codec = Codec::new(keys);
        let (db, state) = error::unless_damaged(|| open::open(backend, &codec, options.cache_bytes))?;
        let (db, shared) = (Arc::new(db), Arc::new(writer::Shared::new(&state, options)));
        let writer = Writer { shared: shared.clone(), db: db.clone(), codec: codec.clone(), state };
        let store =
            Self { db, codec, shared, writer: Mutex::default(), path: None, measured: ArcSwap::default() };
        Ok((store, writer))
    }

    /// A state to read from.
    fn snapshot(&self) -> Result<ReadTransaction> {
        self.shared.intact()?;
        Ok(self.db.begin_read()?)
    }

    /// From now on openings are rejected while less than so many bytes are left for other writes.
    pub fn reserve(&self, bytes: u64) {
        if let Some(path) = &self.path {
            let _ = self.shared.space.set(Space::new(path.clone(), bytes));
        }
    }

    /// Accepts no more writes, and returns when all waiting writes are committed. Reads remain possible until
    /// the store is dropped.
    pub fn close(&self) {
        self.shared.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A panic of the writer would have ended the process.
            let _ = writer.join();
        }
    }

    /// The bytes of each table in the file, including unused space in its pages.
    pub fn stored_bytes(&self) -> Result<Vec<(&'static str, u64)>> {
        let read = self.db.begin_read()?;
        Ok(walk::table_stats(&read)?.into_iter().map(|(name, _, bytes)| (name, bytes)).collect())
    }

    /// Measures the tables, which reads the whole file, for [`Store::figures`].
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn measure(&self) -> Result<()> {
        let measured = self.stored_bytes()?;
        if let Some(space) = self.shared.space.get() {
            let used = measured.iter().map(|(_, bytes)| bytes).sum();
            space.measured(used).map_err(|error| StoreError::Failed(error.to_string().into()))?;
        }
        self.measured.store(Arc::new(measured));
        Ok(())
    }

    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        self.close();
    }
}
