//! The release binary as a process of its own, bound to the server's core.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::machine::on_server_core;

static BINARY: OnceLock<PathBuf> = OnceLock::new();

/// Sets the binary that is measured: the given one, or else the release build, with all its features. It is
/// built once more, because the tests ask features of the dependencies that the release does not have.
pub fn choose(binary: Option<PathBuf>) {
    let built = || {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--release", "--bin", "keyfob"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        // `cargo bench` sets these. ring's build script would run again because of them, and minutes of
        // compiling would follow here and at the next build.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
            build.env_remove(name);
        }
        build.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_LINKS");
        assert!(build.status().expect("cargo runs").success(), "the binary does not build");
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release/keyfob")
    };
    // The server runs in another directory.
    let absolute = |binary: PathBuf| binary.canonicalize().expect("there is such a binary");
    BINARY.set(binary.map_or_else(built, absolute)).expect("it is chosen once");
}

/// The binary that is measured.
pub fn binary() -> &'static Path {
    BINARY.get().expect("it was chosen at the start")
}

/// Settings of every run: tokens that outlive it, and idle connections that do too. All else is as it comes.
const CONFIG: &str = "[policy.default]\naccess_token_ttl = \"24h\"\nidle_timeout = \"24h\"\n[limits]\n\
                      header_timeout = \"10m\"\n[log]\nlevel = \"error\"\n";

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
}

impl Server {
    /// Starts one in `directory` and waits until it answers that it is ready. Answers how long that took,
    /// too.
    pub fn start(directory: &Path) -> (Self, Duration) {
        Self::start_with(directory, "")
    }

    /// The same with further sections of the configuration.
    pub fn start_with(directory: &Path, sections: &str) -> (Self, Duration) {
        Self::launch(directory, &format!("{CONFIG}{sections}"), |command| {
            on_server_core(|| command.spawn().expect("the binary is built"))
        })
    }

    /// The same on all cores, with this configuration.
    pub fn start_unbound(directory: &Path, config: &str) -> Self {
        Self::launch(directory, config, |command| command.spawn().expect("the binary is built")).0
    }

    fn launch(directory: &Path, config: &str, spawn: impl FnOnce(&mut Command) -> Child) -> (Self, Duration) {
        std::fs::write(directory.join("config.toml"), config).expect("the directory is ours");
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(binary());
        command
            .args(["serve", "--listen", &address, "--issuer", ISSUER])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let begun = Instant::now();
        let mut child = spawn(&mut command);
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut greeting = String::new();
        while !greeting.contains("listens on") {
            assert!(lines.read_line(&mut greeting).expect("it prints text") > 0, "the server did not start");
        }
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let took = begun.elapsed();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        (Self { child, port }, took)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGTERM, and the end.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.child.wait().expect("it ends").success(), "a stop by SIGTERM is no failure");
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `iss`, whatever the port.
pub const ISSUER: &str = "http://127.0.0.1:8080";

/// A port on which no process listens.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("there is a port")
        .port()
}
