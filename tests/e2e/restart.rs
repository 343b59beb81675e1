//! Restarts under load behind real nginx, with the listening socket passed from one process to the next.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::house::{administrator, free_port, wait_for};

const RESTARTS: usize = 4;
const CONNECTIONS: usize = 16;

/// nginx may not repeat a POST, so each request that the stop cut off was answered 502: up to 28 of 44,000.
#[test]
fn restarts_under_load_lose_no_opening_and_no_introspection() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = start(directory.path(), &socket);
    let port = free_port();
    let mut nginx = start_nginx(directory.path(), socket.local_addr().unwrap().port(), port);
    let authorization = {
        use base64ct::Encoding;
        let pair = format!("admin:{}", administrator(directory.path()));
        format!("Basic {}", base64ct::Base64::encode_string(pair.as_bytes()))
    };
    let (is_over, answered, faults) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(vec![]));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
                while !is_over.load(Ordering::Relaxed) {
                    let mut post = |path, media_type, body: &str| {
                        let (status, answer) = exchange(&mut stream, path, &authorization, media_type, body);
                        answered.fetch_add(1, Ordering::Relaxed);
                        if !(200..300).contains(&status) {
                            faults.lock().unwrap().push(format!("{path}: {status} {answer}"));
                        }
                        answer
                    };
                    let opened = post("/v1/sessions", "application/json", r#"{"subject":"alice"}"#);
                    let opened: Value = serde_json::from_str(&opened).unwrap_or_default();
                    let token = opened["access_token"].as_str().unwrap_or("none");
                    let form = "application/x-www-form-urlencoded";
                    for _ in 0..4 {
                        post("/oauth2/introspect", form, &format!("token={token}"));
                    }
                }
            });
        }
        for _ in 0..RESTARTS {
            let before = answered.load(Ordering::Relaxed);
            while answered.load(Ordering::Relaxed) < before + 500 {
                std::thread::sleep(Duration::from_millis(10));
            }
            let id = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
            kill_process(id, Signal::TERM).unwrap();
            assert!(server.wait().unwrap().success());
            server = start(directory.path(), &socket);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    nginx.kill().unwrap();
    nginx.wait().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let faults = faults.into_inner().unwrap();
    assert!(
        faults.is_empty(),
        "{} of {answered:?} failed: {:?}",
        faults.len(),
        &faults[..faults.len().min(3)]
    );
}

/// Starts keyfob with `socket` as descriptor 3. A shell starts it, since only the new process knows its own
/// id.
fn start(directory: &Path, socket: &TcpListener) -> Child {
    let mut command = Command::new("sh");
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve";
    command.args(["-c", script, env!("CARGO_BIN_EXE_keyfob")]).current_dir(directory).env_clear();
    command.stdin(OwnedFd::from(socket.try_clone().unwrap())).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut greeting = String::new();
    while !greeting.contains("try it") && lines.read_line(&mut greeting).unwrap() > 0 {}
    assert!(greeting.contains("try it"), "keyfob did not start");
    child
}

fn start_nginx(directory: &Path, keyfob: u16, port: u16) -> Child {
    configured_nginx(directory, keyfob, port, "")
}

/// The same with other locations before the one of everything.
pub fn configured_nginx(directory: &Path, keyfob: u16, port: u16, locations: &str) -> Child {
    let configuration = format!(
        "daemon off; master_process off; pid nginx.pid; error_log error.log;
         events {{ worker_connections 256; }}
         http {{
             access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;
             upstream keyfob {{ server 127.0.0.1:{keyfob}; keepalive 32; }}
             server {{
                 listen 127.0.0.1:{port};
                 keepalive_requests 1000000;
                 {locations}
                 location / {{
                     proxy_pass http://keyfob;
                     proxy_http_version 1.1;
                     proxy_set_header Connection \"\";
                     proxy_set_header Host $host;
                 }}
             }}
         }}"
    );
    std::fs::write(directory.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory).args(["-c", "nginx.conf", "-e", "error.log"]).current_dir(directory);
    let nginx = command
        .stdin(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{error}: `apt-get install nginx`"));
    wait_for(port);
    nginx
}

/// Posts on a connection that stays open, and returns the status and the body.
fn exchange(
    stream: &mut BufReader<TcpStream>,
    path: &str,
    authorization: &str,
    media_type: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\
         Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "nginx closed the connection: {head}");
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut answer = vec![0; length.unwrap_or_else(|| panic!("{head}"))];
    stream.read_exact(&mut answer).unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(answer).unwrap())
}
