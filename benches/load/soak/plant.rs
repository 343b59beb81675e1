//! Controls: a defect that is planted, and that the run must find.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::flat;
use super::line::{Ask, Door, Line};

/// How often such a connection is used, so that the server does not close it.
const USE_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq)]
pub enum Plant {
    /// Nothing is deleted: the event log and the file grow.
    Retention,
    /// Each second a further connection stays open.
    Connections,
    /// At each restart the database is the one of the restart before.
    Rollback,
}

impl Plant {
    pub fn named(name: &str) -> Self {
        match name {
            "retention" => Self::Retention,
            "connections" => Self::Connections,
            "rollback" => Self::Rollback,
            _ => panic!("{name}: plants are retention, connections and rollback"),
        }
    }

    /// Whether what the run has found is this.
    pub fn is_found(self, grown: &[&str], faults: &[String]) -> bool {
        match self {
            Self::Retention => grown.contains(&flat::LOG) && grown.contains(&flat::TABLES),
            Self::Connections => grown.contains(&flat::OPEN_FILES),
            Self::Rollback => !faults.is_empty(),
        }
    }
}

/// While no server runs.
pub fn roll_back(database: &Path) {
    let (older, newer) = (database.with_extension("older"), database.with_extension("newer"));
    fs::copy(database, &newer).expect("the directory is ours");
    if older.exists() {
        fs::copy(&older, database).expect("the directory is ours");
    }
    fs::rename(newer, older).expect("the directory is ours");
}

pub fn leave_connections_open(door: watch::Receiver<Option<Door>>) {
    tokio::task::spawn_local(async move {
        loop {
            let mut line = Line::new(door.clone());
            tokio::task::spawn_local(async move {
                loop {
                    line.send(&Ask::get("/healthz", "")).await;
                    sleep(USE_EVERY).await;
                }
            });
            sleep(Duration::from_secs(1)).await;
        }
    });
}
