//! What a check of a whole store tells while it goes on, and at its end.

use crate::domain::id::ClientId;
use crate::domain::time::Timestamp;

/// One thing told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// So far is it.
    Progress(Progress),
    /// Something is wrong.
    Find(Find),
    /// That was all.
    Done(Checked),
}

/// How far it is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The table.
    pub table: &'static str,
    /// How many of its entries were looked at.
    pub done: u64,
    /// How many there are.
    pub of: u64,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The table.
    pub table: &'static str,
    /// The entry's key, as text.
    pub key: Box<str>,
    /// What is wrong with it.
    pub cause: &'static str,
}

/// The table of the numbers that counting the sessions gives, so that nothing is lost with them.
pub const COUNTS: &str = "live";

impl Find {
    /// Whether it is only a number that can be counted anew.
    pub fn is_count(&self) -> bool {
        self.table == COUNTS
    }
}

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many entries of all tables.
    pub entries: u64,
    /// How many of them are not as they should be.
    pub finds: u64,
    /// How many sessions there are.
    pub sessions: u64,
    /// How many of them live.
    pub live: u64,
    /// Every client, and when it was last changed; the latest first.
    pub clients: Vec<(ClientId, Timestamp)>,
}
