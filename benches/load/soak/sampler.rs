//! Looks at the process, its file and its metrics every few seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::history::{Sample, Window};
use super::line::{Ask, Door, Line};
use super::probe::Probes;
use crate::machine::cpu_time;

const EVERY: Duration = Duration::from_secs(3);
/// Of one percentile.
const WINDOW_S: f64 = 30.0;
const MIB: f64 = (1 << 20) as f64;

/// Starts it; it runs until the run ends.
pub fn spawn(
    door: watch::Receiver<Option<Door>>,
    file: PathBuf,
    written: PathBuf,
    probes: Rc<Probes>,
    shared: Rc<Shared>,
) {
    tokio::task::spawn_local(async move {
        let (mut line, mut window_s) = (Line::new(door.clone()), 0.0);
        let mut last: Option<(u32, Duration, f64)> = None;
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            shared.ledger.borrow_mut().tend();
            let keys = line.send(&Ask::get("/.well-known/paserk.json", "")).await.json()["keys"]
                .as_array()
                .map_or(0, Vec::len);
            let text = String::from_utf8_lossy(&line.send(&Ask::get("/metrics", "")).await.body).into_owned();
            let here = *door.borrow();
            // Between two processes there is nothing to see.
            let Some(here) = here else { continue };
            let Some(mut sample) = sample(here, &file, &text) else { continue };
            (sample.at_s, sample.signing_keys) = (shared.at_s(), keys as f64);
            let used = (here.pid, cpu_time(here.pid), sample.at_s);
            sample.cpu_percent = last.filter(|(pid, ..)| *pid == here.pid).map(|(_, cpu, at_s)| {
                100.0 * used.1.saturating_sub(cpu).as_secs_f64() / (sample.at_s - at_s)
            });
            last = Some(used);
            let mut history = shared.history.borrow_mut();
            if sample.at_s >= window_s + WINDOW_S {
                let delays = std::mem::take(&mut history.delays);
                history.windows.push(Window {
                    at_s: sample.at_s,
                    introspection_ms: p99_ms(delays.introspections),
                    refresh_ms: p99_ms(delays.refreshes),
                    healthz_ms: p99_ms(probes.healthz.take()),
                    fdatasync_ms: p99_ms(std::mem::take(&mut *probes.fdatasync.lock().expect("no panic"))),
                });
                window_s = sample.at_s;
                history.write(&written);
            }
            history.samples.push(sample);
        }
    });
}

fn p99_ms(mut delays: Vec<Duration>) -> f64 {
    delays.sort_unstable();
    delays.get(delays.len().saturating_sub(1) * 99 / 100).map_or(0.0, |delay| delay.as_secs_f64() * 1e3)
}

/// `None` if the process has ended.
fn sample(here: Door, file: &Path, metrics: &str) -> Option<Sample> {
    let of_process = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", here.pid)).ok();
    let status = of_process("status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().ok()
    };
    let sum = |name: &str| {
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
        let figures = lines
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        figures.reduce(|one, other| one + other)
    };
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    Some(Sample {
        at_s: 0.0,
        age_s: here.since.elapsed().as_secs_f64(),
        resident_mib: field("VmRSS")? / 1024.0,
        anonymous_mib: field("RssAnon")? / 1024.0,
        file_mib: fs::metadata(file).ok()?.len() as f64 / MIB,
        used_mib: sum("keyfob_store_table_bytes").map(|bytes| bytes / MIB),
        head: sum("keyfob_event_log_head")?,
        log_entries: sum("keyfob_event_log_entries")?,
        sessions_active: sum("keyfob_sessions_live")?,
        sessions_stored: sum("keyfob_sessions_stored")?,
        signing_keys: 0.0,
        open_files: fs::read_dir(format!("/proc/{}/fd", here.pid)).ok()?.count() as f64,
        threads: field("Threads")?,
        cpu_percent: None,
        load_average: load.split(' ').next()?.parse().ok()?,
    })
}
