//! The use cases: one file each. Draws secrets, runs the domain's decisions through the store, signs what was
//! granted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, watch};

use crate::domain::client::Client;
use crate::domain::cutoff::CutOffs;
use crate::domain::id::SessionId;
use crate::domain::policy::Policy;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, Session};
use crate::store::{Lane, Store, StoreError};
use crate::token::keyring::Keyring;
use crate::token::keys::Keys;
use crate::token::opaque::OpaqueKeys;
use crate::token::verifier::AccessVerifier;

mod activity;
pub mod authenticate;
pub mod change;
pub mod client_credentials;
pub mod clients;
pub mod clock;
pub mod counts;
pub mod end;
pub mod events;
pub mod families;
pub mod introspect;
pub mod issue;
pub mod keys;
pub mod open;
pub mod read;
pub mod refresh;
pub mod renew;
pub mod revoke;
pub mod signed_in;
pub mod sweep;
mod throttle;
pub mod upkeep;

use activity::Activity;
use clock::Clock;
use counts::Counts;
use throttle::Throttle;

/// What a use case answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a use case did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Our answer is no.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Something broke.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.because(""))
    }
}

/// What the engine goes by besides the store.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The public base URL: `iss` in tokens, and the audience of its own routes.
    pub issuer: Box<str>,
    /// The policies by name; `default` is always there.
    pub policies: BTreeMap<String, Policy>,
    /// How long events, and sessions that explain themselves, are kept.
    pub retention: Duration,
    /// How long a signing key signs before the next one does.
    pub rotate_every: Duration,
    /// Failed authentications per minute and address before 429.
    pub failed_auth_per_minute: u32,
}

/// The session engine over one store.
pub struct Engine<S> {
    store: Arc<S>,
    rules: Rules,
    keys: Keys,
    opaque: OpaqueKeys,
    keyring: ArcSwap<Keyring>,
    verifier: AccessVerifier,
    clock: Clock,
    throttle: Throttle,
    activity: Arc<Activity>,
    stopping: watch::Sender<bool>,
    counts: Counts,
    walks: Arc<Semaphore>,
}

impl<S: Store> Engine<S> {
    /// An engine over `store`, whose signing keys are loaded, or made if there are none yet.
    ///
    /// # Errors
    /// When the store cannot be read or written, or its signing keys do not open under the master key.
    pub async fn start(store: Arc<S>, keys: Keys, rules: Rules, clock: Clock) -> Result<Self> {
        let keyring = keys::load_or_create(&*store, &keys, &clock).await?;
        let throttle = Throttle::new(rules.failed_auth_per_minute);
        let opaque = OpaqueKeys::new(&keys);
        let keyring = ArcSwap::from_pointee(keyring);
        let activity = Arc::new(Activity::new(clock.now().wall));
        Ok(Self {
            store,
            rules,
            keys,
            opaque,
            keyring,
            verifier: AccessVerifier::new(),
            clock,
            throttle,
            activity,
            stopping: watch::Sender::new(false),
            counts: Counts::new(),
            walks: Arc::new(Semaphore::new(upkeep::WALKS_MAX)),
        })
    }

    /// What the engine goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The clock the engine reads.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the engine can do its work: `Err` when the store cannot commit.
    pub fn ready(&self) -> Result<()> {
        Ok(self.store.ready()?)
    }

    /// Has nobody wait any more for what may happen: the server is about to stop.
    pub fn stop_waiting(&self) {
        self.stopping.send_replace(true);
    }

    /// The session as it is now: as it is written, with the uses that are not.
    async fn read_session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        let mut session = self.store.session(id).await?;
        if let Some(session) = &mut session
            && let Some(used) = self.activity.later_use(session)
        {
            Arc::make_mut(session).touch(used);
        }
        Ok(session)
    }

    /// Runs `decide` on the session as it is now.
    async fn update_session<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let activity = self.activity.clone();
        Ok(self.store.update(id, lane, move |session, cuts| activity.decide(session, cuts, &decide)).await?)
    }

    /// The policy a client names. One whose policy has left the configuration falls back to the default.
    fn policy(&self, client: &Client) -> &Policy {
        let named = self.rules.policies.get(&*client.policy);
        named.unwrap_or_else(|| {
            self.rules.policies.get("default").expect("the configuration always makes a default policy")
        })
    }
}
