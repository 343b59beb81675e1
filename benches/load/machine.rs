//! The machine: which core does what, what a process has used.

use std::process::Child;
use std::time::Duration;
use std::{fmt, fs};

use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// The core of whatever is measured.
pub const SERVER_CORE: usize = 0;
/// The core of whatever loads it.
pub const LOAD_CORE: usize = 1;

/// Runs `spawn` on the server's core, so that what it starts is bound to that, and goes back to the core of
/// the load.
pub fn on_server_core(spawn: impl FnOnce() -> Child) -> Child {
    bind(SERVER_CORE);
    let child = spawn();
    bind(LOAD_CORE);
    child
}

fn bind(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("this machine has two cores for us");
}

/// The processor time that a process has used so far, all its threads together.
pub fn cpu_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The processor time that this thread has used so far.
pub fn own_cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts it");
    Duration::from_nanos(
        text.split(' ').next().and_then(|field| field.parse().ok()).expect("it begins with nanoseconds"),
    )
}

/// The resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("kilobytes") / 1024.0
}

/// What a run ran on, and when.
#[derive(Default, Serialize, Deserialize)]
pub struct Machine {
    processor: String,
    cores: usize,
    linux: String,
    date: String,
    /// Of the last minute, at the start.
    load_average: String,
    sessions: usize,
}

impl Machine {
    pub fn read(sessions: usize) -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let cpu = text("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        Self {
            processor: model.trim_start_matches(['\t', ':', ' ']).to_owned(),
            cores: cpu.matches("processor\t").count(),
            linux: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
            load_average: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            sessions,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, linux, date, load_average, sessions } = self;
        write!(
            f,
            "{date}, {processor}, {cores} cores, Linux {linux}, load average {load_average}; {sessions} \
             sessions"
        )
    }
}

/// The middle one.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
