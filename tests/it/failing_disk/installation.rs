//! An installation in a directory of its own, and its server on a Unix socket.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::shim::FailingDisk;
use crate::harness::process::{admin, data, exchange, keyfob, run};
use crate::harness::server::{Answer, Client, text};

/// Tokens do not depend on where the server listens. With `http` it would log a warning.
pub const ISSUER: &str = "https://id.example";
/// All runs of a scenario copy the same tokens, which must not expire meanwhile.
const LASTING: [(&str, &str); 3] = [
    ("KEYFOB_POLICY__DEFAULT__ACCESS_TOKEN_TTL", "12h"),
    ("KEYFOB_POLICY__DEFAULT__IDLE_TIMEOUT", "12h"),
    ("KEYFOB_POLICY__DEFAULT__REFRESH_RETRY_WINDOW", "5m"),
];
/// In the directory of the installation.
pub const LISTEN: &str = "unix:socket";
/// A server that takes longer to answer, to start or to stop hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The files that a stopped server leaves.
pub const FILES: [&str; 4] = ["admin.json", "keyfob.pid", "keyfob.redb", "master.key"];

/// A directory with a store in `data`.
pub struct Installation {
    pub directory: TempDir,
}

/// A running server. Killed when dropped.
pub struct Served {
    child: Child,
    socket: PathBuf,
}

/// A server that did not start.
#[derive(Debug)]
pub struct NotStarted {
    pub status: ExitStatus,
    /// What it logged.
    pub log: String,
}

impl Installation {
    /// An empty directory.
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        Self { directory }
    }

    /// A copy of the files of another one.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        for name in FILES {
            fs::copy(data(self.path(), name), data(copy.path(), name)).unwrap();
        }
        copy
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A disk that fails for the files in `data`.
    pub fn disk(&self, fault: super::Fault) -> FailingDisk {
        FailingDisk::new(&self.path().join("data"), fault)
    }

    /// Starts the server; its log is appended to `log.txt`.
    pub fn serve(&self, disk: Option<&FailingDisk>) -> Result<Served, NotStarted> {
        let mut command = keyfob(self.path(), &["serve", "--listen", LISTEN, "--issuer", ISSUER]);
        command.envs(LASTING);
        if let Some(disk) = disk {
            disk.under(&mut command);
        }
        self.serve_by(&mut command)
    }

    /// The same on a disk that works, with settings in its environment.
    pub fn serve_with(&self, settings: &[(&str, &str)]) -> Result<Served, NotStarted> {
        let mut command = keyfob(self.path(), &["serve", "--listen", LISTEN, "--issuer", ISSUER]);
        self.serve_by(command.envs(settings.iter().copied()))
    }

    /// Starts it by a command in this directory that lets it listen on `LISTEN`.
    pub fn serve_by(&self, command: &mut Command) -> Result<Served, NotStarted> {
        let path = self.path().join("log.txt");
        let before = length(&path);
        let log = File::options().append(true).create(true).open(&path).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !greeting.contains("try it") && lines.read_line(&mut greeting).unwrap() > 0 {}
        if greeting.contains("try it") {
            return Ok(Served { child, socket: self.path().join("socket") });
        }
        let status = child.wait().unwrap();
        Err(NotStarted { status, log: self.log().split_off(before) })
    }

    /// All that its servers logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log.txt")).unwrap_or_default()
    }

    /// The names in `data`.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().join("data")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn admin(&self) -> Client {
        admin(self.path())
    }

    /// Asserts that `keyfob db check` finds nothing.
    pub fn check(&self) {
        let output = run(self.path(), &["--json", "db", "check"]);
        let checked: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("db check: {}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!((output.status.code(), &checked["finds"]), (Some(0), &json!([])), "db check");
    }
}

impl Served {
    /// The answer; `None` if the server is gone.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        client: &Client,
        content_type: &str,
        body: &str,
    ) -> Option<Answer> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match exchange(&mut stream, method, path, Some(client), content_type, body) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("no answer to {path}"),
            answer => answer.ok(),
        }
    }

    pub fn form(&self, path: &str, client: &Client, body: &str) -> Option<Answer> {
        self.send("POST", path, client, "application/x-www-form-urlencoded", body)
    }

    /// Sends JSON, or no body for null.
    pub fn json(&self, method: &str, path: &str, client: &Client, body: &Value) -> Option<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, client, "application/json", &body)
    }

    pub fn get(&self, path: &str, client: &Client) -> Option<Answer> {
        self.send("GET", path, client, "application/json", "")
    }

    /// The status of `/readyz`; `None` if the server is gone.
    pub fn readiness(&self, client: &Client) -> Option<u16> {
        self.get("/readyz", client).map(|answer| answer.status)
    }

    /// Registers the client `app`.
    pub fn register(&self, admin: &Client) -> Client {
        let fields = json!({
            "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        });
        let created = self.json("POST", "/v1/clients", admin, &fields).unwrap();
        assert_eq!(created.status, 201, "{}", created.text());
        Client { id: "app".into(), secret: text(&created.json()["client_secret"]) }
    }

    pub fn open(&self, client: &Client, subject: &str) -> Value {
        let opened = self.json("POST", "/v1/sessions", client, &json!({ "subject": subject })).unwrap();
        assert_eq!(opened.status, 201, "{}", opened.text());
        opened.json()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGTERM, and a clean end.
    pub fn stop(self) {
        self.terminate();
        assert_eq!(self.wait().code(), Some(0), "a clean stop");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command on a disk.
pub fn command(directory: &Path, disk: Option<&FailingDisk>, arguments: &[&str]) -> std::process::Output {
    let mut command: Command = keyfob(directory, arguments);
    if let Some(disk) = disk {
        disk.under(&mut command);
    }
    command.output().unwrap()
}

fn length(path: &Path) -> usize {
    path.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap())
}
