//! The way to the routes: through the admin socket when a server runs, else the same router in this process.

use std::path::Path;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::Failure;
use crate::config::Config;
use crate::serve::{App, places};

/// The largest answer that a command reads.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An open way to the routes, with the rights of an administrator.
pub enum Door {
    /// A server runs; this is a connection to its admin socket.
    Socket(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    /// None runs; the router answers here.
    InProcess(Box<App>),
}

impl Door {
    /// Finds the running server, and nothing else.
    pub async fn of_server(config: &Config) -> Result<Self, Failure> {
        let socket = places(config).admin_socket;
        match UnixStream::connect(&socket).await {
            Ok(stream) => Self::connect(stream, &socket).await,
            Err(cause) => {
                Err(Failure::refused(format!("no server answers at {}: {cause}; start one with `keyfob serve`", socket.display())))
            }
        }
    }

    /// Finds the running server, or opens the store.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        let socket = places(config).admin_socket;
        match UnixStream::connect(&socket).await {
            Ok(stream) => Self::connect(stream, &socket).await,
            Err(_) => match App::open_existing(config).await {
                Ok(app) => Ok(Self::InProcess(Box::new(app))),
                Err(cause) => Err(Failure::refused(cause)),
            },
        }
    }

    async fn connect(stream: UnixStream, socket: &Path) -> Result<Self, Failure> {
        let broken = |cause: hyper::Error| Failure::refused(format!("the admin socket {} does not answer: {cause}", socket.display()));
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Self::Socket(sender))
    }

    /// Sends a request, and waits for the JSON of the answer; null if it has none.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.send(method, path, body.map(|body| ("application/json", body.to_string()))).await
    }

    /// Posts a form, and waits for the JSON of the answer; null if it has none.
    pub async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        self.send(Method::POST, path, Some(("application/x-www-form-urlencoded", fields.join("&")))).await
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some((media_type, _)) = body {
            request = request.header("content-type", media_type);
        }
        let bytes = body.map(|(_, text)| Bytes::from(text)).unwrap_or_default();
        let request = request.body(bytes).map_err(Failure::refused)?;
        let (status, bytes) = match self {
            Self::Socket(sender) => {
                let response = sender.send_request(request.map(Full::new)).await.map_err(Failure::refused)?;
                let status = response.status();
                let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
                (status, body.collect().await.map_err(Failure::refused)?.to_bytes())
            }
            Self::InProcess(app) => app.answer(request).await.map_err(Failure::refused)?,
        };
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).map_err(Failure::refused)? };
        if status.is_success() { Ok(body) } else { Err(Failure::from_problem(status, &body)) }
    }

    /// Closes the store, if it was opened here.
    pub async fn close(self) {
        if let Self::InProcess(app) = self {
            app.close().await;
        }
    }
}

/// The text as one segment of a path, or one value of a query or a form.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
