//! Whole requests on a connection, through the HTTP parser, the wire, the engine and the store.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use keyfob::fuzzing::{Answers, ConnectionLimits, Form, LastCredentials, Listener, Stage, serve};
use keyfob::http::net::channel::Channel;
use keyfob::http::wire::Service;
use poem::http::header;
use poem::{Addr, Body, Request, Response};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::server::{Facts, Server, runtime};

const LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: 8,
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(75),
    close_delay: Duration::from_millis(10),
    drain_timeout: Duration::from_secs(5),
};
/// Between two requests.
const SEPARATOR: &str = "\n===\n";
/// The first part of an input whose connection is one of the admin socket.
const SOCKET: &str = "socket";
/// More than the largest answer, which is the OpenAPI document.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Requests in HTTP/1.1. A head without `Host` or a length gets one, and `{name}` is replaced by a fact.
pub fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let requests: Vec<&str> = text.split(SEPARATOR).collect();
    runtime().block_on(async {
        let mut server = Server::start().await;
        let changed = match &*requests {
            [SOCKET, requests @ ..] => converse(&mut server, Channel::AdminSocket, requests).await,
            requests => converse(&mut server, Channel::Public, requests).await,
        };
        if changed {
            server.check().await;
        }
    });
}

/// Returns whether a request was accepted that can change something.
async fn converse(server: &mut Server, channel: Channel, requests: &[&str]) -> bool {
    let (ours, theirs) = duplex(64 << 10);
    let observer = Arc::new(Observer {
        service: server.wire.clone(),
        facts: Mutex::new(server.facts.clone()),
        answered: Notify::new(),
        changed: AtomicBool::new(false),
    });
    let (stop, stage) = watch::channel(Stage::Serving);
    let listener = OneConnection(Mutex::new(Some(theirs)));
    let serving = serve(listener, observer.clone(), channel, LIMITS, Arc::default(), Arc::default(), stage);
    let serving = tokio::spawn(serving);
    let (mut answers, mut sink) = split(ours);
    let reading = tokio::spawn(async move {
        let mut bytes = vec![];
        let _ = answers.read_to_end(&mut bytes).await;
        bytes
    });
    for request in requests {
        let request = completed(&observer.facts().filled(request));
        if server.drive(sink.write_all(request.as_bytes())).await.is_err() {
            break;
        }
        // A request that is not complete has no answer yet.
        let _ = server.drive(timeout(Duration::from_secs(1), observer.answered.notified())).await;
    }
    let _ = sink.shutdown().await;
    let _ = stop.send(Stage::Stopping);
    server.drive(serving).await.expect("the connection does not panic");
    let bytes = reading.await.expect("the reader does not panic");
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&bytes));
    observer.changed.load(Ordering::Relaxed)
}

/// The request with the line ends of HTTP, a host and the length of its body, unless it has its own.
fn completed(request: &str) -> String {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines: Vec<&str> = head.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
    let has = |name: &str| lines.iter().any(|line| line.to_ascii_lowercase().starts_with(name));
    let length = format!("Content-Length: {}", body.len());
    let (host, framing) = (has("host:"), has("content-length:") || has("transfer-encoding:"));
    lines.extend((!host).then_some("Host: 127.0.0.1:8080"));
    lines.extend((!framing && !body.is_empty()).then_some(&*length));
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// A listener that accepts one connection.
struct OneConnection(Mutex<Option<DuplexStream>>);

impl Listener for OneConnection {
    type Raw = DuplexStream;
    type Io = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, Addr)> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match connection {
            Some(connection) => Ok((connection, self.address())),
            None => pending().await,
        }
    }

    async fn prepare(raw: DuplexStream) -> io::Result<DuplexStream> {
        Ok(raw)
    }

    fn address(&self) -> Addr {
        Addr::SocketAddr(([127, 0, 0, 1], 1).into())
    }
}

/// Passes requests to the server, and checks its answers.
struct Observer {
    service: Arc<Service>,
    facts: Mutex<Facts>,
    answered: Notify,
    changed: AtomicBool,
}

impl Observer {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, request: &str, token: Option<&str>, response: &Response, body: &[u8]) {
        let status = response.status().as_u16();
        let shown = || format!("{request}: {response:?} {}", String::from_utf8_lossy(body));
        let has = |name: header::HeaderName| response.headers().contains_key(name);
        assert!(status < 500, "{}", shown());
        assert!(response.headers().contains_key("x-request-id"), "{}", shown());
        assert!(status != 405 || has(header::ALLOW), "{}", shown());
        assert!(status != 401 || has(header::WWW_AUTHENTICATE), "{}", shown());
        let is_api = ["/oauth2/", "/v1/"].iter().any(|start| request.contains(&format!(" {start}")));
        let cache = response.header(header::CACHE_CONTROL).unwrap_or_default();
        assert!(!is_api || cache.contains("no-store"), "{}", shown());
        let kind = response.content_type().unwrap_or_default();
        if body.is_empty() || !kind.contains("json") || kind.contains("x-ndjson") {
            return;
        }
        let answer: Value =
            serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", shown()));
        if status >= 400 && is_api {
            let is_problem = answer["title"].is_string() && answer["status"] == status;
            assert!(answer["error"].is_string() || is_problem, "{}", shown());
        }
        if answer["active"] == true && token.is_some() {
            let token = token.unwrap_or_default();
            assert!(self.facts().issued.contains(token), "a forged token is active: {token}");
        }
        self.facts().learn(&answer);
    }
}

impl Answers for Observer {
    async fn answer(&self, mut request: Request, last: &LastCredentials) -> Response {
        let shown = format!("{} {}", request.method(), request.uri());
        // Paced by a clock that stands still while a thread reads the store.
        let is_scan = request.uri().path().starts_with("/v1/db/");
        let is_read = ["/oauth2/introspect", "/v1/sessions/check"].contains(&request.uri().path());
        let can_change = !request.method().is_safe() && !is_read;
        let mut token = None;
        if request.uri().path() == "/oauth2/introspect" {
            let body = request.take_body().into_bytes().await.unwrap_or_default();
            token = Form::parse(&["token"], &body).ok().and_then(|mut form| form.take("token").ok()?);
            request.set_body(Body::from_bytes(body));
        }
        let mut response = Answers::answer(&*self.service, request, last).await;
        self.changed.fetch_or(can_change && response.status().is_success(), Ordering::Relaxed);
        let sent = response.take_body();
        let body = if is_scan { Bytes::new() } else { sent.into_bytes().await.unwrap_or_default() };
        assert!(body.len() < ANSWER_BYTES_MAX, "{shown}");
        self.check(&shown, token.as_deref(), &response, &body);
        response.set_body(Body::from_bytes(body));
        self.answered.notify_one();
        response
    }

    fn no_credentials(&self) -> LastCredentials {
        self.service.no_credentials()
    }
}
