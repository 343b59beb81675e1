//! Opening: recognises the database and its master key, and starts the tasks.

use std::sync::Arc;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;
use uuid::Uuid;

use super::address::{DatabaseAddress, PasswordSource};
use super::connection::Connector;
use super::epoch::GONE_BACK;
use super::error::{PostgresError, Undone};
use super::fence::Fence;
use super::heartbeat::{self, Heart};
use super::known::{Known, MAX_STALENESS, WriterRegistry};
use super::lasting::lasting;
use super::lost::LostHistory;
use super::queue::{WriteQueue, WriterKind};
use super::reader::{self, Question};
use super::replica::Replica;
use super::schema;
use super::statements::REGISTRY;
use super::writer::WriterTask;
use crate::store::counters::StoreCounters;
use crate::store::layout::KEY_CHECK;
use crate::store::record::Codec;
use crate::token::keys::Keys;

/// How many connections commit rotations. One more commits what takes the head.
const SESSION_WRITERS: usize = 3;
/// How many connections answer questions about sessions.
pub(super) const READERS: usize = 2;
/// How often the head is asked for while someone waits for the next event, and otherwise.
const POLL_AWAITED: Duration = Duration::from_millis(100);
const POLL_IDLE: Duration = Duration::from_secs(1);

/// The settings of a store over PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `store.url`.
    pub url: String,
    pub password: PasswordSource,
    /// How old the heartbeat may be that proves an answer.
    pub max_staleness: Duration,
    /// Whether nothing is acknowledged that only one machine has.
    pub require_synchronous: bool,
    /// The name of this replica, for operators.
    pub replica: Box<str>,
    /// Identifies this run of this process; random.
    pub boot: [u8; 16],
    /// How many writes may wait. Revocations have reserved places beyond that.
    pub write_queue_max: usize,
    /// The time since the machine started, also while it slept.
    pub elapsed: fn() -> Duration,
}

/// What is running.
pub(super) struct Running {
    pub replica: Arc<Replica>,
    pub questions: Vec<mpsc::UnboundedSender<Question>>,
    /// The writers and the heartbeat, which end when the store is closed.
    pub closing: Vec<JoinHandle<()>>,
    /// Those that end with the store.
    pub others: Vec<JoinHandle<()>>,
}

/// Whether the database has the schema.
pub(super) async fn has_schema(options: &PostgresOptions) -> Result<bool, PostgresError> {
    let connection = connector(options)?.connect_bare().await?;
    Ok(schema::version(&connection.client).await?.is_some())
}

/// Creates the schema.
pub(super) async fn create(options: &PostgresOptions, keys: &Keys) -> Result<(), PostgresError> {
    let connection = connector(options)?.connect_bare().await?;
    schema::migrate(&connection.client, &Codec::new(keys), options.max_staleness).await
}

pub(super) async fn open(options: &PostgresOptions, keys: &Keys) -> Result<Running, PostgresError> {
    let (connector, codec) = (connector(options)?, Codec::new(keys));
    let bare = connector.connect_bare().await?;
    let run = async |sql: &'static str| bare.client.batch_execute(sql).await.map_err(Undone::from);
    // Until the first heartbeat shows that this replica runs: what it acknowledged during a move or a restore
    // would be lost.
    run(schema::LOCK_SHARED).await?;
    let version = schema::version(&bare.client).await?.ok_or(PostgresError::Empty)?;
    prove(&bare.client, &codec).await?;
    // A role that may only read and write rows can open a schema of this version.
    if !schema::is_latest(version) {
        // Two that wait for each other's shared lock would not end.
        run(schema::UNLOCK_SHARED).await?;
        schema::migrate(&bare.client, &codec, options.max_staleness).await?;
        run(schema::LOCK_SHARED).await?;
        schema::version(&bare.client).await?.ok_or(PostgresError::Empty)?;
    }
    agree(&bare.client, options.max_staleness).await?;
    let gone_back = bare.client.query_opt("SELECT value FROM meta WHERE name = $1", &[&GONE_BACK]).await;
    if let Some(row) = gone_back.map_err(Undone::from)? {
        return Err(PostgresError::GoneBack(String::from_utf8_lossy(row.get(0)).into_owned()));
    }
    let boot = Uuid::from_bytes(options.boot);
    let heart = Heart::connect(&connector).await?;
    // After a failover, the first writes of the engine would be refused, and the start would fail.
    sleep(connector.fence.new_for()).await;
    heart.beat(&connector, &boot, &options.replica, None).await?;
    drop(bare);
    let rows = heart.connection.client.query(REGISTRY, &[]).await.map_err(Undone::from)?;
    let known = Known::new(&WriterRegistry::of_rows(&rows)?);
    let replica = Arc::new(Replica {
        connector,
        codec,
        boot,
        name: options.replica.clone(),
        known,
        lost: LostHistory::default(),
        queue: WriteQueue::new(options.write_queue_max),
        counts: StoreCounters::new(),
    });
    Ok(start(replica, heart))
}

