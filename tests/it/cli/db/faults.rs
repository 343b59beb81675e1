//! The power of an impatient person: interrupted, killed, and without room.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{House, json_of, names, said};
use crate::harness::process::{data, keyfob};
use crate::harness::server::text;

fn spawn(directory: &Path, arguments: &[&str]) -> Child {
    keyfob(directory, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for something that a process does, for as long as that runs.
fn until(child: &mut Child, done: impl Fn() -> bool) -> bool {
    while !done() {
        if child.try_wait().unwrap().is_some() {
            return done();
        }
        std::thread::yield_now();
    }
    true
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A command that can write no file longer than so many KiB: as on a full disk, writing fails in the middle.
fn without_room(directory: &Path, kib: u32, arguments: &str) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" {arguments}");
    let mut command = Command::new("bash");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_keyfob")])
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.output().unwrap()
}

#[test]
fn an_interrupted_backup_leaves_nothing_and_a_killed_one_is_taken_over() {
    let house = House::new();
    house.fill();
    let partial = house.file("b.backup.partial");
    let arguments = ["db", "backup", "b.backup", "--rate", "1MiB"];
    for stop in [Signal::INT, Signal::TERM] {
        let mut child = spawn(house.path(), &arguments);
        assert!(until(&mut child, || length(&partial) > 0));
        signal(&child, stop);
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), said(&output)),
            (Some(1), "keyfob: interrupted; no partial backup was left behind\n".into())
        );
        assert!(!partial.exists() && !house.file("b.backup").exists());
    }
    let mut child = spawn(house.path(), &arguments);
    assert!(until(&mut child, || length(&partial) > 0));
    let second = keyfob(house.path(), &arguments).output().unwrap();
    assert!(
        said(&second).contains("another backup is being written to b.backup.partial"),
        "{}",
        said(&second)
    );
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(partial.exists() && !house.file("b.backup").exists());
    house.json(&["db", "backup", "b.backup"]);
    assert!(!partial.exists() && length(&house.file("b.backup")) > 3_500_000);
}

#[test]
fn without_room_a_backup_and_a_restore_fail_and_leave_what_was_there() {
    let mut house = House::new();
    house.fill();
    let output = without_room(house.path(), 1024, "db backup b.backup");
    assert!(
        output.status.code() == Some(1)
            && said(&output).contains("b.backup.partial cannot be written: File too large"),
        "{}",
        said(&output)
    );
    assert!(!names(house.path()).iter().any(|name| name.starts_with("b.backup")));

    house.json(&["db", "backup", "b.backup"]);
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let before = (names(&house.file("data")), fs::read(data(house.path(), "keyfob.redb")).unwrap());
    let output = without_room(house.path(), 2048, "db restore b.backup");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("File too large") && said(&output).contains("nothing was changed"),
        "{}",
        said(&output)
    );
    assert!(before == (names(&house.file("data")), fs::read(data(house.path(), "keyfob.redb")).unwrap()));
}

#[test]
fn an_interrupted_restore_changes_nothing() {
    let mut house = House::new();
    house.fill();
    house.json(&["db", "backup", "b.backup"]);
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let before = (names(&house.file("data")), fs::read(data(house.path(), "keyfob.redb")).unwrap());
    let mut child = spawn(house.path(), &["db", "restore", "b.backup"]);
    let restoring = data(house.path(), "keyfob.restoring");
    assert!(until(&mut child, || length(&restoring) > 0));
    signal(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output)),
        (Some(1), "keyfob: interrupted; nothing was changed\n".into())
    );
    assert!(before == (names(&house.file("data")), fs::read(data(house.path(), "keyfob.redb")).unwrap()));
}

/// Killed at any moment, a restore leaves the old database or the new one, whole, and the next one tidies up.
#[test]
fn a_killed_restore_leaves_the_old_database_or_the_new_one() {
    const KILLS: usize = 15;
    let mut house = House::new();
    for number in 0..40 {
        house.open(&number.to_string());
    }
    house.json(&["db", "backup", "b.backup"]);
    let marked = text(&house.open("after the backup")["session"]["id"]);
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let (database, restoring) = (data(house.path(), "keyfob.redb"), data(house.path(), "keyfob.restoring"));
    let old = fs::read(&database).unwrap();
    let second_name = || names(&house.file("data")).iter().any(|name| name.starts_with("keyfob.replaced-"));
    let mut outcomes = [0; 2];
    for round in 0..KILLS {
        fs::write(&database, &old).unwrap();
        let mut child = spawn(house.path(), &["db", "restore", "b.backup"]);
        // Some from its beginning on, some from when it has begun to write, some from when the old database
        // has its second name.
        match round % 3 {
            0 => {}
            1 => assert!(until(&mut child, || length(&restoring) > 0)),
            _ => _ = until(&mut child, second_name),
        }
        (0..round * round * 100).for_each(|_| std::thread::yield_now());
        let _ = child.kill();
        child.wait().unwrap();
        let checked = json_of(house.path(), &["db", "check"]);
        assert_eq!(checked["finds"], json!([]), "round {round}");
        let stats = json_of(house.path(), &["db", "stats"]);
        assert!(!restoring.exists(), "who opens the database next removes what the killed one has left");
        let is_new = stats["epoch"] == 2;
        outcomes[usize::from(is_new)] += 1;
        let sessions: Vec<Value> = json_of(house.path(), &["session", "list"]).as_array().unwrap().clone();
        assert_eq!(sessions.iter().any(|session| session["id"] == marked), !is_new, "round {round}");
        assert_eq!(sessions.iter().all(|session| session["state"] == "ended"), is_new, "round {round}");
        for name in
            names(&house.file("data")).iter().filter(|name| is_new && name.starts_with("keyfob.replaced-"))
        {
            fs::remove_file(data(house.path(), name)).unwrap();
        }
    }
    assert!(outcomes[0] > 0, "no kill ever came before the end: {outcomes:?}");
    fs::write(&database, &old).unwrap();
    let restored = json_of(house.path(), &["db", "restore", "b.backup"]);
    let kept = text(&restored["kept"]);
    let kept = kept.rsplit_once('/').unwrap().1;
    assert_eq!(names(&house.file("data")), ["admin.json", "keyfob.pid", "keyfob.redb", kept, "master.key"]);
    // Opening it may have removed free pages at its end.
    fs::rename(house.file("data").join(kept), &database).unwrap();
    let sessions = json_of(house.path(), &["session", "list"]);
    assert!(sessions.as_array().unwrap().iter().any(|session| session["id"] == marked));
}
