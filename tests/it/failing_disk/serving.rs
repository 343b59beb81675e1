//! A server whose disk fails at each operation from its start to its end, and another one on what is left.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::installation::{FILES, Installation, Served};
use super::shim::{KINDS, LOST};
use super::{Fault, Ran, at_each_operation};
use crate::harness::server::{Answer, Client, text};

/// Every so many operations of this scenario in a short run.
const STEP: u64 = 24;
/// A server whose store has failed ends by itself within this time.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A store with sessions, which each run copies.
struct Template {
    installation: Installation,
    app: Client,
    admin: Client,
    /// What the openings answered, by subject; `bob` has a second session.
    opened: Value,
    /// The last event.
    head: String,
    /// The id of the signing key.
    kid: String,
}

/// A server on a copy of the template, and what is known from the answers so far.
struct Story<'a> {
    template: &'a Template,
    server: Served,
    heard: Vec<Heard>,
}

/// What became of a step.
struct Heard {
    outcome: Outcome,
    answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It was acknowledged.
    Done,
    /// The first that was not: it may have been done or not.
    Unknown,
    /// It came later: a store that has failed writes nothing.
    NotDone,
}

/// A change: how it is asked for, its acknowledgement, and how to see whether it was done. `events` are those
/// that it writes.
struct Step {
    name: &'static str,
    ask: fn(&Story) -> Option<Answer>,
    status: u16,
    done: fn(&Story) -> bool,
    events: &'static [&'static str],
}

const STEPS: [Step; 10] = [
    Step {
        name: "an opening",
        ask: |story| story.app_json("POST", "/v1/sessions", json!({ "subject": "fred" })),
        status: 201,
        done: |story| !story.items("/v1/sessions?subject=fred").is_empty(),
        events: &["session.opened"],
    },
    Step {
        name: "a refresh",
        ask: |story| story.refresh(&story.template.token("dave", "refresh_token")),
        status: 200,
        done: |story| story.generation("dave") >= 1,
        events: &[],
    },
    Step {
        name: "its retry",
        ask: |story| story.refresh(&story.template.token("dave", "refresh_token")),
        status: 200,
        done: |story| story.generation("dave") >= 1,
        events: &[],
    },
    Step {
        name: "a revocation",
        ask: |story| story.revoke(&story.template.token("carol", "refresh_token")),
        status: 200,
        done: |story| !story.is_active(&story.template.token("carol", "session_token")),
        events: &["family.ended", "session.ended"],
    },
    Step {
        name: "a log-out everywhere",
        ask: |story| story.app_json("DELETE", "/v1/subjects/bob/sessions", Value::Null),
        status: 200,
        done: |story| !story.is_active(&story.template.token("bob", "access_token")),
        events: &["session.ended", "session.ended", "subject.revoked"],
    },
    Step {
        name: "a rotation of the key",
        ask: |story| story.admin_json("POST", "/v1/keys/rotate?force=true", Value::Null),
        status: 200,
        done: |story| story.template.kid != active_key(&story.server, &story.template.admin),
        events: &["key.rotated"],
    },
    Step {
        name: "a new client",
        ask: |story| story.admin_json("POST", "/v1/clients", json!({ "client_id": "second" })),
        status: 201,
        done: |story| story.get("/v1/clients/second").status == 200,
        events: &["client.created"],
    },
    Step {
        name: "a second refresh",
        ask: |story| story.refresh(&story.successor()?),
        status: 200,
        done: |story| story.generation("dave") >= 2,
        events: &[],
    },
    Step {
        name: "a revocation of an access token",
        ask: |story| story.revoke(&story.template.token("erin", "access_token")),
        status: 200,
        done: |story| !story.is_active(&story.template.token("erin", "access_token")),
        events: &["token.revoked"],
    },
    Step {
        name: "a change",
        ask: |story| {
            story.app_json("PATCH", &story.template.path("alice"), json!({ "claims": { "tier": "gold" } }))
        },
        status: 200,
        done: |story| story.get(&story.template.path("alice")).json()["version"] == 2,
        events: &["session.updated"],
    },
];
const RETRY: usize = 2;

