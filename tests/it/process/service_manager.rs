//! The real binary with this test in the role of systemd: passed sockets, readiness, reload, watchdog, stop.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::tempdir;

use crate::harness::process::{Process, data, free_port, keyfob, until_logged};

/// The notification socket of a service manager.
pub struct Manager {
    socket: UnixDatagram,
    address: String,
}

impl Manager {
    pub fn in_directory(directory: &Path) -> Self {
        let path = directory.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        // Reached only by a server that sends nothing.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, address: path.display().to_string() }
    }

    /// The variable that names the socket to the service.
    pub fn environment(&self) -> (&str, &str) {
        ("NOTIFY_SOCKET", &self.address)
    }

    /// The next notification.
    pub fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("the service sends a notification");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits for readiness: at the start, or after a reload.
    pub fn until_ready(&self) -> String {
        loop {
            let notification = self.next();
            if notification.contains("READY=1\n") {
                return notification;
            }
        }
    }
}

#[test]
fn the_start_a_reload_and_the_stop_are_notified() {
    let directory = tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let server = Process::with(directory.path(), &[manager.environment()]);
    assert_eq!(manager.next(), "STATUS=opening the store\n");
    let ready = manager.next();
    let address = &server.address;
    assert_eq!(ready, format!("READY=1\nSTATUS=serving http://{address} on {address}\n"));
    assert_eq!(
        server.send("GET", "/readyz", None, "text/plain", "").unwrap().status,
        200,
        "it is ready when it says so"
    );

    server.signal(Signal::HUP);
    let reloading = manager.next();
    let (state, monotonic_usec) = reloading.trim_end().split_once('\n').unwrap();
    assert_eq!(state, "RELOADING=1");
    assert!(monotonic_usec.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(manager.next(), ready);

    server.signal(Signal::TERM);
    assert!(manager.next().starts_with("STOPPING=1\n"));
    assert_eq!(server.wait(), 0);
}

#[test]
fn the_watchdog_is_notified() {
    let directory = tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let _server = Process::with(directory.path(), &[manager.environment(), ("WATCHDOG_USEC", "20000")]);
    manager.until_ready();
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1\n");
    }
}

/// A server to which `socket` is passed as descriptor 3. A shell starts it, since only the new process knows
/// its own id.
fn activated(directory: &Path, socket: impl Into<OwnedFd>, pid: &str) -> Process {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("sh");
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID={pid} exec \"$0\" serve --listen {listen} --issuer \
         http://{listen}"
    );
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_keyfob")])
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::from(socket.into()));
    Process::by(directory, &mut command, listen)
}

fn assert_ready(mut stream: impl Read + Write) {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_passed_tcp_socket_is_served_instead_of_listen() {
    let directory = tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // A connection from before the start waits in the socket.
    let early = TcpStream::connect(address).unwrap();
    let server = activated(directory.path(), socket, "$$");
    assert!(server.greeting.contains(&format!("listens on {address}\n")), "{}", server.greeting);
    assert_ready(early);
    assert_ready(TcpStream::connect(address).unwrap());
    assert!(TcpStream::connect(&server.address).is_err(), "there is no other listener");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_passed_unix_socket_is_served_and_its_file_is_not_removed() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let server = activated(directory.path(), UnixListener::bind(&path).unwrap(), "$$");
    assert!(
        server.greeting.contains(&format!("listens on unix:{}\n", path.display())),
        "{}",
        server.greeting
    );
    assert_ready(UnixStream::connect(&path).unwrap());
    assert_eq!(server.stop(), 0);
    assert!(path.exists() && !data(directory.path(), "admin.sock").exists());
}

#[test]
fn sockets_passed_to_another_process_are_not_used() {
    let directory = tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for pid in ["1", "''"] {
        let server = activated(directory.path(), socket.try_clone().unwrap(), pid);
        assert_ready(TcpStream::connect(&server.address).unwrap());
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn a_passed_descriptor_that_is_not_a_stream_socket_stops_the_start() {
    let directory = tempdir().unwrap();
    let mut command = Command::new("sh");
    let script = "exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve";
    command.args(["-c", script, env!("CARGO_BIN_EXE_keyfob")]).current_dir(directory.path()).env_clear();
    let refused = command.output().unwrap();
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        error.contains("neither TCP nor a Unix stream socket") && error.contains("ListenStream="),
        "{error}"
    );
    assert!(
        keyfob(directory.path(), &["init"]).output().unwrap().status.success(),
        "no file was created before"
    );
}

/// nginx sent a POST on an idle connection at the moment of the stop, had no answer, and answered 502.
#[test]
fn a_restart_with_a_passed_socket_answers_every_request() {
    let directory = tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = activated(directory.path(), socket.try_clone().unwrap(), "$$");
    for _ in 0..4 {
        let mut idle = TcpStream::connect(address).unwrap();
        idle.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = vec![0; 4096];
        let length = idle.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
        // Established before the stop, with a request after it.
        let early = TcpStream::connect(address).unwrap();
        server.signal(Signal::TERM);
        until_logged(directory.path(), "stopping:");
        assert_answered(idle);
        assert_answered(early);
        // Either process may accept it.
        let mut waiting = TcpStream::connect(address).unwrap();
        ask(&mut waiting);
        assert_eq!(server.wait(), 0);
        std::fs::remove_file(directory.path().join("log.txt")).unwrap();
        server = activated(directory.path(), socket.try_clone().unwrap(), "$$");
        assert_answer(waiting);
    }
}

fn assert_answered(mut stream: TcpStream) {
    ask(&mut stream);
    assert_answer(stream);
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
}

fn assert_answer(mut stream: TcpStream) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