fn start(replica: Arc<Replica>, heart: Heart) -> Running {
    let shares = std::iter::once(WriterKind::Head).chain([WriterKind::Sessions; SESSION_WRITERS]);
    let writer = |share| {
        let replica = replica.clone();
        tokio::spawn(lasting("writer", move || WriterTask::new(replica.clone(), share).run()))
    };
    let mut closing: Vec<_> = shares.map(writer).collect();
    let (beating, mut first) = (replica.clone(), Some(heart));
    let beat = move || heartbeat::beat(beating.clone(), first.take());
    closing.push(tokio::spawn(lasting("heartbeat", beat)));
    let (mut questions, mut others) = (vec![], vec![]);
    for _ in 0..READERS {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (reading, receiver) = (replica.clone(), Arc::new(Mutex::new(receiver)));
        let answer = move || reader::answer(reading.clone(), receiver.clone());
        others.push(tokio::spawn(lasting("reader", answer)));
        questions.push(sender);
    }
    let (polling, asked) = (replica.clone(), questions[0].clone());
    others.push(tokio::spawn(lasting("poll", move || poll(polling.clone(), asked.clone()))));
    Running { replica, questions, closing, others }
}

/// Asks for the head again and again, so that those who wait for the next event hear of it.
async fn poll(replica: Arc<Replica>, questions: mpsc::UnboundedSender<Question>) {
    loop {
        sleep(if replica.known.has_waiters() { POLL_AWAITED } else { POLL_IDLE }).await;
        if let Err(error) = reader::current(&questions).await {
            tracing::debug!(%error, "the head could not be read");
        }
    }
}

pub(super) fn connector(options: &PostgresOptions) -> Result<Connector, PostgresError> {
    let DatabaseAddress { config, tls } = DatabaseAddress::read(&options.url, &options.password)?;
    let fence = Fence::new(options.elapsed, options.max_staleness, options.require_synchronous);
    Ok(Connector::new(config, tls, Arc::new(fence)))
}

/// Checks that the database belongs to this master key.
pub(super) async fn prove(client: &Client, codec: &Codec) -> Result<(), PostgresError> {
    let row = client.query_opt("SELECT value FROM meta WHERE name = $1", &[&KEY_CHECK]).await;
    let row = row.map_err(Undone::from)?;
    let proven = row.is_some_and(|row| row.get::<_, &[u8]>(0).ct_eq(&codec.key_check()).into());
    if proven { Ok(()) } else { Err(PostgresError::WrongKey) }
}

/// Checks that every replica has the same `max_staleness`: a change needs that none runs.
async fn agree(client: &Client, max_staleness: Duration) -> Result<(), PostgresError> {
    let ours = schema::millis(max_staleness);
    let known = client.query_opt("SELECT value FROM meta WHERE name = $1", &[&MAX_STALENESS]).await;
    let known = known.map_err(Undone::from)?.and_then(|row| row.get::<_, &[u8]>(0).try_into().ok());
    let running_ms = known.map_or(0, u64::from_be_bytes);
    if running_ms == ours {
        return Ok(());
    }
    let put = client
        .execute(
            "INSERT INTO meta SELECT $1, $2 \
             WHERE NOT EXISTS (SELECT FROM replicas WHERE seen > clock_timestamp() - interval '1 min') \
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            &[&MAX_STALENESS, &ours.to_be_bytes().to_vec()],
        )
        .await;
    match put.map_err(Undone::from)? {
        0 => Err(PostgresError::OtherStaleness { running_ms }),
        _ => Ok(()),
    }
}
