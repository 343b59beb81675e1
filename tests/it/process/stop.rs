//! The stop: requests in progress, idle connections, the drain delay, and a start that waits for it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use tempfile::tempdir;

use crate::harness::process::{Process, admin, data, free_port, keyfob, until_logged};
use crate::harness::server::{basic, text};

/// Starts a request and returns its connection when the server asks for the two bytes of the body: then the
/// request is in progress.
fn in_progress(server: &Process, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(stream, "{request}\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

const INTROSPECTION: &str =
    "POST /oauth2/introspect HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";

#[test]
fn the_stop_answers_requests_in_progress_and_closes_idle_connections() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let mut idle = TcpStream::connect(&server.address).unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).unwrap();
    let mut asking = in_progress(&server, INTROSPECTION);
    server.signal(Signal::TERM);
    let mut rest = String::new();
    idle.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("{\"status\":\"ok\",") && rest.ends_with("\"}"),
        "idle connections are closed while a request is in progress: {rest}"
    );
    asking.write_all(b"{}").unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_request"), "{answer}");
    assert_eq!(server.wait(), 0);
}

#[test]
fn a_long_poll_for_events_is_answered_when_the_server_stops() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let administrator = admin(directory.path());
    let head = server
        .send("GET", "/v1/events?limit=1", Some(&administrator), "text/plain", "")
        .unwrap()
        .json()["head"]
        .clone();
    let path = format!("/v1/events?wait=60&after={}", text(&head));
    let authorization = basic(&administrator.id, &administrator.secret);
    let mut waiting = in_progress(&server, &format!("GET {path} HTTP/1.1\r\nAuthorization: {authorization}"));
    waiting.write_all(b"{}").unwrap();
    server.signal(Signal::TERM);
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"items\":[]"), "{answer}");
    assert_eq!(server.wait(), 0);
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    assert!(log.contains("stopped"), "{log}");
}

#[test]
fn a_second_signal_cuts_off_requests_in_progress_and_the_store_is_still_closed() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let mut asking = in_progress(&server, INTROSPECTION);
    server.signal(Signal::TERM);
    // The listener is closed, so the first signal has arrived.
    while TcpStream::connect(&server.address).is_ok() {}
    server.signal(Signal::TERM);
    let _ = asking.read_to_string(&mut String::new());
    assert_eq!(server.wait(), 0);
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    assert!(
        log.contains("second stop signal")
            && log.lines().last().is_some_and(|line| line.contains(" stopped")),
        "{log}"
    );
    assert!(!data(directory.path(), "admin.sock").exists());
    Process::start(directory.path());
}

/// Kubernetes sends connections to a container for a moment after SIGTERM; they were refused.
#[test]
fn with_a_drain_delay_a_stopping_server_is_not_ready_and_still_accepts() {
    let directory = tempdir().unwrap();
    let server = Process::with(directory.path(), &[("KEYFOB_SERVER__DRAIN_DELAY", "60s")]);
    let get = |path| server.send("GET", path, None, "text/plain", "").unwrap();
    assert_eq!(get("/readyz").status, 200);
    server.signal(Signal::TERM);
    until_logged(directory.path(), "stopping:");
    let unready = get("/readyz");
    assert_eq!((unready.status, unready.text().contains("the server is stopping")), (503, true));
    let alive = get("/healthz");
    assert_eq!((alive.status, alive.header("connection")), (200, "close"));
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), 0);
}

#[test]
fn the_drain_delay_ends_by_itself() {
    let directory = tempdir().unwrap();
    let server = Process::with(directory.path(), &[("KEYFOB_SERVER__DRAIN_DELAY", "10ms")]);
    assert_eq!(server.stop(), 0);
}

/// A supervisor that starts the next process while the previous one drains was refused after five seconds.
#[test]
fn a_start_waits_for_a_server_that_is_stopping() {
    let directory = tempdir().unwrap();
    let port = free_port();
    let first = Process::at(directory.path(), port, &[]);
    let mut asking = in_progress(&first, INTROSPECTION);
    first.signal(Signal::TERM);
    until_logged(directory.path(), "stopping:");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| Process::at(directory.path(), port, &[]));
        until_logged(directory.path(), "waiting for the previous server to stop");
        asking.write_all(b"{}").unwrap();
        asking.read_to_string(&mut String::new()).unwrap();
        assert_eq!(first.wait(), 0);
        assert_eq!(second.join().unwrap().stop(), 0);
    });
}

#[test]
fn a_start_that_waits_for_a_stopping_server_can_be_stopped() {
    let directory = tempdir().unwrap();
    let server = Process::with(directory.path(), &[("KEYFOB_SERVER__DRAIN_DELAY", "60s")]);
    server.signal(Signal::TERM);
    until_logged(directory.path(), "stopping:");
    let mut waiting = keyfob(directory.path(), &["serve"]);
    let log = fs::File::options().append(true).open(directory.path().join("log.txt")).unwrap();
    let mut waiting = waiting.stderr(log).spawn().unwrap();
    until_logged(directory.path(), "waiting for the previous server to stop");
    let id = rustix::process::Pid::from_raw(i32::try_from(waiting.id()).unwrap()).unwrap();
    rustix::process::kill_process(id, Signal::TERM).unwrap();
    assert!(waiting.wait().unwrap().success());
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), 0);
}
