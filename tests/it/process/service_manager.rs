//! The real binary under systemd, which this test plays: sockets passed, readiness, reload, watchdog, stop.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::tempdir;

use crate::harness::process::{Process, data, free_port, keyfob};

/// What a service tells its manager.
pub struct Manager {
    socket: UnixDatagram,
    address: String,
}

impl Manager {
    pub fn in_directory(directory: &Path) -> Self {
        let path = directory.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        // Only a server that has stopped telling runs into this.
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { socket, address: path.display().to_string() }
    }

    /// What a service has in its environment.
    pub fn environment(&self) -> (&str, &str) {
        ("NOTIFY_SOCKET", &self.address)
    }

    /// The next thing told.
    pub fn told(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("the service tells something");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits until it is ready: at the start, or after a reload.
    pub fn until_ready(&self) -> String {
        loop {
            let told = self.told();
            if told.contains("READY=1\n") {
                return told;
            }
        }
    }
}

#[test]
fn the_manager_is_told_of_the_start_a_reload_and_the_stop() {
    let directory = tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let server = Process::with(directory.path(), &[manager.environment()]);
    assert_eq!(manager.told(), "STATUS=opening the store\n");
    let ready = manager.told();
    let address = &server.address;
    assert_eq!(ready, format!("READY=1\nSTATUS=serving http://{address} on {address}\n"));
    assert_eq!(
        server.send("GET", "/readyz", None, "text/plain", "").unwrap().status,
        200,
        "it is as it says"
    );

    server.signal(Signal::HUP);
    let reloading = manager.told();
    let (told, monotonic_usec) = reloading.trim_end().split_once('\n').unwrap();
    assert_eq!(told, "RELOADING=1");
    assert!(monotonic_usec.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(manager.told(), ready);

    server.signal(Signal::TERM);
    assert!(manager.told().starts_with("STOPPING=1\n"));
    assert_eq!(server.wait(), 0);
}

#[test]
fn the_watchdog_is_fed() {
    let directory = tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let _server = Process::with(directory.path(), &[manager.environment(), ("WATCHDOG_USEC", "20000")]);
    manager.until_ready();
    for _ in 0..3 {
        assert_eq!(manager.told(), "WATCHDOG=1\n");
    }
}

/// A server to which `socket` is passed as descriptor 3. Between this process and it there is a shell, since
/// only a new process knows its id.
fn activated(directory: &Path, socket: impl Into<OwnedFd>, pid: &str) -> Process {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("sh");
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID={pid} exec \"$0\" serve --listen {listen} --issuer http://{listen}"
    );
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_keyfob")])
        .current_dir(directory)
        .env_clear()
        .stdin(Stdio::from(socket.into()));
    Process::by(directory, &mut command, listen)
}

fn is_well(mut stream: impl Read + Write) {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_passed_tcp_socket_is_served_in_the_place_of_listen() {
    let directory = tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // What is asked before there is a server waits in the socket.
    let early = TcpStream::connect(address).unwrap();
    let server = activated(directory.path(), socket, "$$");
    assert!(server.greeting.contains(&format!("listens on {address}\n")), "{}", server.greeting);
    is_well(early);
    is_well(TcpStream::connect(address).unwrap());
    assert!(TcpStream::connect(&server.address).is_err(), "nothing else is listened on");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_passed_unix_socket_is_served_and_its_file_is_left_to_who_made_it() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("public.sock");
    let server = activated(directory.path(), UnixListener::bind(&path).unwrap(), "$$");
    assert!(
        server.greeting.contains(&format!("listens on unix:{}\n", path.display())),
        "{}",
        server.greeting
    );
    is_well(UnixStream::connect(&path).unwrap());
    assert_eq!(server.stop(), 0);
    assert!(path.exists() && !data(directory.path(), "admin.sock").exists());
}

#[test]
fn sockets_passed_to_another_process_are_not_ours() {
    let directory = tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for pid in ["1", "''"] {
        let server = activated(directory.path(), socket.try_clone().unwrap(), pid);
        is_well(TcpStream::connect(&server.address).unwrap());
        assert_eq!(server.stop(), 0);
    }
}

#[test]
fn a_passed_descriptor_that_is_no_such_socket_is_refused() {
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
    assert!(keyfob(directory.path(), &["init"]).output().unwrap().status.success(), "nothing was begun");
}