impl Template {
    fn get() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        TEMPLATE.get_or_init(|| {
            let installation = Installation::new();
            let server = installation.serve(None).unwrap();
            let admin = installation.admin();
            let app = server.register(&admin);
            let mut opened = json!({});
            for subject in ["alice", "bob", "carol", "dave", "erin"] {
                opened[subject] = server.open(&app, subject);
            }
            server.open(&app, "bob");
            let head = text(&server.get("/v1/events", &admin).unwrap().json()["head"]);
            let kid = active_key(&server, &admin);
            server.stop();
            Self { installation, app, admin, opened, head, kid }
        })
    }

    fn token(&self, subject: &str, which: &str) -> String {
        text(&self.opened[subject][which])
    }

    fn path(&self, subject: &str) -> String {
        format!("/v1/sessions/{}", text(&self.opened[subject]["session"]["id"]))
    }
}

fn active_key(server: &Served, admin: &Client) -> String {
    let keys = server.get("/v1/keys", admin).unwrap().json();
    let active = keys["items"].as_array().unwrap().iter().find(|key| key["status"] == "active");
    text(&active.unwrap()["kid"])
}

impl<'a> Story<'a> {
    fn of(template: &'a Template, server: Served) -> Self {
        Self { template, server, heard: vec![] }
    }

    fn app_json(&self, method: &str, path: &str, body: Value) -> Option<Answer> {
        self.server.json(method, path, &self.template.app, &body)
    }

    fn admin_json(&self, method: &str, path: &str, body: Value) -> Option<Answer> {
        self.server.json(method, path, &self.template.admin, &body)
    }

    fn refresh(&self, token: &str) -> Option<Answer> {
        let body = format!("grant_type=refresh_token&refresh_token={token}");
        self.server.form("/oauth2/token", &self.template.app, &body)
    }

    fn revoke(&self, token: &str) -> Option<Answer> {
        self.server.form("/oauth2/revoke", &self.template.app, &format!("token={token}"))
    }

    fn introspect(&self, token: &str) -> Option<Answer> {
        self.server.form("/oauth2/introspect", &self.template.app, &format!("token={token}"))
    }

    /// For a server whose disk does not fail.
    fn is_active(&self, token: &str) -> bool {
        self.introspect(token).unwrap().json()["active"] == json!(true)
    }

    fn get(&self, path: &str) -> Answer {
        self.server.get(path, &self.template.admin).unwrap()
    }

    fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).json()["items"].as_array().unwrap().clone()
    }

    fn generation(&self, subject: &str) -> u64 {
        self.get(&self.template.path(subject)).json()["families"][0]["generation"].as_u64().unwrap()
    }

    /// The refresh token that the refresh or its retry has answered.
    fn successor(&self) -> Option<String> {
        let mut answers = self.acknowledged().filter(|(step, _)| (1..=RETRY).contains(step));
        answers.next().map(|(_, answer)| text(&answer.json()["refresh_token"]))
    }

    fn acknowledged(&self) -> impl Iterator<Item = (usize, &Answer)> {
        let done = self.heard.iter().enumerate().filter(|(_, heard)| heard.outcome == Outcome::Done);
        done.filter_map(|(step, heard)| Some((step, heard.answer.as_ref()?)))
    }

    /// Asks for every change, and between them for tokens whose state is known.
    fn act(&mut self) {
        for step in &STEPS {
            let answer = (step.ask)(self);
            let outcome = match &answer {
                Some(answer) if answer.status == step.status => Outcome::Done,
                other => {
                    if let Some(answer) = other {
                        assert_refused(step.name, answer);
                    }
                    let failed = self.heard.iter().any(|heard| heard.outcome != Outcome::Done);
                    if failed { Outcome::NotDone } else { Outcome::Unknown }
                }
            };
            self.heard.push(Heard { outcome, answer });
            self.introspect_what_is_known();
        }
    }

    /// A token is reported as it is, or not at all.
    fn introspect_what_is_known(&self) {
        let is_done = |name: &str| {
            let step = STEPS.iter().position(|step| step.name == name).unwrap();
            self.heard.get(step).is_some_and(|heard| heard.outcome == Outcome::Done)
        };
        let mut known = vec![(self.template.token("alice", "access_token"), true)];
        for (name, subject) in [
            ("a revocation", "carol"),
            ("a log-out everywhere", "bob"),
            ("a revocation of an access token", "erin"),
        ] {
            if is_done(name) {
                known.push((self.template.token(subject, "access_token"), false));
            }
        }
        let failed = self.server.readiness(&self.template.admin) == Some(503);
        for (token, active) in known {
            match self.introspect(&token) {
                Some(answer) if answer.status == 200 => {
                    assert!(!failed, "introspection on a store that has failed: {}", answer.text());
                    assert_eq!(answer.json()["active"], active, "introspection: {}", answer.text());
                }
                Some(answer) => assert_refused("an introspection", &answer),
                None => {}
            }
        }
    }

    /// Waits for the end of a server whose store has failed; stops one that is ready. Returns its exit
    /// code, and whether it ended by itself.
    fn end(self) -> (Option<i32>, bool, Vec<Heard>) {
        let Self { template, mut server, heard } = self;
        let since = Instant::now();
        let mut by_itself = true;
        while !server.has_ended() {
            if server.readiness(&template.admin) == Some(200) {
                server.terminate();
                by_itself = false;
                break;
            }
            assert!(since.elapsed() < END_WITHIN, "the store has failed, and the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        (server.wait().code(), by_itself, heard)
    }

    /// Asserts that the store has what was acknowledged, and nothing of what certainly was not done.
    fn compare(&self) {
        let mut expected: Vec<&str> = vec![];
        for (number, (step, heard)) in STEPS.iter().zip(&self.heard).enumerate() {
            let done = (step.done)(self);
            match heard.outcome {
                Outcome::Done => assert!(done, "{} was acknowledged, and is lost", step.name),
                // A refresh and its retry are one change.
                Outcome::NotDone if number != RETRY => {
                    assert!(!done, "{} was done by a store that had failed", step.name);
                }
                Outcome::NotDone | Outcome::Unknown => {}
            }
            if done {
                expected.extend(step.events);
            }
        }
        let events = self.items(&format!("/v1/events?limit=200&after={}", self.template.head));
        let types: Vec<String> = events.iter().map(|event| text(&event["type"])).collect();
        assert_eq!(types, expected, "the events of what was done");
        self.compare_tokens();
    }

    /// Asserts that the tokens that were answered can be used.
    fn compare_tokens(&self) {
        for (step, answer) in self.acknowledged() {
            match STEPS[step].name {
                "an opening" => {
                    let answer = answer.json();
                    for which in ["access_token", "refresh_token", "session_token"] {
                        assert!(self.is_active(&text(&answer[which])), "the {which} of an opening");
                    }
                }
                "a new client" => {
                    let second =
                        Client { id: "second".into(), secret: text(&answer.json()["client_secret"]) };
                    let body = "grant_type=refresh_token&refresh_token=x";
                    let refused = self.server.form("/oauth2/token", &second, body).unwrap();
                    assert_ne!(refused.error(), "invalid_client", "the secret of a new client");
                }
                _ => {}
            }
        }
        assert!(self.is_active(&self.template.token("alice", "access_token")));
        let pairs = self.acknowledged().filter(|(step, _)| (1..=RETRY).contains(step));
        let refreshed: Vec<_> = pairs.map(|(_, answer)| text(&answer.json()["refresh_token"])).collect();
        assert!(refreshed.iter().all(|token| *token == refreshed[0]), "a retry gets the same token");
        let second = self.acknowledged().find(|(step, _)| STEPS[*step].name == "a second refresh");
        let second = second.map(|(_, answer)| text(&answer.json()["refresh_token"]));
        let last = second.or_else(|| self.successor());
        let last = last.unwrap_or_else(|| self.template.token("dave", "refresh_token"));
        let refreshed = self.refresh(&last).unwrap();
        assert_eq!(refreshed.status, 200, "the last known refresh token: {}", refreshed.text());
    }
}

/// 503 with a documented body: neither a verdict on a token nor an internal error.
#[track_caller]
fn assert_refused(what: &str, answer: &Answer) {
    assert_eq!((answer.status, answer.header("retry-after")), (503, "2"), "{what}: {}", answer.text());
    let body = answer.json();
    match answer.header("content-type") {
        "application/problem+json" => assert_eq!(body["status"], 503, "{what}"),
        _ => assert_eq!(body["error"], "temporarily_unavailable", "{what}"),
    }
    for cause in ["redb", "os error", "No space", "Input/output", "src/"] {
        assert!(!answer.text().contains(cause), "{what}: an internal cause: {}", answer.text());
    }
}

/// One server on a failing disk, the comparison on a disk that works, and a check of the file. Returns what
/// the server answered, too.
fn run(fault: Fault) -> (Ran, Vec<Heard>) {
    let template = Template::get();
    let place = template.installation.copy();
    let disk = place.disk(fault);
    let heard = match place.serve(Some(&disk)) {
        Err(failed) => {
            assert_eq!(failed.status.code(), Some(1), "{}", failed.log);
            assert_says_why(&failed.log, &disk.first_failure().expect("a reason"), fault);
            STEPS.iter().map(|_| Heard { outcome: Outcome::NotDone, answer: None }).collect()
        }
        Ok(server) => {
            let mut story = Story::of(template, server);
            story.act();
            let (code, by_itself, heard) = story.end();
            let first = disk.first_failure();
            let all_done = heard.iter().all(|heard| heard.outcome == Outcome::Done);
            assert!(all_done || first.is_some(), "a request was refused on a disk that works");
            assert_eq!(code, Some(i32::from(by_itself)), "{first:?}: exit code; by itself: {by_itself}");
            if by_itself {
                assert_says_why(&place.log(), &first.expect("a reason"), fault);
            }
            heard
        }
    };
    let log = place.log();
    assert!(!log.contains("panicked") && !log.contains("RUST_BACKTRACE"), "{log}");

    let server = place.serve(None).unwrap_or_else(|failed| panic!("the next start: {failed:?}"));
    let story = Story { template, server, heard };
    story.compare();
    let Story { server, heard, .. } = story;
    server.stop();
    let next = place.log().split_off(log.len());
    assert!(!next.contains("WARN") && !next.contains("ERROR"), "the next start: {next}");
    place.check();
    assert_eq!(place.names(), FILES);
    (Ran { operations: disk.operations(), reached: disk.first_failure().is_some() }, heard)
}

/// The last line names the program, the cause, and what to do.
fn assert_says_why(log: &str, first: &str, fault: Fault) {
    let last = log.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("keyfob: ") && last.contains(fault.kind.cause()), "{first}: {last}");
    assert!(last.contains("; "), "{first}: what to do: {last}");
}

