//! The messages of a check of a whole store.

use crate::domain::id::ClientId;
use crate::domain::time::Timestamp;

/// A message of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Progress(TableProgress),
    Find(Find),
    Done(Checked),
}

/// How far the check is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableProgress {
    pub table: &'static str,
    /// Entries checked so far.
    pub done: u64,
    /// Entries in all.
    pub of: u64,
}

/// An invalid entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    pub table: &'static str,
    /// The entry's key, as text.
    pub key: Box<str>,
    pub cause: &'static str,
}

/// The table of the counts of active sessions. They can be recomputed, so a wrong one loses no data.
pub const COUNTS: &str = "live";

impl Find {
    /// Whether it concerns only a count that can be recomputed.
    pub fn is_count(&self) -> bool {
        self.table == COUNTS
    }
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries checked, in all tables.
    pub entries: u64,
    pub finds: u64,
    pub sessions: u64,
    /// Active sessions.
    pub active: u64,
    /// Every client with the time of its last change; the latest first.
    pub clients: Vec<(ClientId, Timestamp)>,
}
