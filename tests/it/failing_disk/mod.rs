//! A failing and a full disk under the real binary: each of its file operations fails in turn.
//!
//! `KEYFOB_DISK_STEP=1` tests every operation; otherwise long scenarios take every so many, from another one
//! on in each run.

#![expect(
    clippy::disallowed_methods,
    reason = "it waits for processes, and another time tests other operations"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

mod commands;
mod full;
mod installation;
mod serving;
mod shim;
mod syncs;

use shim::{Fault, Kind};

/// Runs at once: most of them wait for a process.
const WORKERS: usize = 8;
/// The count of operations differs by a few from run to run. So many runs must not reach their fault.
const UNREACHED: u64 = 3;
/// After so many violations the rest is not run.
const VIOLATIONS_MAX: usize = 8;

/// What became of the runs of a scenario.
#[derive(Default)]
struct Tally {
    runs: AtomicU64,
    unreached: AtomicU64,
    /// The largest number of operations of a run.
    operations: AtomicU64,
    violations: Mutex<Vec<String>>,
}

/// A run with its fault: how many operations it had, and whether the fault was reached.
struct Ran {
    operations: u64,
    reached: bool,
}

/// Runs a scenario with each kind of fault at every `step`-th of its operations, until runs have fewer. `run`
/// panics if a promise is broken.
fn at_each_operation(scenario: &str, kinds: &[Kind], step: u64, run: impl Fn(Fault) -> Ran + Sync) {
    let step = std::env::var("KEYFOB_DISK_STEP").map_or(step, |step| step.parse().expect("KEYFOB_DISK_STEP"));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    for (number, kind) in kinds.iter().enumerate() {
        let (next, tally) = (AtomicU64::new(1 + (now + number as u64) % step), Tally::default());
        std::thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while tally.goes_on() {
                        let at = next.fetch_add(step, Ordering::Relaxed);
                        tally.add(Fault { kind: *kind, at }, &run);
                    }
                });
            }
        });
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        eprintln!(
            "{scenario}: {}: {} operations, {} of them failed in turn",
            kind.name,
            count(&tally.operations),
            count(&tally.runs)
        );
        let violations = tally.violations.into_inner().unwrap();
        assert!(violations.is_empty(), "{scenario}:\n{}", violations.join("\n"));
        assert!(tally.runs.into_inner() > 0, "{scenario}: no fault was reached");
    }
}

impl Tally {
    fn goes_on(&self) -> bool {
        self.unreached.load(Ordering::Relaxed) < UNREACHED
            && self.violations.lock().unwrap().len() < VIOLATIONS_MAX
    }

    fn add(&self, fault: Fault, run: impl Fn(Fault) -> Ran) {
        match catch_unwind(AssertUnwindSafe(|| run(fault))) {
            Ok(Ran { operations, reached }) => {
                self.operations.fetch_max(operations, Ordering::Relaxed);
                let counter = if reached { &self.runs } else { &self.unreached };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let found =
                    format!("{} at operation {}: {}", fault.kind.name, fault.at, text.unwrap_or_default());
                self.violations.lock().unwrap().push(found);
            }
        }
    }
}
