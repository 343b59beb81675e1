//! The client of the administration routes: the admin socket of a running server, its public address where it
//! has no admin socket, or the same router in this process.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{Failure, pinned};
use crate::config::{Config, Listen};
use crate::files::SocketPath;
use crate::first_start::{AdminCredentials, Places, is_held_without_socket};
use crate::serve::{App, AppError, places};

/// The largest answer that a command reads.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest wait for an answer, unless `limits.request_timeout` is longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client with the permissions of an administrator.
pub enum AdminClient {
    /// A connection to a running server.
    Server(Connection),
    /// No server is running: the router answers in this process.
    InProcess(Box<App>),
}

/// A connection to a running server.
pub struct Connection {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    answer_timeout: Duration,
    /// `Basic` credentials of the administrator; `None` through the admin socket, which needs none.
    authorization: Option<HeaderValue>,
}

impl AdminClient {
    /// Connects to the running server; fails if there is none.
    pub async fn of_server(config: &Config) -> Result<Self, Failure> {
        let none = || {
            let address = match places(config).admin_socket {
                Some(socket) => socket.display().to_string(),
                None => config.server.listen.to_string(),
            };
            Failure::refused(format!("no server answers at {address}; start one with `keyfob serve`"))
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
        let places = places(config);
        let Some(socket) = &places.admin_socket else { return Self::through_listen(config, &places).await };
        let path = match SocketPath::of(socket) {
            Ok(path) => path,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Failure::refused(format!("{}: {cause}", socket.display()))),
        };
        match UnixStream::connect(path.as_path()).await {
            Ok(stream) => {
                check_owner(socket, &places)?;
                Self::connect(stream, &socket.display().to_string(), config, None).await.map(Some)
            }
            Err(cause) => match cause.kind() {
                // A killed server leaves its socket file behind; a file system without sockets has none.
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    Self::through_listen(config, &places).await
                }
                io::ErrorKind::PermissionDenied => Err(Failure::refused(format!(
                    "only the owner of {} may use it: run this as that user (`sudo keyfob …`)",
                    places.directory.display()
                ))),
                _ => Err(Failure::refused(format!(
                    "cannot determine whether a server is running: {}: {cause}",
                    socket.display()
                ))),
            },
        }
    }

    /// Connects to `listen` with the credentials in `admin.json`, if a server without an admin socket runs:
    /// then no other process has its address.
    async fn through_listen(config: &Config, places: &Places) -> Result<Option<Self>, Failure> {
        if !is_held_without_socket(&places.directory) {
            return Ok(None);
        }
        let Some(admin) = AdminCredentials::read(&places.admin_json).map_err(Failure::refused)? else {
            return Ok(None);
        };
        let authorization = basic(&admin)?;
        let address = config.server.listen.to_string();
        match &config.server.listen {
            Listen::Tcp(listen) => {
                let Ok(stream) = TcpStream::connect(listen).await else { return Ok(None) };
                Self::begin(stream, &address, config, authorization).await.map(Some)
            }
            Listen::Unix(path) => {
                let short = SocketPath::of(path).map_err(Failure::refused)?;
                let Ok(stream) = UnixStream::connect(short.as_path()).await else { return Ok(None) };
                check_owner(path, places)?;
                Self::begin(stream, &address, config, authorization).await.map(Some)
            }
        }
    }

    /// Connects to `listen`, which accepts only TLS if it is configured.
    async fn begin(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: &str,
        config: &Config,
        authorization: HeaderValue,
    ) -> Result<Self, Failure> {
        match &config.server.tls {
            Some(tls) => {
                Self::connect(pinned::connect(tls, stream).await?, address, config, Some(authorization)).await
            }
            None => Self::connect(stream, address, config, Some(authorization)).await,
        }
    }

    async fn connect(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        address: &str,
        config: &Config,
        authorization: Option<HeaderValue>,
    ) -> Result<Self, Failure> {
        let broken = |cause: hyper::Error| {
            Failure::refused(format!("the server at {address} does not answer: {cause}"))
        };
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let answer_timeout = config.limits.request_timeout.max(ANSWER_TIMEOUT);
        Ok(Self::Server(Connection { sender, answer_timeout, authorization }))
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
        let limit = if let Self::Server(server) = self { server.answer_timeout } else { Duration::MAX };
        let (status, body) = timeout(limit, self.exchange(request)).await.map_err(|_| timed_out(limit))??;
        let bytes = collect(body).await?;
        if !status.is_success() {
            return Err(refusal(status, &bytes));
        }
        serde_json::from_slice(if bytes.is_empty() { b"null" } else { &bytes }).map_err(Failure::refused)
    }

    /// Requests an answer that is read while it arrives.
    pub async fn stream(&mut self, path: &str) -> Result<BoxBody<Bytes, io::Error>, Failure> {
        let (status, body) = self.exchange(request(Method::GET, path, None)?).await?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &collect(body).await?)) }
    }

    async fn exchange(
        &mut self,
        mut request: Request<Bytes>,
    ) -> Result<(StatusCode, BoxBody<Bytes, io::Error>), Failure> {
        match self {
            Self::Server(server) => {
                if let Some(authorization) = &server.authorization {
                    request.headers_mut().insert(AUTHORIZATION, authorization.clone());
                }
                let response =
                    server.sender.send_request(request.map(Full::new)).await.map_err(|_| disconnected())?;
                Ok((response.status(), response.into_body().map_err(io::Error::other).boxed()))
            }
            Self::InProcess(app) => Ok(app.answer(request).await),
        }
    }

    /// Whether it is connected to a server.
    pub fn is_server(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    /// Whether its requests have the rights of the admin socket, not those of the client in `admin.json`.
    pub fn is_through_socket(&self) -> bool {
        !matches!(self, Self::Server(Connection { authorization: Some(_), .. }))
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

/// Refuses a socket of another user, which could answer anything. Root also uses the one of the store's
/// owner.
fn check_owner(socket: &Path, places: &Places) -> Result<(), Failure> {
    let owner =
        |path: &Path| path.symlink_metadata().map(|metadata| metadata.uid()).map_err(Failure::refused);
    let (user, found) = (geteuid().as_raw(), owner(socket)?);
    if found == user || found == 0 || (user == 0 && found == owner(&places.directory)?) {
        return Ok(());
    }
    Err(Failure::refused(format!(
        "the socket {} belongs to user {found}, not to root or the user of this command ({user}): it is not \
         used",
        socket.display()
    )))
}

fn basic(admin: &AdminCredentials) -> Result<HeaderValue, Failure> {
    let pair = Zeroizing::new(format!("{}:{}", admin.client_id, admin.client_secret));
    let text = Zeroizing::new(format!("Basic {}", Base64::encode_string(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).map_err(Failure::refused)?;
    value.set_sensitive(true);
    Ok(value)
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
