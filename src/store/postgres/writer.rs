//! A writer: takes all writes that wait, and decides them in one transaction of three round trips. While a
//! commit is in progress the next batch collects.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::connection::DatabaseConnection;
use super::counts::RoundTrip;
use super::decisions::Decisions;
use super::error::{Undone, described};
use super::known::{WriterRegistry, position_of};
use super::queue::{PendingWrite, WriterKind};
use super::reads::{FirstRound, Reads};
use super::replica::Replica;
use super::statements::WriteStatements;
use crate::meter::Stopwatch;
use crate::store::StoreError;

/// How long a round trip before the commit may take. Locks are waited for at most a second each.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(5);
/// How long a commit may take, which waits for the second copy. No timeout of the database covers that.
const COMMIT_MAX: Duration = Duration::from_secs(10);
/// For how long a transaction that was rolled back is tried again, and the time between two tries.
const RETRY_NANOS_MAX: u64 = 3_000_000_000;
const RETRY_AFTER: Duration = Duration::from_millis(50);

pub(super) struct WriterTask {
    replica: Arc<Replica>,
    share: WriterKind,
    link: Option<WriteLink>,
    registry: WriterRegistry,
}

struct WriteLink {
    connection: DatabaseConnection,
    sql: WriteStatements,
    /// Whether a transaction can have begun that is neither committed nor rolled back.
    is_in_transaction: bool,
}

/// What became of one try.
enum Tried {
    Committed,
    /// A decision needs the lock on the head: it is to be rolled back.
    NeedsHead,
}

enum Failed {
    /// It was rolled back.
    Nothing(Undone),
    /// The commit was requested, and its outcome is unknown.
    Unknown(String),
}

impl From<Undone> for Failed {
    fn from(fault: Undone) -> Self {
        Self::Nothing(fault)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Nothing(Undone::Rejected(error))
    }
}

impl WriterTask {
    pub fn new(replica: Arc<Replica>, share: WriterKind) -> Self {
        Self { replica, share, link: None, registry: WriterRegistry::default() }
    }

    /// Runs until the store is closed.
    pub async fn run(mut self) {
        while let Some(writes) = self.replica.queue.next(self.share).await {
            self.run_batch(writes).await;
        }
    }

    async fn run_batch(&mut self, mut writes: Vec<Box<dyn PendingWrite>>) {
        let mut reads = Reads::default();
        writes.iter().for_each(|write| reads.merge(write.reads()));
        let watch = Stopwatch::start();
        let failure = loop {
            let fault = match self.attempt(&mut writes, &reads).await {
                Ok(Tried::Committed) => break None,
                Ok(Tried::NeedsHead) => {
                    self.undo(false).await;
                    reads.head = true;
                    continue;
                }
                Err(Failed::Unknown(why)) => {
                    self.link = None;
                    self.replica.counts.failures.one();
                    break Some(StoreError::Failed(why.into()));
                }
                Err(Failed::Nothing(fault)) => fault,
            };
            self.undo(matches!(fault, Undone::Broken(_))).await;
            match fault {
                Undone::Rejected(error) => break Some(error),
                Undone::Again(why) | Undone::Broken(why) if watch.nanos() > RETRY_NANOS_MAX => {
                    break Some(StoreError::Outage(why.into()));
                }
                Undone::Again(why) | Undone::Broken(why) => {
                    self.replica.connector.counts.retried.one();
                    tracing::debug!(why, "a transaction was rolled back and is tried again");
                    sleep(RETRY_AFTER).await;
                }
            }
        };
        for write in writes {
            write.answer(failure.clone());
        }
    }

    /// Leaves no transaction open, and forgets what was decided.
    async fn undo(&mut self, is_broken: bool) {
        self.registry.version = 0;
        let is_usable = |link: &WriteLink| !is_broken && !link.connection.is_closed();
        if let Some(link) = self.link.take().filter(is_usable) {
            self.link = if link.is_in_transaction { rolled_back(link).await } else { Some(link) };
        }
    }

