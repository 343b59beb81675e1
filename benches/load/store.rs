//! A store with many sessions in it: filled through the engine, many openings in one commit, while no server
//! runs.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use keyfob::config::MasterKeySource;
use keyfob::domain::caller::Caller;
use keyfob::domain::client::{Grant, Permission};
use keyfob::domain::id::ClientId;
use keyfob::domain::policy::{Lifetimes, Policy};
use keyfob::domain::session::Device;
use keyfob::engine::clients::ClientFields;
use keyfob::engine::clock::Clock;
use keyfob::engine::open::OpenSession;
use keyfob::engine::{Engine, Rules};
use keyfob::first_start::read_master_key;
use keyfob::store::redb::{Options, Redb};
use keyfob::token::keys::{Keys, SecretKey};
use serde_json::json;

use crate::server::{ISSUER, Server};

/// How many openings wait for one commit.
pub const AT_ONCE: usize = 1024;
/// How many sessions' tokens are kept to be used.
/// Ten million sessions are opened without reading a page twice.
const CACHE_BYTES: usize = 4 << 30;
/// The client of all sessions.
const CLIENT: &str = "backend";
const SAMPLES_MAX: usize = 24 * 1024;
pub const DAY: Duration = Duration::from_secs(86_400);

/// The directory of a server with sessions in it, and what a client of it knows.
pub struct Filled {
    directory: tempfile::TempDir,
    /// How many sessions.
    pub sessions: usize,
    /// The client's `Authorization` header.
    pub authorization: String,
    /// Session tokens, refresh tokens and PASETOs of the same sessions, spread over the store.
    pub samples: Vec<Tokens>,
}

/// The tokens of one session.
#[derive(Clone)]
pub struct Tokens {
    pub session: String,
    pub refresh: String,
    pub access: String,
}

impl Filled {
    /// With `sessions` in it.
    pub fn make(sessions: usize) -> Self {
        let mut filled = Self::empty();
        filled.grow(sessions, SAMPLES_MAX);
        filled
    }

    /// As a server makes it.
    pub fn empty() -> Self {
        let directory = directory();
        Server::start(directory.path()).0.stop();
        Self { directory, sessions: 0, authorization: String::new(), samples: vec![] }
    }

    /// Opens sessions until there are `sessions`; see [`Self::add`].
    pub fn grow(&mut self, sessions: usize, samples_max: usize) {
        self.add(sessions - self.sessions, samples_max, Clock::system());
    }

