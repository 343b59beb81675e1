//! A whole server in this process: real files, real store, the real routes, and a clock that the test moves.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::{HeaderMap, Method};
use keyfob::config::{Config, Sources};
use keyfob::domain::id::SessionId;
use keyfob::domain::session::Decision;
use keyfob::domain::time::Timestamp;
use keyfob::engine::clock::{Clock, ManualClock};
use keyfob::first_start::Starter;
use keyfob::http::net::channel::Channel;
use keyfob::http::wire::Service;
use keyfob::serve::App;
use keyfob::store::{Lane, Store};
use serde_json::{Value, json};
use tempfile::TempDir;

/// When the tests happen: 2027-01-15T08:00:00Z.
pub const NOW_S: i64 = 1_800_000_000;
/// The issuer of every test server.
pub const ISSUER: &str = "http://127.0.0.1:8080";

/// A server, its directory, and the hand of its clock.
pub struct Server {
    app: Option<App>,
    directory: TempDir,
    settings: Vec<(String, String)>,
    clock: Clock,
    /// Moves the clock.
    pub hand: ManualClock,
    /// The administrator that the first start made.
    pub admin: Client,
}

/// A client and its secret; the secret of a public one is empty.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: String,
}

/// How a request says who sends it.
#[derive(Clone, Copy, Debug)]
pub enum Auth<'a> {
    None,
    Basic(&'a Client),
    Bearer(&'a str),
    /// Through the admin socket.
    Socket,
    /// An `Authorization` header of any form.
    Header(&'a str),
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Server {
    /// A server with default settings.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A server with these settings over the defaults, such as `("policy.default.refresh_retry_window",
    /// "0s")`.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(TempDir::new().unwrap(), NOW_S, settings).await
    }

    /// The same at another time, on the files in `data` of a directory, if there are any.
    pub async fn on(directory: TempDir, now_s: i64, settings: &[(&str, &str)]) -> Self {
        let mut settings: Vec<_> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let data = directory.path().join("data");
        settings.push(("store.path".into(), data.join("keyfob.redb").display().to_string()));
        settings.push(("keys.master_key_file".into(), data.join("master.key").display().to_string()));
        let (clock, hand) = Clock::manual(Timestamp::from_seconds(now_s));
        let mut server = Self {
            app: None,
            directory,
            settings,
            clock,
            hand,
            admin: Client { id: String::new(), secret: String::new() },
        };
        server.open_app().await;
        let admin: Value =
            serde_json::from_slice(&std::fs::read(server.file("admin.json")).unwrap()).unwrap();
        server.admin = Client { id: text(&admin["client_id"]), secret: text(&admin["client_secret"]) };
        server
    }

    async fn open_app(&mut self) {
        let sources = Sources {
            directory: self.directory.path().into(),
            overrides: self.settings.clone(),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap();
        let (app, _) = App::start(&config, Starter::Serve, self.clock.clone()).await.unwrap();
        self.app = Some(app);
    }

    /// Stops the server and starts another on the same files: what was only in memory is gone, and monotonic
    /// time begins again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.resume().await;
    }

    /// Stops the server; its files stay.
    pub async fn stop(&mut self) {
        self.app.take().unwrap().close().await;
    }

    /// Starts a server on the files of the one that was stopped.
    pub async fn resume(&mut self) {
        self.hand.restart();
        self.open_app().await;
    }

    /// The server dies without a chance to finish anything; then another starts on its files.
    pub async fn crash(&mut self) {
        self.settle().await;
        drop(self.app.take());
        self.resume().await;
    }

    /// Waits until every write that was begun is on the disk.
    pub async fn settle(&self) {
        let absent = SessionId::new(Timestamp::from_seconds(0), &[0; 10]);
        for _ in 0..2 {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            // The writer goes by order of arrival.
            let answer =
                self.app().store().update(absent, Lane::Revocation, |_, _| Decision::answer(())).await;
            assert_eq!(answer.unwrap(), None);
        }
    }

    /// What the running server does every second.
    pub async fn tend(&self) {
        self.app().engine().write_uses(false).await;
        while self.app().engine().sweep().await.unwrap().more {}
    }

    /// How many transactions were committed.
    pub async fn commits(&self) -> u64 {
        self.settle().await;
        self.app().store().embedded().unwrap().counters().commits
    }

    /// Changes a setting; it counts from the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Writes the configuration file; it counts from the next start.
    pub fn configure(&self, toml: &str) {
        std::fs::write(self.directory.path().join("config.toml"), toml).unwrap();
    }

    /// The server's parts.
    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    /// A file beside the store.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("data").join(name)
    }

    /// Sends a request as it is.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        auth: Auth<'_>,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        send(self.app().wire(), method, path, auth, headers, body).await
    }

    /// Posts a form.
    pub async fn form(&self, path: &str, auth: Auth<'_>, fields: &[(&str, &str)]) -> Answer {
        self.raw_form(path, auth, &encoded(fields)).await
    }

    /// Posts a form as it is written.
    pub async fn raw_form(&self, path: &str, auth: Auth<'_>, body: &str) -> Answer {
        self.send(
            Method::POST,
            path,
            auth,
            &[("content-type", "application/x-www-form-urlencoded")],
            body.to_owned(),
        )
        .await
    }

    /// Sends JSON.
    pub async fn json(&self, method: Method, path: &str, auth: Auth<'_>, body: Value) -> Answer {
        self.send(method, path, auth, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Gets.
    pub async fn get(&self, path: &str, auth: Auth<'_>) -> Answer {
        self.send(Method::GET, path, auth, &[], "").await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str, auth: Auth<'_>) -> Answer {
        self.send(Method::DELETE, path, auth, &[], "").await
    }

    /// Registers a client through the API, as the administrator.
    pub async fn client(&self, fields: Value) -> Client {
        let answer = self.json(Method::POST, "/v1/clients", Auth::Basic(&self.admin), fields).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let created = answer.json();
        Client {
            id: text(&created["client_id"]),
            secret: created["client_secret"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// An application: opens sessions, refreshes, and introspects its own tokens, with the scopes `read` and
    /// `write`.
    pub async fn application(&self, id: &str) -> Client {
        let permissions = ["sessions", "introspect"];
        self.client(json!({
            "client_id": id, "permissions": permissions, "grants": ["refresh_token"],
            "scopes": ["read", "write"],
        }))
        .await
    }

    /// Opens a session for `alice` as `client`; answers the whole body of the opening.
    pub async fn open(&self, client: &Client) -> Value {
        self.open_with(client, json!({"subject": "alice"})).await
    }

    /// Opens a session.
    pub async fn open_with(&self, client: &Client, fields: Value) -> Value {
        let answer = self.json(Method::POST, "/v1/sessions", Auth::Basic(client), fields).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    /// Presents a refresh token.
    pub async fn refresh(&self, client: &Client, refresh_token: &str) -> Answer {
        self.form(
            "/oauth2/token",
            Auth::Basic(client),
            &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)],
        )
        .await
    }

    /// Introspects.
    pub async fn introspect(&self, client: &Client, token: &str) -> Value {
        let answer = self.form("/oauth2/introspect", Auth::Basic(client), &[("token", token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Whether a token is good.
    pub async fn is_active(&self, client: &Client, token: &str) -> bool {
        self.introspect(client, token).await["active"] == json!(true)
    }

    /// Revokes.
    pub async fn revoke(&self, client: &Client, token: &str) -> Answer {
        self.form("/oauth2/revoke", Auth::Basic(client), &[("token", token)]).await
    }

    /// A client's own access token.
    pub async fn own_token(&self, client: &Client) -> String {
        let answer =
            self.form("/oauth2/token", Auth::Basic(client), &[("grant_type", "client_credentials")]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        text(&answer.json()["access_token"])
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Every `WWW-Authenticate`.
    pub fn challenges(&self) -> Vec<&str> {
        self.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Asserts an error of RFC 6749 §5.2: its status, its code, and that nothing may keep it.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str) {
        let error = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        assert_eq!(
            (self.status, error["error"].as_str().unwrap_or_default()),
            (status, code),
            "{}",
            self.text()
        );
        let headers = ["content-type", "cache-control", "pragma"].map(|name| self.header(name));
        assert_eq!(headers, ["application/json", "no-store", "no-cache"]);
    }

    /// Asserts a problem of RFC 9457 and the field that it names, if any.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, field: Option<&str>) {
        let problem = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        assert_eq!((self.status, problem["field"].as_str()), (status, field), "{}", self.text());
        assert_eq!(
            (self.header("content-type"), self.header("cache-control")),
            ("application/problem+json", "no-store")
        );
        assert!(problem["detail"].is_string() && problem["status"] == json!(status), "{}", self.text());
    }

    /// The `error` of an answer at `/oauth2/*`.
    pub fn error(&self) -> String {
        text(&self.json()["error"])
    }
}

/// Sends a request to these routes.
pub async fn send(
    wire: &Service,
    method: Method,
    path: &str,
    auth: Auth<'_>,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let mut builder = poem::Request::builder().method(method).uri(path.parse().unwrap());
    match auth {
        Auth::None => {}
        Auth::Basic(client) => builder = builder.header("authorization", basic(&client.id, &client.secret)),
        Auth::Bearer(token) => builder = builder.header("authorization", format!("Bearer {token}")),
        Auth::Header(value) => builder = builder.header("authorization", value),
        Auth::Socket => builder = builder.extension(Channel::AdminSocket),
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut response = wire.respond(builder.body(body.into())).await;
    let (status, mut headers) = (response.status().as_u16(), response.headers().clone());
    // Every answer has a name of its own; what is left may be compared.
    assert!(headers.remove("x-request-id").is_some());
    Answer { status, headers, body: response.take_body().into_bytes().await.unwrap() }
}

/// A form as it travels.
pub fn encoded(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// An `Authorization` header of the scheme Basic.
pub fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", Base64::encode_string(format!("{id}:{secret}").as_bytes()))
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}
