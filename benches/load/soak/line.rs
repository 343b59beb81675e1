//! A keep-alive connection that outlives restarts: a request whose connection was lost is sent again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::server::{ISSUER, Server};

/// After this time without an answer, restarts included, a request has failed.
const ANSWER_MAX: Duration = Duration::from_secs(30);
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Where a running server is.
#[derive(Clone, Copy)]
pub struct Door {
    pub port: u16,
    pub pid: u32,
    pub since: Instant,
}

impl Door {
    pub fn of(server: &Server) -> Self {
        Self { port: server.port, pid: server.pid(), since: Instant::now() }
    }
}

/// A request, which can be sent more than once.
pub struct Ask {
    method: &'static str,
    path: String,
    authorization: String,
    kind: Option<&'static str>,
    body: String,
    idempotency_key: Option<String>,
}

impl Ask {
    fn new(method: &'static str, path: &str, authorization: &str) -> Self {
        let (path, authorization) = (path.to_owned(), authorization.to_owned());
        Self { method, path, authorization, kind: None, body: String::new(), idempotency_key: None }
    }

    pub fn get(path: &str, authorization: &str) -> Self {
        Self::new("GET", path, authorization)
    }

    pub fn delete(path: &str, authorization: &str) -> Self {
        Self::new("DELETE", path, authorization)
    }

    pub fn post(path: &str, authorization: &str) -> Self {
        Self::new("POST", path, authorization)
    }

    pub fn form(path: &str, authorization: &str, body: String) -> Self {
        Self { kind: Some(FORM), body, ..Self::new("POST", path, authorization) }
    }

    pub fn json(method: &'static str, path: &str, authorization: &str, body: &Value) -> Self {
        Self { kind: Some(JSON), body: body.to_string(), ..Self::new(method, path, authorization) }
    }

    pub fn idempotent(self, key: &str) -> Self {
        Self { idempotency_key: Some(key.to_owned()), ..self }
    }

    fn request(&self) -> http::Request<Full<Bytes>> {
        let host = ISSUER.trim_start_matches("http://");
        let mut request = http::Request::builder().method(self.method).uri(&self.path).header("host", host);
        if !self.authorization.is_empty() {
            request = request.header("authorization", &self.authorization);
        }
        if let Some(kind) = self.kind {
            request = request.header("content-type", kind);
        }
        if let Some(key) = &self.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        request.body(Full::from(self.body.clone())).expect("its parts are valid")
    }
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.method, self.path, self.body)
    }
}

/// An answer; its status is 0 if there was none.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    /// When the request was first sent.
    pub asked: Instant,
    /// Between request and answer, unless it was sent more than once.
    pub took: Option<Duration>,
}

impl Answer {
    /// `null` if it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

pub struct Line {
    door: watch::Receiver<Option<Door>>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    pub fn new(door: watch::Receiver<Option<Door>>) -> Self {
        Self { door, sender: None }
    }

    pub async fn send(&mut self, ask: &Ask) -> Answer {
        let asked = Instant::now();
        let mut sent = 0;
        let answered = timeout(ANSWER_MAX, async {
            loop {
                if self.connect().await.is_some() {
                    sent += 1;
                    let begun = Instant::now();
                    if let Some((status, body)) = self.send_once(ask).await {
                        return (status, body, begun.elapsed());
                    }
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        let (status, body, took) = answered.await.unwrap_or_default();
        Answer { status, body, asked, took: (sent == 1).then_some(took) }
    }

    /// Connects unless it is connected.
    async fn connect(&mut self) -> Option<()> {
        if self.sender.as_ref().is_some_and(|sender| !sender.is_closed()) {
            return Some(());
        }
        let door = self.door.wait_for(Option::is_some).await.ok()?.expect("it waited for it");
        let stream = TcpStream::connect(("127.0.0.1", door.port)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(connection);
        self.sender = Some(sender);
        Some(())
    }

    async fn send_once(&mut self, ask: &Ask) -> Option<(u16, Bytes)> {
        let mut sender = self.sender.take()?;
        sender.ready().await.ok()?;
        let answer = sender.send_request(ask.request()).await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.ok()?.to_bytes();
        self.sender = Some(sender);
        Some((status, body))
    }
}
