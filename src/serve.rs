//! The composition root: configuration, files, store, engine and wire become one running server, and stop
//! again in order.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::combinators::BoxBody;

use crate::config::{Config, MasterKeySource};
use crate::domain::id::{ClientId, Position};
use crate::engine::clock::Clock;
use crate::engine::{Engine, Rules};
use crate::first_start::{
    AdminCredentials, InstanceLock, LockError, Places, StartError, StartState, Starter, create_master_key,
    prepare_directory, read_master_key,
};
use crate::http as wire;
use crate::http::metrics::Metrics;
use crate::http::net::connection::Channel;
use crate::http::net::peer::TrustedProxies;
use crate::http::wire::Wire;
use crate::store::memory::Memory;
use crate::store::redb::{OpenError, Options, Redb};
use crate::store::{Store, StoreError};
use crate::token::client_secret::{client_secret, hash_client_secret};
use crate::token::keys::{Keys, SecretKey};

mod check;
mod listen;
mod open_files;
mod restore;
mod run;
mod service_manager;
mod tls;

pub use check::check;
pub use restore::{Progress as RestoreProgress, Restored, restore};
pub use run::run;

use restore::Unfinished;

/// The name of the administrator client that the first start makes.
pub const ADMINISTRATOR: &str = "admin";

/// How often the lock of a store that somebody has is tried again, and how many times: about five seconds.
const LOCK_EVERY: Duration = Duration::from_millis(20);
const LOCK_TRIES: u32 = 250;

/// Everything between the files and the listeners.
pub struct App {
    engine: Arc<Engine<Redb>>,
    store: Arc<Redb>,
    wire: Arc<Wire>,
    metrics: Arc<Metrics>,
    lock: InstanceLock,
}

