//! The embedded backend: one file, one writer thread that commits in groups, and reads that never wait for it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arc_swap::ArcSwap;
use bytes::Bytes;
use redb::{ReadableDatabase, StorageBackend};

use self::subject::SubjectUpdate;
use super::check::Note;
use super::record::Codec;
use super::{Figures, Lane, Opening, Pieces, Registry, Result, Stats, Store, StoreError, Sweep, Swept};
use crate::domain::client::Client;
use crate::domain::cutoff::CutOffs;
use crate::domain::event::Event;
use crate::domain::id::{ClientId, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::session::{Data, Decision, NotOpened, RevokedToken, Session};
use crate::domain::time::Timestamp;
use crate::files::sync_directory_of;
use crate::token::keys::Keys;

mod active_counts;
mod backend;
mod batch;
mod check;
mod error;
mod figures;
mod measure;
mod open;
mod options;
mod reads;
mod recall;
mod restore;
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
pub use writer::Counters;

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
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        Self::open(&unfinished, keys, Options { cache_bytes: 1 << 20, write_queue_max: 1 })?.close();
        std::fs::rename(&unfinished, path)?;
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
        let codec = Codec::new(keys);
        let (db, state) = error::unless_damaged(|| open::open(backend, &codec, options.cache_bytes))?;
        let (db, shared) = (Arc::new(db), Arc::new(writer::Shared::new(&state, options)));
        let (its_db, its_shared, its_codec) = (db.clone(), shared.clone(), codec.clone());
        let writer = thread::Builder::new()
            .name("writer".into())
            .spawn(move || writer::run(&its_shared, &its_db, &its_codec, state))?;
        Ok(Self {
            db,
            codec,
            shared,
            writer: Mutex::new(Some(writer)),
            path: None,
            measured: ArcSwap::default(),
        })
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
        let read = self.db.begin_read().map_err(error::failed)?;
        Ok(walk::table_stats(&read)?.into_iter().map(|(name, _, bytes)| (name, bytes)).collect())
    }

    /// Measures the tables, which reads the whole file, for [`Store::figures`].
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn measure(&self) -> Result<()> {
        self.measured.store(Arc::new(self.stored_bytes()?));
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

impl Store for Redb {
    async fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        self.shared.submit(lane, move |batch| batch.update(id, decide)).await
    }

    async fn open(&self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        self.shared.submit(Lane::Ordinary, |batch| batch.open(opening)).await
    }

    async fn update_subject(
        &self,
        subject: Subject,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> Result<usize> {
        let mut update = SubjectUpdate::new(subject, closing, decide);
        self.shared.submit_slices(Lane::Revocation, move |batch| batch.update_subject(&mut update)).await
    }

    async fn end_everything(&self, event: Event) -> Result<()> {
        self.shared.submit(Lane::Revocation, |batch| batch.end_everything(event)).await
    }

    async fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.submit(Lane::Revocation, |batch| batch.update_client(id, decide)).await
    }

    async fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.submit(Lane::Revocation, |batch| batch.update_keys(decide)).await
    }

    async fn revoke_token(&self, token: RevokedToken, event: Event) -> Result<bool> {
        self.shared.submit(Lane::Revocation, move |batch| batch.revoke_token(token, event)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        self.shared.submit(Lane::Ordinary, move |batch| batch.sweep(sweep)).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        self.read_session(id)
    }

    async fn data(&self, id: SessionId) -> Result<Option<Data>> {
        self.read_data(id)
    }

    async fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        self.read_sessions(subject.as_ref(), after, limit)
    }

    async fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        self.read_active_sessions(&subject, client.as_ref(), after, limit)
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>> {
        self.read_keys()
    }

    async fn is_revoked(&self, token: RevokedToken) -> Result<bool> {
        self.read_revoked(token)
    }

    async fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        self.read_events(after, limit)
    }

    fn registry(&self) -> Arc<Registry> {
        self.shared.registry.load_full()
    }

    fn head(&self) -> Position {
        self.shared.head()
    }

    async fn head_after(&self, position: Position) {
        self.shared.head_after(position).await;
    }

    fn figures(&self) -> Result<Figures> {
        self.read_figures()
    }

    fn ready(&self) -> Result<()> {
        self.shared.ready()
    }

    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>> {
        self.walk_backup(made_at)
    }

    fn check(&self, now: Timestamp) -> Result<Pieces<Note>> {
        self.walk_check(now)
    }

    async fn stats(&self) -> Result<Stats> {
        let (db, codec, path) = (self.db.clone(), self.codec.clone(), self.path.clone());
        let stats = tokio::task::spawn_blocking(move || walk::stats(&db, &codec, path.as_deref()));
        stats.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string().into())))
    }
}
