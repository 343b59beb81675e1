//! Fills a database from a backup, of either backend, in one transaction: until it is committed the database
//! is as before.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::check::check;
use super::connection::DatabaseConnection;
use super::epoch::{EpochStart, start_epoch};
use super::error::{PostgresError, Undone};
use super::known::number_of;
use super::open::{PostgresOptions, connector, prove};
use super::outlet::ToFunction;
use super::rows::{append_window, session_id};
use super::schema;
use super::statements::WriteStatements;
use crate::domain::epoch::{Epochs, Reached};
use crate::domain::id::{Hash, Position, SessionId};
use crate::domain::time::Timestamp;
use crate::store::backup::{Damage, Piece};
use crate::store::check::Note;
use crate::store::layout::{
    BACKUP_TABLES, EPOCHS, FORMAT, FORMAT_VERSION, HEAD, KEY_CHECK, KEYS, REVOKED_UNTIL, position, version_of,
};
use crate::store::record::{self, Codec, SessionRecord};
use crate::store::{Result as StoreResult, StoreError};
use crate::token::keys::Keys;

/// How many bytes of entries are inserted at once.
const BATCH_BYTES: usize = 1024 * 1024;
/// No timeout fits a backup that comes through a pipe.
const PATIENT: &str = "SET idle_in_transaction_session_timeout = 0; BEGIN";

/// The key and the sealed value of a retry window.
type WindowEntry = ([u8; 26], Vec<u8>);

/// Why a backup cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is incomplete or damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    Database(#[from] PostgresError),
    #[error("it was made with another master key")]
    OtherKey,
    #[error("its database had format {0}, which this keyfob does not support")]
    OtherFormat(u32),
    #[error("it has a table {0}, which this keyfob does not support")]
    OtherTable(String),
    /// An entry's key or value has an invalid length or encoding.
    #[error("it has an invalid entry in table {0}")]
    InvalidEntry(&'static str),
}

impl From<tokio_postgres::Error> for ImportError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(Undone::of(&error).into())
    }
}

impl From<Undone> for ImportError {
    fn from(fault: Undone) -> Self {
        Self::Database(fault.into())
    }
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Database(error.into())
    }
}

/// Where a backup goes.
#[derive(Clone, Debug)]
pub enum ImportTarget {
    /// A database without a schema of keyfob.
    Empty,
    /// Any database of this master key. What it has is kept in a schema of this name.
    Replaced(String),
}

/// The database, while it is filled.
pub struct Import {
    connection: DatabaseConnection,
    sql: WriteStatements,
    codec: Codec,
    /// What the replaced database had reached.
    lost: Option<Reached>,
    version: i64,
    /// The schema that has the replaced tables.
    pub kept: Option<String>,
    table: &'static str,
    entries: Vec<(&'static str, Vec<u8>, Vec<u8>)>,
    entries_bytes: usize,
    /// The values of the table `meta`.
    format: Option<u32>,
    is_proven: bool,
    head: Option<Position>,
    sessions: i64,
    events: i64,
}

impl Import {
    /// Begins the transaction and creates the tables.
    ///
    /// # Errors
    /// Replicas run; the target is not as required; the database cannot be reached.
    pub async fn begin(
        options: &PostgresOptions,
        keys: &Keys,
        target: ImportTarget,
    ) -> Result<Self, ImportError> {
        let codec = Codec::new(keys);
        let connection = connector(options)?.connect_bare().await?;
        let client = &connection.client;
        client.batch_execute(PATIENT).await?;
        client.batch_execute(schema::LOCK).await?;
        let (mut lost, mut version, mut kept) = (None, 0, None);
        if schema::version(client).await?.is_some() {
            let ImportTarget::Replaced(name) = target else { return Err(PostgresError::NotEmpty.into()) };
            prove(client, &codec).await?;
            schema::refuse_replicas(client).await?;
            client.query_one(TERMINATE, &[]).await?;
            (lost, version) = reached(client).await?;
            client.batch_execute(&format!("ALTER SCHEMA keyfob RENAME TO {name}")).await?;
            kept = Some(name);
        }
        schema::fill(client, &codec, options.max_staleness).await?;
        let sql = WriteStatements::prepare(client).await?;
        Ok(Self {
            connection,
            sql,
            codec,
            lost,
            version,
            kept,
            table: BACKUP_TABLES[0],
            entries: vec![],
            entries_bytes: 0,
            format: None,
            is_proven: false,
            head: None,
            sessions: 0,
            events: 0,
        })
    }

