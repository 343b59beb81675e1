//! `keyfob db restore FILE`, with a report of what to check afterwards.

use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::interrupt::flag;
use crate::cli::{Failure, Output, Progress, bytes_text, percent, print_result, when};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::first_start::Places;
use crate::serve::{self, Accept, RestoreProgress, Restored, places};
use crate::store::check::Note;

/// The most clients to name.
const NAMED_MAX: usize = 5;

/// Runs the command.
pub fn run(config: &Config, file: &Path, accept: Accept, output: Output) -> Result<(), Failure> {
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
    let restored = serve::restore(config, file, accept, &clock, &mut go_on).map_err(Failure::refused)?;
    progress.clear();
    print_result(output, &object(&restored), || lines(&restored, &places(config), clock.now().wall))
}

fn lines(restored: &Restored, places: &Places, now: Timestamp) -> Vec<String> {
    let Restored { head, checked, kept, .. } = restored;
    let made = when(head.made_at, now);
    let mut lines = vec![format!(
        "restored the backup made {made}: {} sessions, {} clients, {} events",
        checked.sessions,
        checked.clients.len(),
        head.entries_of("events")
    )];
    if checked.finds > 0 {
        lines.push(format!(
            "{} damaged records are still damaged; `keyfob db check` lists them.",
            checked.finds
        ));
    }
    if let Some(kept) = kept {
        lines.push(format!("The previous database is now {}; remove it when you no longer need it.", kept));
    }
    lines.extend([
        String::new(),
        format!(
            "The backup does not show what happened after it. So all {} sessions that were active then have \
             ended (store_rollback), tokens",
            checked.active
        ),
        "issued before now are rejected, and there are new signing keys. All users must sign in again."
            .to_owned(),
        String::new(),
        "Check the following:".to_owned(),
        format!(
            "- Clients are as they were {made}: clients deleted since then exist again, clients created \
             since then do not, and secrets"
        ),
        "  rotated since then have their old values. If a secret had leaked, rotate it again. The last \
         changes before the backup:"
            .to_owned(),
    ]);
    lines.extend(
        checked.clients.iter().take(NAMED_MAX).map(|(id, at)| format!("    {id}, {}", when(*at, now))),
    );
    if checked.clients.len() > NAMED_MAX {
        lines.push(format!("    and {} more: `keyfob client list`", checked.clients.len() - NAMED_MAX));
    }
    let admin = places.admin_json.display();
    lines.push(if places.admin_json.exists() {
        format!(
            "- If the secret in {admin} was created after the backup, it is not valid: `keyfob client \
             rotate-secret admin`."
        )
    } else {
        format!(
            "- There is no {admin}. If the administrator's secret is lost: `keyfob client rotate-secret \
             admin`."
        )
    });
    lines.extend([
        "- Readers of the event log with a cursor from after the backup get 410 and start again; the log \
         continues at store.restored."
            .to_owned(),
        String::new(),
        "Start the server with `keyfob serve`.".to_owned(),
    ]);
    lines
}

fn object(restored: &Restored) -> Value {
    let Restored { head, bytes, checked, began, kept } = restored;
    let client = |(id, at): &(crate::domain::id::ClientId, Timestamp)| {
        json!({
            "client_id": id.as_str(), "updated_at": at.to_string(),
        })
    };
    json!({
        "made_at": head.made_at.to_string(), "bytes": bytes, "sessions": checked.sessions,
        "sessions_ended": checked.active, "damaged": checked.finds,
        "clients": checked.clients.iter().map(client).collect::<Vec<_>>(), "cursor": began.to_string(),
        "kept": kept.as_ref().map(ToString::to_string),
    })
}
