//! The files of an installation: where they are, their lock, and opening the database once it is free.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::AppError;
use crate::config::Config;
use crate::files::SocketPath;
use crate::first_start::{InstanceLock, LockError, Places, StartState, Starter};
use crate::store::redb::OpenError;

/// How often a lock or a file that another process holds is tried again, and how many times: about 5 s.
const RETRY_EVERY: Duration = Duration::from_millis(20);
const TRIES_MAX: u32 = 250;
/// How long a server may take to answer at its socket. It is asked before each try.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// The paths of the installation, as configured.
pub fn places(config: &Config) -> Places {
    Places::new(&config.store, &config.keys.master_key, &config.server.admin_socket)
}

/// Waits while a stopping server holds the lock, for as long as it announced and a little more.
pub(super) async fn wait_for_stopping(places: &Places) {
    let Some(within) = InstanceLock::stopping_within(&places.directory) else { return };
    tracing::info!(at_most_s = within.as_secs(), "waiting for the previous server to stop");
    let stopped = async {
        while InstanceLock::stopping_within(&places.directory).is_some() {
            sleep(RETRY_EVERY).await;
        }
    };
    let _ = timeout(within + RETRY_EVERY * TRIES_MAX, stopped).await;
}

/// Takes the lock of an installation that must exist. Root is refused first: a lock file of root's would lock
/// out the owner. `is_created` is whether a shared database exists.
pub(super) fn lock_existing(places: &Places, is_created: Option<bool>) -> Result<InstanceLock, AppError> {
    if !places.directory.exists() {
        return Err(AppError::NotInitialised(places.database.clone()));
    }
    places.refuse_root_for_another_owner()?;
    let lock = lock(places)?;
    match places.state(Starter::Serve, is_created, variable)? {
        StartState::Existing => Ok(lock),
        StartState::Fresh | StartState::Unfinished => Err(AppError::NotInitialised(places.database.clone())),
    }
}

/// Takes the lock. A command holds it briefly and is waited for, and so is a killed server that has not ended
/// yet; a server that answers at its socket is not.
pub(super) fn lock(places: &Places) -> Result<InstanceLock, LockError> {
    let mut tries = 0;
    InstanceLock::acquire(&places.directory, std::process::id(), || {
        tries += 1;
        let wait = tries < TRIES_MAX && !places.admin_socket.as_ref().is_some_and(|path| answers(path));
        if wait {
            std::thread::sleep(RETRY_EVERY);
        }
        wait
    })
}

/// Whether a server answers at its admin socket. A connection alone does not show it: a killed process that
/// waits for the disk ends only when the disk has answered, and until then the kernel accepts connections.
fn answers(admin_socket: &Path) -> bool {
    let ask = || -> io::Result<usize> {
        let mut stream = UnixStream::connect(SocketPath::of(admin_socket)?.as_path())?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        stream.read(&mut [0])
    };
    ask().is_ok_and(|length| length > 0)
}

/// Opens the database file. A process that is ending may have released the lock but not yet the file, so it
/// is tried again.
pub(super) fn open_when_free<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    for _ in 1..TRIES_MAX {
        match open() {
            Err(OpenError::AlreadyOpen) => std::thread::sleep(RETRY_EVERY),
            opened => return opened,
        }
    }
    open()
}

/// An environment variable of this process.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The path of the new database while a restore writes it. Dropping this removes the file.
pub(super) struct UnfinishedRestore(pub PathBuf);

impl UnfinishedRestore {
    /// The path for this installation. A file that is already there was left by a killed restore, if the lock
    /// is held.
    pub fn at(places: &Places) -> Self {
        Self(Self::path(places))
    }

    /// The same, without removing the file.
    pub fn path(places: &Places) -> PathBuf {
        places.database.with_extension("restoring")
    }
}

impl Drop for UnfinishedRestore {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