    /// Takes the next piece of the backup. [`Self::flush`] follows when enough is collected.
    ///
    /// # Errors
    /// A table that is not known.
    pub fn take(&mut self, piece: &Piece) -> Result<(), ImportError> {
        match piece {
            Piece::Head(_) => {}
            Piece::Table(name) => {
                let known = BACKUP_TABLES.iter().find(|known| *known == name);
                self.table = known.ok_or_else(|| ImportError::OtherTable((*name).to_owned()))?;
            }
            Piece::Entry(key, value) => {
                self.entries_bytes += key.len() + value.len();
                self.entries.push((self.table, key.to_vec(), value.to_vec()));
            }
        }
        Ok(())
    }

    /// Inserts what was taken, if it is enough or `all`.
    ///
    /// # Errors
    /// Another master key; entries that are invalid; a database that fails.
    pub async fn flush(&mut self, all: bool) -> Result<(), ImportError> {
        if self.entries_bytes < BATCH_BYTES && !all {
            return Ok(());
        }
        self.entries_bytes = 0;
        let mut entries = std::mem::take(&mut self.entries).into_iter().peekable();
        while let Some((table, key, value)) = entries.next() {
            let mut rows = vec![(key, value)];
            while let Some((_, key, value)) = entries.next_if(|(next, ..)| *next == table) {
                rows.push((key, value));
            }
            self.insert(table, rows).await?;
        }
        Ok(())
    }

    async fn insert(
        &mut self,
        table: &'static str,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
    ) -> Result<(), ImportError> {
        if table == BACKUP_TABLES[0] {
            return self.insert_meta(rows).await;
        }
        self.prove()?;
        let invalid = || ImportError::InvalidEntry(table);
        let uuids = |rows: &[(Vec<u8>, Vec<u8>)]| -> Result<Vec<Uuid>, ImportError> {
            rows.iter().map(|(key, _)| Uuid::from_slice(key).map_err(|_| invalid())).collect()
        };
        let names = |rows: &[(Vec<u8>, Vec<u8>)]| -> Result<Vec<String>, ImportError> {
            rows.iter().map(|(key, _)| String::from_utf8(key.clone()).map_err(|_| invalid())).collect()
        };
        let values: Vec<&[u8]> = rows.iter().map(|(_, value)| &value[..]).collect();
        let sql = &self.sql;
        match table {
            "sessions" => {
                self.sessions += number(rows.len());
                return self.insert_sessions(rows).await;
            }
            "windows" => return self.insert_windows(rows).await,
            "opening_keys" => return self.insert_opening_keys(rows).await,
            "data" => self.run(&sql.put_data, &[&uuids(&rows)?, &values]).await?,
            "repeats" => self.run(&sql.insert_repeats, &[&uuids(&rows)?, &values]).await?,
            "clients" => self.run(&sql.put_clients, &[&names(&rows)?, &values]).await?,
            "cut_offs" => self.run(&sql.put_cut_offs, &[&names(&rows)?, &values]).await?,
            "events" => {
                let number_in = |key: &[u8]| key.try_into().map(i64::from_le_bytes).map_err(|_| invalid());
                let positions: Result<Vec<i64>, _> = rows.iter().map(|(key, _)| number_in(key)).collect();
                self.run(&sql.insert_events, &[&positions?, &values]).await?;
                self.events += number(rows.len());
            }
            "revoked" => {
                let dated = |key: &[u8]| -> Option<(i64, Uuid)> {
                    let (at, id) = key.split_first_chunk::<8>()?;
                    Some((i64::from_be_bytes(*at), Uuid::from_slice(id).ok()?))
                };
                let tokens: Option<Vec<_>> = rows.iter().map(|(key, _)| dated(key)).collect();
                let (times, ids): (Vec<i64>, Vec<Uuid>) = tokens.ok_or_else(invalid)?.into_iter().unzip();
                self.run(&sql.insert_revoked, &[&times, &ids]).await?;
            }
            "live" => {
                let number_in =
                    |value: &[u8]| value.try_into().map(i64::from_be_bytes).map_err(|_| invalid());
                let numbers: Result<Vec<i64>, _> = rows.iter().map(|(_, value)| number_in(value)).collect();
                self.run(&sql.add_live, &[&names(&rows)?, &numbers?]).await?;
            }
            // Indexes of the embedded store: here columns of the sessions.
            _ => {}
        }
        Ok(())
    }

