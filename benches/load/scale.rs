//! P8, P10 and P12 with few and many sessions, and the rate and latency of writes: with the configured cache
//! and with one that is far too small.

use std::path::Path;

use crate::introspection::Introspect;
use crate::machine::{median, resident_mib};
use crate::openings::Open;
use crate::plot::{Point, draw};
use crate::report::{Against, Report, Unit};
use crate::rotation::Rotate;
use crate::server::Server;
use crate::start::empty_start;
use crate::store::{Filled, database};
use crate::talk::{Run, each, paced, run};
use crate::{CONNECTIONS, ROUNDS};

/// The sizes of the page cache, in MiB; the first is the default.
const CACHES: [usize; 2] = [256, 64];
/// Sessions that are introspected and refreshed, spread over the store.
const SAMPLES: usize = 200_000;
/// Introspections per second while their latency is measured: about a seventh of what one core can do.
pub const PACE: usize = 10_000;
const SECONDS: usize = 2;
/// Writes of one round over many connections, and over one.
const COUNT: usize = 5_000;
const COUNT_ALONE: usize = 200;

/// Measures each size, adds the rows and draws them to `svg`.
pub fn measure(sizes: &[usize], svg: &Path, table: &mut Report) {
    let (mut filled, mut points) = (Filled::empty(), vec![]);
    let mut first = CACHES.map(|_| None);
    for &sessions in sizes {
        filled.grow(sessions, SAMPLES);
        read_through(&database(filled.path()));
        for (cache, first) in CACHES.iter().zip(&mut first) {
            points.push(one(&mut filled, *cache, first, table));
        }
    }
    draw(&points, svg);
    println!("drawn to {}", svg.display());
}

/// Reads the file once, so that what is measured first does not read from the disk what the others find in
/// the page cache of the system.
fn read_through(file: &Path) {
    let mut file = std::fs::File::open(file).expect("it is there");
    std::io::copy(&mut file, &mut std::io::sink()).expect("it can be read");
}

/// One size with one cache. `first` is the p99 of the smallest size.
fn one(
    filled: &mut Filled,
    cache: usize,
    first: &mut Option<(usize, Vec<f64>)>,
    table: &mut Report,
) -> Point {
    let sessions = filled.sessions;
    let with = format!("{sessions} sessions, cache of {cache} MiB");
    let config = format!("[store]\ncache_bytes = \"{cache}MiB\"\n");
    let (server, _) = Server::start_with(filled.path(), &config);
    let mut talks = Introspect::of_sessions(filled);
    let mut asked = vec![];
    for _ in 0..ROUNDS {
        let mut round = paced(server.pid(), server.port, talks, PACE, PACE * SECONDS);
        talks = std::mem::take(&mut round.talks);
        asked.push(round);
    }
    let p99 = each(&asked, |run| run.percentile(99));
    let (what, against) = match &first {
        Some((of, figures)) => (format!(", against {of} sessions"), Against::Rounds(figures.clone())),
        None => (String::new(), Against::Nothing),
    };
    let what = format!("p99 of introspections at {PACE}/s, each of another session, {with}{what}");
    let goals = "≤ 2, then ≤ 1.3";
    table.row("P8", &what, Unit::Micros, p99.clone(), against, goals);
    first.get_or_insert((sessions, p99.clone()));

    let (many, alone) = rotations(filled, &server);
    let rotations_per_second = writes("rotation", &with, &many, &alone, table);
    let latency = median(each(&alone, Run::median_us)) / 1e3;
    let open = |connections, count| {
        let talks = Open::talks(&filled.authorization, &crate::openings::new_name(), connections);
        run(server.pid(), server.port, talks, count)
    };
    let many: Vec<_> = (0..ROUNDS).map(|_| open(CONNECTIONS, COUNT)).collect();
    let alone: Vec<_> = (0..ROUNDS).map(|_| open(1, COUNT_ALONE)).collect();
    let openings_per_second = writes("opening", &with, &many, &alone, table);

    let file = database(filled.path()).metadata().expect("it is there").len() as f64 / f64::from(1 << 20);
    let above = resident_mib(server.pid()) - file.min(cache as f64);
    let what =
        format!("resident memory after this load above the cache, or the file if it is smaller, {with}");
    table.row("P12", &what, Unit::Mebibytes, vec![above], Against::Nothing, "≤ 32 MiB");
    server.kill();
    let (mut killed, mut empty) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let (server, took) = Server::start_with(filled.path(), &config);
        killed.push(took.as_secs_f64() * 1e3);
        server.kill();
        empty.push(empty_start().0);
    }
    let what = format!("ready again after kill -9, {with}, against an empty store");
    table.row("P10", &what, Unit::Millis, killed, Against::Rounds(empty), "≤ 100 ms, then ≤ 30 ms");
    Point {
        sessions,
        cache,
        rotations_per_second,
        openings_per_second,
        p99_ms: median(p99) / 1e3,
        latency_ms: latency,
    }
}

/// The rounds over many connections and over one. The tokens that come out are the next samples.
fn rotations(filled: &mut Filled, server: &Server) -> (Vec<Run<Rotate>>, Vec<Run<Rotate>>) {
    let (mut many, mut alone) = (vec![], vec![]);
    let mut talks = Rotate::talks(filled);
    for _ in 0..ROUNDS {
        let mut round = run(server.pid(), server.port, talks, COUNT);
        talks = std::mem::take(&mut round.talks);
        many.push(round);
        let mut round = run(server.pid(), server.port, vec![talks.pop().expect("64")], COUNT_ALONE);
        talks.append(&mut round.talks);
        alone.push(round);
    }
    let tokens = talks.into_iter().flat_map(|talk| talk.tokens);
    for (sample, token) in filled.samples.iter_mut().zip(tokens) {
        sample.refresh = token;
    }
    (many, alone)
}

/// Adds the rows of one kind of write; answers the rate.
fn writes<T>(what: &str, with: &str, many: &[Run<T>], alone: &[Run<T>], table: &mut Report) -> f64 {
    let mut row = |what: String, unit, figures| table.row("-", &what, unit, figures, Against::Nothing, "");
    let rate = each(many, Run::per_second);
    row(format!("durable {what}s, {CONNECTIONS} connections, {with}"), Unit::PerSecond, rate.clone());
    let cpu = each(many, Run::per_cpu_second);
    row(format!("durable {what}s, {CONNECTIONS} connections, {with}"), Unit::PerCpuSecond, cpu);
    let latency = each(alone, Run::median_us);
    row(format!("median latency of a lone durable {what}, {with}"), Unit::Micros, latency);
    row(format!("lone durable {what}s, {with}"), Unit::PerCpuSecond, each(alone, Run::per_cpu_second));
    median(rate)
}
