//! Errors of the database library as errors of the port.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::StoreError;
use crate::files::FileError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or this one, has it open.
    #[error("the database is in use by another process")]
    AlreadyOpen,
    /// It was created under another master key.
    #[error("the database belongs to another master key")]
    WrongKey,
    /// It is another program's database, or no database.
    #[error("the file is not a keyfob database: {0}")]
    NotOurs(Box<str>),
    /// It was created by a newer keyfob.
    #[error("the database has format {0}, which this keyfob does not support")]
    UnknownFormat(u32),
    /// Its pages are inconsistent, so no record in it can be trusted.
    #[error("the pages of the database are damaged")]
    Damaged,
    /// The file has an owner, a mode or a type that is not safe.
    #[error(transparent)]
    Unsafe(FileError),
    /// The file could not be opened or created.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Reading or writing it failed, or a record in it is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io(error) => Self::Io(error),
            error => Self::Unsafe(error),
        }
    }
}

impl From<redb::DatabaseError> for OpenError {
    fn from(error: redb::DatabaseError) -> Self {
        use redb::{DatabaseError, StorageError};
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::AlreadyOpen,
            DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => {
                Self::NotOurs(io.to_string().into())
            }
            DatabaseError::Storage(StorageError::Io(io)) => Self::Io(io),
            DatabaseError::Storage(StorageError::Corrupted(_)) => Self::Damaged,
            DatabaseError::UpgradeRequired(_) => Self::NotOurs(error.to_string().into()),
            other => Self::Store(failed(other)),
        }
    }
}

/// The library's errors in an open database.
macro_rules! failures {
    ($($error:ty),+) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                failed(error)
            }
        }

        impl From<$error> for OpenError {
            fn from(error: $error) -> Self {
                Self::Store(error.into())
            }
        }
    )+};
}

failures!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError
);

/// The library panics at some kinds of damage; an opening reports them as `Damaged`.
pub(super) fn unless_damaged<T>(open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    quietly(open).unwrap_or(Err(OpenError::Damaged))
}

/// The same for reading an open database.
pub(super) fn or_damaged<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    quietly(read).unwrap_or_else(|_| Err(StoreError::Failed(OpenError::Damaged.to_string().into())))
}

thread_local! {
    /// Whether a panic of this thread is reported by the code that catches it.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic without its usual output, which would hide the one line that says what to do.
fn quietly<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic)
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    done
}

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(error.into().to_string().into())
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn a_file_of_another_form_is_told_from_one_that_cannot_be_read() {
        let of = |kind: ErrorKind| {
            OpenError::from(redb::DatabaseError::Storage(redb::StorageError::Io(Error::from(kind))))
        };
        assert!(matches!(of(ErrorKind::InvalidData), OpenError::NotOurs(_)));
        assert!(matches!(of(ErrorKind::PermissionDenied), OpenError::Io(_)));
    }
}
