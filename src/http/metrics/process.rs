//! Metrics of the process, under the names of the Prometheus client libraries. A value that the system does
//! not provide is left out.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::page::Page;

pub fn print(page: &mut Page) {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "samples are floating-point numbers")]
    let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    page.counter("process_cpu_seconds_total", "Processor time used.").sample(&[], seconds);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, help, field, unit) in [
        ("process_resident_memory_bytes", "Resident memory.", "VmRSS:", 1024),
        ("process_virtual_memory_bytes", "Virtual memory.", "VmSize:", 1024),
        ("process_threads", "Threads.", "Threads:", 1),
    ] {
        if let Some(number) = number_of(field, &status) {
            page.one(name, help, number * unit);
        }
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

fn number_of(field: &str, status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.split_whitespace().next()?.parse().ok()
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
