//! `keyfob db …`: the store as a whole.

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::door::Door;
use super::print::{Table, print_json, print_lines, print_table};
use super::progress::bytes_text;
use super::times::when;
use super::{Failure, Output, through_door};
use crate::config::Config;
use crate::engine::clock::Clock;

mod backup;
mod check;
mod interrupt;
mod restore;

/// What can be done with the store as a whole.
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Holds every record and every index against each other, and says what is damaged.
    Check,
    /// Tells how many there are of everything, and how large it is.
    Stats,
    /// Writes a consistent copy of everything but the master key, while the server goes on.
    Backup(backup::Backup),
    /// Makes the database anew from a backup. No server may run; whatever was issued before is refused
    /// afterwards.
    Restore {
        /// The backup; - is standard input.
        file: PathBuf,
        /// Restores a backup although records in it are damaged.
        #[arg(long)]
        accept_damage: bool,
    },
}

impl DbCommand {
    /// Carries the command out.
    pub fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        match self {
            Self::Check => check::run(config, output),
            Self::Stats => through_door(config, async |door| stats(door, output).await),
            Self::Backup(backup) => backup.run(config, output),
            Self::Restore { file, accept_damage } => restore::run(config, &file, accept_damage, output),
        }
    }
}

async fn stats(door: &mut Door, output: Output) -> Result<(), Failure> {
    let stats = door.call(Method::GET, "/v1/db/stats", None).await?;
    if output == Output::Json {
        return print_json(&stats);
    }
    let now = Clock::system().now().wall;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut table = Table::new(&["TABLE", "ENTRIES", "SIZE"]);
    for row in stats["tables"].as_array().into_iter().flatten() {
        let name = row["name"].as_str().unwrap_or_default().to_owned();
        table.row([name, number(&row["entries"]).to_string(), bytes_text(number(&row["bytes"]))]);
    }
    print_table(table)?;
    let size = |name: &str| stats[name].as_u64().map_or_else(|| "-".to_owned(), bytes_text);
    let event = |name: &str| match stats[name]["at"].as_str() {
        Some(at) => format!("{} at {}", when(at, now), stats[name]["cursor"].as_str().unwrap_or_default()),
        None => "-".to_owned(),
    };
    print_lines(&[
        String::new(),
        format!("file          {}, of which {} are free", size("file_bytes"), size("free_bytes")),
        format!("disk          {} free", size("disk_free_bytes")),
        format!("oldest event  {}", event("oldest_event")),
        format!("newest event  {}", event("newest_event")),
        format!(
            "epoch         {}{}",
            number(&stats["epoch"]),
            if number(&stats["epoch"]) > 1 { ", begun by a restore" } else { "" }
        ),
    ])
}