#[test]
fn a_server_on_a_failing_disk_loses_nothing_that_it_acknowledged() {
    let (acknowledged, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    at_each_operation("a server", &KINDS, STEP, |fault| {
        let (ran, heard) = run(fault);
        for heard in heard {
            let counter = if heard.outcome == Outcome::Done { &acknowledged } else { &refused };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        ran
    });
    let [acknowledged, refused] = [acknowledged, refused].map(AtomicU64::into_inner);
    eprintln!("a server: {acknowledged} changes acknowledged, 0 lost; {refused} not acknowledged");
    assert!(acknowledged > 0 && refused > 0);
}

/// The control: a program that ignores errors, on a disk that loses writes, is found at once wherever it
/// starts to lose them.
#[test]
fn writes_that_are_lost_in_silence_are_found() {
    let operations = run(Fault { kind: LOST, at: u64::MAX }).0.operations;
    let half = operations / 2;
    assert!(half > 50, "{operations} operations");
    for at in (1..half).step_by(usize::try_from(half / 6).unwrap()) {
        let run = std::panic::catch_unwind(|| run(Fault { kind: LOST, at }));
        let Err(found) = run else { panic!("a loss from operation {at} of {operations} on was not found") };
        let found = found.downcast_ref::<String>().map_or("", |found| found);
        let by_its_effect = ["and is lost", "the events of what was done", "db check", "the next start"];
        assert!(by_its_effect.iter().any(|effect| found.contains(effect)), "from operation {at} on: {found}");
    }
}
