//! Start and stop of the real server: what the first start creates, what a second one finds, and what is
//! refused.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::harness::process::{
    Process, admin, data, free_port, keyfob, program_in, run, through_socket, until_logged,
};
use crate::harness::server::{Client, basic, text};

mod commands;
mod containers;
mod refusals;

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

/// The file names in `data/`, sorted.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory.join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn get(server: &Process, path: &str, client: Option<&Client>) -> Value {
    let answer = server.send("GET", path, client, "application/json", "").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[test]
fn the_first_start_creates_every_file_for_its_owner_only() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    assert_eq!(mode(&directory.path().join("data")), 0o700);
    assert_eq!(
        names(directory.path()),
        ["admin.json", "admin.sock", "keyfob.pid", "keyfob.redb", "master.key"]
    );
    for name in names(directory.path()) {
        assert_eq!(mode(&data(directory.path(), &name)), 0o600, "{name}");
    }
    let credentials: Value =
        serde_json::from_slice(&fs::read(data(directory.path(), "admin.json")).unwrap()).unwrap();
    assert_eq!(
        credentials.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["client_id", "client_secret", "issuer"]
    );
    assert_eq!(
        (&credentials["client_id"], &credentials["issuer"]),
        (&json!("admin"), &json!(format!("http://{}", server.address)))
    );
    let administrator = get(&server, "/v1/clients/admin", Some(&admin(directory.path())));
    assert_eq!(
        (&administrator["permissions"], &administrator["grants"]),
        (&json!(["admin"]), &json!(["refresh_token", "client_credentials"]))
    );
    assert_eq!(server.stop(), 0);
    assert!(!data(directory.path(), "admin.sock").exists(), "removed on a clean stop");
}

#[test]
fn the_data_directory_of_the_repository_is_restricted_to_its_owner() {
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::set_permissions(directory.path().join("data"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(data(directory.path(), ".gitignore"), "*\n").unwrap();
    let _server = Process::start(directory.path());
    assert_eq!(mode(&directory.path().join("data")), 0o700);
    assert_eq!(fs::read(data(directory.path(), ".gitignore")).unwrap(), b"*\n");
}

/// The word after `option`, as a shell would read it.
fn quoted<'a>(line: &'a str, option: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("{option} '")).unwrap_or_else(|| panic!("{option} in {line}"));
    rest.split_once('\'').unwrap().0
}

/// The test splits the line as a shell does, so that it needs no curl.
#[test]
fn the_start_prints_what_to_do_next_and_its_curl_line_works() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let greeting = &server.greeting;
    for reported in
        [&server.address, &format!("http://{}/docs", server.address), "data/admin.json (just created)"]
    {
        assert!(greeting.contains(reported), "{reported} in {greeting}");
    }
    assert!(!greeting.contains(&admin(directory.path()).secret), "the secret is in its file only");
    let line = greeting.lines().find_map(|line| line.split_once("curl ")).unwrap().1;
    let (socket, header, body) = (quoted(line, "--unix-socket"), quoted(line, "-H"), quoted(line, "-d"));
    let url = line.rsplit(' ').next().unwrap();
    let path = url.strip_prefix("http://localhost").unwrap();
    let mut stream = UnixStream::connect(directory.path().join(socket)).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let opened: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert!(opened["access_token"].is_string() && opened["refresh_token"].is_string(), "{opened}");
}

/// The output of a server with `--listen 127.0.0.1:0`, up to `last`, and the issuer in its metadata.
fn on_a_chosen_port(directory: &Path, arguments: &[&str], last: &str) -> (Process, String) {
    let mut command = keyfob(directory, &[arguments, &["serve", "--listen", "127.0.0.1:0"]].concat());
    let mut server = Process::until(directory, &mut command, last);
    let (_, address) = server.greeting.split_once("127.0.0.1:").unwrap();
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    server.address = format!("127.0.0.1:{port}");
    let metadata = get(&server, "/.well-known/oauth-authorization-server", None);
    let issuer = text(&metadata["issuer"]);
    assert_eq!(issuer, format!("http://{}", server.address));
    (server, issuer)
}

/// The issuer was http://127.0.0.1:8080, whatever port the operating system chose.
#[test]
fn port_0_puts_the_real_port_into_issuer_and_documentation_link() {
    let directory = tempdir().unwrap();
    let (server, issuer) = on_a_chosen_port(directory.path(), &[], "try it");
    assert!(server.greeting.contains(&format!("documentation   {issuer}/docs")), "{}", server.greeting);
    let file: Value =
        serde_json::from_slice(&fs::read(data(directory.path(), "admin.json")).unwrap()).unwrap();
    assert_eq!(file["issuer"], issuer.as_str());
}

#[test]
fn with_json_the_start_prints_one_line_that_says_where_it_listens() {
    let directory = tempdir().unwrap();
    let (server, issuer) = on_a_chosen_port(directory.path(), &["--json"], "\n");
    let line: Value = serde_json::from_str(&server.greeting).unwrap();
    let reported = ["listening", "issuer", "documentation", "credentials_file", "admin_socket"];
    let documentation = format!("{issuer}/docs");
    let expected = [&*issuer, &issuer, &documentation, "data/admin.json", "data/admin.sock"];
    assert_eq!(reported.map(|member| line[member].as_str().unwrap()), expected);
    assert_eq!((&line["first_start"], line["version"].is_string()), (&Value::Bool(true), true));
}

