//! Builds a database from a backup under another name: filled, checked as a whole, and moved to a new epoch
//! that trusts nothing issued before. The caller renames it.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableHandle, WriteTransaction};

use super::error::{OpenError, unless_damaged};
use super::open::{backend, database, prove, read_state, recognise_existing, upgrade};
use super::tables::{ACTIVE_COUNTS, EPOCHS, HEAD, KEYS, META, NAMES, RESTORED, Tables, Visit, each};
use super::writer::begin;
use super::{Result, check};
use crate::domain::cutoff::CutOff;
use crate::domain::epoch::Reached;
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::key::KeyRecord;
use crate::domain::time::Timestamp;
use crate::files::{if_present, sync_directory_of};
use crate::store::backup::{Damage, Piece};
use crate::store::check::{Find, Note};
use crate::store::record::{self, Codec};
use crate::token::keys::Keys;

/// How many bytes of entries are inserted at once.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Why a backup cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is incomplete or damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// It belongs to another master key, has another version, or the new database cannot be written or read.
    #[error(transparent)]
    Open(OpenError),
    #[error("it has a table {0}, which this keyfob does not support")]
    UnknownTable(String),
    /// An entry's key or value has an invalid length or encoding.
    #[error("it has an invalid entry in table {0}")]
    Malformed(&'static str),
}

impl<E> From<E> for RestoreError
where
    OpenError: From<E>,
{
    fn from(error: E) -> Self {
        Self::Open(error.into())
    }
}

/// The new database, while it is filled.
pub struct Restoring {
    /// Declared before the database, so that it is dropped first.
    transaction: Option<WriteTransaction>,
    db: Database,
    /// `None` for a database on another storage backend.
    path: Option<PathBuf>,
    codec: Codec,
    table: &'static str,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    entries_bytes: usize,
    /// Whether the format and the key check in `meta` were verified.
    proven: bool,
}

impl Restoring {
    /// Creates an empty database at `path`. A file that an interrupted attempt left there is removed.
    pub fn begin(path: &Path, keys: &Keys, cache_bytes: usize) -> std::result::Result<Self, RestoreError> {
        if_present(std::fs::remove_file(path))?;
        let mut restoring = Self::on_backend(backend(path)?, keys, cache_bytes)?;
        restoring.path = Some(path.into());
        Ok(restoring)
    }

    /// The same on another storage backend, which is empty; for simulations.
    pub fn on_backend(
        backend: impl StorageBackend,
        keys: &Keys,
        cache_bytes: usize,
    ) -> std::result::Result<Self, RestoreError> {
        let db = database(backend, cache_bytes)?;
        let transaction = Some(begin(&db)?);
        Ok(Self {
            db,
            path: None,
            codec: Codec::new(keys),
            transaction,
            table: META.name(),
            entries: vec![],
            entries_bytes: 0,
            proven: false,
        })
    }

