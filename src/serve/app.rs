//! The server without its listeners: store, engine and HTTP service, opened and closed in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use poem::http::{Request, StatusCode};

use super::AppError;
use super::backend::{Backend, options};
use super::installation::{lock, lock_existing, places, variable};
use crate::config::{Config, MasterKeySource, Setting};
use crate::domain::client::Client;
use crate::domain::id::{ClientId, Position};
use crate::engine::clock::{Clock, ClockAdvance};
use crate::engine::{Engine, Rules};
use crate::first_start::{
    AdminCredentials, InstanceLock, Places, StartState, Starter, create_master_key, prepare_directory,
    read_master_key,
};
use crate::http;
use crate::http::api::dev_clock::DevClock;
use crate::http::console::{Console, ShownSetting};
use crate::http::metrics::Metrics;
use crate::http::net::budget::Budget;
use crate::http::net::channel::Channel;
use crate::http::net::peer::TrustedProxies;
use crate::http::request::cookie::Cookie;
use crate::http::request::limits::Limits;
use crate::http::request::origin::Origins;
use crate::http::wire::Service;
use crate::store::Store;
use crate::store::any::AnyStore;
use crate::store::redb::{Options, Redb};
use crate::token::client_secret::{client_secret, hash_client_secret};
use crate::token::keys::{Keys, SecretKey};

/// The client id of the administrator that the first start creates.
const ADMINISTRATOR: &str = "admin";

/// Everything between the files and the listeners.
pub struct App {
    engine: Arc<Engine<AnyStore>>,
    store: Arc<AnyStore>,
    wire: Arc<Service>,
    metrics: Arc<Metrics>,
    /// `None` for a store in memory.
    lock: Option<InstanceLock>,
}

/// A clock that `/dev/clock` moves, and the client that may do it.
pub struct DevTime {
    pub clock: Clock,
    pub ahead: ClockAdvance,
    pub client: ClientId,
}

impl App {
    /// Opens the store. The first start creates it, with its master key and its administrator, whose
    /// credentials are written to `admin.json`. Returns whether this was the first start.
    ///
    /// # Errors
    /// Whatever prevents the start, with what to do.
    pub async fn start(config: &Config, starter: Starter, clock: Clock) -> Result<(Self, bool), AppError> {
        let places = places(config);
        prepare_directory(&places.directory)?;
        if starter == Starter::Init {
            places.refuse_root_for_another_owner()?;
        }
        let lock = lock(&places)?;
        let backend = Backend::new(config, &places, &clock);
        let state = places.state(starter, backend.is_created().await?, variable)?;
        if let (StartState::Fresh, MasterKeySource::File(path)) = (state, &places.master_key) {
            create_master_key(path, &SecretKey::new(clock.random()))?;
        }
        let master = read_master_key(&places.master_key, &places.directory, variable)?;
        if state != StartState::Existing {
            backend.create(&Keys::derive(&master)).await?;
        }
        let keys = Keys::derive(&master);
        let store = backend.open(&keys).await?;
        let app = Self::over(config, store, keys, clock, Some(lock)).await?;
        let first = app.store.head() == Position::default();
        if first {
            app.make_administrator(&places).await?;
        } else {
            // It has a secret: the start refuses it where others can read it.
            AdminCredentials::read(&places.admin_json)?;
        }
        app.declare(config).await?;
        Ok((app, first))
    }

    /// Opens an existing store, for a command that found no running server.
    ///
    /// # Errors
    /// `Lock` if a server is running after all; `NotInitialised`; whatever else prevents opening.
    pub async fn open_existing(config: &Config) -> Result<Self, AppError> {
        let (places, clock) = (places(config), Clock::system());
        let backend = Backend::new(config, &places, &clock);
        let lock = lock_existing(&places, backend.is_created().await?)?;
        let keys = Keys::derive(&read_master_key(&places.master_key, &places.directory, variable)?);
        let store = backend.open(&keys).await?;
        Self::over(config, store, keys, clock, Some(lock)).await
    }

    /// An application over an empty store in memory, which has no administrator.
    ///
    /// # Errors
    /// A declared client that cannot be registered.
    pub async fn in_memory(config: &Config, time: Option<DevTime>) -> Result<Self, AppError> {
        let clock = time.as_ref().map_or_else(Clock::system, |time| time.clock.clone());
        let keys = Keys::derive(&SecretKey::new(clock.random()));
        let store = Redb::in_memory(&keys, options(&config.store, &config.limits));
        let store = store.map_err(|cause| AppError::store(&config.store.path, cause))?;
        let mut app = Self::over(config, AnyStore::Redb(store), keys, clock, None).await?;
        app.declare(config).await?;
        if let Some(DevTime { clock, ahead, client }) = time {
            let endpoint = DevClock { engine: app.engine.clone(), ahead, client };
            let wire = Arc::into_inner(app.wire).expect("no listener has it yet");
            app.wire = Arc::new(wire.with_dev_clock(clock, endpoint));
        }
        Ok(app)
    }

    async fn over(
        config: &Config,
        store: AnyStore,
        keys: Keys,
        clock: Clock,
        lock: Option<InstanceLock>,
    ) -> Result<Self, AppError> {
        let store = Arc::new(store);
        let engine = Arc::new(Engine::start(store.clone(), keys, rules(config), clock).await?);
        let metrics = Arc::new(Metrics::new(
            config.server.metrics_public,
            Budget::new(config.limits.buffered_bytes_max),
        ));
        let mut wire = service(config, &engine, &metrics);
        wire.proxies = TrustedProxies::new(config.server.trusted_proxies.clone());
        wire.is_strict = config.server.strict_transport;
        Ok(Self { engine, store, wire: Arc::new(wire), metrics, lock })
    }

