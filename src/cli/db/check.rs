//! `keyfob db check`: by the running server, or on the database itself if none is running.

use std::sync::atomic::Ordering;

use http_body_util::BodyExt;
use serde_json::json;

use super::interrupt::flag;
use crate::cli::{AdminClient, Failure, Output, Progress, now, percent, print_result, runtime, table_lines};
use crate::config::Config;
use crate::http::api::db::{CheckDone, CheckFind, CheckLine};
use crate::serve;
use crate::store::StoreError;
use crate::store::check::COUNTS;

/// The findings so far, and the progress line.
struct CheckReport {
    progress: Progress,
    finds: Vec<CheckFind>,
    done: Option<CheckDone>,
}

/// Runs the command.
pub fn run(config: &Config, output: Output) -> Result<(), Failure> {
    let mut report = CheckReport { progress: Progress::new(), finds: vec![], done: None };
    let online = runtime()?.block_on(async {
        let Some(mut admin) = AdminClient::running(config).await? else { return Ok(false) };
        report.check_by_server(&mut admin).await.map(|()| true)
    })?;
    if !online {
        report.check_file(config)?;
    }
    report.print(config, output, online)
}

impl CheckReport {
    async fn check_by_server(&mut self, admin: &mut AdminClient) -> Result<(), Failure> {
        let mut body = admin.stream("/v1/db/check").await?;
        let mut unread = vec![];
        while let Some(frame) = body.frame().await {
            let broken = |cause| Failure::refused(format!("the check was interrupted: {cause}"));
            let Ok(bytes) = frame.map_err(broken)?.into_data() else { continue };
            unread.extend(bytes);
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                self.record(serde_json::from_slice(&unread[..end]).map_err(Failure::refused)?);
                unread.drain(..=end);
            }
        }
        Ok(())
    }

    fn check_file(&mut self, config: &Config) -> Result<(), Failure> {
        let interrupted = flag();
        let mut report = |note| {
            self.record(CheckLine::from(note));
            let stop = interrupted.load(Ordering::Relaxed);
            if stop { Err(StoreError::Unavailable("the check was interrupted".into())) } else { Ok(()) }
        };
        serve::check(config, now(), &mut report).map_err(Failure::refused)
    }

    fn record(&mut self, line: CheckLine) {
        if let Some(at) = line.progress {
            self.progress.show(|| format!("checking {}: {}", at.table, percent(at.done, at.of)));
        }
        self.finds.extend(line.find);
        self.done = line.done.or(self.done.take());
    }

    fn print(mut self, config: &Config, output: Output, online: bool) -> Result<(), Failure> {
        self.progress.clear();
        let (is_shared, file_checked) =
            (config.store.shared.is_some(), !online && config.store.shared.is_none());
        let Some(done) = self.done else {
            return Err(Failure::refused("the check did not finish; see the server log"));
        };
        let finds = self.finds.len();
        let repair = if is_shared { REPAIR_SHARED } else { REPAIR };
        let counts = self.finds.iter().filter(|find| find.table == COUNTS).count();
        let json = json!({
            "sound": finds == 0, "finds": self.finds, "entries": done.entries, "sessions": done.sessions,
            "live": done.live,
            "clients": done.clients, "file_checked": file_checked,
        });
        let printed = print_result(output, &json, || {
            let mut lines = vec![];
            if finds > 0 {
                let rows = self.finds.into_iter().map(|find| [find.table, find.key, find.cause]);
                lines = table_lines(["TABLE", "KEY", "WHAT IS WRONG"], rows);
            }
            let pages = if file_checked { ", and the pages of the file" } else { "" };
            let CheckDone { entries, sessions, live, .. } = done;
            lines.push(format!(
                "checked {entries} entries ({sessions} sessions, {live} of them active){pages}"
            ));
            lines
        });
        // Damage is reported even if standard output is closed.
        match finds - counts {
            0 if finds == 0 => printed,
            0 => Err(Failure::refused(format!(
                "only the count of active sessions is wrong: {}",
                match (is_shared, online) {
                    (true, _) => ONLY_METRICS,
                    (false, true) => RECOUNT_BY_STOPPING,
                    (false, false) => RECOUNT,
                }
            ))),
            1 => Err(Failure::refused(format!("1 entry is damaged: {repair}"))),
            more => Err(Failure::refused(format!("{more} entries are damaged: {repair}"))),
        }
    }
}

const RECOUNT_BY_STOPPING: &str =
    "stop the server and run `keyfob db check`, so that the next start counts again; nothing else is damaged";
const RECOUNT: &str = "the next start counts again; nothing else is damaged";
const ONLY_METRICS: &str =
    "only metrics show it, and a restore of the latest backup corrects it; nothing else is damaged";
const REPAIR_SHARED: &str = "check the disks of the database and run `pg_amcheck`, and restore the latest \
                             valid backup with `keyfob db restore FILE` (docs/backup.md)";
const REPAIR: &str = "copy the database file to a safe place, check the disk, and restore the latest valid \
                      backup with `keyfob db restore FILE` (docs/backup.md)";