    async fn attempt(
        &mut self,
        writes: &mut [Box<dyn PendingWrite>],
        reads: &Reads,
    ) -> Result<Tried, Failed> {
        let replica = self.replica.clone();
        let link = match self.link.take().filter(|link| replica.is_usable(&link.connection)) {
            Some(link) => self.link.insert(link),
            None => self.link.insert(connect(&replica).await?),
        };
        let (connection, sql) = (&link.connection, &link.sql);
        replica.fence().check_write(connection.timeline)?;
        let trips = &replica.connector.counts.round_trips;
        trips.one(RoundTrip::Lock);
        link.is_in_transaction = true;
        let first = within(reads.run(&connection.client, sql, &replica.codec, &replica.boot)).await?;
        let FirstRound { position, version, .. } = first;
        if version != self.registry.version {
            self.registry = match replica.known.at_version(version) {
                Some(registry) => registry,
                None => {
                    let rows = connection.client.query(&sql.registry, &[]);
                    WriterRegistry::of_rows(&within(async { Ok(rows.await?) }).await?)?
                }
            };
        }
        self.registry.cuts.head = position_of(position);
        let mut decisions = Decisions::new(&replica.codec, &mut self.registry, first.found, reads.head);
        writes.iter_mut().for_each(|write| write.decide(&mut decisions));
        if decisions.needs_head() {
            return Ok(Tried::NeedsHead);
        }
        let (rows, mut counts) = decisions.finish();
        trips.one(RoundTrip::Write);
        within(rows.write(&connection.client, sql, &replica.boot)).await?;
        // A newer primary may have been seen since.
        replica.fence().check_write(connection.timeline)?;
        replica.lost.check()?;
        if connection.has_warned() {
            return Err(Undone::Broken("the database has warned before the commit".into()).into());
        }
        trips.one(RoundTrip::Commit);
        let watch = Stopwatch::start();
        commit(connection).await.map_err(Failed::Unknown)?;
        link.is_in_transaction = false;
        replica.known.publish(Some(&self.registry), self.registry.cuts.head);
        replica.counts.commit_nanos.observe(watch.nanos());
        replica.counts.commits.one();
        replica.counts.decisions.add(writes.len() as u64);
        replica.counts.batches.observe(writes.len() as u64);
        replica.counts.committed(&mut counts);
        Ok(Tried::Committed)
    }
}

async fn connect(replica: &Replica) -> Result<WriteLink, Undone> {
    let connection = replica.connector.connect(true).await?;
    let sql = within(async { Ok(WriteStatements::prepare(&connection.client).await?) }).await?;
    Ok(WriteLink { connection, sql, is_in_transaction: false })
}

/// Requests the commit. On an error its outcome is unknown.
async fn commit(connection: &DatabaseConnection) -> Result<(), String> {
    match timeout(COMMIT_MAX, connection.client.batch_execute("COMMIT")).await {
        Err(_) => {
            Err("the database has not confirmed a commit in time; whether it was made is unknown".into())
        }
        Ok(Err(error)) => Err(format!("whether a commit was made is unknown: {}", described(&error))),
        // Someone cancelled the wait for the second copy.
        Ok(Ok(())) if connection.has_warned() => {
            Err("the database confirmed a commit with a warning: another copy may not have it".into())
        }
        Ok(Ok(())) => Ok(()),
    }
}

async fn rolled_back(link: WriteLink) -> Option<WriteLink> {
    let done = timeout(ROUND_TRIP_MAX, link.connection.client.batch_execute("ROLLBACK")).await;
    matches!(done, Ok(Ok(()))).then_some(WriteLink { is_in_transaction: false, ..link })
}

async fn within<T>(round_trip: impl Future<Output = Result<T, Undone>>) -> Result<T, Undone> {
    let slow = || Err(Undone::Broken("the database does not answer in time".into()));
    timeout(ROUND_TRIP_MAX, round_trip).await.unwrap_or_else(|_| slow())
}
