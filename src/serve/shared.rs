//! What is done with a PostgreSQL database as a whole: checked, restored, moved to and from a file, and
//! continued in a new epoch after it was recovered.

use std::fs;
use std::future::Future;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::AppError;
use super::backend::{options, postgres_options, shared_options};
use super::error::{RESTORE_WITH_A_NEWER_ONE, USE_ANOTHER_BACKUP};
use super::installation::{UnfinishedRestore, lock, lock_existing, open_when_free, variable};
use super::restored::{
    Accept, CheckedContents, Kept, READ_BYTES, RestoreProgress, Restored, restored, signing_keys, stopped,
};
use crate::config::{Config, DatabaseUrl, SharedStore, Store as StoreSettings};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::Position;
use crate::domain::names::ADMIN_SOCKET;
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::files::sync_directory_of;
use crate::first_start::{MOVED, Places, prepare_directory, read_master_key};
use crate::store::backup::{Decoder, Head, Piece};
use crate::store::check::{Checked, Find, Note};
use crate::store::postgres::{
    DatabaseSource, EpochStart, Import, ImportError, ImportTarget, PostgresError, PostgresOptions,
    begin_epoch, check_stopped,
};
use crate::store::redb::{Redb, RestoreError, Restoring};
use crate::store::{Result as StoreResult, Store, StoreError};
use crate::token::keys::Keys;

/// Runs what waits for the database.
fn block_on<T>(work: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| AppError::Interrupted(cause.to_string().into()))?.block_on(work)
}

/// Checks every record; replicas may run.
pub(super) fn check(
    shared: &PostgresOptions,
    keys: &Keys,
    places: &Places,
    now: Timestamp,
    report: &mut dyn FnMut(Note) -> StoreResult<()>,
) -> Result<(), AppError> {
    block_on(async {
        check_stopped(shared, keys, now, report).await.map_err(|cause| fault(&places.database, cause))
    })
}

/// Restores a backup: what the database has is kept in a schema of another name.
pub(super) fn restore(
    shared: &PostgresOptions,
    (backup, file): (&mut dyn Read, &Path),
    keys: &Keys,
    accept: Accept,
    places: &Places,
    clock: &Clock,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<Restored, AppError> {
    let failed = |cause: ImportError| import_fault(file, &places.database, cause);
    block_on(async {
        let target = ImportTarget::Replaced(schema_name("replaced", clock.now().wall));
        let mut import = Import::begin(shared, keys, target).await.map_err(failed)?;
        let decoder = Decoder::authenticating(&keys.backup, accept.unauthenticated);
        let (head, bytes) = read_into(backup, decoder, &mut import, go_on).await.map_err(failed)?;
        let (checked, first) = checked(&import, head.made_at, go_on).await.map_err(failed)?;
        if let Some(first) = first.filter(|_| !accept.damage) {
            return Err(AppError::damaged_backup(file, checked.finds, &first));
        }
        let event = restored(&head, checked.active, clock.now().wall);
        let start = epoch_start(event, keys, clock);
        let kept = import.kept.clone().map(Kept::Schema);
        let began = import.commit_with_epoch(&start).await.map_err(failed)?;
        Ok(Restored { head, bytes, checked, began, kept })
    })
}

/// Reads the whole backup into the database.
async fn read_into(
    backup: &mut dyn Read,
    mut decoder: Decoder,
    import: &mut Import,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<(Head, u64), ImportError> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = match backup.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let why = format!("it cannot be read: {error}");
                return Err(StoreError::Failed(why.into()).into());
            }
        };
        decoder.push(&buffer[..length], |piece: Piece| import.take(&piece))?;
        import.flush(false).await?;
        if !go_on(RestoreProgress::Read(decoder.bytes())) {
            return Err(stopped().into());
        }
    }
    let bytes = decoder.bytes();
    let head = decoder.finish()?;
    import.filled().await?;
    Ok((head, bytes))
}

