//! One process per database: an advisory lock on `keyfob.pid`, which the kernel releases when the process
//! ends.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::StartError;
use super::file::{failed, open};
use crate::files::{self, FileRule, OpenMode};

const FILE: &str = "keyfob.pid";
/// Limit for reading the file.
const FILE_BYTES_MAX: u64 = 256;
/// Follows the process id of a server that is stopping; then the longest time in seconds that this takes.
const STOPPING: &str = "stopping";
/// The line of a server without an admin socket, after the process id.
const NO_SOCKET: &str = "no admin socket";

/// Held while a process uses the database. The file is never removed: otherwise two processes could lock two
/// files of the same name.
#[derive(Debug)]
pub struct InstanceLock(File);

/// Why the lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{} is in use by {}, or set store.path to another database",
        directory.display(), pid.map_or_else(
            || "another keyfob process that is starting or stopping: try again in a moment".to_owned(),
            |pid| format!("another keyfob, process {pid}: stop that process first")
        ))]
    Held {
        /// The directory of the database.
        directory: PathBuf,
        /// Id of the process; unknown while it starts or stops.
        pid: Option<u32>,
    },
    /// The file cannot be opened, locked or written.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl InstanceLock {
    /// Acquires the lock for process `pid`, also when a file of an ended process exists. While another
    /// process holds it, calls `wait`, which waits and returns whether to try again.
    ///
    /// # Errors
    /// `Held`; `Start` when the file cannot be written.
    pub fn acquire(directory: &Path, pid: u32, mut wait: impl FnMut() -> bool) -> Result<Self, LockError> {
        let path = directory.join(FILE);
        let failed = |action, cause: io::Error| LockError::Start(failed(action, &path, directory, cause));
        let mut file = open(&path, FileRule::Store, OpenMode::Create)?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if wait() => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(LockError::Held { directory: directory.to_owned(), pid: holder(&file) });
                }
                Err(errno) => return Err(failed("locking", errno.into())),
            }
        }
        write_pid(&mut file, pid).map_err(|cause| failed("writing", cause))?;
        Ok(Self(file))
    }

    /// Writes to the file that the server is stopping, which takes at most `within`. A server that is started
    /// now waits for that time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn mark_stopping(&self, pid: u32, within: Duration) -> io::Result<()> {
        // In one write and without truncating: a reader must not find an empty file.
        let seconds = within.as_secs() + u64::from(within.subsec_nanos() > 0);
        let text = format!("{pid} {STOPPING} {seconds}\n");
        let mut file = &self.0;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }

    /// How long the server that holds the lock takes to stop, at most. `None` if the lock is free or its
    /// holder is not stopping.
    pub fn stopping_within(directory: &Path) -> Option<Duration> {
        let file = files::open(&directory.join(FILE), FileRule::Store, OpenMode::Write).ok()?.file;
        let text = read(&file)?;
        let mut words = text.split_whitespace().skip(1);
        let seconds = words.next().filter(|word| *word == STOPPING).and(words.next())?.parse().ok()?;
        // A killed server leaves its mark in the file. Closing the file releases the lock again.
        let is_held = flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
        is_held.then(|| Duration::from_secs(seconds))
    }

    /// Records for commands that the server has no admin socket.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_no_socket(&self) -> io::Result<()> {
        (&self.0).write_all(format!("{NO_SOCKET}\n").as_bytes())
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // Closing the file releases the lock. An empty file names no process.
        let _ = self.0.set_len(0);
    }
}

/// Whether a server without an admin socket holds the lock of this directory: then its public address is its
/// own, and commands may send it credentials.
pub fn is_held_without_socket(directory: &Path) -> bool {
    let Ok(opened) = files::open(&directory.join(FILE), FileRule::Store, OpenMode::Read) else {
        return false;
    };
    let held = matches!(
        flock(&opened.file, FlockOperation::NonBlockingLockShared),
        Err(rustix::io::Errno::WOULDBLOCK)
    );
    held && read(&opened.file).is_some_and(|text| text.lines().any(|line| line == NO_SOCKET))
}

fn write_pid(file: &mut File, pid: u32) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{pid}\n").as_bytes())
}

