//! P1 to P4: introspection, against a bare hyper server, Redis and a bare signature verification.

use std::rc::Rc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};

use crate::bare::Counterpart;
use crate::machine::{Table, median, own_cpu_time};
use crate::redis::{Get, Put, Redis};
use crate::server::Server;
use crate::store::{Filled, Tokens, directory};
use crate::talk::{Run, Talk, http, post, run};
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
struct Introspect {
    questions: Rc<Vec<Vec<u8>>>,
    next: usize,
    step: usize,
}

impl Introspect {
    fn talks(questions: Vec<Vec<u8>>) -> Vec<Self> {
        let questions = Rc::new(questions);
        (0..CONNECTIONS).map(|next| Self { questions: questions.clone(), next, step: CONNECTIONS }).collect()
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
pub fn measure(filled: &Filled, table: &mut Table) {
    let (server, _) = Server::start(filled.path());
    let questions = |samples: &[Tokens], token: Kind| -> Vec<Vec<u8>> {
        let body = |tokens| format!("token={}", token(tokens));
        samples
            .iter()
            .map(|tokens| post("/oauth2/introspect", &filled.authorization, &body(tokens)))
            .collect()
    };
    let known = &filled.samples[..KNOWN.min(filled.samples.len())];
    let kinds: [(&str, Kind); 3] = [
        ("session token", |tokens| &tokens.session),
        ("refresh token", |tokens| &tokens.refresh),
        ("PASETO seen before", |tokens| &tokens.access),
    ];
    let place = directory();
    let redis = Redis::start(place.path());
    if let Some(redis) = &redis {
        run(redis.pid(), redis.port, vec![Put], 1);
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
            cached.extend(
                redis.as_ref().map(|redis| {
                    run(redis.pid(), redis.port, (0..CONNECTIONS).map(|_| Get).collect(), COUNT)
                }),
            );
        }
        let cpu = |ours: &Run<_>, theirs: &Run<_>| theirs.cpu_us() / ours.cpu_us();
        let ratio = median(ours.iter().zip(&theirs).map(|(ours, theirs)| cpu(ours, theirs)).collect());
        let each = |runs: &[Run<_>]| median(runs.iter().map(Run::cpu_us).collect());
        let shown = |us: f64| format!("{us:.1} µs, {:.0}/s of CPU", 1e6 / us);
        let what = format!("introspection, {name}: CPU per request against bare hyper");
        table.row(
            "P1",
            &what,
            shown(each(&ours)),
            shown(each(&theirs)),
            format!("{ratio:.2}"),
            "≥ 0.45, then ≥ 0.70",
        );
        if !cached.is_empty() {
            let ratio = median(
                ours.iter()
                    .zip(&cached)
                    .map(|(ours, cached)| ours.per_second() / cached.per_second())
                    .collect(),
            );
            let (ours, cached) =
                (ours.iter().map(Run::per_second).collect(), cached.iter().map(Run::per_second).collect());
            let what = format!("introspection, {name}: requests against Redis GET of 200 bytes, same client");
            let shown = |rate| format!("{:.0}/s", median(rate));
            table.row("P3", &what, shown(ours), shown(cached), format!("{ratio:.2}"), "≥ 0.5, then ≥ 1.0");
        }
    }
    drop(redis);
    let fresh = filled.samples[KNOWN.min(filled.samples.len())..].chunks_exact(UNSEEN).take(ROUNDS);
    let fresh = fresh.map(|samples| {
        (questions(samples, |tokens| &tokens.session), questions(samples, |tokens| &tokens.access))
    });
    server.stop();
    never_seen(filled, fresh, table);
}

/// Each round asks a server that has seen no PASETO yet twice about the same ones: the difference is what the
/// first time costs. It has seen their sessions, so that reading those is not counted.
fn never_seen(
    filled: &Filled,
    rounds: impl Iterator<Item = (Vec<Vec<u8>>, Vec<Vec<u8>>)>,
    table: &mut Table,
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
    if extra.is_empty() {
        return;
    }
    let (extra, alone) = (median(extra), median(alone));
    let what = "a PASETO never seen before: CPU above that of one seen before, against one ed25519-dalek \
                verify_strict";
    table.row(
        "P4",
        what,
        format!("{extra:.1} µs"),
        format!("{alone:.1} µs"),
        format!("{:.2}", extra / alone),
        "≤ 1.3, then ≤ 1.1",
    );
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
