//! The whole server without sockets or threads, on a store in memory that is the same for each input.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use keyfob::config::{Config, Sources};
use keyfob::domain::time::Timestamp;
use keyfob::engine::clock::Clock;
use keyfob::engine::{Engine, Rules};
use keyfob::fuzzing::{TrustedProxies, trust};
use keyfob::http::net::channel::Channel;
use keyfob::http::request::cookie::Cookie;
use keyfob::http::request::limits::Limits;
use keyfob::http::request::origin::Origins;
use keyfob::http::wire::Service;
use keyfob::store::Store;
use keyfob::store::check::Note;
use keyfob::store::redb::{Options, Redb, Writer};
use keyfob::token::keys::{Keys, SecretKey};
use poem::http::Method;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::memory::Memory;
use crate::text::percent_encoded;

/// 2027-01-15T08:00:00Z.
pub const ISSUER: &str = "http://127.0.0.1:8080";
const NOW_S: i64 = 1_800_000_000;
/// How long a request waits before the writer runs, which is longer each time that nothing was to be written.
const STEP: Duration = Duration::from_millis(1);
const STEP_MAX: Duration = Duration::from_secs(1);
const OPTIONS: Options = Options { cache_bytes: 1 << 20, write_queue_max: 64 };
pub const FORM: &str = "application/x-www-form-urlencoded";
pub const JSON: &str = "application/json";
/// The members of answers that later requests may name, and those of them that are tokens.
const REMEMBERED: [&str; 12] = [
    "access_token",
    "refresh_token",
    "session_token",
    "client_secret",
    "id",
    "client_id",
    "family",
    "kid",
    "cursor",
    "head",
    "next",
    "next_cursor",
];
const TOKENS: usize = 3;

/// What an input starts with. Made by a thread of its own, since the first to need it may be in a runtime.
static BEGINNING: LazyLock<Beginning> = LazyLock::new(|| {
    let making = std::thread::spawn(|| {
        runtime().block_on(async {
            let disk = Memory::default();
            let mut server = Server::boot(disk.clone(), 1).await;
            server.populate().await;
            Beginning { disk, facts: server.facts }
        })
    });
    making.join().expect("the clients and sessions are valid")
});

struct Beginning {
    disk: Memory,
    facts: Facts,
}

/// What the clients of the server have received.
#[derive(Clone, Default)]
pub struct Facts {
    /// What an input may name, by its name.
    pub names: BTreeMap<String, String>,
    /// Every token that was ever issued.
    pub issued: BTreeSet<String>,
}

impl Facts {
    /// Remembers what is in an answer.
    pub fn learn(&mut self, answer: &Value) {
        match answer {
            Value::Object(members) => members.iter().for_each(|(name, value)| {
                if let (Some(at), Value::String(text)) =
                    (REMEMBERED.iter().position(|known| known == name), value)
                {
                    self.names.insert(name.clone(), text.clone());
                    if at < TOKENS {
                        self.issued.insert(text.clone());
                    }
                }
                self.learn(value);
            }),
            Value::Array(items) => items.iter().for_each(|item| self.learn(item)),
            _ => {}
        }
    }

    /// A text in which each known name in braces is replaced.
    pub fn filled(&self, text: &str) -> String {
        let mut parts = text.split('{');
        let mut filled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            match part.split_once('}').and_then(|(name, rest)| Some((self.names.get(name)?, rest))) {
                Some((value, rest)) => filled.extend([value, rest]),
                None => filled.extend(["{", part]),
            }
        }
        filled
    }

    fn name_last(&mut self, owner: &str, members: &[&str]) {
        for member in members {
            if let Some(value) = self.names.get(*member) {
                self.names.insert(format!("{owner}.{member}"), value.clone());
            }
        }
    }
}

pub struct Server {
    pub store: Arc<Redb>,
    pub engine: Arc<Engine<Redb>>,
    pub wire: Arc<Service>,
    pub facts: Facts,
    writer: Writer,
}

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("keyfob.toml");
    Config::load(&Sources { file: Some(file), ..Sources::default() }).expect("keyfob.toml is valid")
});
static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::derive(&SecretKey::new([7; 32])));

pub fn keys() -> &'static Keys {
    &KEYS
}

pub fn now() -> Timestamp {
    Timestamp::from_seconds(NOW_S)
}

/// Time stands still unless every task waits for it.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("it needs no resources")
}

impl Server {
    /// The server that every input finds.
    pub async fn start() -> Self {
        let mut server = Self::boot(BEGINNING.disk.copy(), 2).await;
        server.facts = BEGINNING.facts.clone();
        server
    }

    /// Starts on what is on `disk`, with random bytes that only depend on `seed`.
    pub async fn boot(disk: Memory, seed: u64) -> Self {
        let config = &*CONFIG;
        let (store, mut writer) =
            Redb::open_stepped(disk, keys(), OPTIONS).expect("the store is empty, or as it was left");
        let store = Arc::new(store);
        let rules = Rules {
            issuer: config.server.issuer.as_str().into(),
            policies: config.policies.clone(),
            retention: config.events_retention,
            rotate_every: config.keys.rotate_every,
            failed_auth_per_minute: config.limits.failed_auth_per_minute,
        };
        let state = AtomicU64::new(seed << 32);
        let fill = move |bytes: &mut [u8]| {
            // SplitMix64.
            for chunk in bytes.chunks_mut(8) {
                let mut z = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
            }
        };
        let (clock, _) = Clock::simulated(now(), fill);
        let starting = Engine::start(store.clone(), keys().clone(), rules, clock);
        let engine = Arc::new(drive(&mut writer, starting).await.expect("the store answers"));
        let cookie = Cookie { name: config.cookie.name.clone(), same_site: config.cookie.same_site.as_str() };
        let limits = Limits {
            body_bytes_max: config.limits.body_bytes_max,
            form_bytes_max: config.limits.form_bytes_max,
            parameters_max: config.limits.parameters_max,
            request_timeout: config.limits.request_timeout,
        };
        let origins = Origins::new(&config.server.issuer, &config.cookie.origins);
        let gates = config.gates.clone().into();
        let metrics = Arc::default();
        let mut wire = keyfob::http::wire(&engine, cookie, origins, &gates, None, limits, &metrics);
        trust(&mut wire, TrustedProxies::new(config.server.trusted_proxies.clone()));
        Self { store, engine, wire: Arc::new(wire), facts: Facts::default(), writer }
    }

