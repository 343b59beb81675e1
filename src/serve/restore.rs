//! Restoring a backup: a new database is written beside the old one, checked, moved to a new epoch, and
//! renamed over the old one.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::AppError;
use super::error::{RESTORE_WITH_A_NEWER_ONE, USE_ANOTHER_BACKUP};
use super::installation::{UnfinishedRestore, lock, places, variable};
use super::restored::{
    Accept, CheckedContents, Kept, READ_BYTES, RestoreProgress, Restored, restored, signing_keys, stopped,
};
#[cfg(feature = "postgres")]
use super::{backend::shared_options, shared};
use crate::config::Config;
use crate::domain::epoch::Reached;
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::files::{directory_of, if_present, sync_directory_of};
use crate::first_start::{Places, prepare_directory, read_master_key};
use crate::store::StoreError;
use crate::store::backup::{Decoder, Head, Piece};
use crate::store::check::{Checked, Find};
use crate::store::redb::{OpenError, RestoreError, Restoring, reached};
use crate::token::keys::Keys;

/// Restores the backup at `file`; `-` is standard input. The old database stays unchanged until the final
/// rename. `go_on` gets the progress, and stops the restore by returning false. `accept` names what
/// is accepted in spite of a doubt.
///
/// # Errors
/// Whatever prevents the restore, with what to do.
pub fn restore(
    config: &Config,
    file: &Path,
    accept: Accept,
    clock: &Clock,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<Restored, AppError> {
    let places = places(config);
    let (mut backup, file) = open(file)?;
    let damaged = |cause: RestoreError| AppError::restore(file, &places, cause);
    prepare_directory(&places.directory)?;
    places.refuse_root_for_another_owner()?;
    let _lock = lock(&places)?;
    let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
    #[cfg(feature = "postgres")]
    if let Some(options) = shared_options(config, clock) {
        return shared::restore(&options, (&mut backup, file), &keys, accept, &places, clock, go_on);
    }
    let unfinished = UnfinishedRestore::at(&places);
    let restoring = Restoring::begin(&unfinished.0, &keys, config.store.cache_bytes).map_err(damaged)?;
    let lost = || reached(&places.database, &keys, config.store.cache_bytes);
    let rebuilt = rebuild(&mut backup, restoring, &keys, accept, lost, clock, go_on);
    let restored = rebuilt.map_err(|cause| match cause {
        NotRebuilt::Restore(cause) => damaged(cause),
        cause @ NotRebuilt::Damaged { .. } => {
            let fix = "; use another backup, or restore this one with --accept-damage";
            AppError::backup(file, cause, fix)
        }
    })?;
    let kept = replace(&unfinished.0, &places.database, clock.now().wall)
        .map_err(|error| not_replaced(&places, &error))?;
    sync_directory_of(&places.database).map_err(|error| not_durable(&places, &error))?;
    Ok(Restored { kept: kept.map(Kept::File), ..restored })
}

/// Why a backup does not become a database.
#[derive(Debug, thiserror::Error)]
pub enum NotRebuilt {
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(
        "{finds} records in it are damaged; the first is {} in table {}: {}",
        .first.key, .first.table, .first.cause
    )]
    Damaged { finds: u64, first: Find },
}

/// Fills the new database from a backup, checks it, and starts its epoch beyond the history of the `lost`
/// store.
///
/// # Errors
/// A backup that is invalid or damaged; a new database that cannot be written.
pub fn rebuild(
    backup: &mut dyn Read,
    mut restoring: Restoring,
    keys: &Keys,
    accept: Accept,
    lost: impl FnOnce() -> Option<Reached>,
    clock: &Clock,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<Restored, NotRebuilt> {
    let (head, bytes) = fill(backup, &mut restoring, keys, accept.unauthenticated, go_on)?;
    let (checked, first) = checked(&restoring, head.made_at, go_on).map_err(RestoreError::from)?;
    if let Some(first) = first.filter(|_| !accept.damage) {
        return Err(NotRebuilt::Damaged { finds: checked.finds, first });
    }
    let event = restored(&head, checked.active, clock.now().wall);
    let chance = u32::from_le_bytes(clock.random());
    let began = restoring.begin_epoch(&event, &signing_keys(keys, event.at, clock), lost(), chance)?;
    Ok(Restored { head, bytes, checked, began, kept: None })
}

/// The backup, and its name for messages.
fn open(file: &Path) -> Result<(Box<dyn Read>, &Path), AppError> {
    if file == Path::new("-") {
        let (input, file) = (io::stdin(), Path::new("standard input"));
        if input.is_terminal() {
            let fix = "; redirect a file to it: `keyfob db restore - < FILE`";
            return Err(AppError::backup(file, "it is a terminal", fix));
        }
        return Ok((Box::new(input), file));
    }
    match File::open(file) {
        Ok(backup) => Ok((Box::new(backup), file)),
        Err(cause) => {
            let fix = match cause.kind() {
                io::ErrorKind::PermissionDenied => {
                    "; pipe it from a user that can read it: `sudo cat FILE | sudo -u keyfob keyfob db \
                     restore -`"
                }
                _ => "; name a file that `keyfob db backup` wrote",
            };
            Err(AppError::backup(file, cause, fix))
        }
    }
}

/// Reads the whole backup into the new database.
fn fill(
    backup: &mut dyn Read,
    restoring: &mut Restoring,
    keys: &Keys,
    accept_unauthenticated: bool,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<(Head, u64), RestoreError> {
    let mut decoder = Decoder::authenticating(&keys.backup, accept_unauthenticated);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let length = match backup.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(OpenError::Io(error).into()),
        };
        decoder.push(&buffer[..length], |piece: Piece| restoring.take(&piece))?;
        if !go_on(RestoreProgress::Read(decoder.bytes())) {
            return Err(stopped().into());
        }
    }
    let bytes = decoder.bytes();
    let head = decoder.finish()?;
    restoring.filled()?;
    Ok((head, bytes))
}