/// Why there is no [`App`]: each says how to go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Nothing was initialised here yet.
    #[error("there is no store at {}: start the server with `keyfob serve`, or run `keyfob init`", .0.display())]
    NotInitialised(PathBuf),
    /// The files beside the store do not go together, or cannot be read or written.
    #[error(transparent)]
    Files(#[from] StartError),
    /// Somebody else has the store.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be opened.
    #[error("{}: {cause}{mend}", path.display())]
    Store {
        /// The database file.
        path: PathBuf,
        /// Why not.
        cause: OpenError,
        /// What to do.
        mend: &'static str,
    },
    /// A backup cannot be restored.
    #[error("{}: {cause}{mend}", file.display())]
    Backup {
        /// The backup, or the database that it should become.
        file: PathBuf,
        /// Why not.
        cause: String,
        /// What to do.
        mend: &'static str,
    },
    /// Somebody stopped it.
    #[error("{0}; nothing was changed")]
    Interrupted(Arc<str>),
    /// The engine cannot start on it.
    #[error("the engine cannot start: {0}")]
    Engine(#[from] crate::engine::Error),
}

impl App {
    /// Opens the store; the first time it is made, with its master key and its administrator, whose
    /// credentials go to `admin.json`. Answers whether this was the first time.
    ///
    /// # Errors
    /// Whatever keeps it from starting, and how to go on.
    pub async fn start(config: &Config, starter: Starter, clock: Clock) -> Result<(Self, bool), AppError> {
        let places = places(config);
        prepare_directory(&places.directory)?;
        if starter == Starter::Init {
            places.stay_out_of_the_way()?;
        }
        let lock = lock(&places)?;
        let state = places.state(starter, variable)?;
        if let (StartState::Fresh, MasterKeySource::File(path)) = (state, &places.master_key) {
            create_master_key(path, &SecretKey::new(clock.random()))?;
        }
        let master = read_master_key(&places.master_key, variable)?;
        if state != StartState::Existing {
            Redb::create(&places.database, &Keys::derive(&master))
                .map_err(|cause| AppError::store(&places.database, cause))?;
        }
        let app = Self::open(config, &places, &master, clock, lock).await?;
        let first = app.store.head() == Position::default();
        if first {
            app.make_administrator(&places).await?;
        }
        app.declare(config).await?;
        Ok((app, first))
    }

    /// Opens the store only if it is there: for commands that find no server running.
    ///
    /// # Errors
    /// `Lock` at once when a server is running after all; `NotInitialised`, and whatever else keeps it from
    /// opening.
    pub async fn open_existing(config: &Config) -> Result<Self, AppError> {
        let places = places(config);
        let lock = lock_existing(&places)?;
        let master = read_master_key(&places.master_key, variable)?;
        Self::open(config, &places, &master, Clock::system(), lock).await
    }

    async fn open(
        config: &Config,
        places: &Places,
        master: &SecretKey,
        clock: Clock,
        lock: InstanceLock,
    ) -> Result<Self, AppError> {
        drop(Unfinished::of(places));
        let keys = Keys::derive(master);
        let options =
            Options { cache_bytes: config.store.cache_bytes, write_queue_max: config.limits.write_queue_max };
        let store = open_patiently(|| Redb::open(&places.database, &keys, options));
        let store = store.map_err(|cause| AppError::store(&places.database, cause))?;
        let store = Arc::new(store);
        let engine = Arc::new(Engine::start(store.clone(), keys, rules(config), clock).await?);
        let metrics = Arc::new(Metrics::new(config.server.metrics_public));
        let wire = wire::wire(&engine, cookie(config), origins(config), limits(config), &metrics);
        let wire = wire.behind(TrustedProxies::new(config.server.trusted_proxies.clone()));
        let wire = Arc::new(if config.server.strict_transport { wire.strictly_by_https() } else { wire });
        Ok(Self { engine, store, wire, metrics, lock })
    }

    /// The administrator's secret is in its file before the store knows its hash: a start that is cut off in
    /// between is completed by the next one, which finds a store without any event, with the same
    /// credentials.
    async fn make_administrator(&self, places: &Places) -> Result<(), AppError> {
        let known = AdminCredentials::read(&places.admin_json)
            .and_then(|admin| hash_client_secret(&admin.client_secret));
        let hash = match known {
            Some(hash) => hash,
            None => {
                let secret = client_secret(&self.engine.clock().random());
                let (client_id, issuer) = (ADMINISTRATOR.to_owned(), self.engine.rules().issuer.to_string());
                AdminCredentials { client_id, client_secret: secret.expose().into(), issuer }
                    .write(&places.admin_json)?;
                hash_client_secret(secret.expose()).expect("a secret that was just made has the right form")
            }
        };
        let id: ClientId = ADMINISTRATOR.parse().expect("the name has the form of a client's name");
        self.engine.create_administrator(id, hash).await?;
        Ok(())
    }

    async fn declare(&self, config: &Config) -> Result<(), AppError> {
        let now = self.engine.clock().now().wall;
        let declared = config.clients.iter().map(|client| client.to_client(now)).collect();
        Ok(self.engine.declare_clients(declared).await?)
    }

    /// The use cases, for those who look beneath the routes.
    pub fn engine(&self) -> &Arc<Engine<Redb>> {
        &self.engine
    }

    /// The store, for those who look beneath the engine.
    pub fn store(&self) -> &Arc<Redb> {
        &self.store
    }

    /// The routes.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Answers a request with the rights that the admin socket gives, by a body that may be made while it is
    /// read.
    pub async fn answer(&self, request: Request<Bytes>) -> (StatusCode, BoxBody<Bytes, io::Error>) {
        let (parts, body) = request.into_parts();
        let mut request = poem::Request::builder().method(parts.method).uri(parts.uri).body(body);
        *request.headers_mut() = parts.headers;
        request.extensions_mut().insert(Channel::AdminSocket);
        let mut response = self.wire.respond(request).await;
        (response.status(), response.take_body().into())
    }

    /// Finishes the writes that wait, and closes the store.
    pub async fn close(self) {
        let Self { engine, store, wire, metrics, lock } = self;
        engine.write_uses(true).await;
        // Joining the writer blocks; nothing else is left to run by now.
        store.close();
        // The file of the database is let go before the lock, for whoever waits for that.
        drop((wire, metrics, engine, store));
        drop(lock);
    }
}

impl AppError {
    fn store(path: &Path, cause: OpenError) -> Self {
        let mend = match cause {
            OpenError::WrongKey => "; bring back the master key that it was made with",
            OpenError::NotOurs(_) => {
                "; name another file in [store] path, or restore a backup with `keyfob db restore`"
            }
            OpenError::UnknownFormat(_) => "; run the keyfob that made it, or a newer one",
            OpenError::AlreadyOpen => "; stop it first",
            OpenError::Damaged => "; restore a backup with `keyfob db restore FILE`",
            OpenError::Store(StoreError::Corrupt { .. }) => {
                "; `keyfob db check` finds what else is damaged, and `keyfob db restore FILE` restores a backup"
            }
            OpenError::Store(StoreError::Failed(_)) => {
                "; look to the disk, and if the file is damaged restore a backup with `keyfob db restore FILE`"
            }
            OpenError::Io(_) | OpenError::Store(_) => "",
        };
        Self::Store { path: path.into(), cause, mend }
    }
}

/// The OpenAPI document. The routes describe themselves, so an engine over nothing is enough.
///
/// # Errors
/// None in practice: a store in memory does not fail.
pub async fn openapi_document(config: &Config) -> Result<String, AppError> {
    let clock = Clock::system();
    let keys = Keys::derive(&SecretKey::new(clock.random()));
    let engine = Arc::new(Engine::start(Arc::new(Memory::new()), keys, rules(config), clock).await?);
    Ok(format!(
        "{:#}",
        wire::wire(&engine, cookie(config), origins(config), limits(config), &Arc::default()).document()
    ))
}

/// Where everything is, as configured.
pub fn places(config: &Config) -> Places {
    Places::new(&config.store, &config.keys.master_key)
}

/// Takes the lock of an installation that must be there. Root is refused first: its file would be in the
/// owner's way.
fn lock_existing(places: &Places) -> Result<InstanceLock, AppError> {
    if !places.directory.exists() {
        return Err(AppError::NotInitialised(places.database.clone()));
    }
    places.stay_out_of_the_way()?;
    let lock = lock(places)?;
    match places.state(Starter::Serve, variable)? {
        StartState::Existing => Ok(lock),
        StartState::Fresh | StartState::Unfinished => Err(AppError::NotInitialised(places.database.clone())),
    }
}

/// Takes the lock of a store. Commands have it for a moment each, and are waited for; a server, which answers
/// at its socket, is not.
fn lock(places: &Places) -> Result<InstanceLock, LockError> {
    let mut tries = 0;
    InstanceLock::acquire(&places.directory, std::process::id(), || {
        tries += 1;
        let wait = tries < LOCK_TRIES && UnixStream::connect(&places.admin_socket).is_err();
        if wait {
            std::thread::sleep(LOCK_EVERY);
        }
        wait
    })
}

/// Opens the file of a database. Whoever had it may have let go of the lock and not yet of the file, as a
/// process does that ends.
fn open_patiently<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    for _ in 1..LOCK_TRIES {
        match open() {
            Err(OpenError::AlreadyOpen) => std::thread::sleep(LOCK_EVERY),
            opened => return opened,
        }
    }
    open()
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn rules(config: &Config) -> Rules {
    Rules {
        issuer: config.server.issuer.as_str().into(),
        policies: config.policies.clone(),
        retention: config.events_retention,
        rotate_every: config.keys.rotate_every,
        failed_auth_per_minute: config.limits.failed_auth_per_minute,
    }
}

fn cookie(config: &Config) -> wire::request::cookie::Cookie {
    wire::request::cookie::Cookie {
        name: config.cookie.name.clone(),
        same_site: config.cookie.same_site.as_str(),
    }
}

fn origins(config: &Config) -> wire::request::origin::Origins {
    wire::request::origin::Origins::new(&config.server.issuer, &config.cookie.origins)
}

fn limits(config: &Config) -> wire::request::limits::Limits {
    wire::request::limits::Limits {
        body_bytes_max: config.limits.body_bytes_max,
        parameters_max: config.limits.parameters_max,
        request_timeout: config.limits.request_timeout,
    }
}