    /// Takes the next piece of the backup. The master key is verified before any table but `meta`.
    pub fn take(&mut self, piece: &Piece) -> std::result::Result<(), RestoreError> {
        match piece {
            Piece::Head(_) => {}
            Piece::Table(name) => {
                self.flush()?;
                self.table = NAMES
                    .iter()
                    .copied()
                    .find(|known| *known == *name)
                    .ok_or_else(|| RestoreError::UnknownTable((*name).to_owned()))?;
                if self.table != META.name()
                    && !std::mem::replace(&mut self.proven, true)
                    && let Some(transaction) = &self.transaction
                {
                    prove(&transaction.open_table(META)?, &self.codec)?;
                }
            }
            Piece::Entry(key, value) => {
                self.entries_bytes += key.len() + value.len();
                self.entries.push((key.to_vec(), value.to_vec()));
                if self.entries_bytes >= BATCH_BYTES {
                    self.flush()?;
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> std::result::Result<(), RestoreError> {
        let Some(transaction) = &self.transaction else { return Ok(()) };
        self.entries_bytes = 0;
        let mut put = Put {
            transaction,
            table: self.table,
            entries: std::mem::take(&mut self.entries),
            malformed: false,
        };
        each(&mut put)?;
        if put.malformed { Err(RestoreError::Malformed(self.table)) } else { Ok(()) }
    }

    /// The backup is complete: commits its entries.
    pub fn filled(&mut self) -> std::result::Result<(), RestoreError> {
        self.flush()?;
        if let Some(transaction) = self.transaction.take() {
            Tables::create(&transaction)?;
            transaction.commit()?;
        }
        let format = recognise_existing(&self.db.begin_read()?, &self.codec)?;
        Ok(upgrade(&self.db, &self.codec, format)?)
    }

    /// Checks it like [`super::Store::check`], counting the sessions that were active at `made_at`.
    pub fn check(&self, made_at: Timestamp, report: &mut dyn FnMut(Note) -> Result<()>) -> Result<()> {
        check::check(&self.db.begin_read()?, &self.codec, made_at, report)
    }

    /// Closes the database durably, in the epoch of the backup: it is a copy, and the other one is not used
    /// any more. Returns the position of its last event.
    pub fn close(self) -> std::result::Result<Position, RestoreError> {
        let head = read_state(&self.db.begin_read()?)?.cuts.head;
        // The next opening is quick only if the last commit stored the allocator's state.
        begin(&self.db)?.commit()?;
        self.sync()?;
        Ok(head)
    }

    fn sync(self) -> std::result::Result<(), RestoreError> {
        drop(self.db);
        if let Some(path) = self.path {
            std::fs::File::open(&path)?.sync_all()?;
            sync_directory_of(&path)?;
        }
        Ok(())
    }

    /// Starts the new epoch: cuts off all that was issued before, replaces the signing keys by `keys`, and
    /// writes `event`. Closes the database durably. Returns the epoch's first position, which is after what
    /// the `lost` store reached.
    pub fn begin_epoch(
        self,
        event: &Event,
        keys: &[KeyRecord],
        lost: Option<Reached>,
        chance: u32,
    ) -> std::result::Result<Position, RestoreError> {
        let (db, codec) = (&self.db, &self.codec);
        let mut state = read_state(&db.begin_read()?)?;
        let transaction = begin(db)?;
        let mut tables = Tables::of(&transaction);
        let oldest = tables
            .events
            .open()?
            .first()?
            .map_or(state.cuts.head, |(position, _)| Position(position.value()));
        let began = state.epochs.begin(state.cuts.head, oldest, lost, event.at, chance);
        let cut = CutOff { position: began, at: event.at, by: event.by.clone() };
        tables.cut_offs.open()?.insert(RESTORED, &*record::encode_cut_off(RESTORED, &cut))?;
        tables.meta.open()?.insert(KEYS, &*record::encode_keys(keys))?;
        tables.meta.open()?.insert(EPOCHS, &*record::encode_epochs(&state.epochs))?;
        tables.meta.open()?.insert(HEAD, &began.0.to_be_bytes()[..])?;
        tables.active_counts.open()?.retain(|_, _| false)?;
        tables.events.open()?.insert(began.0, &*codec.encode_event(began.0, event))?;
        drop(tables);
        transaction.commit()?;
        self.sync()?;
        Ok(began)
    }
}

struct Put<'t> {
    transaction: &'t WriteTransaction,
    table: &'static str,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    malformed: bool,
}

impl Visit for Put<'_> {
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: &'static super::tables::Definition<K, V>,
    ) -> Result<()> {
        if table.name() != self.table {
            return Ok(());
        }
        let mut table = self.transaction.open_table(*table)?;
        for (key, value) in &self.entries {
            // A key has a fixed length, or is a name.
            let sound =
                K::fixed_width().map_or_else(|| std::str::from_utf8(key).is_ok(), |width| width == key.len());
            if !sound || V::fixed_width().is_some_and(|width| width != value.len()) {
                self.malformed = true;
                return Ok(());
            }
            table.insert(K::from_bytes(key), V::from_bytes(value))?;
        }
        Ok(())
    }
}

/// How far the closed database at `path` has come; `None` if it does not exist, is damaged, or is not ours.
pub fn reached(path: &Path, keys: &Keys, cache_bytes: usize) -> Option<Reached> {
    path.metadata().ok().filter(|metadata| metadata.len() > 0)?;
    let read = || {
        let db = database(backend(path)?, cache_bytes)?;
        let read = db.begin_read()?;
        recognise_existing(&read, &Codec::new(keys))?;
        let state = read_state(&read)?;
        Ok(Reached { head: state.cuts.head, number: state.epochs.number() })
    };
    unless_damaged(read).ok()
}

/// Checks the closed database at `path`: the pages of the file, then every record.
pub fn check_file(
    path: &Path,
    keys: &Keys,
    cache_bytes: usize,
    now: Timestamp,
    report: &mut dyn FnMut(Note) -> Result<()>,
) -> std::result::Result<(), OpenError> {
    unless_damaged(|| {
        let mut db = database(backend(path)?, cache_bytes)?;
        let codec = Codec::new(keys);
        if db.begin_read()?.list_tables()?.next().is_none() {
            return Err(OpenError::NotOurs("it is empty".into()));
        }
        recognise_existing(&db.begin_read()?, &codec)?;
        if !db.check_integrity()? {
            let cause = "the pages of the file were inconsistent, and were repaired as far as possible";
            report(Note::Find(Find { table: "(file)", key: path.display().to_string().into(), cause }))?;
        }
        let mut recount = false;
        check::check(&db.begin_read()?, &codec, now, &mut |note| {
            recount |= matches!(&note, Note::Find(find) if find.is_count());
            report(note)
        })?;
        let transaction = begin(&db)?;
        if recount {
            // The next opening then counts again.
            transaction.delete_table(ACTIVE_COUNTS)?;
        }
        // The next opening is quick only if the last commit stored the allocator's state.
        Ok(transaction.commit()?)
    })
}
