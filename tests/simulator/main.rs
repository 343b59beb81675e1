//! The whole server without sockets in one process, on a disk, a clock and a schedule that a seed decides.
//!
//! `KEYFOB_SIM_SEED=7` runs one seed and prints its history; `KEYFOB_SIM_SEEDS=50000` runs so many, from
//! `KEYFOB_SIM_FROM` on.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

mod audit;
mod backup;
mod choice;
mod client;
mod dice;
mod disk;
mod facts;
mod operation;
mod run;
mod server;

use disk::Disk;
use run::{described, run};

/// Seeds of a run of all tests.
const SEEDS: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: not a number")))
}

/// Runs seeds on all processors; the first that contradicts a promise.
fn first_fault(from: u64, seeds: u64, disk: fn() -> Disk) -> Option<(u64, String)> {
    let (next, found) = (AtomicU64::new(from), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || found.lock().unwrap().is_some() {
                        return;
                    }
                    let outcome = run(seed, disk());
                    if outcome.verdict.is_err() {
                        found.lock().unwrap().get_or_insert((seed, described(seed, &outcome)));
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn no_history_contradicts_what_was_acknowledged() {
    if let Some(seed) = number("KEYFOB_SIM_SEED") {
        let outcome = run(seed, Disk::default());
        eprintln!("{}", described(seed, &outcome));
        assert!(outcome.verdict.is_ok());
        return;
    }
    let (from, seeds) = (number("KEYFOB_SIM_FROM").unwrap_or(0), number("KEYFOB_SIM_SEEDS").unwrap_or(SEEDS));
    if let Some((seed, history)) = first_fault(from, seeds, Disk::default) {
        panic!("{history}\nafter {} seeds; repeat it with KEYFOB_SIM_SEED={seed}", seed - from + 1);
    }
}

#[test]
fn a_seed_repeats_exactly() {
    for seed in 0..4 {
        let (first, second) = (run(seed, Disk::default()), run(seed, Disk::default()));
        assert_eq!(first.history, second.history);
        assert_eq!(first.trace, second.trace);
    }
}

/// A control: a disk whose syncs do nothing is found.
#[test]
fn a_sync_that_lies_is_found() {
    let (seed, _) = first_fault(0, 100, Disk::lying).unwrap();
    println!("a sync that lies         after {} seeds", seed + 1);
}
