//! What is done with a database while no replica runs, or for all of them.

use bytes::Bytes;
use tokio_postgres::Client;

use super::check::check;
use super::connection::DatabaseConnection;
use super::dump::dump;
use super::epoch::{EpochStart, start_epoch};
use super::error::{PostgresError, Undone, described};
use super::import::TERMINATE;
use super::open::{PostgresOptions, connector, prove};
use super::outlet::ToFunction;
use super::schema;
use super::snapshot::BEGIN;
use crate::domain::id::Position;
use crate::domain::time::Timestamp;
use crate::store::Result as StoreResult;
use crate::store::check::Note;
use crate::store::record::Codec;
use crate::token::keys::Keys;

/// Checks every record of the database; replicas may run.
///
/// # Errors
/// The database cannot be reached, has no schema, belongs to another master key; what `report` returns.
pub async fn check_stopped(
    options: &PostgresOptions,
    keys: &Keys,
    now: Timestamp,
    report: &mut dyn FnMut(Note) -> StoreResult<()>,
) -> Result<(), PostgresError> {
    let codec = Codec::new(keys);
    let connection = recognised(options, &codec).await?;
    run(&connection.client, BEGIN).await?;
    Ok(check(&connection.client, &codec, now, &mut ToFunction(report)).await?)
}

/// Starts a new epoch in the database as it is. Returns its first position.
///
/// # Errors
/// As at [`check_stopped`]; replicas run.
pub async fn begin_epoch(
    options: &PostgresOptions,
    keys: &Keys,
    start: &EpochStart,
) -> Result<Position, PostgresError> {
    let codec = Codec::new(keys);
    let connection = unused(options, &codec).await?;
    let client = &connection.client;
    run(client, "BEGIN").await?;
    let began = start_epoch(client, &codec, start, None).await?;
    commit(&connection).await?;
    Ok(began)
}

/// A database that is copied elsewhere, and is not to be used after that.
pub struct DatabaseSource {
    connection: DatabaseConnection,
    codec: Codec,
}

impl DatabaseSource {
    /// Begins the transaction that sees what is copied, and keeps replicas from starting meanwhile.
    ///
    /// # Errors
    /// As at [`check_stopped`]; replicas run.
    pub async fn open(options: &PostgresOptions, keys: &Keys) -> Result<Self, PostgresError> {
        let codec = Codec::new(keys);
        let connection = unused(options, &codec).await?;
        let client = &connection.client;
        client.query_one(TERMINATE, &[]).await.map_err(Undone::from)?;
        let begin = "SET idle_in_transaction_session_timeout = 0; SET enable_seqscan = on; \
                     BEGIN ISOLATION LEVEL REPEATABLE READ";
        run(client, begin).await?;
        Ok(Self { connection, codec })
    }

    /// Writes its state as a backup.
    ///
    /// # Errors
    /// A database that fails, and what `give` returns.
    pub async fn dump(
        &self,
        made_at: Timestamp,
        give: impl FnMut(Bytes) -> StoreResult<()>,
    ) -> StoreResult<()> {
        dump(&self.connection.client, &self.codec.keys.backup, made_at, &mut ToFunction(give)).await
    }

    /// Renames its schema to `kept`, so that no replica uses it any more.
    ///
    /// # Errors
    /// A database that fails.
    pub async fn retire(self, kept: &str) -> Result<(), PostgresError> {
        run(&self.connection.client, &format!("ALTER SCHEMA keyfob RENAME TO {kept}")).await?;
        commit(&self.connection).await
    }
}

/// A connection to a database of this master key that no replica uses. None can start until it ends.
async fn unused(options: &PostgresOptions, codec: &Codec) -> Result<DatabaseConnection, PostgresError> {
    let connection = recognised(options, codec).await?;
    run(&connection.client, schema::LOCK_SESSION).await?;
    schema::refuse_replicas(&connection.client).await?;
    Ok(connection)
}

/// A connection to a database of this master key.
async fn recognised(options: &PostgresOptions, codec: &Codec) -> Result<DatabaseConnection, PostgresError> {
    let connection = connector(options)?.connect_bare().await?;
    if schema::version(&connection.client).await?.is_none() {
        return Err(PostgresError::Empty);
    }
    prove(&connection.client, codec).await?;
    Ok(connection)
}

async fn run(client: &Client, sql: &str) -> Result<(), PostgresError> {
    Ok(client.batch_execute(sql).await.map_err(Undone::from)?)
}

async fn commit(connection: &DatabaseConnection) -> Result<(), PostgresError> {
    let unknown = |cause: String| {
        PostgresError::Connect(format!("whether the change was made is unknown ({cause}): run this again"))
    };
    connection.client.batch_execute("COMMIT").await.map_err(|error| unknown(described(&error)))?;
    if connection.has_warned() { Err(unknown("the database has warned".into())) } else { Ok(()) }
}
