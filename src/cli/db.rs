//! `keyfob db …`: the store as a whole.

use std::path::PathBuf;

use clap::Subcommand;

use super::{
    AdminClient, Failure, Output, bytes_text, now, print_result, table_lines, when, with_admin_client,
};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::http::api::db::{EventPlace, StoreStats};
use crate::serve::Accept;

mod backup;
mod check;
mod interrupt;
#[cfg(feature = "postgres")]
mod moving;
mod restore;

/// Commands for the store.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Checks all records and indexes against each other, and lists what is damaged.
    Check,
    /// Prints the number of records and the size of each table.
    Stats,
    /// Writes a consistent copy of the store, without the master key, while the server runs.
    Backup(backup::Backup),
    /// Replaces the database by a backup. The server must be stopped. Tokens issued before the restore become
    /// invalid.
    Restore {
        /// The backup file; - is standard input.
        file: PathBuf,
        /// Restores a backup even if records in it are damaged.
        #[arg(long)]
        accept_damage: bool,
        /// Restores a backup that an earlier keyfob made without authentication. It may have been altered.
        #[arg(long)]
        accept_unauthenticated: bool,
    },
    /// Moves the embedded store into an empty PostgreSQL database, or back. The server and all replicas must
    /// be stopped. Everything stays valid, and no user is logged out.
    #[cfg(feature = "postgres")]
    Move(moving::Move),
    /// Ends all sessions after PostgreSQL was recovered to an earlier state: nothing that was issued or
    /// revoked after it is known any more. Run it once, before the replicas start.
    #[cfg(feature = "postgres")]
    Recovered,
}

impl DbCommand {
    /// Runs the command.
    pub fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        match self {
            Self::Check => check::run(config, output),
            Self::Stats => with_admin_client(config, async |admin| stats(admin, output).await),
            Self::Backup(backup) => backup.run(config, output),
            Self::Restore { file, accept_damage, accept_unauthenticated } => {
                let accept = Accept { damage: accept_damage, unauthenticated: accept_unauthenticated };
                restore::run(config, &file, accept, output)
            }
            #[cfg(feature = "postgres")]
            Self::Move(moving) => moving.run(config, output),
            #[cfg(feature = "postgres")]
            Self::Recovered => moving::recovered(config, output),
        }
    }
}

async fn stats(admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
    let stats: StoreStats = admin.get("/v1/db/stats").await?;
    print_result(output, &stats, || stats_lines(&stats, now()))
}

fn stats_lines(stats: &StoreStats, now: Timestamp) -> Vec<String> {
    let rows =
        stats.tables.iter().map(|row| [row.name.clone(), row.entries.to_string(), bytes_text(row.bytes)]);
    let mut lines = table_lines(["TABLE", "ENTRIES", "SIZE"], rows);
    let event = |event: Option<&EventPlace>| {
        event.map_or_else(|| "-".to_owned(), |event| format!("{} at {}", when(event.at.0, now), event.cursor))
    };
    lines.push(String::new());
    // Over PostgreSQL there is no file.
    if let (Some(file), Some(free)) = (stats.file_bytes, stats.free_bytes) {
        lines.push(format!("file          {}, of which {} are free", bytes_text(file), bytes_text(free)));
    }
    lines.extend(stats.disk_free_bytes.map(|free| format!("disk          {} free", bytes_text(free))));
    lines.extend([
        format!("oldest event  {}", event(stats.oldest_event.as_ref())),
        format!("newest event  {}", event(stats.newest_event.as_ref())),
        format!(
            "epoch         {}{}",
            stats.epoch,
            if stats.epoch > 1 { ", started by a restore" } else { "" }
        ),
    ]);
    lines
}