fn holder(file: &File) -> Option<u32> {
    read(file)?.split_whitespace().next()?.parse().ok()
}

fn read(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn acquire(directory: &Path, pid: u32) -> Result<InstanceLock, LockError> {
        InstanceLock::acquire(directory, pid, || false)
    }

    fn refused(directory: &Path) -> LockError {
        acquire(directory, 99).expect_err("the lock is held")
    }

    #[test]
    fn a_second_process_is_refused_with_the_id_of_the_first_until_that_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let first = acquire(directory.path(), 41).unwrap();
        let error = refused(directory.path());
        assert!(matches!(error, LockError::Held { pid: Some(41), .. }), "{error}");
        assert!(error.to_string().contains("process 41"), "{error}");
        drop(first);
        let _second = acquire(directory.path(), 42).unwrap();
        assert!(matches!(refused(directory.path()), LockError::Held { pid: Some(42), .. }));
    }

    #[test]
    fn a_waiting_process_gets_the_lock_when_it_is_free_and_is_refused_when_it_stops_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let mut held = vec![acquire(directory.path(), 41).unwrap()];
        let mut tries = 0..3;
        let wait = || tries.next().is_some();
        let error = InstanceLock::acquire(directory.path(), 42, wait).unwrap_err();
        assert!(matches!(error, LockError::Held { pid: Some(41), .. }) && tries.is_empty(), "{error}");
        let wait = || held.pop().is_some();
        let _lock = InstanceLock::acquire(directory.path(), 42, wait).unwrap();
        assert!(matches!(refused(directory.path()), LockError::Held { pid: Some(42), .. }));
    }

    #[test]
    fn a_server_without_a_socket_is_recognised_while_it_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = acquire(directory.path(), 41).unwrap();
        assert!(!is_held_without_socket(directory.path()), "it may be a command");
        lock.note_no_socket().unwrap();
        assert!(is_held_without_socket(directory.path()));
        assert!(matches!(refused(directory.path()), LockError::Held { pid: Some(41), .. }));
        drop(lock);
        assert!(!is_held_without_socket(directory.path()));
        std::fs::write(directory.path().join(FILE), format!("41\n{NO_SOCKET}\n")).unwrap();
        assert!(!is_held_without_socket(directory.path()), "left by a crash");
    }

    #[test]
    fn a_file_left_by_a_crash_does_not_hold_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::fs::write(&path, "4294967295\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let _lock = acquire(directory.path(), 7).unwrap();
        assert!(matches!(refused(directory.path()), LockError::Held { pid: Some(7), .. }));
    }

    #[test]
    fn a_process_that_has_not_written_its_id_yet_holds_the_lock_too() {
        let directory = tempfile::tempdir().unwrap();
        let lock = acquire(directory.path(), 7).unwrap();
        lock.0.set_len(0).unwrap();
        let error = refused(directory.path());
        assert!(
            matches!(error, LockError::Held { pid: None, .. })
                && error.to_string().contains("is starting or stopping"),
            "{error}"
        );
        assert!(!error.to_string().contains("stop that process"), "the process is not known: {error}");
    }

    #[test]
    fn a_stopping_server_announces_how_long_it_takes_at_most() {
        let directory = tempfile::tempdir().unwrap();
        let stopping = || InstanceLock::stopping_within(directory.path());
        assert_eq!(stopping(), None, "there is no file");
        let lock = acquire(directory.path(), 41).unwrap();
        assert_eq!(stopping(), None, "it is serving");
        lock.mark_stopping(41, Duration::from_millis(69_500)).unwrap();
        assert_eq!(stopping(), Some(Duration::from_secs(70)));
        assert!(matches!(refused(directory.path()), LockError::Held { pid: Some(41), .. }));
        drop(lock);
        assert_eq!(stopping(), None, "it has stopped");
        std::fs::write(directory.path().join(FILE), "41 stopping 70\n").unwrap();
        assert_eq!(stopping(), None, "it was killed");
        acquire(directory.path(), 42).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let refused = acquire(Path::new("/nonexistent"), 1).unwrap_err().to_string();
        assert!(refused.contains("/nonexistent/keyfob.pid"), "{refused}");
    }
}
