//! Files that another user prepared or can read, and texts that try to write lines of the log.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::Attacks;
use crate::harness::process::{Process, admin, data, keyfob, run};
use crate::harness::server::{basic, encoded};

const FILES: [&str; 4] = ["keyfob.redb", "master.key", "admin.json", "keyfob.pid"];

/// What an attacker does to a file of the store, or to its directory.
type Harm = Box<dyn Fn(&Path)>;

fn mode(mode: u32) -> Harm {
    Box::new(move |file| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap())
}

/// A store that was closed.
fn installation() -> TempDir {
    let directory = tempdir().unwrap();
    assert!(run(directory.path(), &["init"]).status.success());
    directory
}

fn copy_of(installation: &Path) -> TempDir {
    let directory = tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    for name in FILES {
        fs::copy(installation.join("data").join(name), data.join(name)).unwrap();
    }
    fs::write(directory.path().join("precious"), "precious").unwrap();
    directory
}

/// What a start says. Its port is occupied, so that it ends anyway.
fn start(directory: &Path) -> (Option<i32>, String) {
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run(directory, &["serve", "--listen", &occupied.local_addr().unwrap().to_string()]);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A link would have another file truncated and overwritten with the process id, by root too; a pipe would
/// stop the start; what another user can write is that user's.
#[test]
fn no_file_that_another_user_prepared_or_can_access_is_used() {
    let original = installation();
    let sound = copy_of(original.path());
    let (_, error) = start(sound.path());
    assert!(error.contains("cannot listen on"), "the copy that is not harmed: {error}");
    let mut attacks = Attacks::of("files of the store");
    for name in FILES {
        let replaced = |by: fn(&Path)| -> Harm {
            Box::new(move |file| {
                fs::rename(file, file.with_extension("away")).unwrap();
                by(file);
            })
        };
        let mut harms: Vec<(String, Harm)> = vec![
            (
                "a symbolic link to itself".into(),
                replaced(|file| symlink(file.with_extension("away"), file).unwrap()),
            ),
            ("a symbolic link elsewhere".into(), replaced(|file| symlink("../precious", file).unwrap())),
            ("a symbolic link to nothing".into(), replaced(|file| symlink("nothing", file).unwrap())),
            ("a symbolic link to a device".into(), replaced(|file| symlink("/dev/zero", file).unwrap())),
            ("a directory".into(), replaced(|file| fs::create_dir(file).unwrap())),
            (
                "a pipe".into(),
                replaced(|file| {
                    let pipe = rustix::fs::FileType::Fifo;
                    let access = rustix::fs::Mode::from_raw_mode(0o600);
                    rustix::fs::mknodat(rustix::fs::CWD, file, pipe, access, 0).unwrap();
                }),
            ),
            ("a socket".into(), replaced(|file| drop(std::os::unix::net::UnixListener::bind(file).unwrap()))),
        ];
        for bits in [0o601, 0o602, 0o604, 0o605, 0o606, 0o607, 0o644, 0o666, 0o777] {
            harms.push((format!("mode {bits:04o}"), mode(bits)));
        }
        if rustix::process::geteuid().is_root() {
            harms.push(("another owner".into(), Box::new(|file| chown(file, Some(65_534), None).unwrap())));
        }
        for (what, harm) in harms {
            let directory = copy_of(original.path());
            harm(&data(directory.path(), name));
            let (code, error) = start(directory.path());
            let refusals: Vec<_> = error.lines().filter(|line| line.starts_with("keyfob: ")).collect();
            let fix = if what.starts_with("mode") { "chmod 600" } else { "" };
            let names_it = refusals.len() == 1
                && refusals[0].contains(&format!("data/{name}"))
                && refusals[0].contains(fix);
            let is_kept = fs::read(directory.path().join("precious")).unwrap() == b"precious";
            let held = code == Some(1) && names_it && is_kept;
            attacks.check(format!("{name}: {what}"), held, (code, error, is_kept));
        }
    }
    // Only root can make files of another user.
    attacks.finish(4 * (7 + 9) + if rustix::process::geteuid().is_root() { 4 } else { 0 });
}

/// Text of any caller stays on the line that it belongs to: nothing starts a line of its own, and no control
/// character reaches a terminal.
#[test]
fn no_text_of_a_caller_writes_a_line_of_the_log() {
    let forged = "2027-01-15T08:00:00Z ERROR forged";
    let mut attacks = Attacks::of("text in the log");
    for format in ["text", "json"] {
        let directory = tempdir().unwrap();
        let settings = [("KEYFOB_LOG__LEVEL", "trace"), ("KEYFOB_LOG__FORMAT", format)];
        let server = Process::with(directory.path(), &settings);
        let root = admin(directory.path());
        let log = || fs::read_to_string(directory.path().join("log.txt")).unwrap();
        let mut read = log().len();
        for (kind, text) in [
            ("a line feed", format!("x\n{forged}")),
            ("a carriage return", format!("x\r{forged}")),
            ("both", format!("x\r\n{forged}")),
            ("a terminal's command", format!("x\u{1b}[2K\u{1b}[1G{forged}")),
            ("another control sequence", format!("x\u{9b}2K{forged}")),
            ("a line separator", format!("x\u{2028}{forged}")),
            ("a next-line character", format!("x\u{85}{forged}")),
            ("a backspace", format!("x\u{8}{forged}")),
            ("an end of JSON", "x\"}\n{\"level\":\"ERROR\",\"message\":\"forged\"}".to_owned()),
        ] {
            let quoted = encoded(&[("a", &text)])[2..].to_owned();
            let body = |member: &str| json!({"subject": "a", "client_id": "admin", member: text}).to_string();
            let device = json!({"subject": "a", "device": {"label": text, "user_agent": text}}).to_string();
            let form = "application/x-www-form-urlencoded";
            let plain = "application/json";
            for (place, method, path, kind_of_body, body) in [
                ("a path", "GET", format!("/{quoted}"), plain, String::new()),
                (
                    "a name in a path",
                    "DELETE",
                    format!("/v1/subjects/{quoted}/sessions"),
                    plain,
                    String::new(),
                ),
                (
                    "a query",
                    "DELETE",
                    format!("/v1/sessions?subject=a&reason={quoted}"),
                    plain,
                    String::new(),
                ),
                ("a name of a parameter", "GET", format!("/v1/sessions?{quoted}=1"), plain, String::new()),
                ("a subject", "POST", "/v1/sessions".into(), plain, body("subject")),
                ("a client", "POST", "/v1/sessions".into(), plain, body("client_id")),
                ("a name of a member", "POST", "/v1/sessions".into(), plain, json!({&text: 1}).to_string()),
                ("a device", "POST", "/v1/sessions".into(), plain, device),
                ("a token", "POST", "/oauth2/introspect".into(), form, format!("token={quoted}")),
                (
                    "a hint",
                    "POST",
                    "/oauth2/revoke".into(),
                    form,
                    format!("token=x&token_type_hint={quoted}"),
                ),
                ("a client in a form", "POST", "/oauth2/token".into(), form, format!("client_id={quoted}")),
                ("a grant", "POST", "/oauth2/token".into(), form, format!("grant_type={quoted}")),
            ] {
                server.send(method, &path, Some(&root), kind_of_body, &body).unwrap();
                let now = log();
                let new = &now[read..];
                read = now.len();
                let is_line = |line: &str| match format {
                    "json" => {
                        serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"] != "forged")
                    }
                    _ => line.starts_with("20") && !line.starts_with("2027-01-15T08:00:00Z ERROR forged"),
                };
                let control = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{2029}');
                let held = new.lines().all(is_line) && !new.contains(control);
                attacks.check(format!("{format}: {place} with {kind}"), held, new);
            }
        }
        assert!(log().lines().count() > 1, "the log is not empty");
        drop(server);
    }
    attacks.finish(2 * 9 * 12);
}

/// Bytes that no client library sends: in the credentials, in a header that the log has, in the path.
#[test]
fn no_byte_of_a_head_writes_a_line_of_the_log() {
    use std::io::{Read, Write};
    let directory = tempdir().unwrap();
    let server = Process::with(directory.path(), &[("KEYFOB_LOG__LEVEL", "trace")]);
    let path = directory.path().join("log.txt");
    let mut attacks = Attacks::of("bytes in the log");
    let mut read = fs::read(&path).unwrap().len();
    let evil = basic("x\n2027 ERROR forged", "kfc_x");
    for (name, header) in [
        ("a request id with a tab", "X-Request-Id: a\tERROR forged".to_owned()),
        ("a request id with an escape", "X-Request-Id: a\u{1b}[2K".to_owned()),
        ("a request id with an equals sign", "X-Request-Id: a level=ERROR".to_owned()),
        ("a request id in quotation marks", "X-Request-Id: a\" level=\"ERROR".to_owned()),
        ("a long request id", format!("X-Request-Id: {}", "a".repeat(5_000))),
        ("a client with a line feed", format!("Authorization: {evil}")),
        ("a bearer with an escape", "Authorization: Bearer \u{1b}[2K".to_owned()),
        ("a cookie with an escape", "Cookie: __Host-keyfob=\u{1b}[2K".to_owned()),
        ("an origin with an escape", "Origin: \u{1b}[2K".to_owned()),
        ("an address with an escape", "X-Forwarded-For: \u{1b}[2K".to_owned()),
        ("a user agent with an escape", "User-Agent: \u{1b}[2K".to_owned()),
        ("a trace with an escape", "Traceparent: 00-\u{1b}[2K".to_owned()),
    ] {
        let mut stream = std::net::TcpStream::connect(&server.address).unwrap();
        write!(stream, "DELETE /v1/sessions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n\r\n")
            .unwrap();
        stream.read_to_end(&mut vec![]).unwrap();
        let now = fs::read(&path).unwrap();
        let new = String::from_utf8_lossy(&now[read..]).into_owned();
        read = now.len();
        let control = new.contains(|c: char| c.is_control() && c != '\n');
        let held = !control && new.lines().all(|line| line.starts_with("20") && line.len() < 1_000);
        attacks.check(name, held, new);
    }
    let output = keyfob(directory.path(), &["events", "tail"]).output().unwrap();
    assert!(output.status.success());
    attacks.finish(12);
}
