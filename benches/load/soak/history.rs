//! What a run records: samples of the server every few seconds, latencies of each half minute, restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Written as the run goes on, so that one that is stopped keeps them.
const FILE: &str = "samples.json";

#[derive(Default, Serialize, Deserialize)]
pub struct History {
    pub machine: Machine,
    pub minutes: usize,
    pub seed: usize,
    pub restarts: Vec<Restart>,
    pub samples: Vec<Sample>,
    pub windows: Vec<Window>,
    pub faults: Vec<String>,
    /// Answers by kind.
    pub counts: BTreeMap<String, usize>,
    #[serde(skip)]
    pub delays: Delays,
}

#[derive(Serialize, Deserialize)]
pub struct Restart {
    pub at_s: f64,
    /// SIGKILL; else SIGTERM.
    pub kill: bool,
    /// Until the next process was ready.
    pub took_s: f64,
}

/// The server at one moment.
#[derive(Clone, Serialize, Deserialize)]
pub struct Sample {
    pub at_s: f64,
    /// Of the process.
    pub age_s: f64,
    pub resident_mib: f64,
    /// Of that, what is not backed by a file.
    pub anonymous_mib: f64,
    pub file_mib: f64,
    /// Of the tables, as the server last measured it.
    pub used_mib: Option<f64>,
    /// The position of the last event.
    pub head: f64,
    pub log_entries: f64,
    pub sessions_active: f64,
    pub sessions_stored: f64,
    /// Published.
    pub signing_keys: f64,
    pub open_files: f64,
    pub threads: f64,
    /// Of one core, since the sample before; none after a restart.
    pub cpu_percent: Option<f64>,
    /// Of the machine, over a minute.
    pub load_average: f64,
}

/// The 99th percentiles of half a minute, in milliseconds.
#[derive(Clone, Serialize, Deserialize)]
pub struct Window {
    pub at_s: f64,
    pub introspection_ms: f64,
    pub refresh_ms: f64,
    /// The counterparts: an answer that needs no store, and a synced write of 300 bytes to a file.
    pub healthz_ms: f64,
    pub fdatasync_ms: f64,
}

/// Of answers to requests that were sent once.
#[derive(Default)]
pub struct Delays {
    pub introspections: Vec<std::time::Duration>,
    pub refreshes: Vec<std::time::Duration>,
}

impl History {
    pub fn new(machine: Machine, minutes: usize, seed: usize) -> Self {
        Self { machine, minutes, seed, ..Self::default() }
    }

    /// The samples of a run that was written to `place`.
    pub fn read(place: &Path) -> Self {
        let text = fs::read(place.join(FILE)).expect("the file is there");
        serde_json::from_slice(&text).expect("a run wrote it")
    }

    pub fn write(&self, place: &Path) {
        let text = serde_json::to_vec(self).expect("figures are finite");
        fs::write(place.join(FILE), text).expect("the file can be written");
    }

    pub fn seconds(&self) -> f64 {
        60.0 * self.minutes as f64
    }

    /// From the first to the last second of the process that ran longest.
    pub fn longest_life(&self) -> (f64, f64) {
        let restarts = self.restarts.iter().map(|restart| restart.at_s);
        let times: Vec<_> = [0.0].into_iter().chain(restarts).chain([self.seconds()]).collect();
        let lives = times.windows(2).map(|life| (life[0], life[1]));
        lives.max_by(|one, other| (one.1 - one.0).total_cmp(&(other.1 - other.0))).expect("one")
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kills = self.restarts.iter().filter(|restart| restart.kill).count();
        let answers: usize = self.counts.values().sum();
        let longest = self.restarts.iter().map(|restart| restart.took_s).fold(0.0, f64::max);
        writeln!(
            f,
            "{}\n{} minutes, seed {}: {} restarts, {kills} of them by SIGKILL, ready again after at most \
             {longest:.1} s; {answers} answers, {:.0} per second, {} faults",
            self.machine,
            self.minutes,
            self.seed,
            self.restarts.len(),
            answers as f64 / self.seconds(),
            self.faults.len()
        )?;
        let counts: Vec<_> = self.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        writeln!(f, "answers: {}", counts.join(", "))
    }
}
