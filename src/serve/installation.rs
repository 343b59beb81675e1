//! The files of an installation: where they are, their lock, and opening the database once it is free.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::AppError;
use crate::config::Config;
use crate::files::SocketPath;
use crate::first_start::{InstanceLock, LockError, Places, StartState, Starter};
use crate::store::redb::OpenError;

/// How often a lock or a file that another process holds is tried again, and for how long.
const RETRY_EVERY: Duration = Duration::from_millis(20);
const RETRY_FOR: Duration = Duration::from_secs(5);
/// How long a server may take to answer at its admin socket.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);
/// How long a start waits for a killed server, which ends only when the disk has answered.
const END_WITHIN: Duration = Duration::from_secs(30);

/// The paths of the installation, as configured.
pub fn places(config: &Config) -> Places {
    Places::new(&config.store, &config.keys.master_key, &config.server.admin_socket)
}

/// Waits while a stopping server holds the lock, for as long as it announced and a little more, and while a
/// killed one has not ended.
pub(super) async fn wait_for_previous(places: &Places) {
    let stopping = InstanceLock::stopping_within(&places.directory);
    let within = match stopping {
        Some(announced) => announced + RETRY_FOR,
        None if Holder::of(places) == Holder::Silent => END_WITHIN,
        None => return,
    };
    let what = if stopping.is_some() { "stop" } else { "end" };
    tracing::info!(at_most_s = within.as_secs(), "waiting for the previous server to {what}");
    let ended = async {
        while InstanceLock::stopping_within(&places.directory).is_some()
            || Holder::of(places) == Holder::Silent
        {
            sleep(RETRY_EVERY).await;
        }
    };
    let _ = timeout(within, ended).await;
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
    let mut waited = Duration::ZERO;
    InstanceLock::acquire(&places.directory, std::process::id(), || {
        waited += match Holder::of(places) {
            Holder::Server => return false,
            Holder::Silent => ANSWER_WITHIN + RETRY_EVERY,
            Holder::Other => RETRY_EVERY,
        };
        std::thread::sleep(RETRY_EVERY);
        waited < RETRY_FOR
    })
}

/// Who holds the lock, by its admin socket.
#[derive(PartialEq)]
enum Holder {
    /// It answers.
    Server,
    /// It has the socket and does not answer. The kernel accepts connections for a killed process until it
    /// has ended, for which it must wait for the disk first.
    Silent,
    /// A command, a server without the socket, or no process.
    Other,
}

impl Holder {
    fn of(places: &Places) -> Self {
        let connect = |path: &PathBuf| UnixStream::connect(SocketPath::of(path).ok()?.as_path()).ok();
        let Some(stream) = places.admin_socket.as_ref().and_then(connect) else { return Self::Other };
        if answers(stream).is_ok_and(|length| length > 0) { Self::Server } else { Self::Silent }
    }
}

fn answers(mut stream: UnixStream) -> io::Result<usize> {
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.read(&mut [0])
}

/// Opens the database file. A process that is ending may have released the lock but not yet the file, so it
/// is tried again.
pub(super) fn open_when_free<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let mut waited = Duration::ZERO;
    loop {
        match open() {
            Err(OpenError::AlreadyOpen) if waited < RETRY_FOR => std::thread::sleep(RETRY_EVERY),
            opened => return opened,
        }
        waited += RETRY_EVERY;
    }
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