/// Checks what was imported. Returns its contents and the first damaged record.
async fn checked(
    import: &Import,
    made_at: Timestamp,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<(Checked, Option<Find>), ImportError> {
    let mut contents = CheckedContents::default();
    import.check(made_at, |note| contents.take(note, go_on)).await?;
    Ok(contents.finish())
}

/// What was moved.
#[derive(Debug)]
pub struct Moved {
    pub checked: Checked,
    /// The position of the last event, before and after.
    pub head: Position,
    /// The database that is not to be used any more, under its new name.
    pub kept: Kept,
}

/// Copies the file of a stopped server into an empty database, and renames the file.
///
/// # Errors
/// A server runs; the database is not empty, or cannot be reached; a record is damaged.
pub fn move_to(
    config: &Config,
    url: &DatabaseUrl,
    clock: &Clock,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<Moved, AppError> {
    let places = file_places(config);
    let _lock = lock_existing(&places, None)?;
    let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
    let shared = postgres_options(config, &target(config, url), clock);
    let shown = PathBuf::from(url.shown());
    let failed = |cause: ImportError| import_fault(&shown, &shown, cause);
    block_on(async {
        let open = || Redb::open(&places.database, &keys, options(&config.store, &config.limits));
        let store = open_when_free(open).map_err(|cause| AppError::store(&places.database, cause))?;
        let (now, head) = (clock.now().wall, store.head());
        let mut import = Import::begin(&shared, &keys, ImportTarget::Empty).await.map_err(failed)?;
        let mut pieces = store.backup(now).map_err(|cause| unreadable(&places.database, cause))?;
        let mut decoder = Decoder::default();
        loop {
            let piece = pieces.recv().await.unwrap_or_else(|| Err(stopped()));
            let Some(bytes) = piece.map_err(|cause| unreadable(&places.database, cause))? else { break };
            decoder.push(&bytes, |piece: Piece| import.take(&piece)).map_err(failed)?;
            import.flush(false).await.map_err(failed)?;
            if !go_on(RestoreProgress::Read(decoder.bytes())) {
                return Err(AppError::Interrupted("interrupted".into()));
            }
        }
        decoder.finish().map_err(|damage| failed(damage.into()))?;
        import.filled().await.map_err(failed)?;
        let (checked, first) = checked(&import, now, go_on).await.map_err(failed)?;
        if let Some(first) = first {
            return Err(AppError::damaged_store(&places.database, checked.finds, &first));
        }
        import.commit().await.map_err(failed)?;
        store.close();
        drop(store);
        let kept = moved_away(&places.database, now).map_err(|cause| {
            let fix = "; everything is in the database: move the file away by hand before you start a server";
            AppError::backup(&places.database, cause, fix)
        })?;
        Ok(Moved { checked, head, kept: Kept::File(kept) })
    })
}

/// Copies a database that no replica uses into a new file, and renames its schema.
///
/// # Errors
/// The file exists; replicas run; the database cannot be reached; a record is damaged.
pub fn move_from(
    config: &Config,
    url: &DatabaseUrl,
    clock: &Clock,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<Moved, AppError> {
    let places = file_places(config);
    prepare_directory(&places.directory)?;
    places.refuse_root_for_another_owner()?;
    let _lock = lock(&places)?;
    if places.database.metadata().is_ok_and(|metadata| metadata.len() > 0) {
        let fix = "; move it away first, or set another store.path";
        return Err(AppError::backup(&places.database, "it exists", fix));
    }
    let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
    let shared = postgres_options(config, &target(config, url), clock);
    let shown = PathBuf::from(url.shown());
    let unfinished = UnfinishedRestore::at(&places);
    let damaged = |cause: RestoreError| AppError::restore(&shown, &places, cause);
    block_on(async {
        let source = DatabaseSource::open(&shared, &keys).await.map_err(|cause| fault(&shown, cause))?;
        let now = clock.now().wall;
        let mut restoring =
            Restoring::begin(&unfinished.0, &keys, config.store.cache_bytes).map_err(damaged)?;
        let (mut decoder, mut broken) = (Decoder::default(), None);
        let give = |bytes: bytes::Bytes| {
            if !go_on(RestoreProgress::Read(decoder.bytes())) {
                return Err(stopped());
            }
            let taken = decoder.push(&bytes, |piece: Piece| restoring.take(&piece));
            taken.map_err(|cause| {
                broken = Some(cause);
                stopped()
            })
        };
        let dumped = source.dump(now, give).await;
        if let Some(cause) = broken {
            return Err(damaged(cause));
        }
        dumped.map_err(|cause| fault(&shown, cause.into()))?;
        decoder.finish().map_err(|damage| damaged(damage.into()))?;
        restoring.filled().map_err(damaged)?;
        let mut contents = CheckedContents::default();
        let report = &mut |note| contents.take(note, go_on);
        restoring.check(now, report).map_err(|cause| fault(&shown, cause.into()))?;
        let (checked, first) = contents.finish();
        if let Some(first) = first {
            return Err(AppError::damaged_store(&shown, checked.finds, &first));
        }
        let head = restoring.close().map_err(damaged)?;
        // First the file, then the schema: a crash in between leaves both, and the next attempt is refused.
        fs::rename(&unfinished.0, &places.database)
            .and_then(|()| sync_directory_of(&places.database))
            .map_err(|cause| AppError::backup(&places.database, cause, "; fix the cause and try again"))?;
        let kept = schema_name("moved", now);
        source.retire(&kept).await.map_err(|cause| fault(&shown, cause))?;
        Ok(Moved { checked, head, kept: Kept::Schema(kept) })
    })
}

/// Starts a new epoch in a database that was recovered to an earlier state. Returns its first position.
///
/// # Errors
/// The store is a file; replicas run; the database cannot be reached or written.
pub fn recovered(config: &Config, clock: &Clock) -> Result<Position, AppError> {
    let Some(shared) = shared_options(config, clock) else { return Err(AppError::NotShared) };
    let places = super::places(config);
    let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
    let note = "the database was recovered to an earlier state; all sessions of that state have ended";
    let event = Event {
        note: Some(note.into()),
        ..Event::new(EventKind::StoreRestored, clock.now().wall, ADMIN_SOCKET)
    };
    let start = epoch_start(event, &keys, clock);
    block_on(async {
        begin_epoch(&shared, &keys, &start).await.map_err(|cause| fault(&places.database, cause))
    })
}

fn epoch_start(event: Event, keys: &Keys, clock: &Clock) -> EpochStart {
    let fresh = signing_keys(keys, event.at, clock).to_vec();
    EpochStart { event, keys: fresh, chance: u32::from_le_bytes(clock.random()) }
}

/// The settings for a database of this address: those of `store.url`, if it is set.
fn target(config: &Config, url: &DatabaseUrl) -> SharedStore {
    match &config.store.shared {
        Some(shared) => SharedStore { url: url.clone(), ..shared.clone() },
        None => {
            let passfile = variable("PGPASSFILE").filter(|path| !path.is_empty());
            SharedStore::with_defaults(url.clone(), passfile.map(PathBuf::from))
        }
    }
}

/// The places of the installation with the file as its database.
fn file_places(config: &Config) -> Places {
    let store = StoreSettings { shared: None, ..config.store.clone() };
    Places::new(&store, &config.keys.master_key, &config.server.admin_socket)
}

fn moved_away(database: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let kept = database.with_extension(format!("{MOVED}{}", stamp(now)));
    fs::rename(database, &kept)?;
    sync_directory_of(database)?;
    Ok(kept)
}

/// A name for the schema of replaced tables.
fn schema_name(what: &str, now: Timestamp) -> String {
    format!("keyfob_{what}_{}", stamp(now).to_lowercase())
}

fn stamp(now: Timestamp) -> String {
    now.floor().to_string().replace(['-', ':'], "")
}

fn fault(database: &Path, cause: PostgresError) -> AppError {
    match cause {
        // The report stops the work by this error.
        PostgresError::Store(StoreError::Unavailable(why)) => AppError::Interrupted(why),
        cause => AppError::database(database.display().to_string(), cause),
    }
}

fn import_fault(file: &Path, database: &Path, cause: ImportError) -> AppError {
    match cause {
        ImportError::Database(cause) => fault(database, cause),
        ImportError::OtherKey => {
            let fix = "; restore the master key of its database: nothing was changed";
            AppError::backup(file, ImportError::OtherKey, fix)
        }
        ImportError::Damage(damage) => AppError::invalid_backup(file, &damage),
        ImportError::OtherFormat(_) | ImportError::OtherTable(_) => {
            AppError::backup(file, cause, RESTORE_WITH_A_NEWER_ONE)
        }
        ImportError::InvalidEntry(_) => AppError::backup(file, cause, USE_ANOTHER_BACKUP),
    }
}

fn unreadable(file: &Path, cause: StoreError) -> AppError {
    AppError::backup(file, cause, "; nothing was changed: run `keyfob db check`")
}