/// Checks the new database. Returns its contents and the first damaged record.
fn checked(
    restoring: &Restoring,
    made_at: Timestamp,
    go_on: &mut dyn FnMut(RestoreProgress) -> bool,
) -> Result<(Checked, Option<Find>), StoreError> {
    let mut contents = CheckedContents::default();
    restoring.check(made_at, &mut |note| contents.take(note, go_on))?;
    Ok(contents.finish())
}

/// Renames the new database over the old one, which gets a second name first: at every moment there is a
/// whole database under the configured name. On an error the old one has it. The caller syncs the directory.
fn replace(new: &Path, database: &Path, now: Timestamp) -> io::Result<Option<PathBuf>> {
    remove_second_names(directory_of(database), database)?;
    // An empty file is left by a crash at its creation: there is no database to keep.
    let old = if_present(database.metadata())?.filter(|metadata| metadata.len() > 0);
    let kept = old.map(|_| keep(database, now)).transpose()?;
    let renamed = sync_directory_of(database).and_then(|()| fs::rename(new, database));
    if let (Err(_), Some(second)) = (&renamed, &kept) {
        let _ = fs::remove_file(second);
    }
    renamed.map(|()| kept)
}

/// Gives the database a second, free name.
fn keep(database: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let stamp = now.floor().to_string().replace(['-', ':'], "");
    for number in 0.. {
        let again = if number == 0 { String::new() } else { format!("-{number}") };
        let second = database.with_extension(format!("{REPLACED}{stamp}{again}"));
        match fs::hard_link(database, &second) {
            Ok(()) => return Ok(second),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("there are fewer files than numbers")
}

/// The start of the extension of a replaced database.
const REPLACED: &str = "replaced-";

/// Removes second names of the current database: a restore that was killed just before the rename leaves one.
fn remove_second_names(directory: &Path, database: &Path) -> io::Result<()> {
    let Ok(current) = database.metadata() else { return Ok(()) };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let named =
            path.extension().is_some_and(|extension| extension.to_string_lossy().starts_with(REPLACED));
        let same =
            |metadata: fs::Metadata| (metadata.dev(), metadata.ino()) == (current.dev(), current.ino());
        if named && path.symlink_metadata().is_ok_and(same) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn not_replaced(places: &Places, error: &io::Error) -> AppError {
    let cause = format!("the new database could not replace the old one: {error}");
    let fix = "; the old one is unchanged. If its file system has no hard links, move it away by hand and \
               restore again";
    AppError::backup(&places.database, cause, fix)
}

fn not_durable(places: &Places, error: &io::Error) -> AppError {
    let cause = format!("the backup is restored, but its name could not be made durable: {error}");
    let fix = "; a power failure may bring the old database back: fix the cause and restore again";
    AppError::backup(&places.database, cause, fix)
}

impl AppError {
    pub(super) fn restore(file: &Path, places: &Places, cause: RestoreError) -> Self {
        match cause {
            RestoreError::Open(OpenError::WrongKey) => Self::backup(
                file,
                "it was made with another master key",
                "; restore the master key of its database: nothing was changed",
            ),
            RestoreError::Open(OpenError::NotOurs(what)) => {
                Self::backup(file, format!("it holds no keyfob database: {what}"), "; nothing was changed")
            }
            cause @ (RestoreError::Open(OpenError::UnknownFormat(_)) | RestoreError::UnknownTable(_)) => {
                Self::backup(file, cause, RESTORE_WITH_A_NEWER_ONE)
            }
            RestoreError::Damage(damage) => Self::invalid_backup(file, &damage),
            RestoreError::Open(OpenError::Store(StoreError::Unavailable(why))) => Self::Interrupted(why),
            RestoreError::Open(OpenError::Store(cause @ StoreError::Corrupt { .. })) => {
                Self::backup(file, cause, USE_ANOTHER_BACKUP)
            }
            RestoreError::Open(_) => {
                let fix = "; nothing was changed: the database is as before";
                Self::backup(&UnfinishedRestore::path(places), cause, fix)
            }
            cause @ RestoreError::Malformed(_) => Self::backup(file, cause, USE_ANOTHER_BACKUP),
        }
    }
}
