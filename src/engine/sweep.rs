//! The sweep: writes noted uses, and removes what is past its retention, a slice at a time.

use std::sync::Arc;

use super::activity::UnwrittenUses;
use super::{Engine, Result};
use crate::domain::id::SessionId;
use crate::domain::session::{Decision, Session};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store, Sweep, Swept};

/// The most entries of each kind in one slice: about a millisecond of the writer's time.
const SLICE: usize = 128;

impl<S: Store> Engine<S> {
    /// Notes a use of a session, and starts to write it if the written one is old. Does not wait for the
    /// write.
    pub(super) fn note_use(&self, session: &Session, written: Timestamp, now: Timestamp) {
        if self.activity.note(session, written, now) {
            tokio::spawn(write_use(self.store.clone(), self.activity.clone(), session.id, now));
        }
    }

    /// Writes the uses that are due, or all of them when the server stops.
    pub async fn write_uses(&self, all: bool) {
        let uses = if all { self.activity.all() } else { self.activity.due(self.clock.now().wall) };
        let writes =
            uses.into_iter().map(|(id, used)| write_use(self.store.clone(), self.activity.clone(), id, used));
        // Spawned together, so that they share commits.
        let writes: Vec<_> = writes.map(tokio::spawn).collect();
        for write in writes {
            let _ = write.await;
        }
    }

    /// Sweeps one slice; to be called again at once while `more` is true.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn sweep(&self) -> Result<Swept> {
        let sweep = Sweep { now: self.clock.now(), retention: self.rules.retention, entries_max: SLICE };
        let swept = self.store.sweep(sweep).await?;
        self.counts.swept(&swept);
        Ok(swept)
    }
}

/// Writes one use. If that fails, it stays noted and is tried again.
async fn write_use<S: Store>(store: Arc<S>, activity: Arc<UnwrittenUses>, id: SessionId, used: Timestamp) {
    let written = store.update(id, Lane::Ordinary, move |session, cuts| {
        session.use_at(used, cuts);
        Decision::answer(())
    });
    match written.await {
        Ok(_) => activity.written(&id, used),
        Err(error) => {
            tracing::debug!(session = %id, %error, "a use could not be written, will retry");
            activity.not_written(&id, used);
        }
    }
}
