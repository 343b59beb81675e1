//! What a restore starts with and results in, over either backend.

use std::fmt;
use std::path::PathBuf;

use crate::domain::algorithm::Algorithm;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::Position;
use crate::domain::key::{KeyRecord, KeyStatus};
use crate::domain::names::ADMIN_SOCKET;
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::store::StoreError;
use crate::store::backup::Head;
use crate::store::check::{Checked, Find, Note};
use crate::token::keyring;
use crate::token::keys::Keys;

pub(super) const READ_BYTES: usize = 256 * 1024;

/// The result of a restore.
#[derive(Debug)]
pub struct Restored {
    /// The header of the backup.
    pub head: Head,
    /// The size of the backup.
    pub bytes: u64,
    /// The contents; `live` counts the sessions that were active at the backup, and have now ended.
    pub checked: Checked,
    /// The first position of the new epoch.
    pub began: Position,
    /// The database that was replaced.
    pub kept: Option<Kept>,
}

/// A database that is not used any more, under its new name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    File(PathBuf),
    /// A schema of a PostgreSQL database.
    Schema(String),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Schema(name) => write!(f, "the schema {name}"),
        }
    }
}

/// What a restore accepts in spite of a doubt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Accept {
    pub damage: bool,
    /// A backup of an earlier keyfob, which has no MAC.
    pub unauthenticated: bool,
}

/// How far a restore is.
#[derive(Debug)]
pub enum RestoreProgress {
    /// Bytes of the backup read so far.
    Read(u64),
    /// The new database is being checked.
    Check(Note),
}

/// What the check of a new database has reported.
#[derive(Default)]
pub(super) struct CheckedContents {
    checked: Checked,
    first: Option<Find>,
    counts: u64,
}

impl CheckedContents {
    /// Takes a message of the check and passes it on. An error ends the check.
    pub fn take(
        &mut self,
        note: Note,
        go_on: &mut dyn FnMut(RestoreProgress) -> bool,
    ) -> Result<(), StoreError> {
        match &note {
            // These are counted again.
            Note::Find(find) if find.is_count() => self.counts += 1,
            Note::Find(find) => _ = self.first.get_or_insert_with(|| find.clone()),
            Note::Done(checked) => self.checked = checked.clone(),
            Note::Progress(_) => {}
        }
        if go_on(RestoreProgress::Check(note)) { Ok(()) } else { Err(stopped()) }
    }

    /// The contents, without wrong counts among the finds, and the first damaged record.
    pub fn finish(mut self) -> (Checked, Option<Find>) {
        self.checked.finds -= self.counts;
        (self.checked, self.first)
    }
}

pub(super) fn stopped() -> StoreError {
    StoreError::Unavailable("interrupted".into())
}

pub(super) fn restored(head: &Head, live: u64, now: Timestamp) -> Event {
    let made_at = head.made_at.floor();
    let note = format!("from the backup made at {made_at}; {live} sessions that were active then have ended");
    Event { note: Some(note.into()), ..Event::new(EventKind::StoreRestored, now, ADMIN_SOCKET) }
}

/// A key that was revoked after the backup must not return, and the backup cannot say which: all are
/// replaced. Keys of another algorithm are generated at the next start if a client needs them.
pub(super) fn signing_keys(keys: &Keys, now: Timestamp, clock: &Clock) -> [KeyRecord; 2] {
    let fresh = |status| keyring::generate(Algorithm::EdDsa, clock.random(), keys, status, now);
    [fresh(KeyStatus::Active), fresh(KeyStatus::Next)]
}
