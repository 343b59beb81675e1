//! What goes wrong below, in the port's words.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::StoreError;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open.
    #[error("the database is in use by another process")]
    AlreadyOpen,
    /// It was made under another master key.
    #[error("the database belongs to another master key")]
    WrongKey,
    /// It is a database of something else, or none at all.
    #[error("the file is not a keyfob database: {0}")]
    NotOurs(Box<str>),
    /// It was made by a newer keyfob.
    #[error("the database has format {0}, which this keyfob does not know")]
    UnknownFormat(u32),
    /// Its pages do not hold together, so that nothing in it can be trusted.
    #[error("the pages of the database do not hold together")]
    Damaged,
    /// The file could not be opened or made.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Reading or writing it failed, or a record in it is corrupt.
    #[error(transparent)]
    Store(#[from] StoreError),
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

/// The library panics at some damage of the file; for who opens it, that is damage and no bug.
pub(super) fn unless_damaged<T>(open: impl FnOnce() -> Result<T, OpenError>) -> Result<T, OpenError> {
    quietly(open).unwrap_or(Err(OpenError::Damaged))
}

/// The same for who reads it when it is open.
pub(super) fn or_damaged<T>(read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    quietly(read).unwrap_or_else(|_| Err(StoreError::Failed(OpenError::Damaged.to_string().into())))
}

thread_local! {
    /// Whether a panic of this thread is told by who catches it.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic, which says nothing by itself: what it would print stands in front of the one line that
/// helps.
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

/// Reading or committing failed.
pub(super) fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Failed(error.into().to_string().into())
}

/// A record does not read.
pub(super) fn corrupt(table: &'static str, key: impl fmt::Display, cause: &'static str) -> StoreError {
    StoreError::Corrupt { table, key: key.to_string().into(), cause }
}
