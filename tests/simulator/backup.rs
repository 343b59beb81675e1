//! Backups of a running server, and restores of them onto another disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use keyfob::domain::event::Event;
use keyfob::domain::id::Position;
use keyfob::domain::time::Timestamp;
use keyfob::engine::clock::Clock;
use keyfob::serve::{Accept, rebuild};
use keyfob::store::Store;
use keyfob::store::redb::{Restoring, reached};

use crate::disk::Disk;
use crate::facts::Epoch;
use crate::server::{OPTIONS, Server, keys};

/// A backup, and what was known when it was made.
#[derive(Clone)]
pub struct Backup {
    pub bytes: Vec<u8>,
    /// The position of its last event.
    pub head: u64,
    pub epochs: Vec<Epoch>,
    /// The events up to then that an audit has seen.
    pub log: Vec<(Position, Event)>,
}

/// # Errors
/// A disk that cannot be read.
pub async fn back_up(server: &Server, now: Timestamp) -> Result<Vec<u8>, String> {
    let mut pieces = server.store.backup(now).map_err(|error| error.to_string())?;
    let mut bytes = vec![];
    while let Some(piece) = pieces.recv().await {
        match piece.map_err(|error| error.to_string())? {
            Some(piece) => bytes.extend(piece),
            None => return Ok(bytes),
        }
    }
    Err("it is incomplete".into())
}

/// Restores a backup onto an empty disk in place of a stopped server's, and returns the first position of its
/// epoch.
///
/// # Errors
/// Whatever prevents it.
pub fn restore(bytes: &[u8], new: &Disk, old: &Disk, clock: &Clock) -> Result<Position, String> {
    let restoring = Restoring::on_backend(new.clone(), &keys(), OPTIONS.cache_bytes);
    let restoring = restoring.map_err(|error| error.to_string())?;
    let lost = || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyfob.redb");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(&old.image()).unwrap();
        Some(reached(&path, &keys(), OPTIONS.cache_bytes).expect("the old database is not damaged"))
    };
    let rebuilt = rebuild(&mut &*bytes, restoring, &keys(), Accept::default(), lost, clock, &mut |_| true);
    let restored = rebuilt.map_err(|error| error.to_string())?;
    // As the file is synced before it replaces the old one.
    redb::StorageBackend::sync_data(new).map_err(|error| error.to_string())?;
    Ok(restored.began)
}
