//! The machine: which core does what, what a process has used, and the table that is printed.

use std::fs;
use std::process::Child;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};

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

/// Says what this ran on.
pub fn describe(sessions: usize) {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default()
        .trim_start_matches(['\t', ':', ' '])
        .to_owned();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    println!(
        "{model}, {} cores, Linux {}; {sessions} sessions",
        cpu.matches("processor\t").count(),
        kernel.trim()
    );
}

/// The middle one.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Rows of the table of ratios.
pub struct Table(Vec<[String; 6]>);

impl Table {
    pub fn new() -> Self {
        Self(vec![])
    }

    /// Adds a row, and shows it at once.
    pub fn row(&mut self, id: &str, what: &str, ours: String, theirs: String, ratio: String, reach: &str) {
        println!("| {id} | {what} | {ours} | {theirs} | {ratio} | {reach} |");
        self.0.push([id.into(), what.into(), ours, theirs, ratio, reach.into()]);
    }

    pub fn print(&self) {
        println!("\n| id | what | keyfob | against | ratio | reach |\n|---|---|---|---|---|---|");
        for row in &self.0 {
            println!("| {} |", row.join(" | "));
        }
    }
}