    /// Opens `count` sessions at the time of `clock`. The samples are of these.
    pub fn add(&mut self, count: usize, samples_max: usize, clock: Clock) {
        let key = MasterKeySource::File(self.path().join("data/master.key"));
        let master = read_master_key(&key, self.path(), |_| None).expect("the server made it");
        println!("opening {count} sessions");
        let started = Instant::now();
        runtime().block_on(async {
            let (store, engine) = engine(&database(self.path()), &master, clock).await;
            let client = if self.authorization.is_empty() {
                let (client, authorization) = client(&engine).await;
                self.authorization = authorization;
                client
            } else {
                registered(&engine, &CLIENT.parse().expect("a valid name"))
            };
            let numbers = self.sessions..self.sessions + count;
            self.samples = open(&engine, &client, numbers, samples_max).await;
            store.close();
        });
        self.sessions += count;
        println!(
            "{count} sessions opened in {:.1} s, {AT_ONCE} at once, durable",
            started.elapsed().as_secs_f64()
        );
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// A directory on the disk that the build is on, removed in the end.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build directory is writable")
}

pub fn database(directory: &Path) -> PathBuf {
    directory.join("data/keyfob.redb")
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The engine of the server in this process, under the same policy.
pub async fn engine(database: &Path, master: &SecretKey, clock: Clock) -> (Arc<Redb>, Arc<Engine<Redb>>) {
    engine_with_cap(database, master, clock, 0).await
}

/// The same with a cap on the sessions of a subject; 0 for none.
pub async fn engine_with_cap(
    database: &Path,
    master: &SecretKey,
    clock: Clock,
    max_sessions_per_subject: u32,
) -> (Arc<Redb>, Arc<Engine<Redb>>) {
    let keys = Keys::derive(master);
    let store = Redb::open(database, &keys, Options { cache_bytes: CACHE_BYTES, write_queue_max: 4096 })
        .expect("no other process has it open");
    let lifetimes = Lifetimes { idle_timeout: DAY, absolute_lifetime: DAY };
    let policy = Policy { access_token_ttl: DAY, lifetimes, max_sessions_per_subject, ..Policy::default() };
    let rules = Rules {
        issuer: ISSUER.into(),
        policies: [("default".to_owned(), policy)].into(),
        retention: 30 * DAY,
        rotate_every: 90 * DAY,
        failed_auth_per_minute: 30,
    };
    let store = Arc::new(store);
    let engine = Engine::start(store.clone(), keys, rules, clock).await.expect("the store is sound");
    (store, Arc::new(engine))
}

/// Registers the client whose sessions these are; and its `Authorization` header.
pub async fn client(engine: &Engine<Redb>) -> (Caller, String) {
    let fields = ClientFields {
        permissions: Some(vec![Permission::Sessions, Permission::Introspect]),
        grants: Some(vec![Grant::RefreshToken]),
        scopes: Some(vec!["read".into(), "write".into()]),
        audiences: Some(vec!["https://api.example.com".into()]),
        ..ClientFields::default()
    };
    let id = CLIENT.parse().expect("a valid name");
    let admin = Caller::AdminSocket.require().expect("the socket is an administrator");
    let made = engine.create_client(&admin, Some(id), fields).await.expect("the name is free");
    let secret = made.secret.expect("it is confidential");
    let authorization =
        format!("Basic {}", Base64::encode_string(format!("{CLIENT}:{}", secret.expose()).as_bytes()));
    (registered(engine, &made.client.id), authorization)
}

fn registered(engine: &Engine<Redb>, id: &ClientId) -> Caller {
    let admin = Caller::AdminSocket.require().expect("the socket is an administrator");
    Caller::Client(engine.client(&admin, id).expect("it is registered"))
}

/// Opens a session of each of the subjects, and keeps the tokens of at most `kept_max` of them, in order.
pub async fn open(
    engine: &Arc<Engine<Redb>>,
    client: &Caller,
    numbers: Range<usize>,
    kept_max: usize,
) -> Vec<Tokens> {
    let stride = numbers.len().div_ceil(kept_max);
    let mut tasks = tokio::task::JoinSet::new();
    for first in 0..AT_ONCE {
        let caller = client.require().expect("the client has the permission");
        let (engine, numbers) = (engine.clone(), numbers.clone());
        tasks.spawn(async move {
            let mut kept = vec![];
            for number in numbers.skip(first).step_by(AT_ONCE) {
                let opened = engine.open(&caller, sign_in(number)).await.expect("there is room");
                if number % stride == 0 {
                    let refresh = opened.refresh_token.expect("the client has the grant").expose().to_owned();
                    let tokens = Tokens {
                        session: opened.session_token.expose().to_owned(),
                        refresh,
                        access: opened.access.access_token,
                    };
                    kept.push((number, tokens));
                }
            }
            kept
        });
    }
    let mut kept: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    kept.sort_by_key(|(number, _)| *number);
    kept.into_iter().map(|(_, tokens)| tokens).collect()
}

/// A sign-in such as a web application makes.
pub fn sign_in(number: usize) -> OpenSession {
    let claims = json!({"tenant": "north", "roles": ["editor", "reviewer"]});
    let user_agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    OpenSession {
        subject: format!("user-{number:08}"),
        acr: Some("aal1".into()),
        amr: vec!["pwd".into()],
        device: Device { user_agent: Some(user_agent.into()), ip: Some("192.0.2.77".into()), label: None },
        claims: claims.as_object().cloned(),
        ..OpenSession::default()
    }
}
