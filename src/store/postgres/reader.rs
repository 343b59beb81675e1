//! Reads. Those of sessions and of the head are collected while one is in progress, and asked for together.
//! Each answer counts only with the heartbeat that was read after it in the same pipeline.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::connection::DatabaseConnection;
use super::counts::RoundTrip;
use super::error::Undone;
use super::known::{WriterRegistry, position_of};
use super::replica::Replica;
use super::rows::session_id;
use super::snapshot::{self, within};
use super::statements::{PROOF, ReadStatements};
use crate::domain::id::{Position, SessionId};
use crate::meter::Stopwatch;
use crate::store::{Result, StoreError};

/// How long a read may take, with a second attempt.
const READ_MAX: Duration = Duration::from_secs(5);
/// How many questions one round trip answers at most.
const QUESTIONS_MAX: usize = 1024;

/// A connection to read from, made when it is needed.
#[derive(Default)]
pub(super) struct ReadSlot(Mutex<Option<Arc<ReadLink>>>);

pub(super) struct ReadLink {
    pub connection: DatabaseConnection,
    pub sql: ReadStatements,
}

impl ReadLink {
    pub fn client(&self) -> &Client {
        &self.connection.client
    }
}

impl ReadSlot {
    async fn get(&self, replica: &Replica) -> std::result::Result<Arc<ReadLink>, Undone> {
        let mut slot = self.0.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| replica.is_usable(&link.connection)) {
            return Ok(link.clone());
        }
        *slot = None;
        let connection = replica.connector.connect(false).await?;
        let sql = ReadStatements::prepare(&connection.client).await?;
        Ok(slot.insert(Arc::new(ReadLink { connection, sql })).clone())
    }

    /// Closes the connection.
    async fn close(&self) {
        *self.0.lock().await = None;
    }

    /// Closes a connection that failed.
    async fn discard(&self, failed: &Arc<ReadLink>) {
        let mut slot = self.0.lock().await;
        if slot.as_ref().is_some_and(|link| Arc::ptr_eq(link, failed)) {
            *slot = None;
        }
    }
}

impl Replica {
    /// A connection in a transaction that sees the state of now.
    pub async fn snapshot(&self) -> Result<DatabaseConnection> {
        self.lost.check()?;
        let connection = self.connector.connect(false).await?;
        within(connection.client.batch_execute(snapshot::BEGIN)).await?;
        let proof = within(connection.client.query_one(PROOF, &[&self.boot])).await?;
        self.fence().check_read(proof.get(2), connection.timeline)?;
        Ok(connection)
    }

