//! The store as a whole: checked, measured, backed up and restored.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::{Process, run};
use crate::harness::server::{Client, text};

mod backup;
mod damage;
mod faults;
mod lost;
mod refusals;

/// An installation with a server, and the client `app`.
struct House {
    directory: TempDir,
    server: Option<Process>,
    app: Client,
}

impl House {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        let server = Some(Process::with(directory.path(), settings));
        let app = client(directory.path(), "app");
        Self { directory, server, app }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn server(&self) -> &Process {
        self.server.as_ref().unwrap()
    }

    /// A file beside the directory of the store.
    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// What a command that succeeds prints for a program.
    fn json(&self, arguments: &[&str]) -> Value {
        json_of(self.path(), arguments)
    }

    /// Opens a session with so much data that the store soon is a few megabytes large.
    fn open(&self, subject: &str) -> Value {
        let body = json!({ "subject": subject, "data": { "padding": "x".repeat(16_000) } });
        let answer = self.server().json("POST", "/v1/sessions", Some(&self.app), &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// Opens sessions until a backup takes a few seconds at its slowest.
    fn fill(&self) {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (0..60).for_each(|number| _ = self.open(&format!("{thread}-{number}"))));
            }
        });
    }
}

/// A client that opens sessions, refreshes, introspects, and has tokens of its own.
fn client(directory: &Path, id: &str) -> Client {
    let create = [
        "client",
        "create",
        id,
        "--permission",
        "sessions,introspect",
        "--grant",
        "refresh_token,client_credentials",
    ];
    let created = json_of(directory, &create);
    Client { id: id.into(), secret: text(&created["client_secret"]) }
}

fn says(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&says(directory, &[&["--json"], arguments].concat())).unwrap()
}

/// The one line of a command that is refused.
fn refuses(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    let line = said(&output);
    assert!(line.starts_with("keyfob: ") && line.lines().count() == 1, "{line}");
    line
}

/// What a command says on standard error.
fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
