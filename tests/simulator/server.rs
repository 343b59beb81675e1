//! A whole server without sockets or threads: its writer runs when the simulation calls it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base64ct::{Base64, Encoding};
use http::Method;
use keyfob::config::{Config, Sources};
use keyfob::engine::clock::Clock;
use keyfob::engine::{Engine, Rules};
use keyfob::http::net::channel::Channel;
use keyfob::http::request::cookie::Cookie;
use keyfob::http::request::limits::Limits;
use keyfob::http::request::origin::Origins;
use keyfob::http::wire::Service;
use keyfob::store::redb::{Options, Redb, Writer};
use keyfob::token::keys::{Keys, SecretKey};
use serde_json::Value;

use crate::disk::Disk;

const ISSUER: &str = "http://127.0.0.1:8080";
/// Little, so that reads reach the disk, and enough for the cache of sessions to have entries.
pub const OPTIONS: Options = Options { cache_bytes: 1 << 20, write_queue_max: 64 };

pub struct Server {
    pub store: Arc<Redb>,
    pub engine: Arc<Engine<Redb>>,
    pub wire: Arc<Service>,
    writer: Writer,
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub enum Auth {
    Socket,
    /// A client, and its secret; a public one has none.
    Basic(String, String),
    Bearer(String),
    /// A session token as a cookie, sent from a page of the issuer.
    Cookie(String),
}

impl Auth {
    /// A person's, by a token.
    pub fn of_person(token: String, as_cookie: bool) -> Self {
        if as_cookie { Self::Cookie(token) } else { Self::Bearer(token) }
    }
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub auth: Auth,
    pub key: Option<String>,
    pub body: Body,
}

impl Request {
    pub fn new(method: Method, path: &str, auth: Auth, body: Body) -> Self {
        Self { method, path: path.into(), auth, key: None, body }
    }
}

#[derive(Clone, Debug)]
pub enum Body {
    None,
    Json(Value),
    Form(Vec<(&'static str, String)>),
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

pub fn keys() -> Keys {
    Keys::derive(&SecretKey::new([7; 32]))
}

pub fn config(overrides: &[(&str, &str)]) -> Config {
    let overrides = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Config::load(&Sources { directory: "/nonexistent".into(), overrides, ..Sources::default() }).unwrap()
}

impl Server {
    /// Starts on what is on the disk.
    pub async fn boot(disk: &Disk, config: &Config, clock: Clock) -> Result<Self, String> {
        let opened = Redb::open_stepped(disk.clone(), &keys(), OPTIONS);
        let (store, mut writer) = opened.map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        let rules = Rules {
            issuer: ISSUER.into(),
            policies: config.policies.clone(),
            retention: config.events_retention,
            rotate_every: config.keys.rotate_every,
            failed_auth_per_minute: 1_000_000,
        };
        let starting = Engine::start(store.clone(), keys(), rules, clock);
        let engine = drive(&mut writer, starting).await.map_err(|error| error.to_string())?;
        let engine = Arc::new(engine);
        let limits = Limits {
            body_bytes_max: config.limits.body_bytes_max,
            form_bytes_max: config.limits.form_bytes_max,
            parameters_max: config.limits.parameters_max,
            request_timeout: config.limits.request_timeout,
        };
        let cookie = Cookie { name: config.cookie.name.clone(), same_site: "Lax" };
        let origins = Origins::new(ISSUER, &[]);
        let metrics = Arc::default();
        let wire = keyfob::http::wire(&engine, cookie, origins, &[].into(), None, limits, &metrics);
        Ok(Self { store, engine, wire: Arc::new(wire), writer })
    }

    /// Whether decisions are waiting for the writer.
    pub fn is_waiting(&self) -> bool {
        self.store.counters().waiting > 0
    }

    /// Runs one batch, if decisions are waiting.
    pub fn step(&mut self) -> bool {
        self.writer.step()
    }

    /// Awaits `future` and runs every batch meanwhile.
    pub async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.writer, future).await
    }

    pub async fn send(&mut self, request: Request) -> Answer {
        let answering = send(self.wire.clone(), request);
        self.drive(answering).await
    }
}

async fn drive<F: Future>(writer: &mut Writer, future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        writer.step();
        tokio::task::yield_now().await;
    }
}

pub async fn send(wire: Arc<Service>, request: Request) -> Answer {
    let mut builder = poem::Request::builder().method(request.method).uri(request.path.parse().unwrap());
    match &request.auth {
        Auth::Socket => builder = builder.extension(Channel::AdminSocket),
        Auth::Basic(id, secret) => {
            let credentials = Base64::encode_string(format!("{id}:{secret}").as_bytes());
            builder = builder.header("authorization", format!("Basic {credentials}"));
        }
        Auth::Bearer(token) => builder = builder.header("authorization", format!("Bearer {token}")),
        Auth::Cookie(token) => {
            builder = builder.header("cookie", format!("__Host-keyfob={token}"));
            builder = builder.header("sec-fetch-site", "same-origin");
        }
    }
    if let Some(key) = request.key {
        builder = builder.header("idempotency-key", key);
    }
    let request = match request.body {
        Body::None => builder.finish(),
        Body::Json(value) => builder.header("content-type", "application/json").body(value.to_string()),
        Body::Form(fields) => {
            let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            builder.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
        }
    };
    let mut response = wire.respond(request).await;
    let status = response.status().as_u16();
    let body = response.take_body().into_bytes().await.unwrap();
    Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}
