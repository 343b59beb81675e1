//! A database as a whole, with the real binary: checked, backed up, restored, moved to and from a file, and
//! recovered by PostgreSQL to an earlier state.

use std::time::Duration;

use keyfob::store::postgres::{DatabaseSource, Postgres};
use serde_json::{Value, json};

use crate::binary::{Replica, is_active, open, refresh, revoke, said, wait_at_most};
use crate::database::Database;
use crate::harness::fixture::keys;
use crate::harness::process::{Process, data, run};
use crate::harness::server::{Client, text};

/// What an installation has before it is moved or restored.
struct Contents {
    app: Client,
    /// Of alice, who has refreshed once: her first and second refresh token.
    first: Value,
    second: Value,
    access: Value,
    session: Value,
    /// Of bob, whose session was revoked.
    ended: Value,
    /// A token of the client itself, and one that was revoked.
    own: Value,
    own_ended: Value,
    /// Of a client that was deleted.
    deleted: Value,
    head: String,
}

const RETRIES: &[(&str, &str)] = &[("KEYFOB_POLICY__DEFAULT__REFRESH_RETRY_WINDOW", "120s")];

fn own_token(server: &Process, app: &Client) -> Value {
    let answer = server.form("/oauth2/token", Some(app), &[("grant_type", "client_credentials")]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["access_token"].clone()
}

impl Contents {
    fn make(replica: &Replica, server: &Process) -> Self {
        let app = replica.application();
        let create = ["client", "create", "gone", "--permission", "sessions,introspect"];
        let created = replica.json(&[&create[..], &["--grant", "client_credentials"]].concat());
        let gone = Client { id: "gone".into(), secret: text(&created["client_secret"]) };
        let deleted = own_token(server, &gone);
        replica.json(&["client", "delete", "gone"]);
        let opened = open(server, &app, "alice");
        let refreshed = refresh(server, &app, &opened["refresh_token"]).json();
        let ended = open(server, &app, "bob")["session_token"].clone();
        revoke(server, &app, &ended);
        let (own, own_ended) = (own_token(server, &app), own_token(server, &app));
        revoke(server, &app, &own_ended);
        let head = text(&replica.json(&["db", "stats"])["head"]);
        Self {
            app,
            first: opened["refresh_token"].clone(),
            second: refreshed["refresh_token"].clone(),
            access: refreshed["access_token"].clone(),
            session: opened["session_token"].clone(),
            ended,
            own,
            own_ended,
            deleted,
            head,
        }
    }

    /// Everything is as before: what is valid, what is not, a retry within its window, and the next event.
    fn assert_moved(&self, replica: &Replica, server: &Process) {
        let Self { app, .. } = self;
        for token in [&self.second, &self.access, &self.session, &self.own] {
            assert!(is_active(server, app, token));
        }
        for token in [&self.ended, &self.own_ended, &self.deleted] {
            assert!(!is_active(server, app, token));
        }
        let retried = refresh(server, app, &self.first);
        assert_eq!((retried.status, &retried.json()["refresh_token"]), (200, &self.second));
        let third = refresh(server, app, &self.second).json();
        assert!(is_active(server, app, &third["access_token"]));
        let stats = replica.json(&["db", "stats"]);
        assert_eq!((&stats["head"], &stats["epoch"]), (&json!(self.head), &json!(1)));
        let next = open(server, app, "carol");
        assert!(is_active(server, app, &next["access_token"]));
        let stats = replica.json(&["db", "stats"]);
        assert_ne!(stats["head"], json!(self.head), "{stats}");
        let reused = refresh(server, app, &self.first);
        assert_eq!(reused.status, 400, "{}", reused.text());
        assert!(!is_active(server, app, &third["refresh_token"]), "reuse is still detected");
    }

    /// Everything that was issued before is invalid; the client and new sessions work.
    fn assert_restored(&self, replica: &Replica, server: &Process) {
        let Self { app, .. } = self;
        for token in
            [&self.first, &self.second, &self.access, &self.session, &self.ended, &self.own, &self.own_ended]
        {
            assert!(!is_active(server, app, token), "{token}");
        }
        assert_eq!(refresh(server, app, &self.second).status, 400);
        let stats = replica.json(&["db", "stats"]);
        assert_eq!(stats["epoch"], 2, "{stats}");
        let opened = open(server, app, "alice");
        assert!(is_active(server, app, &opened["access_token"]));
        let old = replica.json(&["session", "list", "--subject", "bob"]);
        assert_eq!(old[0]["state"], "ended", "{old}");
        assert_eq!(replica.json(&["db", "stats"])["sessions"], 3);
    }
}

fn assert_sound(replica: &Replica) {
    let checked = replica.json(&["db", "check"]);
    assert_eq!((&checked["sound"], &checked["finds"]), (&json!(true), &json!([])), "{checked}");
}

/// Runs a command that succeeds.
fn done(replica: &Replica, arguments: &[&str]) -> String {
    let output = run(replica.path(), arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_into_the_same_database_and_into_an_empty_one() {
    let [database, empty] = [Database::new().await, Database::new().await];
    let replica = Replica::new(&database.url);
    let server = replica.serve_with(RETRIES);
    let contents = Contents::make(&replica, &server);
    assert_sound(&replica);
    let backup = replica.json(&["db", "backup", "copy.backup"]);
    assert_eq!(backup["sessions"], 2, "{backup}");
    let refused = replica.refuses(&["db", "restore", "copy.backup"]);
    assert!(refused.contains("stop"), "a server runs: {refused}");
    let later = open(&server, &contents.app, "later");
    assert_eq!(server.stop(), 0);
    // Without a server, too.
    assert_sound(&replica);
    replica.json(&["db", "backup", "offline.backup"]);
    let restored = replica.json(&["db", "restore", "copy.backup"]);
    assert_eq!((&restored["sessions"], &restored["sessions_ended"]), (&json!(2), &json!(1)), "{restored}");
    assert!(text(&restored["kept"]).starts_with("the schema keyfob_replaced_"), "{restored}");
    assert_sound(&replica);
    let server = replica.serve_with(RETRIES);
    assert!(!is_active(&server, &contents.app, &later["session_token"]));
    contents.assert_restored(&replica, &server);
    assert_sound(&replica);
    assert_eq!(server.stop(), 0);

    let other = replica.beside(&empty.url);
    std::fs::copy(replica.path().join("copy.backup"), other.path().join("copy.backup")).unwrap();
    let restored = other.json(&["db", "restore", "copy.backup"]);
    assert_eq!(restored["kept"], Value::Null);
    let server = other.serve_with(RETRIES);
    contents.assert_restored(&other, &server);
}

/// The format is that of the embedded store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_one_backend_is_restored_into_the_other() {
    let database = Database::new().await;
    let file = Replica::of_file();
    let server = file.serve_with(RETRIES);
    let contents = Contents::make(&file, &server);
    file.json(&["db", "backup", "copy.backup"]);
    assert_eq!(server.stop(), 0);
    let shared = file.beside(&database.url);
    std::fs::copy(file.path().join("copy.backup"), shared.path().join("copy.backup")).unwrap();
    shared.json(&["db", "restore", "copy.backup"]);
    assert_sound(&shared);
    let server = shared.serve_with(RETRIES);
    contents.assert_restored(&shared, &server);
    shared.json(&["db", "backup", "back.backup"]);
    assert_eq!(server.stop(), 0);

    std::fs::copy(shared.path().join("back.backup"), file.path().join("back.backup")).unwrap();
    let restored = file.json(&["db", "restore", "back.backup"]);
    assert_eq!(restored["sessions"], 3, "{restored}");
    assert_sound(&file);
    let server = file.serve_with(RETRIES);
    let opened = open(&server, &contents.app, "alice");
    assert!(is_active(&server, &contents.app, &opened["access_token"]));
    assert_eq!(file.json(&["db", "stats"])["epoch"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_moved_to_a_database_and_back_and_every_token_stays_valid() {
    let database = Database::new().await;
    let file = Replica::of_file();
    let server = file.serve_with(RETRIES);
    let contents = Contents::make(&file, &server);
    let refused = file.refuses(&["db", "move", "--to", &database.url]);
    assert!(refused.contains("stop"), "a server runs: {refused}");
    assert_eq!(server.stop(), 0);
    let moved = file.json(&["db", "move", "--to", &database.url]);
    assert_eq!((&moved["sessions"], &moved["live"]), (&json!(2), &json!(1)), "{moved}");
    assert_eq!(moved["head"], json!(contents.head));
    assert!(!data(file.path(), "keyfob.redb").exists(), "the file has another name");
    let refused = file.refuses(&["serve"]);
    assert!(refused.contains("keyfob.moved-") && refused.contains("set store.url"), "{refused}");
    // The same directory, with the address of the database.
    file.use_database(&database.url);
    let server = file.serve_with(RETRIES);
    contents.assert_moved(&file, &server);
    assert_sound(&file);
    let refused = file.refuses(&["db", "move", "--to", &database.url]);
    assert!(refused.starts_with("keyfob: "), "{refused}");
    let refused = file.refuses(&["db", "move", "--from", &database.url]);
    assert!(refused.contains("stop"), "{refused}");
    assert_eq!(server.stop(), 0);

    let again = Replica::of_file_on(file.port);
    std::fs::create_dir(again.path().join("data")).unwrap();
    for name in ["master.key", "admin.json"] {
        std::fs::copy(data(file.path(), name), data(again.path(), name)).unwrap();
    }
    let server = file.serve_with(RETRIES);
    let fresh = open(&server, &contents.app, "dora");
    let turned = refresh(&server, &contents.app, &fresh["refresh_token"]).json();
    assert_eq!(server.stop(), 0);
    let head = text(&file.json(&["db", "stats"])["head"]);
    let moved = again.json(&["db", "move", "--from", &database.url]);
    assert_eq!(moved["head"], json!(head), "{moved}");
    assert!(text(&moved["kept"]).starts_with("the schema keyfob_moved_"), "{moved}");
    let refused = file.refuses(&["serve"]);
    assert!(refused.contains("the database"), "nothing is served there: {refused}");
    std::fs::remove_file(data(file.path(), "admin.json")).unwrap();
    let refused = file.refuses(&["serve"]);
    assert!(refused.contains("correct store.url"), "and no new installation is made: {refused}");
    assert_sound(&again);
    let server = again.serve_with(RETRIES);
    for token in [&turned["access_token"], &fresh["session_token"], &contents.own] {
        assert!(is_active(&server, &contents.app, token));
    }
    let retried = refresh(&server, &contents.app, &fresh["refresh_token"]);
    assert_eq!(retried.json()["refresh_token"], turned["refresh_token"]);
    assert!(!is_active(&server, &contents.app, &contents.ended));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_is_damaged() {
    let database = Database::new().await;
    let replica = Replica::new(&database.url);
    let server = replica.serve_with(RETRIES);
    Contents::make(&replica, &server);
    assert_eq!(server.stop(), 0);
    for (damage, repair, table, cause) in [
        (
            "UPDATE keyfob.sessions SET active = NOT active",
            "UPDATE keyfob.sessions SET active = NOT active",
            "sessions",
            "its column active is wrong",
        ),
        (
            "UPDATE keyfob.sessions SET due = due + 1",
            "UPDATE keyfob.sessions SET due = due - 1",
            "sessions",
            "its column due is wrong",
        ),
        (
            "UPDATE keyfob.sessions SET record = record || '\\x00'",
            "UPDATE keyfob.sessions SET record = substring(record FROM 1 FOR length(record) - 1)",
            "sessions",
            "checksum",
        ),
        (
            "UPDATE keyfob.events SET position = position + 100 WHERE position > 3",
            "UPDATE keyfob.events SET position = position - 100 WHERE position > 3",
            "events",
            "",
        ),
        (
            "INSERT INTO keyfob.data VALUES ('00000000-0000-0000-0000-000000000000', '\\x01')",
            "DELETE FROM keyfob.data",
            "data",
            "its session does not exist",
        ),
        (
            "UPDATE keyfob.live SET sessions = sessions + 7",
            "UPDATE keyfob.live SET sessions = sessions - 7",
            "live",
            "not the number of active sessions",
        ),
    ] {
        database.run(damage).await;
        let output = run(replica.path(), &["--json", "db", "check"]);
        assert_eq!(output.status.code(), Some(1), "{damage}");
        let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
        let finds = checked["finds"].as_array().unwrap();
        let named = |find: &&Value| {
            find["table"] == table && find["cause"].as_str().is_some_and(|found| found.contains(cause))
        };
        assert!(finds.iter().any(|find| named(&find)), "{damage}: {checked}");
        database.run(repair).await;
        assert_sound(&replica);
    }
}

/// As after a recovery to a point in time: the database is again as it was, and keyfob cannot know what it
/// has acknowledged since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_sees_the_database_go_back_stops_and_recovered_ends_all_sessions() {
    let database = Database::new().await;
    let replica = Replica::new(&database.url);
    let server = replica.serve_with(RETRIES);
    let contents = Contents::make(&replica, &server);
    let refused = replica.refuses(&["db", "recovered"]);
    assert!(refused.contains("stop"), "a server runs: {refused}");
    // The state that comes back has no heartbeat of this run and an earlier end of the log.
    database
        .run(
            "DELETE FROM keyfob.replicas; DELETE FROM keyfob.events WHERE position = \
             (SELECT max(position) FROM keyfob.events); \
             UPDATE keyfob.head SET position = position - 1, events = events - 1",
        )
        .await;
    assert_eq!(wait_at_most(server, Duration::from_secs(20)), 1);
    let log = std::fs::read_to_string(replica.path().join("log.txt")).unwrap();
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("gone back") && last.contains("keyfob db recovered"), "{last}");
    let refused = replica.refuses(&["serve"]);
    assert!(refused.contains("keyfob db recovered"), "{refused}");
    done(&replica, &["db", "recovered"]);
    let server = replica.serve_with(RETRIES);
    contents.assert_restored(&replica, &server);
    assert_sound(&replica);
    assert_eq!(server.stop(), 0);
    let file = Replica::of_file();
    let refused = file.refuses(&["db", "recovered"]);
    assert!(refused.contains("keyfob db restore"), "{refused}");
}

/// It would acknowledge what the copy does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_replica_starts_while_a_database_is_copied() {
    let database = Database::new().await;
    let options = database.options();
    Postgres::create(&options, &keys()).await.unwrap();
    let source = DatabaseSource::open(&options, &keys()).await.unwrap();
    let refused = Postgres::open(&options, &keys()).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("lock timeout"), "{refused}");
    drop(source);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let running = database.open().await;
    let refused = DatabaseSource::open(&options, &keys()).await.map(drop).unwrap_err().to_string();
    assert!(refused.contains("replicas use the database"), "{refused}");
    drop(running);
}
