//! `keyfob db restore FILE`, and what there is to look at afterwards.

use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::super::print::{print_json, print_lines};
use super::super::progress::{Progress, bytes_text, percent};
use super::super::times::when_at;
use super::super::{Failure, Output};
use super::interrupt::flag;
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::first_start::Places;
use crate::serve::{self, RestoreProgress, Restored, places};
use crate::store::check::Note;

/// How many clients are named at most.
const NAMED_MAX: usize = 5;

/// Carries the command out.
pub fn run(config: &Config, file: &Path, accept_damage: bool, output: Output) -> Result<(), Failure> {
    let (clock, interrupted, mut progress) = (Clock::system(), flag(), Progress::new());
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut go_on = |at| {
        match at {
            RestoreProgress::Read(bytes) => {
                progress.show(|| format!("restoring: {}  {}", percent(bytes, length), bytes_text(bytes)))
            }
            RestoreProgress::Check(Note::Progress(at)) => {
                progress.show(|| format!("checking {}: {}", at.table, percent(at.done, at.of)))
            }
            RestoreProgress::Check(_) => {}
        }
        !interrupted.load(Ordering::Relaxed)
    };
    let restored =
        serve::restore(config, file, accept_damage, &clock, &mut go_on).map_err(Failure::refused)?;
    progress.clear();
    match output {
        Output::Human => print_lines(&lines(&restored, &places(config), clock.now().wall)),
        Output::Json => print_json(&object(&restored)),
    }
}

fn lines(restored: &Restored, places: &Places, now: Timestamp) -> Vec<String> {
    let Restored { head, checked, kept, .. } = restored;
    let made = when_at(head.made_at, now);
    let entries = |name: &str| {
        head.tables.iter().find(|(table, _)| **table == *name).map_or(0, |(_, entries)| *entries)
    };
    let mut lines = vec![format!(
        "restored the backup made {made}: {} sessions, {} clients, {} events",
        checked.sessions,
        checked.clients.len(),
        entries("events")
    )];
    if checked.finds > 0 {
        lines.push(format!(
            "{} damaged records are as damaged as they were; `keyfob db check` names them.",
            checked.finds
        ));
    }
    if let Some(kept) = kept {
        lines.push(format!(
            "The database that was there is now {}; remove it when you are sure that you do not need it.",
            kept.display()
        ));
    }
    lines.extend([
        String::new(),
        format!(
            "Nobody knows what happened after the backup. So all {} sessions that lived then have ended (store_rollback), every token",
            checked.active
        ),
        "issued before now is refused, and new keys sign. Everybody signs in again.".to_owned(),
        String::new(),
        "Look at these:".to_owned(),
        format!("- Clients are as they were {made}: those deleted since are back, those created since are gone, and secrets"),
        "  rotated since are the old ones. If one of these was because of a leak, do it again. The last changes before the backup:"
            .to_owned(),
    ]);
    lines.extend(
        checked.clients.iter().take(NAMED_MAX).map(|(id, at)| format!("    {id}, {}", when_at(*at, now))),
    );
    if checked.clients.len() > NAMED_MAX {
        lines.push(format!("    and {} more: `keyfob client list`", checked.clients.len() - NAMED_MAX));
    }
    let admin = places.admin_json.display();
    lines.push(if places.admin_json.exists() {
        format!("- If the secret in {admin} was made after the backup, it is not known: `keyfob client rotate-secret admin`.")
    } else {
        format!("- There is no {admin}. If nobody knows the administrator's secret: `keyfob client rotate-secret admin`.")
    });
    lines.extend([
        "- Readers of the event log whose cursor is from after the backup get 410 and begin again; store.restored is where the log goes on.".to_owned(),
        String::new(),
        "Start the server with `keyfob serve`.".to_owned(),
    ]);
    lines
}

fn object(restored: &Restored) -> Value {
    let Restored { head, bytes, checked, began, kept } = restored;
    let client = |(id, at): &(crate::domain::id::ClientId, Timestamp)| json!({ "client_id": id.as_str(), "updated_at": at.to_string() });
    json!({
        "made_at": head.made_at.to_string(), "bytes": bytes, "sessions": checked.sessions, "sessions_ended": checked.active, "damaged": checked.finds,
        "clients": checked.clients.iter().map(client).collect::<Vec<_>>(), "cursor": began.to_string(),
        "kept": kept.as_ref().map(|kept| kept.display().to_string()),
    })
}
