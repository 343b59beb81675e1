//! Connections of our own. Each is driven here, because the notices of the server decide whether a commit
//! counts.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::{AsyncMessage, Client, Config, Socket};

use super::address::each_host;
use super::counts::DatabaseCounters;
use super::error::{Undone, described};
use super::fence::Fence;
use super::tls::{DatabaseTls, EncryptedStream};
use crate::store::StoreError;

/// How long it may take to connect to a host, with the settings of the connection. One that is frozen accepts
/// connections, and says nothing.
const HOST_MAX: Duration = Duration::from_secs(3);
/// How long the other hosts are waited for when one has answered: of two primaries the newer one counts.
const OTHERS_MAX: Duration = Duration::from_millis(200);
/// How long the statements of a new connection may take.
const PREPARE_MAX: Duration = Duration::from_secs(5);
/// How often a connection that was given up is looked at.
const ABANDONED_EVERY: Duration = Duration::from_secs(1);
/// How many connections there may be. One that waits for a commit which we gave up stays until the server has
/// answered or was replaced: it counts.
const CONNECTIONS_MAX: usize = 16;

/// What every connection sets. A process that stops in the middle of a transaction does not hold its locks
/// for long. Every statement has an index, also while a table has no statistics yet.
const SETTINGS: &str = "SET search_path = keyfob; SET synchronous_commit = on; SET lock_timeout = '1s'; \
                        SET idle_in_transaction_session_timeout = '5s'; SET jit = off; \
                        SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
/// Fails on a server that follows another one.
const TIMELINE: &str =
    "SELECT ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint";
const TIMELINE_AGE: &str = "SELECT extract(epoch FROM clock_timestamp() - since)::float8 FROM timelines \
                            WHERE timeline = $1";
const ENTER_TIMELINE: &str =
    "INSERT INTO timelines VALUES ($1, clock_timestamp()) ON CONFLICT (timeline) DO NOTHING";

/// Makes connections.
pub(super) struct Connector {
    hosts: Vec<Config>,
    tls: DatabaseTls,
    places: Arc<Semaphore>,
    pub fence: Arc<Fence>,
    pub counts: DatabaseCounters,
}

/// One connection.
pub(super) struct DatabaseConnection {
    pub client: Client,
    /// It never changes: a promotion ends all connections that can write.
    pub timeline: i64,
    state: Arc<ConnectionState>,
}

/// What the task that moves the bytes shares with the connection. It has this alone when that was given up.
#[derive(Default)]
struct ConnectionState {
    warned: AtomicBool,
    timeline: AtomicI64,
}

impl Connector {
    pub fn new(config: Config, tls: DatabaseTls, fence: Arc<Fence>) -> Self {
        Self {
            hosts: each_host(&config),
            tls,
            places: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            fence,
            counts: DatabaseCounters::new(),
        }
    }

    /// A connection to the primary, in the schema. `writes` is whether it records a timeline that was not
    /// used before.
    pub async fn connect(&self, writes: bool) -> Result<DatabaseConnection, Undone> {
        let connected = self.try_connect(writes).await;
        match &connected {
            Ok(_) => self.counts.connections.one(),
            Err(_) => self.counts.connections_failed.one(),
        }
        connected
    }

    /// Open connections, and how many there may be.
    pub fn open(&self) -> (usize, usize) {
        (CONNECTIONS_MAX - self.places.available_permits(), CONNECTIONS_MAX)
    }

    async fn try_connect(&self, writes: bool) -> Result<DatabaseConnection, Undone> {
        let connection = self.connect_bare().await?;
        let entered = timeout(PREPARE_MAX, self.enter(&connection, writes));
        entered.await.unwrap_or_else(|_| Err(too_slow()))?;
        if self.fence.is_replaced(connection.timeline) {
            return Err(Undone::Broken("the server is a primary that was replaced".into()));
        }
        Ok(connection)
    }

