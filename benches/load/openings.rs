//! Openings, and logging out everywhere: against Redis with a set of each subject's sessions.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::redis::{EndSubject, OpenInRedis, Redis, against};
use crate::report::{Against, Report, Unit};
use crate::server::Server;
use crate::store::{Filled, directory};
use crate::talk::{Run, Talk, each, http, request, run};
use crate::{CONNECTIONS, ROUNDS};

/// Openings of one round over many connections, and over one.
const COUNT: usize = 5_000;
const COUNT_ALONE: usize = 300;
/// Sessions of a subject that logs out everywhere, with how many such subjects are one round.
const LOGOUTS: [(usize, usize); 3] = [(1, 50), (100, 10), (10_000, 1)];

/// Opens one session after another, each of a new subject or all of one.
pub struct Open {
    authorization: String,
    subject: String,
    /// `None` if all are of one subject.
    next: Option<usize>,
    step: usize,
}

impl Open {
    /// The conversations of `connections`, with subjects that start with `name`.
    pub fn talks(authorization: &str, name: &str, connections: usize) -> Vec<Self> {
        let talk = |first| Self {
            authorization: authorization.into(),
            subject: name.into(),
            next: Some(first),
            step: connections,
        };
        (0..connections).map(talk).collect()
    }

    fn of_one(authorization: &str, subject: &str) -> Vec<Self> {
        let talks = Self::talks(authorization, subject, CONNECTIONS);
        talks.into_iter().map(|talk| Self { next: None, ..talk }).collect()
    }
}

impl Talk for Open {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let number = self.next.map_or(String::new(), |number| format!("-{number:08}"));
        self.next = self.next.map(|number| number + self.step);
        let body = format!(
            r#"{{"subject":"{}{number}","acr":"aal1","amr":["pwd"],"device":{{"user_agent":"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0","ip":"192.0.2.77"}},"claims":{{"tenant":"north","roles":["editor","reviewer"]}}}}"#,
            self.subject
        );
        let sent = request("POST", "/v1/sessions", &self.authorization, "application/json", &body);
        out.extend_from_slice(&sent);
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        let (status, _, length) = http(input)?;
        assert!(status == b"201", "{}", String::from_utf8_lossy(input));
        Some(length)
    }
}

/// Logs one subject out everywhere after another.
struct LogOut {
    authorization: String,
    subjects: Vec<String>,
    sessions: usize,
}

impl Talk for LogOut {
    fn ask(&mut self, out: &mut Vec<u8>) {
        let path = format!("/v1/subjects/{}/sessions", self.subjects.pop().expect("one for each request"));
        out.extend_from_slice(&request("DELETE", &path, &self.authorization, "application/json", ""));
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        let (_, body, length) = http(input)?;
        assert!(
            body == format!(r#"{{"ended":{}}}"#, self.sessions).as_bytes(),
            "{}",
            String::from_utf8_lossy(input)
        );
        Some(length)
    }
}

/// A name that no subject had before.
pub fn new_name() -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    format!("new-{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// Measures, and adds the rows.
pub fn measure(filled: &Filled, table: &mut Report) {
    let (server, _) = Server::start(filled.path());
    let place = directory();
    let redis = Redis::start(place.path());
    open(filled, &server, redis.as_ref(), table);
    for (sessions, subjects) in LOGOUTS {
        log_out(filled, &server, redis.as_ref(), (sessions, subjects), table);
    }
}

fn open(filled: &Filled, server: &Server, redis: Option<&Redis>, table: &mut Report) {
    let (mut ours, mut theirs, mut alone, mut theirs_alone) = (vec![], vec![], vec![], vec![]);
    let open = |connections, count| {
        let talks = Open::talks(&filled.authorization, &new_name(), connections);
        run(server.pid(), server.port, talks, count)
    };
    for _ in 0..ROUNDS {
        ours.push(open(CONNECTIONS, COUNT));
        theirs.extend(redis.map(|redis| redis.run(OpenInRedis::talks(CONNECTIONS, None), COUNT)));
        alone.push(open(1, COUNT_ALONE));
        theirs_alone.extend(redis.map(|redis| redis.run(OpenInRedis::talks(1, None), COUNT_ALONE)));
    }
    let what = format!(
        "durable openings, {CONNECTIONS} connections, {} sessions, against Redis SET of 300 bytes and SADD \
         (appendfsync always)",
        filled.sessions
    );
    let rate = each(&ours, Run::per_second);
    table.row("-", &what, Unit::PerSecond, rate, against(&theirs, Run::per_second), "");
    let what = format!("durable openings, {CONNECTIONS} connections, {} sessions", filled.sessions);
    table.row("-", &what, Unit::PerCpuSecond, each(&ours, Run::per_cpu_second), Against::Nothing, "");
    let what = "median latency of a durable opening, 1 connection, against the same of Redis";
    let latency = each(&alone, Run::median_us);
    table.row("-", what, Unit::Micros, latency, against(&theirs_alone, Run::median_us), "");
}

fn log_out(
    filled: &Filled,
    server: &Server,
    redis: Option<&Redis>,
    (sessions, subjects): (usize, usize),
    table: &mut Report,
) {
    let (mut ours, mut theirs) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let names: Vec<_> =
            (0..subjects).map(|subject| format!("out-{sessions}-{round}-{subject}")).collect();
        for name in &names {
            run(server.pid(), server.port, Open::of_one(&filled.authorization, name), sessions);
            redis.map(|redis| redis.run(OpenInRedis::talks(CONNECTIONS, Some(name)), sessions));
        }
        let talk = LogOut { authorization: filled.authorization.clone(), subjects: names.clone(), sessions };
        ours.push(run(server.pid(), server.port, vec![talk], subjects));
        let talk = EndSubject::new(names, sessions);
        // Two questions for each subject.
        theirs.extend(redis.map(|redis| redis.run(vec![talk], 2 * subjects)));
    }
    let millis = |runs: &[f64]| runs.iter().map(|wall_s| wall_s * 1e3 / subjects as f64).collect();
    let against = match redis {
        Some(_) => Against::Rounds(millis(&each(&theirs, |run| run.wall_s))),
        None => Against::Missing("redis-server"),
    };
    let what = format!(
        "latency of logging a subject with {sessions} sessions out everywhere, durable, against Redis \
         SMEMBERS and DEL"
    );
    table.row("-", &what, Unit::Millis, millis(&each(&ours, |run| run.wall_s)), against, "");
}
