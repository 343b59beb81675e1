//! The real binary over a real database, which is stopped, crashes, and comes back.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::database::Database;
use crate::harness::process::{Process, admin, data, free_port, run, through_socket};
use crate::harness::server::{Answer, Client, text};

/// How long a replica may need to notice that its database is back.
const RECOVERY_MAX: Duration = Duration::from_secs(20);

/// A replica: its directory with a configuration, and its port.
pub struct Replica {
    directory: TempDir,
    pub port: u16,
}

impl Replica {
    pub fn new(url: &str) -> Self {
        let replica = Self::of_file();
        replica.use_database(url);
        replica
    }

    /// A server with the embedded store.
    pub fn of_file() -> Self {
        Self::of_file_on(free_port())
    }

    /// The same on a port: tokens of another issuer are not valid.
    pub fn of_file_on(port: u16) -> Self {
        Self { directory: TempDir::new().unwrap(), port }
    }

    /// Sets the address of its database.
    pub fn use_database(&self, url: &str) {
        let settings = format!("[store]\nurl = \"{url}\"\nrequire_synchronous = false\n");
        std::fs::write(self.path().join("config.toml"), settings).unwrap();
    }

    /// Another replica of the same installation.
    pub fn beside(&self, url: &str) -> Self {
        let other = Self { port: self.port, ..Self::new(url) };
        std::fs::create_dir(other.path().join("data")).unwrap();
        std::fs::copy(data(self.path(), "master.key"), data(other.path(), "master.key")).unwrap();
        other
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn serve(&self) -> Process {
        self.serve_with(&[])
    }

    /// The same with settings in its environment.
    pub fn serve_with(&self, environment: &[(&str, &str)]) -> Process {
        Process::at(self.path(), self.port, environment)
    }

    /// What a command that succeeds prints for a program.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = run(self.path(), &[&["--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The one line of a command that is refused.
    pub fn refuses(&self, arguments: &[&str]) -> String {
        let output = run(self.path(), arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        let line = said(&output).lines().last().unwrap_or_default().to_owned();
        assert!(line.starts_with("keyfob: "), "{line}");
        line
    }

    /// The client `app`, which opens sessions, refreshes and introspects.
    pub fn application(&self) -> Client {
        let create = ["client", "create", "app", "--permission", "sessions,introspect"];
        let created = self.json(&[&create[..], &["--grant", "refresh_token,client_credentials"]].concat());
        Client { id: "app".into(), secret: text(&created["client_secret"]) }
    }
}

pub fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn open(server: &Process, app: &Client, subject: &str) -> Value {
    let answer = server.json("POST", "/v1/sessions", Some(app), &json!({ "subject": subject }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

pub fn is_active(server: &Process, app: &Client, token: &Value) -> bool {
    let answer = server.form("/oauth2/introspect", Some(app), &[("token", &text(token))]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["active"] == json!(true)
}

pub fn refresh(server: &Process, app: &Client, token: &Value) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", &text(token))];
    server.form("/oauth2/token", Some(app), &form)
}

pub fn revoke(server: &Process, app: &Client, token: &Value) {
    let answer = server.form("/oauth2/revoke", Some(app), &[("token", &text(token))]);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Waits until a server has ended by itself, and answers the exit status.
pub fn wait_at_most(server: Process, limit: Duration) -> i32 {
    let stat = format!("/proc/{}/stat", server.id());
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    // A process that has ended and was not waited for is a zombie.
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        assert!(waited < limit, "it still runs");
        thread::sleep(step);
        waited += step;
    }
    server.wait()
}

fn readiness(server: &Process) -> Answer {
    server.send("GET", "/readyz", None, "text/plain", "").unwrap()
}

/// Waits for an answer of `/readyz`.
fn await_readiness(server: &Process, status: u16) {
    let mut waited = Duration::ZERO;
    while readiness(server).status != status {
        assert!(waited < RECOVERY_MAX, "/readyz does not answer {status}: {}", readiness(server).text());
        thread::sleep(Duration::from_millis(50));
        waited += Duration::from_millis(50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_binary_does_over_a_database_what_it_does_over_a_file() {
    let database = Database::new().await;
    let replica = Replica::new(&database.url);
    let first = replica.json(&["init"]);
    assert_eq!((&first["initialised"], &first["client_id"]), (&json!(true), &json!("admin")));
    assert_eq!(replica.json(&["init"])["initialised"], json!(false));
    assert!(!data(replica.path(), "keyfob.redb").exists());
    // Without a server a command opens the database itself.
    let app = replica.application();
    let server = replica.serve();
    let opened = open(&server, &app, "alice");
    for token in ["access_token", "refresh_token", "session_token"] {
        assert!(is_active(&server, &app, &opened[token]), "{token}");
    }
    let refreshed = refresh(&server, &app, &opened["refresh_token"]).json();
    let gone = open(&server, &app, "bob");
    revoke(&server, &app, &gone["refresh_token"]);
    assert!(!is_active(&server, &app, &gone["access_token"]));

    assert_eq!(replica.json(&["client", "list"]).as_array().map(Vec::len), Some(2), "admin and app");
    let sessions = replica.json(&["session", "list", "--subject", "alice"]);
    assert_eq!(sessions[0]["state"], "active", "{sessions}");
    let stats = replica.json(&["db", "stats"]);
    assert_eq!((&stats["sessions"], &stats["epoch"]), (&json!(2), &json!(1)), "{stats}");
    assert_eq!(stats["file_bytes"], Value::Null);
    let tables = stats["tables"].as_array().unwrap();
    let entries = |name| &tables.iter().find(|table| table["name"] == name).unwrap()["entries"];
    assert_eq!(
        ["clients", "head", "live", "sessions"].map(entries),
        [&json!(2), &json!(1), &json!(1), &json!(2)]
    );
    let simulated = replica.json(&["policy", "simulate", "--absolute-lifetime", "1m"]);
    assert!(simulated.is_object(), "{simulated}");
    let link = replica.json(&["console"]);
    assert!(text(&link["url"]).contains("/console#"), "{link}");
    assert!(replica.json(&["key", "list"]).as_array().is_some_and(|keys| keys.len() == 2));
    let last = run(replica.path(), &["events", "tail"]);
    assert!(String::from_utf8_lossy(&last.stdout).contains("session.ended"), "{}", said(&last));
    replica.json(&["ready"]);
    let page = through_socket(replica.path(), "GET", "/metrics", &Value::Null).text();
    let documented = include_str!("../../docs/metrics.md").lines();
    for line in documented.filter_map(|line| line.strip_prefix("| `keyfob_database_")) {
        let mut cells = line.split(" | ");
        let name = cells.next().unwrap().split(['`', '{']).next().unwrap();
        let [kind, help] = [cells.next().unwrap(), cells.next().unwrap().trim_end_matches(" |")];
        assert!(page.contains(&format!("# HELP keyfob_database_{name} {help}\n")), "{name} in {page}");
        assert!(page.contains(&format!("# TYPE keyfob_database_{name} {kind}\n")), "{name} in {page}");
    }
    for sample in [
        "keyfob_database_replicas 1",
        "keyfob_store_ready 1",
        "keyfob_sessions_live 1",
        "keyfob_sessions_stored 2",
    ] {
        assert!(page.lines().any(|line| line == sample), "{sample} in {page}");
    }

    assert_eq!(server.stop(), 0);
    let server = replica.serve();
    assert!(is_active(&server, &app, &refreshed["access_token"]));
    let again = refresh(&server, &app, &refreshed["refresh_token"]);
    server.kill();
    let server = replica.serve();
    assert!(is_active(&server, &app, &again.json()["refresh_token"]), "what was answered is kept");
    assert!(!is_active(&server, &app, &gone["session_token"]));
    let reused = refresh(&server, &app, &opened["refresh_token"]);
    assert_eq!((reused.status, &reused.json()["error"]), (400, &json!("invalid_grant")));
    assert!(!is_active(&server, &app, &again.json()["refresh_token"]), "reuse ends the session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_key_is_refused_and_none_is_asked_for() {
    let database = Database::new().await;
    let first = Replica::new(&database.url);
    first.json(&["init"]);
    std::fs::remove_file(data(first.path(), "admin.json")).unwrap();
    let again = String::from_utf8(run(first.path(), &["init"]).stdout).unwrap();
    assert!(again.contains("here any more"), "{again}");
    let keyless = Replica::new(&database.url);
    let refused = keyless.refuses(&["serve"]);
    assert!(refused.contains("copy the master key of another replica"), "{refused}");
    let other = first.beside(&database.url);
    std::fs::write(data(other.path(), "master.key"), "A".repeat(43)).unwrap();
    for command in [&["serve"][..], &["client", "list"]] {
        let refused = other.refuses(command);
        assert!(refused.contains("belongs to another master key; use the master.key"), "{refused}");
    }
    assert!(!data(other.path(), "admin.json").exists());
}

/// No transaction has begun then, so that none is rolled back: the database would warn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_refused_without_a_second_copy_makes_the_database_warn_of_nothing() {
    let database = Database::new().await;
    let replica = Replica::new(&database.url);
    replica.json(&["init"]);
    let app = replica.application();
    let server = replica.serve_with(&[("KEYFOB_STORE__REQUIRE_SYNCHRONOUS", "true")]);
    let body = json!({ "subject": "alice" });
    assert_eq!(server.json("POST", "/v1/sessions", Some(&app), &body).status, 503);
    assert_eq!(server.stop(), 0);
    let log = std::fs::read_to_string(replica.path().join("log.txt")).unwrap();
    assert!(log.contains("synchronous") && !log.contains("the database warns"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_at_one_replica_is_refused_by_the_other() {
    let database = Database::new().await;
    let first = Replica::new(&database.url);
    let (here, app) = (first.serve(), first.application());
    let second = first.beside(&database.url);
    let issuer = format!("http://127.0.0.1:{}", first.port);
    let mut command = crate::harness::process::keyfob(second.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let mut there = Process::until(second.path(), command.args(["--issuer", &issuer]), "try it");
    let address = there.greeting.split_whitespace().find(|word| word.starts_with("127.0.0.1:"));
    there.address = address.unwrap().to_owned();
    for _ in 0..20 {
        let opened = open(&here, &app, "alice");
        assert!(is_active(&there, &app, &opened["access_token"]));
        revoke(&there, &app, &opened["session_token"]);
        assert!(!is_active(&here, &app, &opened["access_token"]));
        assert_eq!(refresh(&here, &app, &opened["refresh_token"]).status, 400);
    }
    here.kill();
    assert!(is_active(&there, &app, &open(&there, &app, "alice")["access_token"]), "one is enough");
}

#[test]
fn a_database_that_is_down_stops_the_start_and_its_return_needs_none() {
    let mut cluster = Cluster::start();
    let replica = Replica::new(&cluster.url());
    cluster.stop("INT");
    for command in [&["serve"][..], &["init"], &["client", "list"]] {
        let refused = replica.refuses(command);
        assert!(refused.contains("check that it runs"), "{refused}");
    }
    cluster.resume();
    let (server, app) = (replica.serve(), replica.application());
    let opened = open(&server, &app, "alice");
    let ended = open(&server, &app, "bob");
    revoke(&server, &app, &ended["refresh_token"]);
    // An ordinary stop, then a crash.
    for signal in ["INT", "QUIT"] {
        cluster.stop(signal);
        await_readiness(&server, 503);
        let refused = readiness(&server).text();
        for (path, form) in [
            ("/oauth2/introspect", [("token", text(&opened["access_token"])), ("x", String::new())]),
            ("/oauth2/revoke", [("token", text(&opened["refresh_token"])), ("x", String::new())]),
            (
                "/oauth2/token",
                [("grant_type", "refresh_token".into()), ("refresh_token", text(&opened["refresh_token"]))],
            ),
        ] {
            let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, &**value)).collect();
            let answer = server.form(path, Some(&app), &form);
            assert_eq!(answer.status, 503, "{path}: {} {refused}", answer.text());
            assert!(answer.headers.contains_key("retry-after"), "{path}");
        }
        assert_eq!(server.send("GET", "/healthz", None, "text/plain", "").unwrap().status, 200);
        // Who watches the outage needs the figures then.
        let page = through_socket(replica.path(), "GET", "/metrics", &Value::Null);
        assert!(page.status == 200 && page.text().contains("\nkeyfob_store_ready 0\n"), "{}", page.text());
        cluster.resume();
        await_readiness(&server, 200);
        assert!(is_active(&server, &app, &opened["access_token"]));
        assert!(!is_active(&server, &app, &ended["access_token"]));
    }
    assert_eq!(server.stop(), 0);
}

/// No caller hears that a valid token is invalid, and what was acknowledged is there afterwards.
#[test]
fn a_load_meets_503_while_the_database_restarts_and_loses_nothing() {
    let mut cluster = Cluster::start();
    let replica = Replica::new(&cluster.url());
    let (server, app) = (replica.serve(), replica.application());
    let over = AtomicBool::new(false);
    let acknowledged: Vec<(Value, bool)> = thread::scope(|scope| {
        let client = |number: usize| {
            let (server, app, over) = (&server, &app, &over);
            scope.spawn(move || {
                let (mut kept, mut refused) = (vec![], 0);
                while !over.load(Ordering::Relaxed) {
                    let body = json!({ "subject": format!("user{number}") });
                    let opened = server.json("POST", "/v1/sessions", Some(app), &body);
                    if opened.status == 503 {
                        refused += 1;
                        thread::sleep(Duration::from_millis(20));
                        continue;
                    }
                    assert_eq!(opened.status, 201, "{}", opened.text());
                    let opened = opened.json();
                    let token = opened["refresh_token"].clone();
                    let rotated = refresh(server, app, &token);
                    assert!([200, 503].contains(&rotated.status), "{}", rotated.text());
                    let end = kept.len().is_multiple_of(2);
                    let ended = end && {
                        let form = [("token", &*text(&token))];
                        let answer = server.form("/oauth2/revoke", Some(app), &form);
                        assert!([200, 503].contains(&answer.status), "{}", answer.text());
                        answer.status == 200
                    };
                    if end == ended {
                        kept.push((opened["session_token"].clone(), ended));
                    }
                }
                (kept, refused)
            })
        };
        let clients: Vec<_> = (0..4).map(client).collect();
        for signal in ["INT", "QUIT"] {
            thread::sleep(Duration::from_millis(700));
            cluster.stop(signal);
            thread::sleep(Duration::from_millis(700));
            cluster.resume();
            await_readiness(&server, 200);
        }
        thread::sleep(Duration::from_millis(500));
        over.store(true, Ordering::Relaxed);
        let done: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        assert!(done.iter().any(|(_, refused)| *refused > 0), "the outage was noticed");
        done.into_iter().flat_map(|(kept, _)| kept).collect()
    });
    assert!(acknowledged.len() > 4, "{}", acknowledged.len());
    for (token, ended) in &acknowledged {
        assert_eq!(is_active(&server, &app, token), !ended);
    }
    let administrator = admin(replica.path());
    let events = server.send("GET", "/v1/events?limit=1", Some(&administrator), "text/plain", "").unwrap();
    assert_eq!(events.status, 200, "{}", events.text());
}
