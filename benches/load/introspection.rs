//! P1 to P4: introspection, against a bare hyper server, Redis and a bare signature verification.

use std::rc::Rc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};

use crate::bare::Counterpart;
use crate::machine::own_cpu_time;
use crate::redis::{Get, Put, Redis, against};
use crate::report::{Against, Report, Unit};
use crate::server::Server;
use crate::store::{Filled, Tokens, directory};
use crate::talk::{Run, Talk, each, http, post, request, run};
use crate::{CONNECTIONS, ROUNDS};

/// Requests of one round.
const COUNT: usize = 20_000;
/// Tokens that are asked for again and again.
const KNOWN: usize = 1024;
/// Tokens of one round that were never asked for before; as many as the server can remember.
const UNSEEN: usize = 4096;

/// One kind of a session's tokens.
type Kind = fn(&Tokens) -> &str;

/// Asks about one token after another.
pub struct Introspect {
    questions: Rc<Vec<Vec<u8>>>,
    next: usize,
    step: usize,
}

impl Introspect {
    pub fn talks(questions: Vec<Vec<u8>>) -> Vec<Self> {
        let questions = Rc::new(questions);
        (0..CONNECTIONS).map(|next| Self { questions: questions.clone(), next, step: CONNECTIONS }).collect()
    }

    /// About the session tokens of all samples.
    pub fn of_sessions(filled: &Filled) -> Vec<Self> {
        Self::talks(questions(filled, &filled.samples, |tokens| &tokens.session))
    }
}

impl Talk for Introspect {
    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.questions[self.next % self.questions.len()]);
        self.next += self.step;
    }

    fn answered(&mut self, input: &[u8]) -> Option<usize> {
        let (status, body, length) = http(input)?;
        assert!(
            status == b"200" && body.starts_with(br#"{"active":true"#),
            "{}",
            String::from_utf8_lossy(input)
        );
        Some(length)
    }
}

/// Measures, and adds the rows.
pub fn measure(filled: &Filled, table: &mut Report) {
    let (server, _) = Server::start(filled.path());
    let questions = |samples, token| questions(filled, samples, token);
    let known = &filled.samples[..KNOWN.min(filled.samples.len())];
    let kinds: [(&str, Kind); 3] = [
        ("session token", |tokens| &tokens.session),
        ("refresh token", |tokens| &tokens.refresh),
        ("PASETO seen before", |tokens| &tokens.access),
    ];
    let place = directory();
    let redis = Redis::start(place.path());
    if let Some(redis) = &redis {
        redis.run(vec![Put], 1);
    }
    for (name, token) in kinds {
        let questions = questions(known, token);
        let answer_file = place.path().join("answer");
        let answer = answer_to(&server, &questions[0]);
        std::fs::write(&answer_file, http(&answer).expect("it is whole").1).expect("the directory is ours");
        let bare = Counterpart::start("bare", &[&answer_file]);
        let ask = |pid, port, count| run(pid, port, Introspect::talks(questions.clone()), count);
        ask(server.pid(), server.port, 2 * KNOWN);
        ask(bare.pid(), bare.port, 2 * KNOWN);
        let (mut ours, mut theirs, mut cached) = (vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            ours.push(ask(server.pid(), server.port, COUNT));
            theirs.push(ask(bare.pid(), bare.port, COUNT));
            cached.extend(redis.as_ref().map(|redis| redis.run(Get::talks(), COUNT)));
        }
        table.row(
            "P1",
            &format!("introspections, {name}, against bare hyper"),
            Unit::PerCpuSecond,
            each(&ours, Run::per_cpu_second),
            Against::Rounds(each(&theirs, Run::per_cpu_second)),
            "≥ 0.65, then ≥ 0.75",
        );
        table.row(
            "P3",
            &format!("introspections, {name}, against Redis GET of 200 bytes"),
            Unit::PerSecond,
            each(&ours, Run::per_second),
            against(&cached, Run::per_second),
            "≥ 0.6, then ≥ 0.7",
        );
    }
    check(filled, &server, redis.as_ref(), table);
    drop(redis);
    let fresh = filled.samples[KNOWN.min(filled.samples.len())..].chunks_exact(UNSEEN).take(ROUNDS);
    let fresh = fresh.map(|samples| {
        (questions(samples, |tokens| &tokens.session), questions(samples, |tokens| &tokens.access))
    });
    server.stop();
    never_seen(filled, fresh, table);
}

