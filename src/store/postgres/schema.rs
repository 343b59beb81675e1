//! The schema: created and migrated by the program itself, forward only, by one process at a time.

use std::time::Duration;

use tokio_postgres::Client;

use super::error::{PostgresError, Undone};
use super::known::MAX_STALENESS;
use crate::store::layout::KEY_CHECK;
use crate::store::record::Codec;

/// The migrations in their order; the number of the last one is the version of the schema.
const MIGRATIONS: &[(i32, &str)] = &[(1, include_str!("migrations/0001.sql"))];

/// Excludes another process that migrates. The table that could be locked may not exist yet.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(7089313642)";
/// The same until the connection ends.
pub(super) const LOCK_SESSION: &str = "SELECT pg_advisory_lock(7089313642)";
/// Lets others start too, but keeps the work of [`LOCK`] and [`LOCK_SESSION`] from beginning.
pub(super) const LOCK_SHARED: &str = "SELECT pg_advisory_lock_shared(7089313642)";
pub(super) const UNLOCK_SHARED: &str = "SELECT pg_advisory_unlock_shared(7089313642)";
const EXISTS: &str = "SELECT to_regclass('keyfob.migrations') IS NOT NULL";
const BEGIN: &str = "CREATE SCHEMA IF NOT EXISTS keyfob; CREATE TABLE IF NOT EXISTS migrations \
                     (number integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())";
/// A new database has no history that a former primary could answer from.
const FIRST_TIMELINE: &str = "INSERT INTO timelines SELECT \
    ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint, '2000-01-01'";

/// The version of the schema; `None` in a database without it.
pub(super) async fn version(client: &Client) -> Result<Option<i32>, PostgresError> {
    let exists = client.query_one(EXISTS, &[]).await.map_err(Undone::from)?;
    if !exists.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_one("SELECT max(number) FROM migrations", &[]).await.map_err(Undone::from)?;
    let version: Option<i32> = row.get(0);
    match version {
        Some(version) if MIGRATIONS.iter().all(|(number, _)| *number < version) => {
            Err(PostgresError::UnknownSchema(version))
        }
        version => Ok(version),
    }
}

/// Whether there is no later migration than this one.
pub(super) fn is_latest(version: i32) -> bool {
    MIGRATIONS.iter().all(|(number, _)| *number <= version)
}

/// Brings the schema to the version of this program. A new one gets the proof of the master key.
pub(super) async fn migrate(
    client: &Client,
    codec: &Codec,
    max_staleness: Duration,
) -> Result<(), PostgresError> {
    let done = migrate_or_fail(client, codec, max_staleness).await;
    if done.is_err() {
        // The connection is not used again if this fails too.
        let _ = client.batch_execute("ROLLBACK").await;
    }
    done
}

async fn migrate_or_fail(
    client: &Client,
    codec: &Codec,
    max_staleness: Duration,
) -> Result<(), PostgresError> {
    let run = async |sql: &'static str| client.batch_execute(sql).await.map_err(Undone::from);
    run("BEGIN").await?;
    run(LOCK).await?;
    fill(client, codec, max_staleness).await?;
    Ok(run("COMMIT").await?)
}

/// The same in a transaction that has the lock.
pub(super) async fn fill(
    client: &Client,
    codec: &Codec,
    max_staleness: Duration,
) -> Result<(), PostgresError> {
    let run = async |sql: &'static str| client.batch_execute(sql).await.map_err(Undone::from);
    run(BEGIN).await?;
    let before = version(client).await?;
    for (number, sql) in MIGRATIONS.iter().filter(|(number, _)| before.is_none_or(|before| *number > before))
    {
        run(sql).await?;
        let inserted = client.execute("INSERT INTO migrations (number) VALUES ($1)", &[number]).await;
        inserted.map_err(Undone::from)?;
    }
    if before.is_none() {
        run(FIRST_TIMELINE).await?;
        let (proof, staleness) = (codec.key_check().to_vec(), millis(max_staleness).to_be_bytes().to_vec());
        for (name, value) in [(KEY_CHECK, proof), (MAX_STALENESS, staleness)] {
            let inserted = client.execute("INSERT INTO meta VALUES ($1, $2)", &[&name, &value]).await;
            inserted.map_err(Undone::from)?;
        }
    }
    Ok(())
}

/// Refuses to go on while a replica runs: its heartbeat is young.
pub(super) async fn refuse_replicas(client: &Client) -> Result<(), PostgresError> {
    let running = "SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM replicas \
                   WHERE seen > clock_timestamp() - interval '10 s'";
    let names: String = client.query_one(running, &[]).await.map_err(Undone::from)?.get(0);
    if names.is_empty() { Ok(()) } else { Err(PostgresError::Replicas(names)) }
}

/// A duration as it is stored in `meta`.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
