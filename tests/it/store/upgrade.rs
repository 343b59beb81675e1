//! Stores and backups of every format that was ever written, in `tests/vectors/stores`: opened and restored
//! by the present code. `write` there wrote them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use keyfob::store::layout::{FORMAT, FORMAT_VERSION, format_of};
use redb::TableDefinition;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::process::run;
use crate::harness::server::{Auth, Client, Server, text};

/// What one of them contains.
struct Written {
    directory: PathBuf,
    expected: Value,
    app: Client,
}

impl Written {
    fn all() -> Vec<Self> {
        let stores = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/stores");
        let entries = fs::read_dir(stores).unwrap().map(|entry| entry.unwrap().path());
        let mut directories: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        directories.sort();
        for format in 1..=FORMAT_VERSION {
            let is_kept = directories.iter().any(|path| path.ends_with(format!("format-{format}")));
            assert!(is_kept, "no store of format {format} is kept: {directories:?}");
        }
        directories.into_iter().map(Self::read).collect()
    }

    fn read(directory: PathBuf) -> Self {
        let expected: Value =
            serde_json::from_slice(&fs::read(directory.join("expected.json")).unwrap()).unwrap();
        let app = Client { id: "app".into(), secret: text(&expected["app"]) };
        Self { directory, expected, app }
    }

    /// A directory with copies of these files, which only their owner may read, as keyfob requires.
    fn copy(&self, names: &[&str]) -> TempDir {
        let place = TempDir::new().unwrap();
        fs::create_dir(place.path().join("data")).unwrap();
        for name in names {
            let copy = place.path().join("data").join(name);
            fs::copy(self.directory.join(name), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        }
        place
    }

    /// A server on the files of `place`, a minute after they were written.
    async fn serve(&self, place: TempDir) -> Server {
        Server::on(place, self.expected["written_at"].as_i64().unwrap() + 60, &[]).await
    }

    fn tokens(&self, which: &str) -> Vec<String> {
        self.expected[which].as_array().unwrap().iter().map(text).collect()
    }

    /// The events that it had, as the server lists them now.
    async fn events(&self, server: &Server) -> Value {
        let events = server.get("/v1/events?limit=200", Auth::Basic(&server.admin)).await.json();
        let events = events["items"].as_array().unwrap();
        let known = self.expected["events"].as_array().unwrap().len();
        events[..known]
            .iter()
            .map(|event| Value::from(vec![event["cursor"].clone(), event["type"].clone()]))
            .collect()
    }
}

#[tokio::test]
async fn a_store_of_every_format_is_opened_and_answers_as_the_keyfob_that_wrote_it() {
    for written in Written::all() {
        let format = written.directory.display();
        let server = written.serve(written.copy(&["keyfob.redb", "master.key", "admin.json"])).await;
        for (which, active) in [("active", true), ("inactive", false)] {
            for token in written.tokens(which) {
                assert_eq!(server.is_active(&written.app, &token).await, active, "{format}: {token}");
            }
        }
        // The first ones have none.
        if !written.expected["active_for_admin"].is_null() {
            for token in written.tokens("active_for_admin") {
                assert!(server.is_active(&server.admin, &token).await, "{format}: {token}");
            }
        }
        let path = format!("/v1/sessions/{}", text(&written.expected["session"]));
        let session = server.get(&path, Auth::Basic(&written.app)).await.json();
        assert_eq!(session["claims"], written.expected["claims"], "{format}");
        assert_eq!(written.events(&server).await, written.expected["events"], "{format}");
        let refreshed = server.refresh(&written.app, &text(&written.expected["refresh_token"])).await;
        assert_eq!(refreshed.status, 200, "{format}: {}", refreshed.text());
        server.refresh(&written.app, &text(&refreshed.json()["refresh_token"])).await;
        let reused = server.refresh(&written.app, &text(&written.expected["spent_refresh_token"])).await;
        reused.assert_error(400, "invalid_grant");
        assert!(!server.is_active(&written.app, &text(&refreshed.json()["access_token"])).await, "{format}");
    }
}

#[tokio::test]
async fn a_store_of_every_format_has_no_fault_after_it_was_upgraded() {
    for written in Written::all() {
        let place = written.copy(&["keyfob.redb", "master.key", "admin.json"]);
        let path = place.path().to_owned();
        let mut server = written.serve(place).await;
        server.tend().await;
        server.stop().await;
        let checked = run(&path, &["db", "check"]);
        assert!(checked.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&checked.stderr));
    }
}

/// A restore ends all sessions, and keeps clients, keys and the event log. The backups of format 1 are not
/// authenticated, and the operator has to accept that.
#[tokio::test]
async fn a_backup_of_every_format_is_restored() {
    for written in Written::all() {
        let format = written.directory.display();
        let place = written.copy(&["backup", "master.key", "admin.json"]);
        let mut restored = run(place.path(), &["db", "restore", "data/backup"]);
        if written.directory.ends_with("format-1") {
            let refused = String::from_utf8_lossy(&restored.stderr);
            assert!(refused.contains("without authentication"), "{refused}");
            let accept = ["db", "restore", "data/backup", "--accept-unauthenticated"];
            restored = run(place.path(), &accept);
        }
        assert!(restored.status.success(), "{format}: {}", String::from_utf8_lossy(&restored.stderr));
        let server = written.serve(place).await;
        for token in [written.tokens("active"), written.tokens("inactive")].concat() {
            assert!(!server.is_active(&written.app, &token).await, "{format}: {token}");
        }
        assert_eq!(written.events(&server).await, written.expected["events"], "{format}");
        let opened = server.open(&written.app).await;
        assert!(server.is_active(&written.app, &text(&opened["session_token"])).await, "{format}");
    }
}

/// A keyfob names the format of a database, and the version of a backup, that a later one wrote.
#[test]
fn what_a_later_keyfob_wrote_is_refused_by_its_version() {
    let written = Written::all().pop().unwrap();
    let place = written.copy(&["keyfob.redb", "master.key", "admin.json", "backup"]);
    let (database, backup) = (place.path().join("data/keyfob.redb"), place.path().join("data/backup"));
    let refuses = |arguments: &[&str], expected: &str| {
        let refused = run(place.path(), arguments);
        let message = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && message.contains(expected), "{arguments:?}: {message}");
    };

    let later = fs::read(&backup).unwrap();
    let words = b"keyfob backup, version ";
    assert!(later.starts_with(words));
    fs::write(&backup, [words, &b"9"[..], &later[words.len() + 1..]].concat()).unwrap();
    refuses(&["db", "restore", "data/backup"], "version 9");

    let db = redb::Database::create(&database).unwrap();
    let transaction = db.begin_write().unwrap();
    let meta = TableDefinition::<&str, &[u8]>::new("meta");
    transaction.open_table(meta).unwrap().insert(FORMAT, &*format_of(9)).unwrap();
    transaction.commit().unwrap();
    drop(db);
    for arguments in [&["serve"][..], &["db", "check"], &["db", "stats"], &["db", "backup", "data/another"]] {
        refuses(arguments, "the database has format 9");
    }
}
