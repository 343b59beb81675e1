//! Opening: creates or recognises the file, verifies the master key, and reads the writer's state into
//! memory.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableHandle};
use subtle::ConstantTimeEq;

use super::StoreError;
use super::active_counts::ActiveCounts;
use super::batch::WriterState;
use super::error::OpenError;
use super::tables::{
    ACTIVE_COUNTS, CLIENTS, CUT_OFFS, EPOCHS, EVENTS, FORMAT, HEAD, KEY_CHECK, META, RESTORED, SESSIONS,
    Tables, WINDOWS, signing_keys,
};
use super::upgrade::upgrade_from_1;
use super::writer::begin;
use crate::domain::cutoff::CutOffs;
use crate::domain::epoch::Epochs;
use crate::domain::id::{ClientId, Position};
use crate::files::{self, FileRule, OpenMode, sync_directory_of};
use crate::store::corrupt;
use crate::store::layout::{FORMAT_VERSION, format_of, version_of};
use crate::store::record::{self, Codec};

/// Opens the file, or creates it durably with mode 0600.
pub(super) fn backend(path: &Path) -> Result<FileBackend, OpenError> {
    let opened = match files::open(path, FileRule::Store, OpenMode::Write) {
        Err(error) if error.is_not_found() => {
            let opened = files::open(path, FileRule::Store, OpenMode::CreateNew)?;
            sync_directory_of(path)?;
            opened
        }
        opened => opened?,
    };
    if let Some(warning) = opened.warning {
        tracing::warn!("{warning}");
    }
    Ok(FileBackend::new(opened.file)?)
}

/// Opens a database without looking into it.
pub(super) fn database(backend: impl StorageBackend, cache_bytes: usize) -> Result<Database, OpenError> {
    Ok(Database::builder().set_cache_size(page_bytes(cache_bytes)).create_with_backend(backend)?)
}

/// What redb may count as cached, for it to take `cache_bytes` of memory: it counts the 4096 bytes of a page,
/// for which the allocator takes 5120. The rest is the cache's index and the cache of decoded sessions.
fn page_bytes(cache_bytes: usize) -> usize {
    cache_bytes / 4 * 3
}

pub(super) fn open(
    backend: impl StorageBackend,
    codec: &Codec,
    cache_bytes: usize,
) -> Result<(Database, WriterState), OpenError> {
    let repaired = Arc::new(AtomicBool::new(false));
    let noticed = repaired.clone();
    let mut builder = Database::builder();
    builder
        .set_cache_size(page_bytes(cache_bytes))
        .set_repair_callback(move |_| noticed.store(true, Ordering::Relaxed));
    let db = builder.create_with_backend(backend)?;
    let format = recognise(&db, codec)?;
    if repaired.load(Ordering::Relaxed) {
        // The next opening is quick only if the last commit stored the allocator's state.
        begin(&db)?.commit()?;
    }
    upgrade(&db, codec, format)?;
    let mut state = read_state(&db.begin_read()?)?;
    state.active = read_active(&db, codec, &state.cuts)?;
    Ok((db, state))
}

/// Marks an empty database; rejects one that is not keyfob's, or that belongs to another master key. Returns
/// the format.
fn recognise(db: &Database, codec: &Codec) -> Result<u32, OpenError> {
    let read = db.begin_read()?;
    let mut names = read.list_tables()?.map(|table| table.name().to_owned());
    match names.next() {
        None => {
            mark(db, codec)?;
            return Ok(FORMAT_VERSION);
        }
        Some(first) if first != META.name() && !names.any(|name| name == META.name()) => {
            return Err(OpenError::NotOurs("it has other tables".into()));
        }
        Some(_) => {}
    }
    recognise_existing(&read, codec)
}

/// Rejects a database that is not keyfob's, or that belongs to another master key. Returns the format.
pub(super) fn recognise_existing(read: &ReadTransaction, codec: &Codec) -> Result<u32, OpenError> {
    let meta =
        read.open_table(META).map_err(|_| OpenError::NotOurs("its table meta has other types".into()))?;
    prove(&meta, codec)
}

/// Checks the format and the master key that a store names. Returns the format.
pub(super) fn prove(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    codec: &Codec,
) -> Result<u32, OpenError> {
    let format = meta.get(FORMAT)?.ok_or(OpenError::NotOurs("it names no format".into()))?;
    let version = match version_of(format.value()) {
        Some(version @ 1..=FORMAT_VERSION) => version,
        Some(other) => return Err(OpenError::UnknownFormat(other)),
        None => return Err(OpenError::NotOurs("it names another format".into())),
    };
    let proven = meta.get(KEY_CHECK)?.is_some_and(|check| check.value().ct_eq(&codec.key_check()).into());
    if proven { Ok(version) } else { Err(OpenError::WrongKey) }
}