    /// The secret is written to its file before the store has its hash: the start after an interrupted first
    /// start finds a store without events, and continues with the same credentials.
    async fn make_administrator(&self, places: &Places) -> Result<(), AppError> {
        let known = AdminCredentials::read(&places.admin_json)?
            .and_then(|admin| hash_client_secret(&admin.client_secret));
        let hash = match known {
            Some(hash) => hash,
            None => {
                let secret = client_secret(&self.engine.clock.random());
                let (client_id, issuer) = (ADMINISTRATOR.to_owned(), self.engine.rules.issuer.to_string());
                AdminCredentials { client_id, client_secret: secret.expose().into(), issuer }
                    .write(&places.admin_json)?;
                hash_client_secret(secret.expose()).expect("a new secret has a valid format")
            }
        };
        let id: ClientId = ADMINISTRATOR.parse().expect("it is a valid client id");
        self.engine.create_administrator(id, hash).await?;
        Ok(())
    }

    async fn declare(&self, config: &Config) -> Result<(), AppError> {
        let now = self.engine.clock.now().wall;
        let dated = |client: &Client| Client { created_at: now, updated_at: now, ..client.clone() };
        let declared = config.clients.iter().map(dated).collect();
        Ok(self.engine.declare_clients(declared).await?)
    }

    pub fn engine(&self) -> &Arc<Engine<AnyStore>> {
        &self.engine
    }

    /// The store below the engine.
    pub fn store(&self) -> &Arc<AnyStore> {
        &self.store
    }

    pub fn wire(&self) -> &Arc<Service> {
        &self.wire
    }

    /// The counters that `/metrics` shows.
    pub(super) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Records for commands that this server has no admin socket.
    pub(super) fn note_no_socket(&self) -> io::Result<()> {
        self.lock.as_ref().map_or(Ok(()), InstanceLock::note_no_socket)
    }

    /// Answers a request with the permissions of the admin socket. The body may still be produced while it is
    /// read.
    pub async fn answer(&self, request: Request<Bytes>) -> (StatusCode, BoxBody<Bytes, io::Error>) {
        let (parts, body) = request.into_parts();
        let mut request = poem::Request::builder().method(parts.method).uri(parts.uri).body(body);
        *request.headers_mut() = parts.headers;
        request.extensions_mut().insert(Channel::AdminSocket);
        let mut response = self.wire.respond(request).await;
        (response.status(), response.take_body().into())
    }

    /// Records in the lock file that the server is stopping, which takes at most `within`.
    pub(super) fn mark_stopping(&self, within: Duration) {
        if let Some(lock) = &self.lock
            && let Err(error) = lock.mark_stopping(std::process::id(), within)
        {
            tracing::warn!(%error, "cannot mark the lock file: a server that is started now will not wait");
        }
    }

    /// Finishes queued writes and closes the store.
    pub async fn close(self) {
        let Self { engine, store, wire, metrics, lock } = self;
        engine.write_uses(true).await;
        store.close().await;
        // The database file is closed before the lock is released, for the next process that takes it.
        drop((wire, metrics, engine, store));
        drop(lock);
    }
}

/// The OpenAPI document. It does not depend on what is stored, so an engine over an empty database in memory
/// is enough.
///
/// # Errors
/// None in practice: memory does not fail.
pub async fn openapi_document(config: &Config) -> Result<String, AppError> {
    let clock = Clock::system();
    let keys = Keys::derive(&SecretKey::new(clock.random()));
    let options = Options { cache_bytes: 1 << 20, write_queue_max: 16 };
    let store =
        Redb::in_memory(&keys, options).map_err(|cause| AppError::store(&config.store.path, cause))?;
    let engine = Arc::new(Engine::start(Arc::new(AnyStore::Redb(store)), keys, rules(config), clock).await?);
    Ok(format!("{:#}", service(config, &engine, &Arc::default()).document()))
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

/// The HTTP service, as configured.
fn service(config: &Config, engine: &Arc<Engine<AnyStore>>, metrics: &Arc<Metrics>) -> Service {
    let Config { server, cookie, limits, .. } = config;
    let origins = Origins::new(&server.issuer, &cookie.origins);
    let cookie = Cookie { name: cookie.name.clone(), same_site: cookie.same_site.as_str() };
    let limits = Limits {
        body_bytes_max: limits.body_bytes_max,
        form_bytes_max: limits.form_bytes_max,
        parameters_max: limits.parameters_max,
        request_timeout: limits.request_timeout,
    };
    let authorization_endpoint = server.authorization_endpoint.as_deref().map(Into::into);
    let gates = config.gates.clone().into();
    let wire = http::wire(engine, cookie, origins, &gates, authorization_endpoint, limits, metrics);
    if !server.console {
        return wire;
    }
    engine.allow_console();
    let setting = |Setting { key, value, origin }: Setting| ShownSetting { key, value, origin };
    let settings = config.effective().iter().cloned().map(setting).collect();
    let console = Console { engine: engine.clone(), settings };
    let wire = wire.with_console(|routes| console.add_to(routes));
    metrics.watch(wire.routes().counters());
    wire
}
