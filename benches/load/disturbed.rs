//! P9: the p99 of introspections while something else goes on, against alone.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyfob::engine::clock::Clock;

use crate::ROUNDS;
use crate::introspection::Introspect;
use crate::report::{Against, Report, Unit};
use crate::rotation::Rotate;
use crate::scale::PACE;
use crate::server::{Server, binary};
use crate::store::{DAY, Filled};
use crate::talk::{paced, run};

const SECONDS: usize = 2;
const SAMPLES: usize = 24 * 1024;
const SWEEP_MAX: Duration = Duration::from_secs(1800);

/// Measures with `sessions` active sessions and `expired` ones that the server sweeps, and adds the rows.
pub fn measure(sessions: usize, expired: usize, table: &mut Report) {
    let mut filled = Filled::empty();
    let now = Clock::system().now().wall;
    filled.add(expired, 1, Clock::manual(now.minus(DAY + DAY / 24)).0);
    filled.add(sessions, SAMPLES, Clock::system());
    let (server, _) = Server::start_with(filled.path(), "[server]\nmetrics_public = true\n");
    let mut talks = Introspect::of_sessions(&filled);
    let mut p99 = || {
        let mut round = paced(server.pid(), server.port, std::mem::take(&mut talks), PACE, PACE * SECONDS);
        talks = std::mem::take(&mut round.talks);
        round.percentile(99)
    };
    let mut row = |what: String, disturbed, alone| {
        let what = format!("p99 of introspections at {PACE}/s, {sessions} sessions, {what}, against alone");
        let goals = "≤ 3, then ≤ 1.5";
        table.row("P9", &what, Unit::Micros, disturbed, Against::Rounds(alone), goals);
    };

    let mut swept = vec![];
    while swept.len() < ROUNDS && active(&server) > sessions {
        swept.push(p99());
    }
    if active(&server) <= sessions {
        // It ended within the last round.
        swept.pop();
    }
    for _ in 0..SWEEP_MAX.as_secs() {
        if active(&server) <= sessions {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(active(&server), sessions, "the sweep takes longer than expected");
    if swept.is_empty() {
        println!("the sweep of {expired} sessions was too short to be measured");
    } else {
        let alone = swept.iter().map(|_| p99()).collect();
        row(format!("while {expired} expired ones are swept"), swept, alone);
    }

    let (mut rotated, mut alone) = (vec![], vec![]);
    let mut rotations = Rotate::talks(&filled);
    for _ in 0..ROUNDS {
        alone.push(p99());
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut talks = std::mem::take(&mut rotations);
            let (server, done) = (&server, &done);
            let rotating = scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    talks = run(server.pid(), server.port, talks, 1_000).talks;
                }
                talks
            });
            rotated.push(p99());
            done.store(true, Ordering::Relaxed);
            rotations = rotating.join().expect("no rotation fails");
        });
    }
    row("while 64 connections rotate".to_owned(), rotated, alone);

    let (mut backed_up, mut alone) = (vec![], vec![]);
    for round in 0..ROUNDS {
        alone.push(p99());
        let mut backup = backup(&filled, round);
        backed_up.push(p99());
        if backup.try_wait().expect("it is ours").is_some() {
            println!("the backup of round {round} ended before the round; more sessions make it longer");
        }
        let _ = backup.kill();
        backup.wait().expect("it is ours");
    }
    row("while a backup runs at the default rate".to_owned(), backed_up, alone);
}

fn backup(filled: &Filled, round: usize) -> Child {
    let mut command = Command::new(binary());
    command.args(["db", "backup", &format!("{round}.backup")]).current_dir(filled.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary is built")
}

/// The active sessions, with the expired ones that are not yet swept.
fn active(server: &Server) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let line = text.lines().find_map(|line| line.strip_prefix("keyfob_sessions_live ")).expect("a gauge");
    line.trim().parse().expect("a number")
}
