//! Commands whose disk fails at each operation: `init`, a backup, a restore, an upgrade; and the log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::installation::{FILES, ISSUER, Installation, LISTEN, command};
use super::shim::{FailingDisk, KINDS};
use super::{Fault, Ran, at_each_operation};
use crate::harness::process::{data, run};
use crate::harness::server::text;

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// One line, with the cause and what to do. Returns it.
fn assert_refused(output: &Output, disk: &FailingDisk, fault: Fault) -> String {
    let (said, first) = (said(output), disk.first_failure().expect("a reason"));
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{first}: {said}");
    assert!(said.starts_with("keyfob: ") && said.contains(fault.kind.cause()), "{first}: {said}");
    assert!(said.contains("; "), "{first}: what to do: {said}");
    said
}

fn ran(disk: &FailingDisk) -> Ran {
    Ran { operations: disk.operations(), reached: disk.first_failure().is_some() }
}

fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    let output = run(directory, &[&["--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The administrator whose credentials are in `admin.json` is the one that the store knows.
fn assert_usable(place: &Installation) {
    let server = place.serve(None).unwrap_or_else(|failed| panic!("the next start: {failed:?}"));
    let clients = server.get("/v1/clients", &place.admin()).unwrap();
    assert_eq!(clients.status, 200, "the administrator's secret: {}", clients.text());
    server.stop();
    place.check();
    assert_eq!(place.names(), FILES);
}

/// A first start that failed anywhere is completed by the next one, with the same key.
#[test]
fn an_interrupted_first_start_is_completed_by_the_next_one() {
    at_each_operation("keyfob init", &KINDS, 4, |fault| {
        let place = Installation::new();
        let disk = place.disk(fault);
        let output = command(place.path(), Some(&disk), &["--json", "init"]);
        let key = fs::read(data(place.path(), "master.key")).ok();
        let mut initialised = output.status.success();
        if initialised {
            assert_eq!(said(&output), "");
            let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(text(&printed["client_secret"]), place.admin().secret);
        } else {
            assert_refused(&output, &disk, fault);
            assert!(!place.names().iter().any(|name| name == "keyfob.new") || fault.kind.removal_fails());
        }
        let next = json_of(place.path(), &["init"]);
        initialised |= next["initialised"] == json!(true);
        assert!(initialised || data(place.path(), "admin.json").exists());
        assert!(key.is_none_or(|key| key == fs::read(data(place.path(), "master.key")).unwrap()));
        assert_usable(&place);
        ran(&disk)
    });
}

/// The same by a server; one that listens has started completely.
#[test]
fn a_server_that_cannot_start_is_started_by_the_next_attempt() {
    at_each_operation("a first start", &KINDS, 8, |fault| {
        let place = Installation::new();
        let disk = place.disk(fault);
        match place.serve(Some(&disk)) {
            Ok(server) => {
                server.terminate();
                server.wait();
            }
            Err(failed) => {
                let last = failed.log.trim_end().lines().last().unwrap_or_default();
                assert_eq!(failed.status.code(), Some(1), "{}", failed.log);
                assert!(last.starts_with("keyfob: ") && last.contains(fault.kind.cause()), "{last}");
                assert!(last.contains("; "), "what to do: {last}");
            }
        }
        assert_usable(&place);
        ran(&disk)
    });
}

/// A store with sessions, its backup in `b.backup`, and a session that was opened after that.
fn backed_up() -> &'static Installation {
    static PLACE: OnceLock<Installation> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = Installation::new();
        json_of(place.path(), &["init"]);
        let open = |subject| {
            json_of(place.path(), &["session", "create", "--subject", subject, "--client-id", "admin"]);
        };
        ["alice", "bob", "carol"].into_iter().for_each(open);
        json_of(place.path(), &["db", "backup", "b.backup"]);
        open("dave");
        place
    })
}

fn sessions(place: &Installation) -> Vec<Value> {
    json_of(place.path(), &["session", "list"]).as_array().unwrap().clone()
}

fn subjects_of(sessions: &[Value], state: &str) -> Vec<String> {
    let of_state = sessions.iter().filter(|session| session["state"] == state);
    let mut subjects: Vec<_> = of_state.map(|session| text(&session["subject"])).collect();
    subjects.sort();
    subjects
}

