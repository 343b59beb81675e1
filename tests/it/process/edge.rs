//! The running server as clients see it: request ids, forwarded addresses, and a full write queue.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};

use http::Method;
use keyfob::domain::session::Decision;
use keyfob::store::{Lane, Store};
use rustix::process::Signal;
use serde_json::json;
use tempfile::tempdir;

use crate::harness::process::{Process, admin, through_socket};
use crate::harness::server::{Answer, Auth, Client, Server, basic, encoded, text};

/// Sends a request with these headers, by TCP, and reads the answer.
fn ask(server: &Process, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut received = vec![];
    stream.read_to_end(&mut received).unwrap();
    // A page can be compressed.
    let received = String::from_utf8_lossy(&received);
    let (head, body) = received.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{received}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Answer { status, headers, body: body.to_owned().into() }
}

/// Posts a form as `client`.
fn post(
    server: &Process,
    path: &str,
    client: &Client,
    headers: &[(&str, &str)],
    fields: &[(&str, &str)],
) -> Answer {
    let authorization = basic(&client.id, &client.secret);
    let ours =
        [("Authorization", authorization.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    ask(server, "POST", path, &[&ours[..], headers].concat(), &encoded(fields))
}

#[test]
fn every_answer_has_a_request_id_and_a_trusted_proxy_can_set_it() {
    let directory = tempdir().unwrap();
    let given = [("X-Request-Id", "7c0d1a52-9a4f")];
    let server = Process::start(directory.path());
    let paths = [
        ("GET", "/healthz"),
        ("GET", "/nothing"),
        ("POST", "/oauth2/token"),
        ("GET", "/v1/sessions"),
        ("GET", "/docs"),
        ("PUT", "/v1/keys"),
    ];
    for (method, path) in paths {
        assert_eq!(
            ask(&server, method, path, &given, "").header("x-request-id"),
            "7c0d1a52-9a4f",
            "{method} {path}"
        );
    }
    let made = || {
        ask(&server, "GET", "/healthz", &[("X-Request-Id", "not \"plain\"")], "")
            .header("x-request-id")
            .to_owned()
    };
    let (one, other) = (made(), made());
    assert!(one.len() == 19 && one != other && one[..9] == other[..9], "{one} {other}");
    drop(server);

    let server = Process::with(directory.path(), &[("KEYFOB_SERVER__TRUSTED_PROXIES", "192.0.2.1/32")]);
    assert_eq!(
        ask(&server, "GET", "/healthz", &given, "").header("x-request-id").len(),
        19,
        "any client can send the header"
    );
}

#[test]
fn every_log_line_that_a_request_causes_ends_with_its_request_id() {
    for format in ["text", "json"] {
        let directory = tempdir().unwrap();
        let server = Process::with(
            directory.path(),
            &[("KEYFOB_LOG__FORMAT", format), ("KEYFOB_POLICY__DEFAULT__REFRESH_RETRY_WINDOW", "0s")],
        );
        let administrator = admin(directory.path());
        let body = json!({"subject": "alice", "client_id": "admin"});
        let token =
            text(&through_socket(directory.path(), "POST", "/v1/sessions", &body).json()["refresh_token"]);
        let refresh = |id| {
            let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
            post(&server, "/oauth2/token", &administrator, &[("X-Request-Id", id)], &fields)
        };
        assert_eq!((refresh("first-use").status, refresh("second-use").status), (200, 400));
        assert_eq!(server.stop(), 0);
        let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
        let line = log
            .lines()
            .find(|line| line.contains("a spent refresh token was presented"))
            .unwrap_or_else(|| panic!("{log}"));
        match format {
            "text" => assert!(line.ends_with(" request_id=second-use"), "{line}"),
            _ => assert_eq!(
                serde_json::from_str::<serde_json::Value>(line).unwrap()["request_id"],
                "second-use",
                "{line}"
            ),
        }
        assert!(!log.contains("first-use"), "there is no line per request: {log}");
        assert!(!log.lines().find(|line| line.contains("stopping")).unwrap().contains("request_id"));
    }
}

/// Failed authentications are limited by address, so a client must not be able to choose its address.
#[test]
fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    let failures = |trusted: &str| -> Vec<u16> {
        let directory = tempdir().unwrap();
        let settings =
            [("KEYFOB_SERVER__TRUSTED_PROXIES", trusted), ("KEYFOB_LIMITS__FAILED_AUTH_PER_MINUTE", "1")];
        let server = Process::with(directory.path(), &settings);
        let unknown = Client { id: "unknown".into(), secret: "wrong".into() };
        let fail = |from: &str| {
            post(&server, "/oauth2/introspect", &unknown, &[("X-Forwarded-For", from)], &[("token", "x")])
                .status
        };
        ["198.51.100.1", "198.51.100.2", "198.51.100.2", "203.0.113.9, 198.51.100.2"].map(fail).to_vec()
    };
    assert_eq!(
        failures("127.0.0.1/32"),
        [401, 401, 429, 429],
        "by address, the right-most one that is not a trusted proxy's"
    );
    assert_eq!(failures("192.0.2.1/32"), [401, 429, 429, 429], "all of them count as 127.0.0.1");
}

/// The public URL of the server is the issuer, whatever host or scheme a request or a proxy names.
#[test]
fn a_forwarded_host_or_scheme_changes_nothing() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let headers = [
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "666"),
        ("Forwarded", "host=evil.example;proto=https"),
    ];
    for path in ["/.well-known/oauth-authorization-server", "/openapi.json", "/nothing"] {
        let (plain, spoofed) = (ask(&server, "GET", path, &[], ""), ask(&server, "GET", path, &headers, ""));
        assert_eq!(plain.body, spoofed.body, "{path}");
        assert_eq!(spoofed.header("strict-transport-security"), "", "the server has no TLS");
        assert_eq!(spoofed.header("server"), "");
    }
}

