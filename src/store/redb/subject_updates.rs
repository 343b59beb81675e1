//! The updates of subjects that are in progress, and what was opened or changed behind them.

use std::collections::BTreeSet;

use crate::domain::id::SessionId;
use crate::domain::session::Session;
use crate::store::record::Codec;

/// The updates that have had their first slice and not their last.
#[derive(Default)]
pub(super) struct SubjectUpdates {
    started: u64,
    in_progress: Vec<InProgress>,
}

struct InProgress {
    number: u64,
    subject: [u8; 16],
    /// The sessions that were opened or changed meanwhile.
    changed: BTreeSet<SessionId>,
}

impl SubjectUpdates {
    /// A session is written.
    pub fn note(&mut self, codec: &Codec, session: &Session) {
        if self.in_progress.is_empty() {
            return;
        }
        let subject = codec.subject_index(&session.subject);
        for update in self.in_progress.iter_mut().filter(|update| update.subject == subject) {
            update.changed.insert(session.id);
        }
    }

    pub fn start(&mut self, subject: [u8; 16]) -> u64 {
        self.started += 1;
        self.in_progress.push(InProgress { number: self.started, subject, changed: BTreeSet::new() });
        self.started
    }

    /// The update has decided on a session as it is now.
    pub fn decided(&mut self, number: Option<u64>, id: SessionId) {
        if let Some(update) = self.in_progress.iter_mut().find(|update| Some(update.number) == number) {
            update.changed.remove(&id);
        }
    }

    /// Ends an update, and returns what was opened or changed since its first slice.
    pub fn end(&mut self, number: Option<u64>) -> BTreeSet<SessionId> {
        let index = self.in_progress.iter().position(|update| Some(update.number) == number);
        index.map(|index| self.in_progress.swap_remove(index).changed).unwrap_or_default()
    }
}
