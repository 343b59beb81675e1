//! The sweep: removes what has had its time, a slice at a time.

use super::{Engine, Result};
use crate::store::{Store, Sweep, Swept};

/// How many entries of each kind one slice may touch: about a millisecond of the writer's time.
const SLICE: usize = 128;

impl<S: Store> Engine<S> {
    /// Sweeps one slice; call it again at once while it answers `more`.
    ///
    /// # Errors
    /// A store that cannot write.
    pub async fn sweep(&self) -> Result<Swept> {
        let sweep = Sweep { now: self.clock.now(), retention: self.rules.retention, entries_max: SLICE };
        Ok(self.store.sweep(sweep).await?)
    }
}