#[test]
fn a_second_start_finds_everything_and_changes_nothing() {
    let directory = tempdir().unwrap();
    let port = free_port();
    let seen = || {
        let server = Process::at(directory.path(), port, &[]);
        let administrator = admin(directory.path());
        let files = ["master.key", "admin.json"].map(|name| fs::read(data(directory.path(), name)).unwrap());
        let keys = get(&server, "/.well-known/paserk.json", None);
        let clients = get(&server, "/v1/clients", Some(&administrator));
        let greeting = server.greeting.clone();
        assert_eq!(server.stop(), 0);
        (files, keys, clients, names(directory.path()), greeting)
    };
    let first = seen();
    let second = seen();
    assert_eq!((&first.0, &first.1, &first.2, &first.3), (&second.0, &second.1, &second.2, &second.3));
    assert!(first.4.contains("just created") && !second.4.contains("just created"));
}

/// A first start that is killed at any point is completed by the next one, and credentials that it wrote are
/// valid.
#[test]
fn a_first_start_that_was_killed_is_completed() {
    // The unfinished database exists for a moment only, so its final name counts too.
    for name in ["keyfob.pid", "master.key", "keyfob.new", "keyfob.redb", "admin.json"] {
        let exists = |directory: &Path| {
            data(directory, name).exists()
                || (name == "keyfob.new" && data(directory, "keyfob.redb").exists())
        };
        for _ in 0..3 {
            let directory = tempdir().unwrap();
            let address = format!("127.0.0.1:{}", free_port());
            let mut killed = keyfob(directory.path(), &["serve", "--listen", &address])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let appeared = (0..5_000_000).any(|_| exists(directory.path()));
            killed.kill().unwrap();
            killed.wait().unwrap();
            assert!(appeared, "{name} never appeared");
            let server = Process::start(directory.path());
            get(&server, "/v1/clients/admin", Some(&admin(directory.path())));
            assert_eq!(server.stop(), 0);
            assert_eq!(
                names(directory.path()),
                ["admin.json", "keyfob.pid", "keyfob.redb", "master.key"],
                "after {name}"
            );
        }
    }
}

/// A key without a database is an unfinished first start; the same key is used.
#[test]
fn a_key_alone_is_an_unfinished_first_start() {
    let directory = tempdir().unwrap();
    assert_eq!(Process::start(directory.path()).stop(), 0);
    let key = fs::read(data(directory.path(), "master.key")).unwrap();
    for name in ["admin.json", "keyfob.redb"] {
        fs::remove_file(data(directory.path(), name)).unwrap();
    }
    let server = Process::start(directory.path());
    assert_eq!(fs::read(data(directory.path(), "master.key")).unwrap(), key);
    get(&server, "/v1/clients/admin", Some(&admin(directory.path())));
}

/// After kill -9 the socket file still exists; the next start replaces it.
#[test]
fn files_of_a_killed_server_do_not_stop_the_next_start() {
    let directory = tempdir().unwrap();
    Process::start(directory.path()).kill();
    assert!(data(directory.path(), "admin.sock").exists());
    let server = Process::start(directory.path());
    let shown = through_socket(directory.path(), "GET", "/v1/clients/admin", &Value::Null);
    assert_eq!(shown.status, 200);
    assert_eq!(server.stop(), 0);
}

/// A killed process that waits for the disk keeps its lock and its sockets until the disk has answered: the
/// kernel accepts connections, and no request is answered. The sockets can be closed after the lock.
#[test]
fn a_killed_server_that_has_not_ended_yet_is_waited_for() {
    let directory = tempdir().unwrap();
    Process::start(directory.path()).kill();
    let lock = fs::File::open(data(directory.path(), "keyfob.pid")).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    let socket = data(directory.path(), "admin.sock");
    fs::remove_file(&socket).unwrap();
    let sockets = (UnixListener::bind(&socket).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = sockets.1.local_addr().unwrap().port();
    let server = std::thread::scope(|scope| {
        let starting = scope.spawn(|| Process::at(directory.path(), port, &[]));
        until_logged(directory.path(), "waiting for the previous server to end");
        drop(lock);
        std::thread::sleep(Duration::from_millis(200));
        drop(sockets);
        starting.join().unwrap()
    });
    let shown = through_socket(directory.path(), "GET", "/v1/clients/admin", &Value::Null);
    assert_eq!((shown.status, server.stop()), (200, 0));
}

/// SIGTERM: a request in progress is answered, and the exit code is 0.
#[test]
fn a_request_in_progress_is_answered_before_the_stop() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let administrator = admin(directory.path());
    let body = json!({"subject": "alice"}).to_string();
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let authorization = basic(&administrator.id, &administrator.secret);
    write!(
        stream,
        "POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nContent-Type: \
         application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    )
    .unwrap();
    // The server asks for the body, so the request is in progress.
    let mut answer = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100 "), "{line}");
    server.signal(Signal::TERM);
    let stopping = || fs::read_to_string(directory.path().join("log.txt")).unwrap().contains("stopping");
    assert!((0..1_000_000).any(|_| stopping()), "the server never logged that it stops");
    stream.write_all(body.as_bytes()).unwrap();
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("HTTP/1.1 201 ") && rest.contains("refresh_token"), "{rest}");
    assert_eq!(server.wait(), 0);
}

/// Runs a start that must be refused, and returns its standard error. A server that starts is stopped.
fn refused_by(mut command: Command, code: i32) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    while lines.read_line(&mut said).unwrap() > 0 {
        if said.contains("try it") {
            child.kill().unwrap();
            panic!("it started: {said}");
        }
    }
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    error
}

fn refused(directory: &Path, arguments: &[&str]) -> String {
    refused_by(keyfob(directory, arguments), 1)
}

/// A directory in which a server has run and stopped.
fn initialised() -> TempDir {
    let directory = tempdir().unwrap();
    let output = run(directory.path(), &["init"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory
}
