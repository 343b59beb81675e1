//! The client of the administration routes: the admin socket of a running server, or the same router in this
//! process.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Failure;
use crate::config::Config;
use crate::serve::{App, AppError, places};

/// The largest answer that a command reads.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest wait for an answer, unless `limits.request_timeout` is longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client with the permissions of an administrator.
pub enum AdminClient {
    /// A connection to the admin socket of a running server, and the answer timeout.
    Socket(hyper::client::conn::http1::SendRequest<Full<Bytes>>, Duration),
    /// No server is running: the router answers in this process.
    InProcess(Box<App>),
}

impl AdminClient {
    /// Connects to the running server; fails if there is none.
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

    /// Connects to the running server, or opens the store.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        if let Some(client) = Self::running(config).await? {
            return Ok(client);
        }
        match App::open_existing(config).await {
            Ok(app) => Ok(Self::InProcess(Box::new(app))),
            // A server may have started while this waited for the lock.
            Err(cause @ AppError::Lock(_)) => {
                Self::running(config).await?.ok_or_else(|| Failure::refused(cause))
            }
            Err(cause) => Err(Failure::refused(cause)),
        }
    }

    /// Connects to the running server, if there is one.
    pub async fn running(config: &Config) -> Result<Option<Self>, Failure> {
        let socket = places(config).admin_socket;
        match UnixStream::connect(&socket).await {
            Ok(stream) => {
                let answer_timeout = config.limits.request_timeout.max(ANSWER_TIMEOUT);
                Self::connect(stream, &socket, answer_timeout).await.map(Some)
            }
            Err(cause) => match cause.kind() {
                // A killed server leaves its socket file behind.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                io::ErrorKind::PermissionDenied => Err(Failure::refused(format!(
                    "only the owner of {} may use it: run this as that user (`sudo keyfob …`)",
                    places(config).directory.display()
                ))),
                _ => Err(Failure::refused(format!(
                    "cannot determine whether a server is running: {}: {cause}",
                    socket.display()
                ))),
            },
        }
    }

    async fn connect(stream: UnixStream, socket: &Path, answer_timeout: Duration) -> Result<Self, Failure> {
        let broken = |cause: hyper::Error| {
            Failure::refused(format!("the admin socket {} does not answer: {cause}", socket.display()))
        };
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Self::Socket(sender, answer_timeout))
    }

    /// Sends a request and reads the JSON of the answer; an empty answer is null.
    pub async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, Failure> {
        self.send(method, path, body.map(|body| ("application/json", body.to_string()))).await
    }

    /// Reads a resource.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Posts a form and reads the JSON of the answer; an empty answer is null.
    pub async fn form<T: DeserializeOwned>(
        &mut self,
        path: &str,
        fields: &[(&str, Option<&str>)],
    ) -> Result<T, Failure> {
        self.send(Method::POST, path, Some(("application/x-www-form-urlencoded", pairs(fields)))).await
    }

    async fn send<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<T, Failure> {
        let request = request(method, path, body)?;
        let limit = if let Self::Socket(_, limit) = self { *limit } else { Duration::MAX };
        let (status, body) = timeout(limit, self.exchange(request)).await.map_err(|_| timed_out(limit))??;
        read(status, body).await
    }

    /// Requests an answer that is read while it arrives.
    pub async fn stream(&mut self, path: &str) -> Result<BoxBody<Bytes, io::Error>, Failure> {
        let (status, body) = self.exchange(request(Method::GET, path, None)?).await?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &collect(body).await?)) }
    }

    async fn exchange(
        &mut self,
        request: Request<Bytes>,
    ) -> Result<(StatusCode, BoxBody<Bytes, io::Error>), Failure> {
        match self {
            Self::Socket(sender, _) => {
                let response =
                    sender.send_request(request.map(Full::new)).await.map_err(|_| disconnected())?;
                Ok((response.status(), response.into_body().map_err(io::Error::other).boxed()))
            }
            Self::InProcess(app) => Ok(app.answer(request).await),
        }
    }

    /// Whether it is connected to a server.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Socket(..))
    }

    /// Closes the store, if this process opened it.
    pub async fn close(self) {
        if let Self::InProcess(app) = self {
            app.close().await;
        }
    }
}

fn request(method: Method, path: &str, body: Option<(&str, String)>) -> Result<Request<Bytes>, Failure> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    if let Some((media_type, _)) = body {
        request = request.header("content-type", media_type);
    }
    request.body(body.map(|(_, text)| text.into()).unwrap_or_default()).map_err(Failure::refused)
}

async fn read<T: DeserializeOwned>(
    status: StatusCode,
    body: BoxBody<Bytes, io::Error>,
) -> Result<T, Failure> {
    let bytes = collect(body).await?;
    if !status.is_success() {
        return Err(refusal(status, &bytes));
    }
    serde_json::from_slice(if bytes.is_empty() { b"null" } else { &bytes }).map_err(Failure::refused)
}

async fn collect(body: BoxBody<Bytes, io::Error>) -> Result<Bytes, Failure> {
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
        if cause.is::<http_body_util::LengthLimitError>() { Failure::refused(cause) } else { disconnected() }
    };
    Ok(http_body_util::Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(failed)?.to_bytes())
}

/// The sentence of an error answer: a problem (RFC 9457) or an OAuth error (RFC 6749 §5.2).
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    #[derive(Default, Deserialize)]
    struct Answer {
        detail: Option<String>,
        error_description: Option<String>,
        title: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(body).unwrap_or_default();
    let sentence = answer.detail.or(answer.error_description).or(answer.title);
    Failure::Refused(sentence.unwrap_or_else(|| format!("the server answered {status}")))
}

fn disconnected() -> Failure {
    Failure::Disconnected(
        "the connection to the server was lost before it answered; the operation may have completed".into(),
    )
}

/// The server did not answer in time.
pub fn timed_out(limit: Duration) -> Failure {
    Failure::refused(format!("the server did not answer within {} s: see its log", limit.as_secs()))
}

/// The options that were given, as the members of a JSON object. A list option "" is the empty list.
pub fn given(options: &impl Serialize) -> Map<String, Value> {
    let Ok(Value::Object(mut members)) = serde_json::to_value(options) else { return Map::new() };
    members.retain(|_, value| !value.is_null());
    for list in members.values_mut().filter_map(Value::as_array_mut) {
        if *list == [""] {
            list.clear();
        }
    }
    members
}

/// The fields that have a value, as a query or a form.
pub fn pairs(fields: &[(&str, Option<&str>)]) -> String {
    let pair = |(name, value): &(&str, Option<&str>)| Some(format!("{name}={}", encoded((*value)?)));
    fields.iter().filter_map(pair).collect::<Vec<_>>().join("&")
}

/// The text as one segment of a path, or one value of a query or a form.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Runs a command with an admin client, and closes the client.
pub fn with_admin_client(
    config: &Config,
    command: impl AsyncFnOnce(&mut AdminClient) -> Result<(), Failure>,
) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut admin = AdminClient::open(config).await?;
        let done = command(&mut admin).await;
        admin.close().await;
        done
    })
}

/// A runtime for one command, on this thread.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::refused)
}
