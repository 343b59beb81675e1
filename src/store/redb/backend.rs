//! The embedded store and its parts.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use redb::Database;

use super::writer::Shared;
use crate::store::record::Codec;

/// A store in one file.
pub struct Redb {
    pub(super) db: Arc<Database>,
    pub(super) codec: Codec,
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Mutex<Option<JoinHandle<()>>>,
    /// `None` for a backend that is not a file of this machine.
    pub(super) path: Option<PathBuf>,
    /// The bytes of each table at the last measurement.
    pub(super) measured: ArcSwap<Vec<(&'static str, u64)>>,
}

impl std::fmt::Debug for Redb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redb").field("counters", &self.shared.counters()).finish_non_exhaustive()
    }
}