/// Brings a database of an older format to the present one.
pub(super) fn upgrade(db: &Database, codec: &Codec, format: u32) -> super::Result<()> {
    match format {
        1 => upgrade_from_1(db, codec, &format_of(FORMAT_VERSION)),
        2 => {
            let transaction = begin(db)?;
            transaction.open_table(META)?.insert(FORMAT, &*format_of(FORMAT_VERSION))?;
            Ok(transaction.commit()?)
        }
        _ => Ok(()),
    }
}

/// Whether the snapshot has the index of active sessions.
pub(super) fn has_active_index(read: &ReadTransaction) -> super::Result<bool> {
    let meta = read.open_table(META)?;
    let format = meta.get(FORMAT)?;
    Ok(format.is_none_or(|format| *format.value() != *format_of(1)))
}

fn mark(db: &Database, codec: &Codec) -> super::Result<()> {
    let transaction = begin(db)?;
    Tables::create(&transaction)?;
    let mut tables = Tables::of(&transaction);
    tables.meta.open()?.insert(FORMAT, &*format_of(FORMAT_VERSION))?;
    tables.meta.open()?.insert(KEY_CHECK, &codec.key_check()[..])?;
    tables.meta.open()?.insert(HEAD, &0_u64.to_be_bytes()[..])?;
    drop(tables);
    Ok(transaction.commit()?)
}

/// The writer's state as of one snapshot.
pub(super) fn read_state(read: &ReadTransaction) -> super::Result<WriterState> {
    let mut cuts = CutOffs::default();
    for entry in read.open_table(CUT_OFFS)?.iter()? {
        let (key, bytes) = entry?;
        let name = key.value();
        let cut = record::decode_cut_off(name, bytes.value())
            .map_err(|fault| corrupt(CUT_OFFS.name(), name, fault))?;
        match name {
            "" => cuts.everything = Some(cut),
            RESTORED => cuts.restored = Some(cut),
            _ => _ = cuts.clients.insert(client_id(CUT_OFFS.name(), name)?, cut),
        }
    }
    for entry in read.open_table(CLIENTS)?.iter()? {
        let (key, bytes) = entry?;
        let id = client_id(CLIENTS.name(), key.value())?;
        let deleted = cuts.clients.get(&id).map_or(Position::default(), |cut| cut.position);
        let client = record::decode_client(id.as_str(), bytes.value(), deleted)
            .map_err(|fault| corrupt(CLIENTS.name(), id.as_str(), fault))?;
        cuts.registered.insert(id, Arc::new(client));
    }
    let meta = read.open_table(META)?;
    let head = meta.get(HEAD)?.and_then(|bytes| bytes.value().try_into().ok());
    let head = u64::from_be_bytes(head.ok_or_else(|| corrupt(META.name(), HEAD, "absent, or not a number"))?);
    let last = read.open_table(EVENTS)?.last()?.map(|(position, _)| position.value());
    if last.is_some_and(|last| last != head) {
        return Err(corrupt(META.name(), HEAD, "not the position of the last event"));
    }
    cuts.head = Position(head);
    let epochs = match meta.get(EPOCHS)? {
        Some(bytes) => {
            record::decode_epochs(bytes.value()).map_err(|fault| corrupt(META.name(), EPOCHS, fault))?
        }
        None => Epochs::default(),
    };
    let keys = Arc::new(signing_keys(&meta)?);
    Ok(WriterState { cuts, epochs, keys, ..WriterState::default() })
}

/// Reads the counts of active sessions. A database from before they were kept is counted once, and so is one
/// whose counts cannot be decoded.
fn read_active(db: &Database, codec: &Codec, cuts: &CutOffs) -> super::Result<ActiveCounts> {
    let read = db.begin_read()?;
    if let Some(table) = super::tables::open(&read, &ACTIVE_COUNTS)? {
        match ActiveCounts::read(&table) {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(%error, "the active sessions are counted again")
            }
            read => return read,
        }
    }
    let (sessions, windows) = (read.open_table(SESSIONS)?, read.open_table(WINDOWS)?);
    let mut active = ActiveCounts::count(codec, &sessions, &windows, cuts)?;
    let transaction = begin(db)?;
    let mut tables = Tables::of(&transaction);
    tables.active_counts.open()?.retain(|_, _| false)?;
    active.write(tables.active_counts.open()?)?;
    drop(tables);
    transaction.commit()?;
    Ok(active)
}

fn client_id(table: &'static str, name: &str) -> super::Result<ClientId> {
    name.parse().map_err(|_| corrupt(table, name, "its client_id is malformed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_take_three_quarters_of_the_memory_for_caches() {
        assert_eq!(page_bytes(64 << 20), 48 << 20);
    }
}
