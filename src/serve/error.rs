//! Why a store cannot be opened or restored, and why a server does not run: each error names the cause and
//! what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listen::ListenError;
use super::tls::TlsError;
use crate::first_start::{LockError, StartError};
use crate::store::StoreError;
use crate::store::backup::Damage;
#[cfg(feature = "postgres")]
use crate::store::check::Find;
#[cfg(feature = "postgres")]
use crate::store::postgres::PostgresError;
use crate::store::redb::OpenError;

/// Why the store cannot be opened, checked or restored.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There is no store yet.
    #[error(
        "there is no store at {}: start the server with `keyfob serve`, or run `keyfob init`",
        .0.display()
    )]
    NotInitialised(PathBuf),
    /// The files beside the database are inconsistent, or cannot be read or written.
    #[error(transparent)]
    Files(#[from] StartError),
    /// Another process uses the store.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error("{}: {cause}{fix}", path.display())]
    Store {
        path: PathBuf,
        cause: OpenError,
        /// What to do, as the end of the sentence.
        fix: &'static str,
    },
    /// The shared database cannot be opened.
    #[cfg(feature = "postgres")]
    #[error("{url}: {cause}{fix}")]
    Database {
        /// Without a password.
        url: String,
        cause: PostgresError,
        /// What to do, as the end of the sentence.
        fix: &'static str,
    },
    /// The command is for a shared database.
    #[error(
        "the store is a file, which no database has recovered: restore a backup with `keyfob db restore`, or \
         set store.url"
    )]
    NotShared,
    /// A backup cannot be restored.
    #[error("{}: {cause}{fix}", file.display())]
    Backup {
        /// The backup, or the database that it should become.
        file: PathBuf,
        cause: String,
        /// What to do, as the end of the sentence.
        fix: &'static str,
    },
    /// A signal interrupted it.
    #[error("{0}; nothing was changed")]
    Interrupted(Arc<str>),
    /// The engine cannot start on this store.
    #[error("the engine cannot start: {0}; fix the cause and try again")]
    Engine(#[from] crate::engine::Error),
}

/// Why the server did not start, or stopped without a signal.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Another call to the operating system failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The database was recovered to an earlier state.
    #[error("{0}")]
    GoneBack(crate::engine::Error),
    /// The store failed while running. Acknowledged writes are on disk, so a restart is safe.
    #[error("{0}; every acknowledged write is on disk, so fix the cause and start again")]
    StoreFailed(crate::engine::Error),
}

/// What to do about a backup of a later version.
pub(super) const RESTORE_WITH_A_NEWER_ONE: &str =
    "; nothing was changed: restore it with the keyfob version that made it, or a newer one";
/// What to do about a backup that is of no use.
pub(super) const USE_ANOTHER_BACKUP: &str = "; nothing was changed: use another backup";

impl AppError {
    /// The error for an invalid backup.
    pub(super) fn invalid_backup(file: &Path, damage: &Damage) -> Self {
        let fix = match damage {
            Damage::UnknownVersion(_) => RESTORE_WITH_A_NEWER_ONE,
            // Their messages say what to do.
            Damage::NotAuthentic | Damage::Unauthenticated => "; nothing was changed",
            Damage::NotOurs | Damage::CutOff(_) | Damage::Altered { .. } => USE_ANOTHER_BACKUP,
        };
        Self::backup(file, damage, fix)
    }

    /// The error for a backup that cannot be restored.
    pub(super) fn backup(file: &Path, cause: impl ToString, fix: &'static str) -> Self {
        Self::Backup { file: file.into(), cause: cause.to_string(), fix }
    }

    /// The error for a backup with damaged records.
    #[cfg(feature = "postgres")]
    pub(super) fn damaged_backup(file: &Path, finds: u64, first: &Find) -> Self {
        let fix = "; use another backup, or restore this one with --accept-damage";
        Self::backup(file, damage(finds, first), fix)
    }

    /// The error for a store with damaged records that is to be moved.
    #[cfg(feature = "postgres")]
    pub(super) fn damaged_store(store: &Path, finds: u64, first: &Find) -> Self {
        let fix = "; nothing was changed: see `keyfob db check`, and restore a backup";
        Self::backup(store, damage(finds, first), fix)
    }

    /// The error for a shared database that cannot be opened.
    #[cfg(feature = "postgres")]
    pub(super) fn database(url: String, cause: PostgresError) -> Self {
        let fix = match cause {
            PostgresError::Address(_) => "; correct store.url",
            PostgresError::File { .. } => "; correct the file, or name another",
            // The code of PostgreSQL for a wrong password.
            PostgresError::Connect(ref cause)
                if cause.ends_with("(28P01)") || cause.contains("password missing") =>
            {
                "; write the password of this role to the file that store.password_file names"
            }
            // That of a missing right.
            PostgresError::Connect(ref cause) if cause.ends_with("(42501)") => {
                "; grant the role its rights, as docs/scale.md does: also after a restore or a move, which \
                 make a new schema"
            }
            PostgresError::Connect(ref cause) if cause.contains("UnknownIssuer") => {
                "; name the file of the authority that issued its certificate: sslrootcert=FILE in store.url"
            }
            PostgresError::Connect(ref cause) if cause.contains("does not support TLS") => {
                "; enable TLS there, or set sslmode=disable in store.url"
            }
            PostgresError::Connect(_) => {
                "; check that it runs, can be reached, admits this user, and lets it use or create the schema"
            }
            PostgresError::Empty => "; start the server with `keyfob serve`, or run `keyfob init`",
            PostgresError::WrongKey => "; use the master.key of the other replicas",
            PostgresError::UnknownSchema(_) => "; run the keyfob version that migrated it, or a newer one",
            PostgresError::OtherStaleness { .. } => "",
            PostgresError::Replicas(_) => "; stop them first, and wait 10 seconds if one was killed",
            PostgresError::NotEmpty => {
                "; name an empty one, or drop its schema: `DROP SCHEMA keyfob CASCADE`"
            }
            PostgresError::GoneBack(_) => {
                "; stop all replicas, run `keyfob db recovered`, and start them again"
            }
            PostgresError::Store(_) => "; fix the cause and try again",
        };
        Self::Database { url, cause, fix }
    }

    /// The error for a database that cannot be opened.
    pub(super) fn store(path: &Path, cause: OpenError) -> Self {
        let fix = match cause {
            OpenError::Unsafe(error) => return Self::Files(StartError::Unsafe(error)),
            OpenError::WrongKey => "; restore the master key that it was created with",
            OpenError::NotOurs(_) => {
                "; name another file in [store] path, or restore a backup with `keyfob db restore`"
            }
            OpenError::UnknownFormat(_) => "; run the keyfob version that wrote it, or a newer one",
            OpenError::AlreadyOpen => "; stop that process first",
            OpenError::Damaged => "; restore a backup with `keyfob db restore FILE`",
            OpenError::Store(StoreError::Corrupt { .. }) => {
                "; `keyfob db check` lists all damage, and `keyfob db restore FILE` restores a backup"
            }
            OpenError::Store(StoreError::Failed(_)) => {
                "; check the disk, and if the file is damaged restore a backup with `keyfob db restore FILE`"
            }
            OpenError::Io(_) | OpenError::Store(_) => "; fix the cause and try again",
        };
        Self::Store { path: path.into(), cause, fix }
    }
}

#[cfg(feature = "postgres")]
fn damage(finds: u64, first: &Find) -> String {
    let Find { table, key, cause } = first;
    format!("{finds} records in it are damaged; the first is {key} in table {table}: {cause}")
}
