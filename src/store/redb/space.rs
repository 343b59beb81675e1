//! The space that openings leave to all other writes: free on the disk, or unused in the file.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What an opening may add to the file between two measurements: more than any but one with much `data`.
const OPENING_BYTES: u64 = 8 << 10;
/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// Free bytes of the file system for an unprivileged process.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let system = rustix::fs::statvfs(path)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_admitted_while_the_reserve_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        assert!(Space::new(path.clone(), 0).admits_opening());
        assert!(!Space::new(path.clone(), u64::MAX).admits_opening());
        let unused = Space::new(path, u64::MAX);
        unused.unused_bytes.store(u64::MAX, Ordering::Relaxed);
        assert!(unused.admits_opening(), "unused space in the file counts");
        assert!(Space::new("/nowhere/at/all".into(), u64::MAX).admits_opening());
    }

    #[test]
    fn each_opening_takes_8_kib_of_the_allocated_bytes_without_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; 20 << 10]).unwrap();
        let allocated = file.path().metadata().unwrap().blocks() * 512;
        assert!(allocated >= 20 << 10);
        let space = Space::new(file.path().to_owned(), 0);
        space.measured(1_000).unwrap();
        let unused = || space.unused_bytes.load(Ordering::Relaxed);
        assert_eq!(unused(), allocated - 1_000);
        space.admits_opening();
        assert_eq!(unused(), allocated - 1_000 - (8 << 10));
        (0..9).for_each(|_| _ = space.admits_opening());
        assert_eq!(unused(), 0);
        space.measured(u64::MAX).unwrap();
        assert_eq!(unused(), 0);
    }
}
