//! `keyfob db move` and `keyfob db recovered`: between the embedded store and PostgreSQL.

use std::sync::atomic::Ordering;

use clap::Args;
use serde_json::json;

use super::interrupt::flag;
use crate::cli::{Failure, Output, Progress, bytes_text, percent, print_result};
use crate::config::{Config, DatabaseUrl};
use crate::engine::clock::Clock;
use crate::serve::{self, Kept, Moved, RestoreProgress};
use crate::store::check::Note;

/// From where to where. The file is that of [store] path.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Move {
    /// The empty database that gets the contents of the file; its password by PGPASSFILE or [store]
    /// password_file.
    #[arg(long, value_name = "URL", value_parser = DatabaseUrl::read)]
    to: Option<DatabaseUrl>,
    /// The database whose contents go into a new file.
    #[arg(long, value_name = "URL", value_parser = DatabaseUrl::read)]
    from: Option<DatabaseUrl>,
}

impl Move {
    /// Runs the command.
    pub fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        let (clock, interrupted, mut progress) = (Clock::system(), flag(), Progress::new());
        let mut go_on = |at| {
            match at {
                RestoreProgress::Read(bytes) => progress.show(|| format!("moving: {}", bytes_text(bytes))),
                RestoreProgress::Check(Note::Progress(at)) => {
                    progress.show(|| format!("checking {}: {}", at.table, percent(at.done, at.of)))
                }
                RestoreProgress::Check(_) => {}
            }
            !interrupted.load(Ordering::Relaxed)
        };
        let moved = match (&self.to, &self.from) {
            (Some(url), _) => serve::move_to(config, url, &clock, &mut go_on),
            (None, Some(url)) => serve::move_from(config, url, &clock, &mut go_on),
            (None, None) => unreachable!("clap requires one of them"),
        };
        let moved = moved.map_err(Failure::refused)?;
        progress.clear();
        let Moved { checked, head, kept } = &moved;
        let json = json!({
            "sessions": checked.sessions, "live": checked.active, "clients": checked.clients.len(),
            "head": head.to_string(), "kept": kept.to_string(),
        });
        print_result(output, &json, || lines(&moved, self.to.as_ref()))
    }
}

fn lines(moved: &Moved, to: Option<&DatabaseUrl>) -> Vec<String> {
    let Moved { checked, kept, .. } = moved;
    let mut lines = vec![format!(
        "moved {} sessions ({} of them active) and {} clients; every token stays valid",
        checked.sessions,
        checked.active,
        checked.clients.len()
    )];
    lines.push(match kept {
        Kept::File(path) => {
            format!(
                "The file is now {}; remove it when you no longer need it. Never serve it again.",
                path.display()
            )
        }
        Kept::Schema(name) => {
            format!(
                "The tables are now in the schema {name}; remove them when you no longer need them: DROP \
                 SCHEMA {name} CASCADE."
            )
        }
    });
    lines.push(match to {
        Some(url) => {
            format!("Set [store] url = \"{}\", then start the server with `keyfob serve`.", url.shown())
        }
        None => "Remove [store] url, then start the server with `keyfob serve`.".to_owned(),
    });
    lines
}

/// Runs `keyfob db recovered`.
pub fn recovered(config: &Config, output: Output) -> Result<(), Failure> {
    let began = serve::recovered(config, &Clock::system()).map_err(Failure::refused)?;
    print_result(output, &json!({ "cursor": began.to_string() }), || {
        vec![
            "All sessions of the recovered state have ended (store_rollback), tokens issued before now are \
             rejected, and there are new signing keys. All users must sign in again."
                .to_owned(),
            "Clients are as they were at that state: if a secret was rotated since because it leaked, rotate \
             it again."
                .to_owned(),
            "Start the replicas with `keyfob serve`.".to_owned(),
        ]
    })
}