    /// A connection before the schema exists. All hosts are asked at once: one that says nothing delays no
    /// other, and a primary that has lost its cluster is not preferred to its successor.
    pub async fn connect_bare(&self) -> Result<DatabaseConnection, Undone> {
        let place = self.places.clone().try_acquire_owned();
        let place = Arc::new(place.map_err(|_| Undone::Rejected(StoreError::Busy))?);
        let mut attempts: FuturesUnordered<_> =
            self.hosts.iter().map(|host| timeout(HOST_MAX, self.connect_to(host, place.clone()))).collect();
        let mut newest: Option<DatabaseConnection> = None;
        let mut failure = Undone::Broken("the database does not answer in time".into());
        loop {
            let next = match newest {
                None => attempts.next().await,
                Some(_) => timeout(OTHERS_MAX, attempts.next()).await.ok().flatten(),
            };
            match next {
                None => return newest.ok_or(failure),
                Some(Ok(Ok(found))) => {
                    if newest.as_ref().is_none_or(|newest| newest.timeline < found.timeline) {
                        newest = Some(found);
                    }
                }
                Some(Ok(Err(fault))) => {
                    // That of a standby says less.
                    if !matches!(failure, Undone::Rejected(_)) {
                        failure = fault;
                    }
                }
                Some(Err(_)) => {}
            }
        }
    }

    /// A connection to this host, if it can write.
    async fn connect_to(
        &self,
        host: &Config,
        place: Arc<OwnedSemaphorePermit>,
    ) -> Result<DatabaseConnection, Undone> {
        let (client, connection) = host.connect(self.tls.clone()).await?;
        let state = Arc::new(ConnectionState::default());
        tokio::spawn(drive(connection, state.clone(), self.fence.clone(), place));
        client.batch_execute(SETTINGS).await?;
        let timeline = client.query_one(TIMELINE, &[]).await?.get(0);
        state.timeline.store(timeline, Ordering::SeqCst);
        // Such as that of a changed collation, which concerns no commit.
        state.warned.store(false, Ordering::SeqCst);
        Ok(DatabaseConnection { client, timeline, state })
    }

    /// Learns for how long the timeline has been in use, so that a process that starts later need not wait.
    async fn enter(&self, connection: &DatabaseConnection, writes: bool) -> Result<(), Undone> {
        let timeline = connection.timeline;
        if !self.fence.is_new(timeline) {
            return Ok(());
        }
        let known = connection.client.query_opt(TIMELINE_AGE, &[&timeline]).await?;
        let age = known.map_or(0.0, |row| row.get::<_, f64>(0)).clamp(0.0, 1e9);
        if writes {
            connection.client.execute(ENTER_TIMELINE, &[&timeline]).await?;
        }
        self.fence.entered(timeline, Duration::from_secs_f64(age));
        Ok(())
    }
}

impl DatabaseConnection {
    /// Whether the server has warned. A wait for the second copy that someone cancelled ends with success and
    /// a warning.
    pub fn has_warned(&self) -> bool {
        self.state.warned.load(Ordering::SeqCst)
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

fn too_slow() -> Undone {
    Undone::Broken("the database does not answer in time".into())
}

/// Moves the bytes, and notes warnings before the answers that follow them. Ends when the client was dropped
/// and the server has answered everything, or was replaced and says nothing: its answer would count no more.
async fn drive(
    mut connection: tokio_postgres::Connection<Socket, EncryptedStream>,
    state: Arc<ConnectionState>,
    fence: Arc<Fence>,
    place: Arc<OwnedSemaphorePermit>,
) {
    loop {
        let Ok(message) = timeout(ABANDONED_EVERY, poll_fn(|cx| connection.poll_message(cx))).await else {
            let is_abandoned = Arc::strong_count(&state) == 1;
            if is_abandoned && fence.is_replaced(state.timeline.load(Ordering::SeqCst)) {
                break;
            }
            continue;
        };
        match message {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                if notice.parsed_severity() == Some(Severity::Warning) {
                    state.warned.store(true, Ordering::SeqCst);
                    tracing::warn!(warning = notice.message(), "the database warns");
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(error = described(&error), "a connection to the database ended");
                break;
            }
            None => break,
        }
    }
    drop(place);
}
