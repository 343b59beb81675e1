//! P10, P12, P13: the start, empty and after a kill; memory; the binary's size.

use std::time::Duration;

use crate::ROUNDS;
use crate::machine::{Table, median, resident_mib};
use crate::server::{Server, binary};
use crate::store::{Filled, directory};

/// Measures what needs no sessions.
pub fn measure(table: &mut Table) {
    let size = std::fs::metadata(binary()).expect("it is built").len() as f64 / 1e6;
    table.row(
        "P13",
        "the binary, stripped, Swagger UI inside",
        format!("{size:.1} MB"),
        "-".into(),
        "-".into(),
        "≤ 20 MB, then ≤ 12 MB",
    );
    let (mut starts, mut idle) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let place = directory();
        let (server, took) = Server::start(place.path());
        starts.push(millis(took));
        idle.push(resident_mib(server.pid()));
    }
    table.row(
        "P13",
        "start to first answer, empty directory",
        format!("{:.0} ms", median(starts)),
        "-".into(),
        "-".into(),
        "≤ 100 ms, then ≤ 30 ms",
    );
    table.row(
        "P12",
        "resident memory, idle",
        format!("{:.1} MiB", median(idle)),
        "-".into(),
        "-".into(),
        "≤ 24 MiB, then ≤ 12 MiB",
    );
}

/// Measures what comes after many sessions: the start after a kill, against that on a store that was closed.
pub fn measure_again(filled: &Filled, table: &mut Table) {
    let (mut killed, mut memory) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        Server::start(filled.path()).0.kill();
        let (server, took) = Server::start(filled.path());
        killed.push(millis(took));
        memory.push(resident_mib(server.pid()));
        server.kill();
    }
    let mut closed = vec![];
    for _ in 0..ROUNDS {
        Server::start(filled.path()).0.stop();
        closed.push(millis(Server::start(filled.path()).1));
    }
    let what = format!("ready again after kill -9, {} sessions, against after a clean stop", filled.sessions);
    let (killed, closed) = (median(killed), median(closed));
    table.row(
        "P10",
        &what,
        format!("{killed:.0} ms"),
        format!("{closed:.0} ms"),
        format!("{:.2}", killed / closed),
        "≤ 1 s, then ≤ 0.1 s",
    );
    let what = format!("resident memory after that start, {} sessions", filled.sessions);
    table.row(
        "P12",
        &what,
        format!("{:.1} MiB", median(memory)),
        "-".into(),
        "-".into(),
        "≤ 64 MiB, then ≤ 32 MiB",
    );
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
