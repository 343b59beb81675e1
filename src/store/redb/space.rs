//! The space that openings leave to all other writes: free on the disk, or unused in the file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use super::figures::free_bytes;

/// What an opening may add to the file between two measurements: more than any but one with much `data`.
const OPENING_BYTES: u64 = 8 << 10;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

pub(super) struct Space {
    path: PathBuf,
    reserve_bytes: u64,
    /// Bytes of the file without content at the last measurement, less what was opened since.
    unused_bytes: AtomicU64,
}

impl Space {
    pub fn new(path: PathBuf, reserve_bytes: u64) -> Self {
        Self { path, reserve_bytes, unused_bytes: AtomicU64::new(0) }
    }

    /// Whether enough is left. A disk that does not report its free space admits every opening.
    pub fn admits_opening(&self) -> bool {
        let less = |unused: u64| Some(unused.saturating_sub(OPENING_BYTES));
        let unused = self.unused_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        let unused = unused.unwrap_or_default();
        free_bytes(&self.path).map_or(true, |free| free.saturating_add(unused) >= self.reserve_bytes)
    }

    /// Notes how many bytes of the file have content. Only what the disk has allocated for it counts.
    pub fn measured(&self, used_bytes: u64) -> io::Result<()> {
        let allocated = self.path.metadata()?.blocks().saturating_mul(BLOCK_BYTES);
        self.unused_bytes.store(allocated.saturating_sub(used_bytes), Ordering::Relaxed);
        Ok(())
    }
}
