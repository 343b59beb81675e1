//! P10, P12, P13: the start, empty and after a kill; memory; the binary's size.

use std::time::Duration;

use crate::ROUNDS;
use crate::machine::resident_mib;
use crate::report::{Against, Report, Unit};
use crate::server::{Server, binary};
use crate::store::{Filled, directory};

/// Measures what needs no sessions.
pub fn measure(table: &mut Report) {
    let size = std::fs::metadata(binary()).expect("it is built").len() as f64 / 1e6;
    let mut row =
        |id, what, unit, figures, goals| table.row(id, what, unit, figures, Against::Nothing, goals);
    let what = "the binary, stripped, Swagger UI inside";
    row("P13", what, Unit::Megabytes, vec![size], "≤ 13 MB, then ≤ 12 MB");
    let (starts, idle) = (0..ROUNDS).map(|_| empty_start()).unzip();
    row("P13", "start to first answer, empty directory", Unit::Millis, starts, "≤ 30 ms, then ≤ 20 ms");
    row("P12", "resident memory, idle", Unit::Mebibytes, idle, "≤ 14 MiB, then ≤ 12 MiB");
}

/// How long a start in an empty directory takes, and the memory after it.
pub fn empty_start() -> (f64, f64) {
    let place = directory();
    let (server, took) = Server::start(place.path());
    (millis(took), resident_mib(server.pid()))
}

/// Measures what comes after many sessions: the start after a kill, against that of an empty store.
pub fn measure_again(filled: &Filled, table: &mut Report) {
    let (mut killed, mut empty, mut memory) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        Server::start(filled.path()).0.kill();
        let (server, took) = Server::start(filled.path());
        killed.push(millis(took));
        memory.push(resident_mib(server.pid()));
        server.kill();
        empty.push(empty_start().0);
    }
    let what = format!("ready again after kill -9, {} sessions, against an empty store", filled.sessions);
    let goals = "≤ 100 ms, then ≤ 30 ms";
    table.row("P10", &what, Unit::Millis, killed, Against::Rounds(empty), goals);
    let what = format!("resident memory after that start, {} sessions", filled.sessions);
    table.row("P12", &what, Unit::Mebibytes, memory, Against::Nothing, "");
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