    async fn run(
        &self,
        statement: &tokio_postgres::Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<(), ImportError> {
        self.connection.client.execute(statement, parameters).await?;
        Ok(())
    }

    async fn insert_meta(&mut self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), ImportError> {
        for (name, value) in rows {
            let name = String::from_utf8(name).map_err(|_| ImportError::InvalidEntry("meta"))?;
            match &*name {
                FORMAT => match version_of(&value) {
                    Some(version @ 1..=FORMAT_VERSION) => self.format = Some(version),
                    Some(other) => return Err(ImportError::OtherFormat(other)),
                    None => return Err(ImportError::InvalidEntry("meta")),
                },
                KEY_CHECK => self.is_proven = value.ct_eq(&self.codec.key_check()).into(),
                HEAD => self.head = position(&value),
                KEYS | EPOCHS | REVOKED_UNTIL => {
                    self.run(&self.sql.put_meta, &[&vec![&*name], &vec![&value[..]]]).await?;
                }
                _ => return Err(ImportError::InvalidEntry("meta")),
            }
        }
        Ok(())
    }

    /// The master key is verified before any table but `meta` is inserted.
    fn prove(&self) -> Result<(), ImportError> {
        match self.format {
            Some(_) if self.is_proven => Ok(()),
            Some(_) => Err(ImportError::OtherKey),
            None => Err(ImportError::InvalidEntry("meta")),
        }
    }

    async fn insert_sessions(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), ImportError> {
        let none: &[u8] = &[];
        let (mut ids, mut subjects, mut clients) = (vec![], vec![], vec![]);
        let (mut active, mut due, mut records) = (vec![], vec![], vec![]);
        for (key, bytes) in &rows {
            let id = id_of(key, "sessions")?;
            ids.push(Uuid::from_bytes(id.0));
            // One that cannot be decoded is kept for inspection; the sweep does not come to it.
            let decoded = self.codec.decode_session(id, bytes).ok();
            let session = decoded.as_ref().map(|record| &record.session);
            let index = |index: Option<[u8; 16]>| Uuid::from_bytes(index.unwrap_or_default());
            subjects.push(index(session.map(|session| self.codec.subject_index(&session.subject))));
            clients.push(index(session.map(|session| self.codec.client_index(&session.client_id))));
            active.push(session.is_some_and(|session| session.may_be_active()));
            due.push(decoded.map_or(i64::MAX, |SessionRecord { slot, .. }| slot.millis()));
            records.push(&bytes[..]);
        }
        let windows = vec![none; ids.len()];
        self.run(&self.sql.insert_sessions, &[&ids, &subjects, &clients, &active, &due, &records, &windows])
            .await
    }

    /// Adds retry windows to their sessions. Those that a session does not name belong to none.
    async fn insert_windows(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), ImportError> {
        let invalid = || ImportError::InvalidEntry("windows");
        let mut windows = BTreeMap::<SessionId, Vec<WindowEntry>>::new();
        for (key, sealed) in rows {
            let key: [u8; 26] = key.try_into().map_err(|_| invalid())?;
            if sealed.len() > usize::from(u16::MAX) {
                return Err(invalid());
            }
            windows.entry(id_of(&key[8..24], "windows")?).or_default().push((key, sealed));
        }
        let ids: Vec<Uuid> = windows.keys().map(|id| Uuid::from_bytes(id.0)).collect();
        let found = "SELECT id, record FROM sessions WHERE id = ANY ($1::uuid[])";
        let (mut changed, mut added, mut due) = (vec![], vec![], (vec![], vec![]));
        for row in self.connection.client.query(found, &[&ids]).await? {
            let id = session_id(row.get(0));
            let Ok(record) = self.codec.decode_session(id, row.get(1)) else { continue };
            let mut bytes = vec![];
            for (key, sealed) in windows.remove(&id).into_iter().flatten() {
                let is_own = |at: &record::WindowRef| record::window_key(at.closes_at, id, at.family) == key;
                let Some(at) = record.windows.iter().find(|at| is_own(at)) else { continue };
                append_window(&mut bytes, &key, &sealed);
                if at.closes_at < Timestamp::MAX {
                    due.0.push(at.closes_at.millis());
                    due.1.push(Uuid::from_bytes(id.0));
                }
            }
            changed.push(Uuid::from_bytes(id.0));
            added.push(bytes);
        }
        let add = "UPDATE sessions AS s SET windows = s.windows || n.windows \
                   FROM unnest($1::uuid[], $2::bytea[]) AS n (id, windows) WHERE s.id = n.id";
        self.connection.client.execute(add, &[&changed, &added]).await?;
        self.run(&self.sql.insert_windows_due, &[&due.0, &due.1]).await
    }

    async fn insert_opening_keys(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), ImportError> {
        let (mut names, mut sessions, mut records) = (vec![], vec![], vec![]);
        for (name, bytes) in &rows {
            let hash = <[u8; 32]>::try_from(&name[..]).map(Hash);
            let hash = hash.map_err(|_| ImportError::InvalidEntry("opening_keys"))?;
            let owner = record::decode_key_use(&hash, bytes).map(|(id, _)| id.0).unwrap_or_default();
            names.push(&name[..]);
            sessions.push(Uuid::from_bytes(owner));
            records.push(&bytes[..]);
        }
        self.run(&self.sql.put_opening_keys, &[&names, &sessions, &records]).await
    }

    /// The backup is complete: nothing is missing.
    ///
    /// # Errors
    /// It has no head, or belongs to another master key.
    pub async fn filled(&mut self) -> Result<(), ImportError> {
        self.flush(true).await?;
        self.prove()?;
        let head = self.head.ok_or(ImportError::InvalidEntry("meta"))?;
        let filled = "UPDATE head SET position = $1, version = $2, sessions = $3, events = $4";
        let (position, version) = (number_of(head), self.version + 1);
        let client = &self.connection.client;
        client.execute(filled, &[&position, &version, &self.sessions, &self.events]).await?;
        Ok(())
    }

    /// Checks it like [`crate::store::Store::check`], counting the sessions that were active at `made_at`.
    ///
    /// # Errors
    /// A database that fails, and what `report` returns.
    pub async fn check(
        &self,
        made_at: Timestamp,
        report: impl FnMut(Note) -> StoreResult<()>,
    ) -> StoreResult<()> {
        check(&self.connection.client, &self.codec, made_at, &mut ToFunction(report)).await
    }

    /// Starts a new epoch and commits. Returns its first position.
    ///
    /// # Errors
    /// A database that fails.
    pub async fn commit_with_epoch(self, start: &EpochStart) -> Result<Position, ImportError> {
        let began = start_epoch(&self.connection.client, &self.codec, start, self.lost).await?;
        self.commit().await?;
        Ok(began)
    }

    /// Commits.
    ///
    /// # Errors
    /// A database that fails: whether it has committed is unknown then.
    pub async fn commit(self) -> Result<(), ImportError> {
        let committed = self.connection.client.batch_execute("COMMIT").await;
        let unknown = |cause: String| {
            let why = format!("whether the last commit was made is unknown ({cause}): see `keyfob db stats`");
            ImportError::Database(PostgresError::Connect(why))
        };
        committed.map_err(|error| unknown(super::error::described(&error)))?;
        if self.connection.has_warned() {
            return Err(unknown("the database has warned".into()));
        }
        Ok(())
    }
}

/// Ends the connections of replicas that were stopped or frozen without a goodbye: their statements would go
/// on in the renamed tables.
pub(super) const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
    WHERE datname = current_database() AND usename = current_user AND application_name = 'keyfob' \
    AND pid <> pg_backend_pid()";

/// How far a database has come, and the version of its registry.
async fn reached(client: &tokio_postgres::Client) -> Result<(Option<Reached>, i64), ImportError> {
    let row = client.query_one("SELECT position, version FROM head", &[]).await?;
    let epochs = client.query_opt("SELECT value FROM meta WHERE name = $1", &[&EPOCHS]).await?;
    let epochs = epochs.and_then(|row| record::decode_epochs(row.get(0)).ok());
    let head = super::known::position_of(row.get(0));
    let number = epochs.as_ref().map_or(1, Epochs::number);
    Ok((Some(Reached { head, number }), row.get(1)))
}

fn id_of(key: &[u8], table: &'static str) -> Result<SessionId, ImportError> {
    key.try_into().map(SessionId).map_err(|_| ImportError::InvalidEntry(table))
}

fn number(length: usize) -> i64 {
    i64::try_from(length).expect("a batch has few rows")
}