    /// Runs a query on a connection for reading, again on a new one if that breaks.
    pub async fn read<T, F>(&self, slot: &ReadSlot, query: impl Fn(Arc<ReadLink>) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    {
        let attempts = async {
            match self.try_read(slot, &query).await {
                Err(Undone::Broken(why)) => {
                    tracing::debug!(why, "a read is tried again on another connection");
                    self.try_read(slot, &query).await
                }
                read => read,
            }
        };
        // A database that cannot be reached does not answer a second attempt either.
        match timeout(READ_MAX, attempts).await {
            Ok(read) => Ok(read?),
            Err(_) => {
                slot.close().await;
                Err(StoreError::Outage("the database does not answer in time".into()))
            }
        }
    }

    async fn try_read<T, F>(
        &self,
        slot: &ReadSlot,
        query: impl Fn(Arc<ReadLink>) -> F,
    ) -> std::result::Result<T, Undone>
    where
        F: Future<Output = std::result::Result<T, tokio_postgres::Error>>,
    {
        let link = slot.get(self).await?;
        let known = self.known.head();
        self.connector.counts.round_trips.one(RoundTrip::Read);
        let read = async {
            // In this order: what proves the answer is newer than the answer.
            let (answer, proof) = tokio::try_join!(biased; query(link.clone()), async {
                link.client().query_one(&link.sql.proof, &[&self.boot]).await
            })?;
            self.accept(&link, &proof, known).await?;
            Ok(answer)
        };
        let read = read.await;
        if read.is_err() {
            slot.discard(&link).await;
        }
        read
    }

    /// Checks that an answer counts, and takes over the registry and the head that came with it.
    /// `known` is the head that was known before.
    async fn accept(&self, link: &ReadLink, proof: &Row, known: Position) -> std::result::Result<(), Undone> {
        self.fence().check_read(proof.get(2), link.connection.timeline)?;
        if position_of(proof.get(0)) < known {
            self.lost.found("its event log ends before an event that was acknowledged");
        }
        self.lost.check()?;
        if proof.get::<_, i64>(1) > self.known.version() {
            let (rows, proof) = tokio::try_join!(
                biased;
                async { link.client().query(&link.sql.registry, &[]).await },
                async { link.client().query_one(&link.sql.proof, &[&self.boot]).await },
            )?;
            self.fence().check_read(proof.get(2), link.connection.timeline)?;
            let registry = WriterRegistry::of_rows(&rows)?;
            self.known.publish(Some(&registry), registry.cuts.head);
        }
        self.known.publish(None, position_of(proof.get(0)));
        Ok(())
    }
}

/// A question to a reader.
pub(super) enum Question {
    /// Whether the registry and the head that are known include everything acknowledged so far.
    Current(oneshot::Sender<Result<()>>),
    /// The row of a session.
    Session(SessionId, oneshot::Sender<Result<Option<Arc<Row>>>>),
}

/// Waits until the registry and the head that are known include everything acknowledged so far.
pub(super) async fn current(questions: &mpsc::UnboundedSender<Question>) -> Result<()> {
    ask(questions, Question::Current).await
}

/// The row of a session.
pub(super) async fn session(
    questions: &mpsc::UnboundedSender<Question>,
    id: SessionId,
) -> Result<Option<Arc<Row>>> {
    ask(questions, |sender| Question::Session(id, sender)).await
}

async fn ask<T>(
    questions: &mpsc::UnboundedSender<Question>,
    question: impl FnOnce(oneshot::Sender<Result<T>>) -> Question,
) -> Result<T> {
    let stopped = || StoreError::Unavailable("it is closed".into());
    let (sender, receiver) = oneshot::channel();
    questions.send(question(sender)).map_err(|_| stopped())?;
    receiver.await.unwrap_or_else(|_| Err(stopped()))
}

/// Answers questions until the store is dropped.
pub(super) async fn answer(replica: Arc<Replica>, questions: Arc<Mutex<mpsc::UnboundedReceiver<Question>>>) {
    let mut questions = questions.lock().await;
    let slot = ReadSlot::default();
    let mut batch = vec![];
    while questions.recv_many(&mut batch, QUESTIONS_MAX).await > 0 {
        let ids = batch.iter().filter_map(|question| match question {
            Question::Session(id, _) => Some(Uuid::from_bytes(id.0)),
            Question::Current(_) => None,
        });
        let ids: Arc<Vec<Uuid>> = Arc::new(ids.collect());
        let counts = &replica.connector.counts;
        counts.questions.observe(batch.len() as u64);
        let watch = Stopwatch::start();
        let read = replica.read(&slot, |link| {
            let ids = ids.clone();
            async move {
                match ids.is_empty() {
                    true => Ok(vec![]),
                    false => link.client().query(&link.sql.sessions, &[&*ids]).await,
                }
            }
        });
        let found: Result<HashMap<SessionId, Arc<Row>>> = read
            .await
            .map(|rows| rows.into_iter().map(|row| (session_id(row.get(0)), Arc::new(row))).collect());
        counts.read_nanos.observe(watch.nanos());
        if found.is_err() {
            // Those that came meanwhile would wait for as long again.
            batch.extend(std::iter::from_fn(|| questions.try_recv().ok()));
        }
        for question in batch.drain(..) {
            // A caller may be gone.
            match question {
                Question::Current(sender) => {
                    drop(sender.send(found.as_ref().map(drop).map_err(Clone::clone)))
                }
                Question::Session(id, sender) => {
                    let row = found.as_ref().map(|found| found.get(&id).cloned()).map_err(StoreError::clone);
                    drop(sender.send(row));
                }
            }
        }
    }
}
