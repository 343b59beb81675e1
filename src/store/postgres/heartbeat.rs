//! The heartbeat: a row that this process writes, to know that the database it reads from still commits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::connection::{Connector, DatabaseConnection};
use super::error::Undone;
use super::replica::Replica;
use super::statements::BeatStatements;

/// The time between two heartbeats.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// How long a heartbeat may take: it waits for the second copy.
const BEAT_MAX: Duration = Duration::from_secs(5);

/// The connection that writes heartbeats.
pub(super) struct Heart {
    pub connection: DatabaseConnection,
    sql: BeatStatements,
    /// The number of the last heartbeat.
    last: i64,
}

impl Heart {
    /// Connects after the heartbeat `last`.
    pub async fn connect(connector: &Connector, last: i64) -> Result<Self, Undone> {
        let connection = connector.connect(true).await?;
        let sql = BeatStatements::prepare(&connection.client).await?;
        Ok(Self { connection, sql, last })
    }

    /// Writes a heartbeat. Until it is committed, no answer counts that was read after the one before it has
    /// become old.
    pub async fn beat(&mut self, connector: &Connector, boot: &Uuid, replica: &str) -> Result<(), Undone> {
        self.last += 1;
        let (client, sql) = (&self.connection.client, &self.sql);
        connector.fence.sending(self.last);
        let beat = async {
            tokio::try_join!(
                async { client.execute(&sql.beat, &[boot, &replica, &self.last]).await },
                async { client.query_one(&sql.is_synchronous, &[]).await }
            )
        };
        let slow = |_| Undone::Broken("the database has not confirmed a heartbeat in time".into());
        let (rows, is_synchronous) = timeout(BEAT_MAX, beat).await.map_err(slow)??;
        if rows != 1 || self.connection.has_warned() {
            return Err(Undone::Broken("the database has not confirmed a heartbeat".into()));
        }
        connector.fence.acknowledged(self.last, is_synchronous.get(0));
        Ok(())
    }
}

/// Writes heartbeats until the store is closed; then removes the row, and lets others sweep.
pub(super) async fn beat(replica: Arc<Replica>, first: Heart) {
    let mut last = first.last;
    let mut heart = Some(first);
    while !replica.queue.is_closed() {
        sleep(BEAT_EVERY).await;
        let mut beating = match heart.take().filter(|heart| replica.is_usable(&heart.connection)) {
            Some(heart) => heart,
            None => match timeout(BEAT_MAX, Heart::connect(&replica.connector, last)).await {
                Ok(Ok(heart)) => heart,
                failed => {
                    let fault = failed.map(Result::err);
                    tracing::debug!(?fault, "no connection for the heartbeat");
                    continue;
                }
            },
        };
        let done = beating.beat(&replica.connector, &replica.boot, &replica.name).await;
        last = beating.last;
        match done {
            Ok(()) => heart = Some(beating),
            Err(fault) => tracing::warn!(?fault, "a heartbeat was not confirmed"),
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
