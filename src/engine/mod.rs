//! The use cases: one file each. The engine generates secrets, runs the decisions of the domain in the store,
//! and signs what was granted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use self::stored_keys::StoredKeyring;
use crate::domain::client::Client;
use crate::domain::cutoff::CutOffs;
use crate::domain::id::{ClientId, Position, SessionId};
use crate::domain::policy::Policy;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, Session};
use crate::domain::time::Timestamp;
use crate::domain::validity::Validity;
use crate::store::{Figures, Lane, Registry, ReplicaFigures, Store, StoreError};
use crate::token::keys::Keys;
use crate::token::opaque::OpaqueKeys;
use crate::token::verifier::TokenVerifier;

mod activity;
pub mod authenticate;
pub(crate) mod change;
pub(crate) mod check;
pub(crate) mod client_credentials;
pub mod clients;
pub mod clock;
pub(crate) mod console;
pub(crate) mod counts;
pub(crate) mod end;
pub(crate) mod events;
pub(crate) mod families;
pub(crate) mod feed;
pub(crate) mod figure_series;
mod history;
pub(crate) mod introspect;
pub(crate) mod issue;
pub(crate) mod keys;
pub mod open;
pub(crate) mod policy_meter;
pub(crate) mod read;
pub(crate) mod refresh;
pub(crate) mod renew;
pub(crate) mod repeat;
pub(crate) mod revoke;
pub(crate) mod signed_in;
pub(crate) mod simulate;
mod stored_keys;
pub(crate) mod sweep;
mod throttle;
pub(crate) mod upkeep;

use activity::UnwrittenUses;
use clock::Clock;
use counts::EngineCounters;
use figure_series::History;
use policy_meter::PolicyMeters;
use throttle::Throttle;

/// How many backups and checks may run at once. Each holds a snapshot, whose pages cannot be reused until it
/// ends.
const WALKS_MAX: usize = 2;

/// The result of a use case.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a use case did not do what was requested.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.because(""))
    }
}

/// The configuration of the engine.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The public base URL: `iss` in tokens, and the audience that keyfob's own routes require.
    pub issuer: Box<str>,
    /// The policies by name; `default` is always present.
    pub policies: BTreeMap<String, Policy>,
    /// How long events, and sessions that ended or expired, are retained.
    pub retention: Duration,
    /// How long a key signs before it is rotated.
    pub rotate_every: Duration,
    /// The failed authentications per minute and address before 429.
    pub failed_auth_per_minute: u32,
}

/// The session engine over one store.
pub struct Engine<S> {
    store: Arc<S>,
    pub rules: Rules,
    keys: Keys,
    opaque: OpaqueKeys,
    keyring: ArcSwap<StoredKeyring>,
    verifier: TokenVerifier,
    pub clock: Clock,
    started_at: Timestamp,
    throttle: Throttle,
    activity: Arc<UnwrittenUses>,
    stopping: watch::Sender<bool>,
    draining: AtomicBool,
    pub counts: EngineCounters,
    has_console: AtomicBool,
    meters: PolicyMeters,
    history: History,
    walks: Arc<Semaphore>,
}

impl<S: Store> Engine<S> {
    /// An engine over `store`. Loads the signing keys, or generates them if there are none.
    ///
    /// # Errors
    /// The store cannot be read or written, or its signing keys do not open with the master key.
    pub async fn start(store: Arc<S>, keys: Keys, rules: Rules, clock: Clock) -> Result<Self> {
        let keyring = stored_keys::load_or_create(&*store, &keys, &clock).await?;
        let started_at = clock.now().wall;
        // Uses that other processes have not written yet are unknown at any time.
        let began = if store.is_shared() { Timestamp::MAX } else { started_at };
        let engine = Self {
            store,
            throttle: Throttle::new(rules.failed_auth_per_minute),
            meters: PolicyMeters::new(&rules.policies),
            rules,
            opaque: OpaqueKeys::new(&keys),
            keys,
            keyring: ArcSwap::from_pointee(keyring),
            verifier: TokenVerifier::new(clock.random()),
            activity: Arc::new(UnwrittenUses::new(began)),
            clock,
            started_at,
            stopping: watch::Sender::new(false),
            draining: AtomicBool::new(false),
            counts: EngineCounters::new(),
            has_console: AtomicBool::new(false),
            history: History::default(),
            walks: Arc::new(Semaphore::new(WALKS_MAX)),
        };
        engine.prepare_all_keys().await?;
        Ok(engine)
    }

    /// Whether the store can commit.
    pub fn ready(&self) -> Result<()> {
        Ok(self.store.ready()?)
    }

    /// The position of the last event.
    pub fn head(&self) -> Position {
        self.store.head()
    }

    /// When this engine was started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The figures of the store.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn figures(&self) -> Result<Figures> {
        Ok(self.store.figures().await?)
    }

    /// What this process knows of a shared store, without asking it.
    pub fn replica_figures(&self) -> Option<ReplicaFigures> {
        self.store.replica_figures()
    }

    /// Records that the server is stopping. It still answers, but should get no further requests.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the server is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Ends every long poll: the server is about to stop.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The session as it is written, with the uses that are not written yet; its times are to be judged at
    /// `now`.
    async fn read_session(&self, id: SessionId, now: Timestamp) -> Result<Option<Arc<Session>>> {
        let mut session = self.store.session(id).await?;
        if let Some(session) = &mut session
            && let Some(used) = self.activity.later_use(session, now)
        {
            Arc::make_mut(session).touch(used);
        }
        Ok(session)
    }

    /// Runs `decide`, which judges times at `now`, on the session with its unwritten uses; `None` if there is
    /// no such session.
    async fn update_session<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        now: Timestamp,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let activity = self.activity.clone();
        let decide =
            move |session: &mut Session, cuts: &CutOffs| activity.decide(session, cuts, now, &decide);
        Ok(self.store.update(id, lane, decide).await?)
    }

    /// The same for a decision that may refuse.
    async fn try_update_session<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        now: Timestamp,
        decide: impl Fn(&mut Session, &CutOffs) -> std::result::Result<Decision<T>, Refused> + Send + 'static,
    ) -> Result<Option<T>> {
        let decided =
            self.update_session(id, lane, now, move |session, cuts| Decision::of(decide(session, cuts)));
        Ok(decided.await?.transpose()?)
    }

    /// The policy that a client names, or the default if the configuration no longer has it.
    fn policy(&self, client: &Client) -> &Policy {
        let named = self.rules.policies.get(&*client.policy);
        named.unwrap_or_else(|| {
            self.rules.policies.get("default").expect("the configuration always contains a default policy")
        })
    }
}

/// What a token that was issued to the client `id` is checked against.
fn validity<'a>(registry: &'a Registry, id: &ClientId, now: Timestamp) -> Validity<'a> {
    Validity { now, cuts: &registry.cuts, client: registry.cuts.registered.get(id).map(AsRef::as_ref) }
}