    /// Awaits `future`, and commits what it and others write meanwhile.
    pub async fn drive<F: Future>(&mut self, future: F) -> F::Output {
        drive(&mut self.writer, future).await
    }

    /// The answer to one request; `auth` is the value of `Authorization`, or empty for the admin socket.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        auth: &str,
        kind: &str,
        body: String,
    ) -> (u16, Value) {
        let mut request = poem::Request::builder().method(method).uri(path.parse().expect("a path"));
        if auth.is_empty() {
            request = request.extension(Channel::AdminSocket);
        } else {
            request = request.header("authorization", auth);
        }
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let wire = self.wire.clone();
        let answering = async move {
            let mut response = wire.respond(request.body(body)).await;
            let body = response.take_body().into_bytes().await.expect("nothing interrupts it");
            (response.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default())
        };
        self.drive(answering).await
    }

    /// The answer to an administrator who reads.
    pub async fn get(&mut self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "", "", String::new()).await
    }

    /// Clients with each format of tokens, and sessions of theirs.
    async fn populate(&mut self) {
        for (id, format, policy) in
            [("app", "paseto", "default"), ("jwt", "jwt", "strict"), ("es", "jwt_es256", "lenient")]
        {
            let client = json!({
                "client_id": id,
                "permissions": ["sessions", "introspect", "events", "metrics"],
                "grants": ["refresh_token", "client_credentials"],
                "scopes": ["read", "write"],
                "audiences": [format!("https://{id}.example"), "https://api.example", ISSUER],
                "serves": [format!("https://{id}.example")],
                "opens_for": ["spa"],
                "policy": policy,
                "access_token_format": format,
            });
            self.register(id, client).await;
        }
        let public =
            json!({ "client_id": "spa", "kind": "public", "grants": ["refresh_token"], "scopes": ["read"] });
        self.register("spa", public).await;
        let root = json!({
            "client_id": "root", "permissions": ["admin"], "grants": ["refresh_token", "client_credentials"],
        });
        self.register("root", root).await;
        for (id, opener) in [("app", "app"), ("jwt", "jwt"), ("es", "es"), ("spa", "app"), ("root", "root")] {
            let audience = (!["spa", "root"].contains(&id)).then_some("https://api.example");
            let mut session = json!({
                "subject": "alice", "client_id": id, "acr": "aal2", "amr": ["pwd", "otp"],
                "claims": { "role": "staff" }, "data": { "cart": 3 }, "remember": true,
                "device": { "label": "den", "ip": "192.0.2.1", "user_agent": "Mozilla/5.0 (X11; Linux)" },
            });
            if let Some(audience) = audience {
                session["audience"] = audience.into();
            }
            let auth = self.facts.names[opener].clone();
            let (status, opened) =
                self.ask(Method::POST, "/v1/sessions", &auth, JSON, session.to_string()).await;
            assert_eq!(status, 201, "{opened}");
            self.facts.learn(&opened);
            self.facts.learn(&opened["session"]);
            self.facts.name_last(id, &["access_token", "refresh_token", "session_token", "id"]);
        }
        for id in ["app", "root"] {
            let auth = self.facts.names[id].clone();
            let resource = percent_encoded(ISSUER);
            let grant = format!("grant_type=client_credentials&resource={resource}");
            let (status, own) = self.ask(Method::POST, "/oauth2/token", &auth, FORM, grant).await;
            assert_eq!(status, 200, "{own}");
            self.facts.learn(&own);
            let own = self.facts.names["access_token"].clone();
            self.facts.names.insert(format!("{id}.own"), own);
        }
        let (_, page) = self.get("/v1/sessions?limit=1").await;
        self.facts.learn(&page);
        let (_, keys) = self.get("/v1/keys").await;
        self.facts.learn(&keys);
    }

    async fn register(&mut self, id: &str, client: Value) {
        let (status, made) = self.ask(Method::POST, "/v1/clients", "", JSON, client.to_string()).await;
        assert_eq!(status, 201, "{made}");
        let secret = made["client_secret"].as_str().unwrap_or_default();
        let credentials = Base64::encode_string(format!("{id}:{secret}").as_bytes());
        self.facts.names.insert(id.to_owned(), format!("Basic {credentials}"));
        self.facts.names.insert(format!("{id}.secret"), secret.to_owned());
    }

    /// Fails if the store has an entry that disagrees with another one.
    pub async fn check(&mut self) {
        let engine = self.engine.clone();
        self.drive(engine.write_uses(true)).await;
        let mut notes = self.store.check(now()).expect("the store is open");
        while let Some(note) = notes.recv().await {
            if let Some(Note::Find(find)) = note.expect("memory does not fail") {
                panic!("the check finds {find:?}");
            }
        }
    }
}

async fn drive<F: Future>(writer: &mut Writer, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut wait = STEP;
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = sleep(wait) => {}
        }
        // A request that waits for no write waits for time, or for a thread.
        wait = if writer.step() { STEP } else { STEP_MAX.min(wait * 2) };
    }
}
