//! `keyfob db check`: through the running server, or on the file itself where none runs.

use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::super::door::Door;
use super::super::print::{Table, print_json, print_lines};
use super::super::progress::{Progress, percent};
use super::super::{Failure, Output, runtime};
use super::interrupt::flag;
use crate::config::Config;
use crate::engine::clock::Clock;
use crate::serve;
use crate::store::StoreError;
use crate::store::check::{COUNTS, Note};

/// What was found, and how far it is.
struct Report {
    progress: Progress,
    finds: Vec<[String; 3]>,
    done: Option<Value>,
}

/// Carries the command out.
pub fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let mut report = Report { progress: Progress::new(), finds: vec![], done: None };
    let asked = runtime()?.block_on(async {
        let Some(mut door) = Door::running(config).await? else { return Ok(false) };
        report.ask(&mut door).await.map(|()| true)
    })?;
    if !asked {
        report.look(config)?;
    }
    report.print(output, asked)
}

impl Report {
    /// Has the server check.
    async fn ask(&mut self, door: &mut Door) -> Result<(), Failure> {
        let mut body = door.stream("/v1/db/check").await?;
        let mut left = vec![];
        while let Some(frame) = body.frame().await {
            let Ok(bytes) =
                frame.map_err(|cause| Failure::refused(format!("the check broke off: {cause}")))?.into_data()
            else {
                continue;
            };
            left.extend(bytes);
            while let Some(end) = left.iter().position(|byte| *byte == b'\n') {
                let line: Value = serde_json::from_slice(&left[..end]).map_err(Failure::refused)?;
                left.drain(..=end);
                self.hear(&line);
            }
        }
        Ok(())
    }

    fn hear(&mut self, line: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(at) = line.get("progress") {
            self.progress(
                &text(&at["table"]),
                at["done"].as_u64().unwrap_or_default(),
                at["of"].as_u64().unwrap_or_default(),
            );
        } else if let Some(find) = line.get("find") {
            self.finds.push(["table", "key", "cause"].map(|name| text(&find[name])));
        } else if let Some(done) = line.get("done") {
            self.done = Some(done.clone());
        }
    }

    /// Checks the file.
    fn look(&mut self, config: &Config) -> Result<(), Failure> {
        let interrupted = flag();
        let mut told = |note| {
            match note {
                Note::Progress(at) => self.progress(at.table, at.done, at.of),
                Note::Find(find) => {
                    self.finds.push([find.table.to_owned(), find.key.into(), find.cause.to_owned()])
                }
                Note::Done(done) => {
                    let clients = done.clients.len();
                    self.done = Some(
                        json!({ "entries": done.entries, "sessions": done.sessions, "live": done.active, "clients": clients }),
                    );
                }
            }
            let stop = interrupted.load(Ordering::Relaxed);
            if stop { Err(StoreError::Unavailable("the check was interrupted".into())) } else { Ok(()) }
        };
        serve::check(config, Clock::system().now().wall, &mut told).map_err(Failure::refused)
    }

    fn progress(&mut self, table: &str, done: u64, of: u64) {
        self.progress.show(|| format!("checking {table}: {}", percent(done, of)));
    }

    fn print(mut self, output: Output, online: bool) -> Result<(), Failure> {
        self.progress.clear();
        let finds = self.finds.len();
        let counts = self.finds.iter().filter(|[table, ..]| table == COUNTS).count();
        let Some(done) = self.done else {
            return Err(Failure::refused(
                "the check broke off before its end; the log of the server says why",
            ));
        };
        let printed = match output {
            Output::Json => {
                let find =
                    |[table, key, cause]: &[String; 3]| json!({ "table": table, "key": key, "cause": cause });
                let items: Vec<Value> = self.finds.iter().map(find).collect();
                let counts = ["entries", "sessions", "live", "clients"].map(|name| done[name].clone());
                let [entries, sessions, live, clients] = counts;
                print_json(&json!({
                    "sound": finds == 0, "finds": items, "entries": entries, "sessions": sessions, "live": live, "clients": clients,
                    "file_checked": !online,
                }))
            }
            Output::Human => {
                let mut lines = vec![];
                if finds > 0 {
                    let mut table = Table::new(&["TABLE", "KEY", "WHAT IS WRONG"]);
                    self.finds.into_iter().for_each(|find| table.row(find));
                    lines = table.take_lines();
                }
                let pages = if online { "" } else { ", and the pages of the file" };
                lines.push(format!(
                    "checked {} entries ({} sessions, {} of them live){pages}",
                    done["entries"], done["sessions"], done["live"]
                ));
                print_lines(&lines)
            }
        };
        // Damage is told whoever reads.
        match finds - counts {
            0 if finds == 0 => printed,
            0 => Err(Failure::refused(format!(
                "only the count of the sessions that live is wrong: {}",
                if online { RECOUNT } else { RECOUNTED }
            ))),
            1 => Err(Failure::refused(format!("1 entry is damaged: {MEND}"))),
            more => Err(Failure::refused(format!("{more} entries are damaged: {MEND}"))),
        }
    }
}

/// What to do about a wrong number of live sessions: they are all there.
const RECOUNT: &str =
    "stop the server and run `keyfob db check`, which has the next start count anew; nothing else is damaged";
const RECOUNTED: &str = "the next start counts anew; nothing else is damaged";
/// What to do about damage.
const MEND: &str = "copy the database away as it is, look to the disk, and restore the last sound backup with `keyfob db restore FILE` (docs/backup.md)";
