//! The way to the routes: through the admin socket when a server runs, else the same router in this process.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Failure;
use crate::config::Config;
use crate::serve::{App, AppError, places};

/// The largest answer that a command reads.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long an answer may take to begin, where the server itself is not configured to take longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// An open way to the routes, with the rights of an administrator.
pub enum Door {
    /// A server runs; this is a connection to its admin socket, and how long it may take to answer.
    Socket(hyper::client::conn::http1::SendRequest<Full<Bytes>>, Duration),
    /// None runs; the router answers here.
    InProcess(Box<App>),
}

impl Door {
    /// Finds the running server, and nothing else.
    pub async fn of_server(config: &Config) -> Result<Self, Failure> {
        let none = || {
            let socket = places(config).admin_socket;
            Failure::refused(format!(
                "no server answers at {}; start one with `keyfob serve`",
                socket.display()
            ))
        };
        Self::running(config).await?.ok_or_else(none)
    }

    /// Finds the running server, or opens the store.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(door) = Self::running(config).await? {
            return Ok(door);
        }
        match App::open_existing(config).await {
            Ok(app) => Ok(Self::InProcess(Box::new(app))),
            // A server may have come up while we waited for the store.
            Err(cause @ AppError::Lock(_)) => {
                Self::running(config).await?.ok_or_else(|| Failure::refused(cause))
            }
            Err(cause) => Err(Failure::refused(cause)),
        }
    }

    async fn connect(stream: UnixStream, socket: &Path, patience: Duration) -> Result<Self, Failure> {
        let broken = |cause: hyper::Error| {
            Failure::refused(format!("the admin socket {} does not answer: {cause}", socket.display()))
        };
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Self::Socket(sender, patience))
    }

    /// Sends a request, and waits for the JSON of the answer; null if it has none.
    pub async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.send(method, path, body.map(|body| ("application/json", body.to_string()))).await
    }

    /// Posts a form, and waits for the JSON of the answer; null if it has none.
    pub async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        self.send(Method::POST, path, Some(("application/x-www-form-urlencoded", fields.join("&")))).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some((media_type, _)) = body {
            request = request.header("content-type", media_type);
        }
        let bytes = body.map(|(_, text)| Bytes::from(text)).unwrap_or_default();
        let request = request.body(bytes).map_err(Failure::refused)?;
        let patience = if let Self::Socket(_, patience) = self { *patience } else { Duration::MAX };
        let (status, body) =
            timeout(patience, self.begin(request)).await.map_err(|_| too_late(patience))??;
        read(status, body).await
    }

    /// Gets what comes in pieces, to be read as it comes.
    pub async fn stream(&mut self, path: &str) -> Result<BoxBody<Bytes, io::Error>, Failure> {
        let request = Request::builder()
            .uri(path)
            .header("host", "localhost")
            .body(Bytes::new())
            .map_err(Failure::refused)?;
        let (status, body) = self.begin(request).await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(read(status, body).await.err().unwrap_or_else(|| Failure::from_problem(status, &Value::Null)))
    }

    async fn begin(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<(StatusCode, BoxBody<Bytes, io::Error>), Failure> {
        match self {
            Self::Socket(sender, _) => {
                let response = sender.send_request(request.map(Full::new)).await.map_err(|_| gone())?;
                Ok((response.status(), response.into_body().map_err(io::Error::other).boxed()))
            }
            Self::InProcess(app) => Ok(app.answer(request).await),
        }
    }

    /// Finds the running server, if there is one.
    pub async fn running(config: &Config) -> Result<Option<Self>, Failure> {
        let socket = places(config).admin_socket;
        match UnixStream::connect(&socket).await {
            Ok(stream) => Self::connect(stream, &socket, config.limits.request_timeout.max(ANSWER_TIMEOUT))
                .await
                .map(Some),
            Err(cause) => match cause.kind() {
                // A server that was killed leaves its socket behind.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => Err(Failure::refused(format!(
                    "only the owner of {} may use it: run this as that user (`sudo keyfob …`)",
                    places(config).directory.display()
                ))),
                _ => Err(Failure::refused(format!(
                    "nobody can tell whether a server runs: {}: {cause}",
                    socket.display()
                ))),
            },
        }
    }

    /// Whether a server is behind it.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Socket(..))
    }

    /// Closes the store, if it was opened here.
    pub async fn close(self) {
        if let Self::InProcess(app) = self {
            app.close().await;
        }
    }
}

/// The whole of an answer: its JSON, or why there is none.
async fn read(status: StatusCode, body: BoxBody<Bytes, io::Error>) -> Result<Value, Failure> {
    let broken = |cause: Box<dyn std::error::Error + Send + Sync>| {
        if cause.is::<http_body_util::LengthLimitError>() { Failure::refused(cause) } else { gone() }
    };
    let bytes =
        http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(broken)?.to_bytes();
    let body = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&bytes).map_err(Failure::refused)?
    };
    if status.is_success() { Ok(body) } else { Err(Failure::from_problem(status, &body)) }
}

/// The server was there, and then was not.
fn gone() -> Failure {
    Failure::Gone("the server went away before it answered; what was asked may have been done".into())
}

/// The server is there, and says nothing.
pub fn too_late(patience: Duration) -> Failure {
    Failure::refused(format!(
        "the server did not answer within {} s: its log may say why",
        patience.as_secs()
    ))
}

/// The text as one segment of a path, or one value of a query or a form.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