/// INT-115: a full queue is 503 with `Retry-After`; what ends something has places of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_write_queue_is_503_and_revocations_get_through() {
    let server = Server::with(&[("limits.write_queue_max", "1")]).await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let (id, refresh_token) =
        (text(&opened["session"]["id"]).parse().unwrap(), text(&opened["refresh_token"]));
    // A decision that waits blocks the writer.
    let ((started, has_started), (go, wait_to_go)) = (mpsc::channel(), mpsc::channel::<()>());
    let (store, wait_to_go) = (server.app().store().clone(), Mutex::new(wait_to_go));
    let held = tokio::spawn(async move {
        let hold = move |_: &mut _, _: &_| {
            started.send(()).unwrap();
            wait_to_go.lock().unwrap().recv().unwrap();
            Decision::answer(())
        };
        store.update(id, Lane::Ordinary, hold).await.unwrap()
    });
    tokio::task::spawn_blocking(move || has_started.recv().unwrap()).await.unwrap();

    let opening = || server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), json!({"subject": "bob"}));
    let revoking = server.revoke(&app, &refresh_token);
    let answers = async {
        // The first opening is polled first and takes the only place.
        let (first, second, revoked) = tokio::join!(biased; opening(), opening(), async {
            let revoked = revoking;
            tokio::pin!(revoked);
            assert!(is_pending(revoked.as_mut()).await, "it waits for the writer and is not rejected");
            go.send(()).unwrap();
            revoked.await
        });
        (first, second, revoked)
    };
    let (first, second, revoked) = answers.await;
    assert_eq!((first.status, revoked.status), (201, 200), "{}", revoked.text());
    second.assert_problem(503, None);
    assert_eq!(second.header("retry-after"), "2");
    assert!(held.await.unwrap().is_some());
    assert!(!server.is_active(&app, &refresh_token).await);
}

/// Polls once; true if the future is not ready.
async fn is_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// A line that could not be logged was reported on standard error, which is where the log goes, and that
/// ended the server: at the first line on a full disk, at the next line after the reader of a pipe had ended.
#[test]
fn a_log_that_cannot_be_written_does_not_stop_the_server() {
    let directory = tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("log.txt")).unwrap();
    let server = Process::start(directory.path());
    let unknown = Client { id: "unknown".into(), secret: "kfc_wrong".into() };
    assert_eq!(server.form("/oauth2/introspect", Some(&unknown), &[("token", "x")]).status, 401);
    server.signal(Signal::HUP);
    assert_eq!(server.send("GET", "/readyz", None, "text/plain", "").unwrap().status, 200);
    assert_eq!(server.stop(), 0);
}
