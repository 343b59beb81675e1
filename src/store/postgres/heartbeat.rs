//! The heartbeat: a row that this process writes, to know that the database it reads from still commits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use uuid::Uuid;

use super::connection::{Connector, DatabaseConnection};
use super::counts::RoundTrip;
use super::error::Undone;
use super::known::WriterRegistry;
use super::replica::Replica;
use super::statements::{BeatStatements, REGISTRY};

/// The time between two heartbeats.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How long a heartbeat may take: it waits for the second copy.
const BEAT_MAX: Duration = Duration::from_secs(5);

/// What came of a heartbeat.
pub(super) enum Beaten {
    Acknowledged,
    /// The database does not have the last one that it acknowledged.
    Missing,
}

/// The connection that writes heartbeats.
pub(super) struct Heart {
    pub connection: DatabaseConnection,
    sql: BeatStatements,
}

impl Heart {
    pub async fn connect(connector: &Connector) -> Result<Self, Undone> {
        let connection = connector.connect(true).await?;
        let sql = BeatStatements::prepare(&connection.client).await?;
        Ok(Self { connection, sql })
    }

    /// Writes a heartbeat. Until it is committed, no answer counts that was read after the one before it has
    /// become old.
    pub async fn beat(
        &self,
        connector: &Connector,
        boot: &Uuid,
        replica: &str,
        before: Option<i64>,
    ) -> Result<Beaten, Undone> {
        let (client, sql) = (&self.connection.client, &self.sql);
        let number = connector.fence.sending();
        connector.counts.round_trips.one(RoundTrip::Heartbeat);
        let write = async {
            match before {
                None => client.execute(&sql.first_beat, &[boot, &replica, &number]).await,
                Some(before) => client.execute(&sql.beat, &[boot, &number, &before]).await,
            }
        };
        let beat = async {
            tokio::try_join!(biased; write, async { client.query_one(&sql.is_synchronous, &[]).await })
        };
        let (rows, is_synchronous) = timeout(BEAT_MAX, beat).await.map_err(slow)??;
        if self.connection.has_warned() {
            return Err(Undone::Broken("the database has not confirmed a heartbeat".into()));
        }
        if rows == 0 {
            return Ok(Beaten::Missing);
        }
        connector.fence.acknowledged(number, is_synchronous.get(0));
        Ok(Beaten::Acknowledged)
    }

    /// Writes a heartbeat, unless the database has gone back: then the mark of that.
    async fn beat_or_stop(&self, replica: &Replica) -> Result<(), Undone> {
        let Replica { connector, boot, name, lost, .. } = replica;
        if lost.check().is_ok() {
            let before = connector.fence.last_acknowledged();
            if let Beaten::Acknowledged = self.beat(connector, boot, name, before).await? {
                return Ok(());
            }
            if timeout(BEAT_MAX, self.has_new_epoch(replica)).await.map_err(slow)?? {
                return self.beat(connector, boot, name, None).await.map(drop);
            }
            lost.found("it does not have a heartbeat that it had acknowledged");
        }
        timeout(BEAT_MAX, lost.mark(&self.connection.client)).await.map_err(slow)?
    }

    /// Whether a restore, which needs that no replica runs, has started a new epoch since: then this process
    /// was frozen, and goes on in it.
    async fn has_new_epoch(&self, replica: &Replica) -> Result<bool, Undone> {
        let rows = self.connection.client.query(REGISTRY, &[]).await?;
        let registry = WriterRegistry::of_rows(&rows)?;
        let is_new = registry.epochs.number() > replica.known.registry().epochs.number();
        if is_new {
            replica.known.publish(Some(&registry), registry.cuts.head);
        }
        Ok(is_new)
    }
}

fn slow(_: tokio::time::error::Elapsed) -> Undone {
    Undone::Broken("the database has not confirmed a heartbeat in time".into())
}

/// Writes heartbeats until the store is closed; then removes the row, and lets others sweep.
pub(super) async fn beat(replica: Arc<Replica>, mut heart: Option<Heart>) {
    while timeout(BEAT_EVERY, replica.queue.closed()).await.is_err() {
        let beating = match heart.take().filter(|heart| replica.is_usable(&heart.connection)) {
            Some(heart) => heart,
            None => match timeout(BEAT_MAX, Heart::connect(&replica.connector)).await {
                Ok(Ok(heart)) => heart,
                failed => {
                    let fault = failed.map(Result::err);
                    replica.connector.counts.heartbeats_failed.one();
                    tracing::debug!(?fault, "no connection for the heartbeat");
                    continue;
                }
            },
        };
        match beating.beat_or_stop(&replica).await {
            Ok(()) => heart = Some(beating),
            Err(fault) => {
                replica.connector.counts.heartbeats_failed.one();
                tracing::warn!(?fault, "a heartbeat was not confirmed");
            }
        }
    }
    if let Some(heart) = heart {
        let (client, sql) = (&heart.connection.client, &heart.sql);
        let forget = async {
            client.execute(&sql.release, &[&replica.boot]).await?;
            client.execute(&sql.forget, &[&replica.boot]).await
        };
        // What is left of a process that cannot say goodbye expires.
        let _ = timeout(BEAT_MAX, forget).await;
    }
}
