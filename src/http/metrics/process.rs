//! Metrics of the process, under the names of the Prometheus client libraries. A value that the system does not
//! provide is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::page::Page;

/// Prints them.
pub fn print(page: &mut Page) {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "samples are floating-point numbers")]
    let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    page.counter("process_cpu_seconds_total", "Processor time used.").sample(&[], seconds);
    if let Some(status) = Status::read() {
        page.one("process_resident_memory_bytes", "Resident memory.", status.resident_bytes);
        page.one("process_virtual_memory_bytes", "Virtual memory.", status.virtual_bytes);
        page.one("process_threads", "Threads.", status.threads);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        page.one("process_open_fds", "Open file descriptors.", descriptors.count());
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.one("process_max_fds", "Maximum of open file descriptors.", most);
    }
    if let Some(started) = started() {
        page.one("process_start_time_seconds", "Start of the process, in seconds since 1970.", started);
    }
}

struct Status {
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
}

impl Status {
    fn read() -> Option<Self> {
        let text = fs::read_to_string("/proc/self/status").ok()?;
        let number = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok())
        };
        Some(Self {
            resident_bytes: number("VmRSS:")? * 1024,
            virtual_bytes: number("VmSize:")? * 1024,
            threads: number("Threads:")?,
        })
    }
}

/// The process counts from the start of the machine, in ticks; the machine says when that was.
fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field may hold anything, and ends with the last parenthesis.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "there are a hundred of them a second")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some(booted + ticks / per_second)
}
