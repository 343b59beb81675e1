//! What an error of the database means for the caller: nothing was done and it may be tried again, or the
//! outcome is unknown.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// Why the database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address is malformed, or names something that is not supported.
    #[error("store.url {0}")]
    Address(String),
    /// A file with a password or a certificate cannot be used.
    #[error("{path}: {cause}", path = .path.display())]
    File {
        path: std::path::PathBuf,
        /// What is wrong, as the end of a sentence.
        cause: String,
    },
    /// It cannot be reached, or it refused.
    #[error("the database cannot be used: {0}")]
    Connect(String),
    /// The schema is not there.
    #[error("the database has no keyfob schema yet")]
    Empty,
    #[error("the database belongs to another master key")]
    WrongKey,
    /// A newer keyfob migrated it.
    #[error("the database has the schema {0}, which this keyfob does not know")]
    UnknownSchema(i32),
    /// The replicas disagree on a setting.
    #[error(
        "other replicas of this database run with store.max_staleness = {running_ms} ms: set the same here, \
         or stop them first and wait 10 seconds"
    )]
    OtherStaleness {
        /// What they run with.
        running_ms: u64,
    },
    #[error("replicas use the database: {0}")]
    Replicas(String),
    #[error("the database already has a keyfob schema")]
    NotEmpty,
    /// A replica has found that an acknowledged change is missing.
    #[error("the database has gone back to an earlier state: {0}")]
    GoneBack(String),
    /// A record cannot be read, or a statement failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a transaction whose commit was not requested yet.
#[derive(Debug)]
pub(super) enum Undone {
    /// It was rolled back and may be tried again, on the same connection if that is still open.
    Again(String),
    /// The same, on a new connection.
    Broken(String),
    /// It will not succeed.
    Rejected(StoreError),
}

impl Undone {
    /// The class of an error before the commit was requested.
    pub fn of(error: &Error) -> Self {
        let text = described(error);
        let Some(code) = error.code() else { return Self::Broken(text) };
        let again = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            &SqlState::LOCK_NOT_AVAILABLE,
        ];
        if again.contains(&code) {
            return Self::Again(text);
        }
        // A server that starts, stops, follows another one, or has lost our transaction.
        let broken = [
            &SqlState::CANNOT_CONNECT_NOW,
            &SqlState::READ_ONLY_SQL_TRANSACTION,
            &SqlState::ADMIN_SHUTDOWN,
            &SqlState::CRASH_SHUTDOWN,
            &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            &SqlState::IN_FAILED_SQL_TRANSACTION,
            &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        ];
        if broken.contains(&code) {
            return Self::Broken(text);
        }
        Self::Rejected(StoreError::Outage(text.into()))
    }
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Rejected(error)
    }
}

impl From<Undone> for StoreError {
    fn from(fault: Undone) -> Self {
        match fault {
            Undone::Again(why) | Undone::Broken(why) => Self::Outage(why.into()),
            Undone::Rejected(error) => error,
        }
    }
}

impl From<Undone> for PostgresError {
    fn from(fault: Undone) -> Self {
        match fault {
            Undone::Again(why) | Undone::Broken(why) => Self::Connect(why),
            Undone::Rejected(StoreError::Outage(why)) => Self::Connect(why.to_string()),
            Undone::Rejected(error) => Self::Store(error),
        }
    }
}

/// The error with its cause, for the log. A detail of the server can quote values, so it is left out.
pub(super) fn described(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(db), _) => format!("{} ({})", db.message(), db.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}