/// A backup is whole or not there, and the error names its file. The store is as before.
#[test]
fn a_backup_that_cannot_be_written_leaves_no_file() {
    let template = backed_up();
    at_each_operation("keyfob db backup", &KINDS, 4, |fault| {
        let place = template.copy();
        let disk = place.disk(fault);
        let output = command(place.path(), Some(&disk), &["db", "backup", "data/new.backup"]);
        let [whole, partial] =
            ["new.backup", "new.backup.partial"].map(|name| data(place.path(), name).exists());
        assert!(!partial || fault.kind.removal_fails(), "{:?} left a partial backup", disk.first_failure());
        if output.status.success() {
            assert_eq!(said(&output), "");
        } else {
            let said = assert_refused(&output, &disk, fault);
            assert_eq!(whole, said.contains("is complete"), "{said}");
        }
        assert_eq!(subjects_of(&sessions(&place), "active"), ["alice", "bob", "carol", "dave"]);
        place.check();
        let others = [(whole, "new.backup"), (partial, "new.backup.partial")];
        let others = others.into_iter().filter(|(exists, _)| *exists).map(|(_, name)| name);
        let mut expected: Vec<_> = FILES.into_iter().chain(others).collect();
        expected.sort_unstable();
        assert_eq!(place.names(), expected);
        if whole {
            json_of(place.path(), &["db", "restore", "data/new.backup"]);
            assert_eq!(subjects_of(&sessions(&place), "ended"), ["alice", "bob", "carol", "dave"]);
        }
        ran(&disk)
    });
}

/// The database is the old one, or the restored one, and the command reports which.
#[test]
fn a_restore_that_fails_leaves_the_old_database() {
    let template = backed_up();
    at_each_operation("keyfob db restore", &KINDS, 6, |fault| {
        let place = template.copy();
        let backup = template.path().join("b.backup");
        let disk = place.disk(fault);
        let output = command(place.path(), Some(&disk), &["db", "restore", backup.to_str().unwrap()]);
        let restored = json_of(place.path(), &["db", "stats"])["epoch"] == 2;
        let said = if output.status.success() {
            assert!(restored, "{}", String::from_utf8_lossy(&output.stdout));
            String::new()
        } else {
            assert_refused(&output, &disk, fault)
        };
        let (active, ended): (&[&str], &[&str]) = if restored {
            assert!(!said.contains("nothing was changed") && !said.contains("unchanged"), "{said}");
            (&[], &["alice", "bob", "carol"])
        } else {
            (&["alice", "bob", "carol", "dave"], &[])
        };
        let found = sessions(&place);
        assert_eq!(
            (subjects_of(&found, "active"), subjects_of(&found, "ended")),
            (owned(active), owned(ended))
        );
        place.check();
        let left: Vec<_> = place.names().into_iter().filter(|name| !FILES.contains(&name.as_str())).collect();
        let replaced = |name: &String| name.starts_with("keyfob.replaced-");
        let expected = usize::from(restored || (fault.kind.removal_fails() && !left.is_empty()));
        assert!(left.iter().all(replaced) && left.len() == expected, "{:?}: {left:?}", disk.first_failure());
        ran(&disk)
    });
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A database of format 1 is upgraded at its first start, or at the next one.
#[test]
fn an_interrupted_upgrade_is_completed_by_the_next_start() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/stores/format-1");
    let place_of_format_1 = || {
        let place = Installation::new();
        for name in ["keyfob.redb", "master.key", "admin.json"] {
            let copy = data(place.path(), name);
            fs::copy(vectors.join(name), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o600)).unwrap();
        }
        place
    };
    let ids = |place: &Installation| -> Vec<Value> {
        sessions(place).iter().map(|session| session["id"].clone()).collect()
    };
    let expected = ids(&place_of_format_1());
    assert!(!expected.is_empty());
    at_each_operation("an upgrade", &KINDS, 6, |fault| {
        let place = place_of_format_1();
        let disk = place.disk(fault);
        let output = command(place.path(), Some(&disk), &["db", "stats"]);
        if !output.status.success() {
            assert_refused(&output, &disk, fault);
        }
        assert_eq!(ids(&place), expected);
        place.check();
        assert_eq!(place.names(), FILES);
        ran(&disk)
    });
}

/// The log is lost, and nothing else.
#[test]
fn a_server_whose_log_cannot_be_written_serves() {
    let place = Installation::new();
    for log in ["/dev/full", "&-"] {
        let script = format!("exec \"$0\" serve --listen {LISTEN} --issuer {ISSUER} 2>{log}");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_keyfob")]).current_dir(place.path()).env_clear();
        let server = place.serve_by(&mut command).unwrap();
        let fields = json!({ "subject": "alice", "client_id": "admin" });
        let opened = server.json("POST", "/v1/sessions", &place.admin(), &fields).unwrap();
        assert_eq!(opened.status, 201, "{}", opened.text());
        server.stop();
    }
    assert_eq!(place.log(), "");
}