fn questions(filled: &Filled, samples: &[Tokens], token: Kind) -> Vec<Vec<u8>> {
    let body = |tokens| format!("token={}", token(tokens));
    samples.iter().map(|tokens| post("/oauth2/introspect", &filled.authorization, &body(tokens))).collect()
}

/// Each round asks a server that has seen no PASETO yet twice about the same ones: the difference is what the
/// first time costs. It has seen their sessions, so that reading those is not counted.
fn never_seen(
    filled: &Filled,
    rounds: impl Iterator<Item = (Vec<Vec<u8>>, Vec<Vec<u8>>)>,
    table: &mut Report,
) {
    let (mut extra, mut alone) = (vec![], vec![]);
    for (sessions, fresh) in rounds {
        let (server, _) = Server::start(filled.path());
        let ask = |questions: &[Vec<u8>], count| {
            run(server.pid(), server.port, Introspect::talks(questions.to_vec()), count)
        };
        ask(&sessions, COUNT);
        let (first, again) = (ask(&fresh, UNSEEN), ask(&fresh, UNSEEN));
        extra.push(first.cpu_us() - again.cpu_us());
        alone.push(verification().as_secs_f64() * 1e6);
    }
    if !extra.is_empty() {
        let what =
            "CPU of a PASETO never seen before above that of one seen before, against one verify_strict";
        table.row("P4", what, Unit::Micros, extra, Against::Rounds(alone), "≤ 1.2, then ≤ 1.1");
    }
}

/// `POST /v1/sessions/check` of tokens that were asked for before.
fn check(filled: &Filled, server: &Server, redis: Option<&Redis>, table: &mut Report) {
    let ask = |tokens: &Tokens| {
        let body = format!(r#"{{"token":"{}"}}"#, tokens.session);
        request("POST", "/v1/sessions/check", &filled.authorization, "application/json", &body)
    };
    let questions: Vec<_> = filled.samples.iter().take(KNOWN).map(ask).collect();
    let ask = |count| run(server.pid(), server.port, Introspect::talks(questions.clone()), count);
    ask(2 * KNOWN);
    let (mut ours, mut cached) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        ours.push(ask(COUNT));
        cached.extend(redis.map(|redis| redis.run(Get::talks(), COUNT)));
    }
    let what = "checks of a session token (/v1/sessions/check), against Redis GET of 200 bytes";
    let rate = each(&ours, Run::per_second);
    table.row("-", what, Unit::PerSecond, rate, against(&cached, Run::per_second), "");
    let cpu = each(&ours, Run::per_cpu_second);
    table.row("-", "checks of a session token", Unit::PerCpuSecond, cpu, Against::Nothing, "");
}

/// One strict verification of a message as long as that of a token.
fn verification() -> Duration {
    const COUNT: u32 = 4000;
    let key = SigningKey::from_bytes(&[7; 32]);
    let message = [7; 600];
    let (public, signature) = (key.verifying_key(), key.sign(&message));
    let before = own_cpu_time();
    for _ in 0..COUNT {
        public.verify_strict(std::hint::black_box(&message), &signature).expect("it was signed a moment ago");
    }
    (own_cpu_time() - before) / COUNT
}

/// The answer to one question. It is small, so it comes in one piece.
pub fn answer_to(server: &Server, question: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    stream.write_all(question).expect("it reads");
    let mut answer = vec![0; 16 * 1024];
    let read = stream.read(&mut answer).expect("it answers");
    answer.truncate(read);
    answer
}
