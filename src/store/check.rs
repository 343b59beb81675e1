//! The messages of a check of a whole store.

use super::layout::RESTORED;
use super::record::{self, RecordFault};
use crate::domain::id::{ClientId, Position};
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

/// What is wrong with the record of a client. A valid one is added to `checked`.
pub(super) fn client_fault(
    name: &str,
    bytes: &[u8],
    head: Position,
    checked: &mut Checked,
) -> Option<RecordFault> {
    match record::decode_client(name, bytes, Position(0)) {
        Ok(client) if client.incarnation > head => {
            Some("created at a position after the end of the event log")
        }
        // The checksum covers the name.
        Ok(client) => {
            checked.clients.push((client.id, client.updated_at));
            None
        }
        Err(fault) => Some(fault),
    }
}

/// What is wrong with the record of a cut-off.
pub(super) fn cut_off_fault(name: &str, bytes: &[u8], head: Position) -> Option<RecordFault> {
    match record::decode_cut_off(name, bytes) {
        Ok(cut) if cut.position > head => Some("at a position after the end of the event log"),
        Ok(_) if !["", RESTORED].contains(&name) && name.parse::<ClientId>().is_err() => {
            Some("its client_id is malformed")
        }
        Ok(_) => None,
        Err(fault) => Some(fault),
    }
}
