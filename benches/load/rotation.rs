//! P5 to P7: refresh-token rotation, durable, against the floor and against Redis that syncs before every
//! answer.

use std::process::{Command, Stdio};

use crate::bare::Counterpart;
use crate::introspection::answer_to;
use crate::redis::{Redis, Set, against};
use crate::report::{Against, Report, Unit};
use crate::server::Server;
use crate::store::{Filled, Tokens, directory};
use crate::talk::{Run, Talk, each, http, post, run};
use crate::{CONNECTIONS, ROUNDS};

/// Rotations of one round over many connections, and over one.
const COUNT: usize = 5_000;
const COUNT_ALONE: usize = 300;
/// How writes are made durable, stated with every figure.
const DURABLE: &str = "redb: one fsynced two-phase commit a batch, quick-repair";
const LOGGED: &str = "one fdatasync a batch";
const APPENDED: &str = "appendfsync always";

/// Rotates one session's refresh token after another, each answer's token being the next of its session.
pub struct Rotate {
    path: String,
    authorization: String,
    /// What the form has besides the token.
    form: String,
    pub tokens: Vec<String>,
    at: usize,
}

impl Rotate {
    /// The conversations of many connections, each with its part of the samples.
    pub fn talks(filled: &Filled) -> Vec<Self> {
        let talk = |samples: &[Tokens]| Self {
            tokens: samples.iter().map(|tokens| tokens.refresh.clone()).collect(),
            ..Self::chain("/oauth2/token", &filled.authorization, "", "")
        };
        filled.samples.chunks(filled.samples.len().div_ceil(CONNECTIONS)).map(talk).collect()
    }

    /// As many, all with the first token of the first.
    fn at_floor(talks: &[Self]) -> Vec<Self> {
        let first = &talks[0];
        let talk = |_| Self::chain(&first.path, &first.authorization, "", &first.tokens[0]);
        talks.iter().map(talk).collect()
    }

    /// One token after another of one session.
    pub fn chain(path: &str, authorization: &str, form: &str, token: &str) -> Self {
        let [path, authorization, form] = [path, authorization, form].map(str::to_owned);
        Self { path, authorization, form, tokens: vec![token.to_owned()], at: 0 }
    }
}

impl Talk for Rotate {
    fn ask(&mut self, out: &mut Vec<u8>) {
        self.at = (self.at + 1) % self.tokens.len();
        let body = format!("grant_type=refresh_token{}&refresh_token={}", self.form, self.tokens[self.at]);
        out.extend_from_slice(&post(&self.path, &self.authorization, &body));
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        let (status, body, length) = http(input)?;
        assert!(status == b"200", "{}", String::from_utf8_lossy(input));
        let body = std::str::from_utf8(body).expect("JSON is UTF-8");
        let (_, after) = body.split_once(r#""refresh_token":""#).expect("a pair");
        self.tokens[self.at] = after[..after.find('"').expect("it ends")].to_owned();
        Some(length)
    }
}

/// Measures, and adds the rows. The samples have their present refresh tokens afterwards.
pub fn measure(filled: &mut Filled, table: &mut Report) {
    let (server, _) = Server::start(filled.path());
    let place = directory();
    let redis = Redis::start(place.path());
    let mut talks = Rotate::talks(filled);
    let answer_file = place.path().join("answer");
    std::fs::write(&answer_file, answer_once(&server, &mut talks[0])).expect("the directory is ours");
    let floor = Counterpart::start("floor", &[&answer_file, &place.path().join("log")]);
    let mut at_floor = Rotate::at_floor(&talks);
    if let Some(redis) = &redis {
        redis.run(Set::talks(CONNECTIONS, filled.sessions), COUNT);
    }
    let (mut ours, mut floors, mut theirs) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        let mut rotated = run(server.pid(), server.port, talks, COUNT);
        talks = std::mem::take(&mut rotated.talks);
        ours.push(rotated);
        let mut signed = run(floor.pid(), floor.port, at_floor, COUNT);
        at_floor = std::mem::take(&mut signed.talks);
        floors.push(signed);
        let sets = || Set::talks(CONNECTIONS, filled.sessions);
        theirs.extend(redis.as_ref().map(|redis| redis.run(sets(), COUNT)));
    }
    let of = format!("durable rotations, {CONNECTIONS} connections, {} sessions", filled.sessions);
    table.row(
        "P5",
        &format!("{of} ({DURABLE}), against the floor, which signs and logs ({LOGGED})"),
        Unit::PerCpuSecond,
        each(&ours, Run::per_cpu_second),
        Against::Rounds(each(&floors, Run::per_cpu_second)),
        "≥ 0.45, then ≥ 0.6",
    );
    table.row(
        "P5r",
        &format!("{of} ({DURABLE}), against Redis SET of 300 bytes ({APPENDED})"),
        Unit::PerSecond,
        each(&ours, Run::per_second),
        against(&theirs, Run::per_second),
        "≥ 0.25",
    );

    let mut alone = vec![talks.pop().expect("there are some")];
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let mut rotated = run(server.pid(), server.port, alone, COUNT_ALONE);
        alone = std::mem::take(&mut rotated.talks);
        ours.push(rotated);
        theirs.extend(redis.as_ref().map(|redis| redis.run(Set::talks(1, filled.sessions), COUNT_ALONE)));
    }
    let what =
        format!("median latency of a durable rotation, 1 connection ({DURABLE}), against Redis ({APPENDED})");
    let against = against(&theirs, Run::median_us);
    table.row("P6", &what, Unit::Micros, each(&ours, Run::median_us), against, "≤ 2, then ≤ 1.5");

    talks.extend(alone);
    let talks = syncs(&server, talks, place.path(), table);
    let current = talks.into_iter().flat_map(|talk| talk.tokens);
    for (sample, refresh) in filled.samples.iter_mut().zip(current) {
        sample.refresh = refresh;
    }
}

/// The body of one answer; its token is the next of its session.
fn answer_once(server: &Server, talk: &mut Rotate) -> Vec<u8> {
    let mut question = vec![];
    talk.ask(&mut question);
    let answer = answer_to(server, &question);
    talk.answered(&answer).expect("it is whole");
    http(&answer).expect("it is whole").1.to_vec()
}

/// Counts what the server syncs while it rotates, if `strace` is installed.
fn syncs(server: &Server, talks: Vec<Rotate>, place: &std::path::Path, table: &mut Report) -> Vec<Rotate> {
    let counts = place.join("strace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-p", &server.pid().to_string(), "-o"])
        .arg(&counts);
    let Ok(mut tracing) = command.stderr(Stdio::null()).spawn() else { return talks };
    // strace says nowhere that it has begun; a traced process says so itself.
    let status = format!("/proc/{}/status", server.pid());
    while std::fs::read_to_string(&status).is_ok_and(|status| status.contains("TracerPid:\t0")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let talks = run(server.pid(), server.port, talks, COUNT).talks;
    let pid = rustix::process::Pid::from_child(&tracing);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    tracing.wait().expect("it ends");
    let summary = std::fs::read_to_string(counts).expect("strace wrote it");
    let calls = summary
        .lines()
        .filter(|line| line.ends_with("sync"))
        .filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok());
    let syncs = calls.sum::<f64>() / COUNT as f64;
    let what = format!("fsyncs per rotation, {CONNECTIONS} connections (strace)");
    table.row("P7", &what, Unit::Count, vec![syncs], Against::Rounds(vec![1.0]), "≤ 0.07, then ≤ 0.05");
    talks
}
