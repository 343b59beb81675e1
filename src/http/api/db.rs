//! `/v1/db`: the store as a whole, for administrators.

use std::sync::Arc;

use bytes::Bytes;
use poem::{Body, IntoResponse, Response};
use poem_openapi::payload::Binary;
use poem_openapi::registry::{MetaMediaType, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::id::Position;
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::engine::upkeep::{FindLog, RATE_MIN};
use crate::http::document::Tag;
use crate::http::request::{
    Authorization, BasicOrBearer, DateTime, Management, Parsed, Query, WHOLE_MAX, Whole,
};
use crate::http::response::{Json, Problem, answer::done, stream};
use crate::store::check::{Checked, Note};
use crate::store::{Stats, Store};

/// The store as a whole.
pub struct DbApi<S>(pub Arc<Engine<S>>);

/// JSON objects, one per line.
pub struct Lines(Body);

/// One line of a check; exactly one member is present.
#[skip_serializing_none]
#[derive(Default, Serialize, Deserialize, Object)]
pub struct CheckLine {
    /// The progress of the check.
    pub progress: Option<CheckProgress>,
    /// A damaged entry.
    pub find: Option<CheckFind>,
    /// The summary, which is the last line; without it the check was aborted.
    pub done: Option<CheckDone>,
}

/// The progress of a check.
#[derive(Serialize, Deserialize, Object)]
pub struct CheckProgress {
    /// The name of the table.
    pub table: String,
    /// The number of checked entries of the table.
    pub done: u64,
    /// The number of entries of the table.
    pub of: u64,
}

/// A damaged entry.
#[derive(Serialize, Deserialize, Object)]
pub struct CheckFind {
    /// The name of the table.
    pub table: String,
    /// The key of the entry.
    pub key: String,
    /// What is wrong with the entry.
    pub cause: String,
}

/// The summary of a check.
#[derive(Serialize, Deserialize, Object)]
pub struct CheckDone {
    /// The number of entries in all tables.
    pub entries: u64,
    /// The number of damaged entries.
    pub finds: u64,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of active sessions.
    pub live: u64,
    /// The number of clients.
    pub clients: u64,
}

/// The sizes and counts of the store.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct StoreStats {
    /// The tables.
    pub tables: Vec<StoreTable>,
    /// The number of sessions, including ended and expired ones that are retained.
    pub sessions: u64,
    /// The number of retained events.
    pub events: u64,
    /// The oldest retained event.
    pub oldest_event: Option<EventPlace>,
    /// The newest event.
    pub newest_event: Option<EventPlace>,
    /// The position of the last event that was ever written.
    pub head: String,
    /// 1, plus the number of restores.
    pub epoch: u32,
    /// The size of the file in bytes; absent over PostgreSQL, like the next two.
    pub file_bytes: Option<u64>,
    /// The bytes of the file that no table uses; they are reused before the file grows.
    pub free_bytes: Option<u64>,
    /// The free bytes of the file system.
    pub disk_free_bytes: Option<u64>,
}

/// The size of a table.
#[derive(Serialize, Deserialize, Object)]
pub struct StoreTable {
    /// The name of the table.
    pub name: String,
    /// The number of entries; over PostgreSQL an estimate, if a table other than those of sessions and events
    /// has more than 10,000.
    pub entries: u64,
    /// The bytes of the file, or of the database, that it uses.
    pub bytes: u64,
}

/// A position in the event log and its time.
#[derive(Serialize, Deserialize, Object)]
pub struct EventPlace {
    /// The position.
    pub cursor: String,
    /// When the event was recorded.
    pub at: DateTime,
}

#[derive(ApiResponse)]
enum BackupResponse {
    /// The backup, streamed while it is read.
    #[oai(status = 200)]
    Backup(Binary<Body>, #[oai(header = "Content-Disposition")] String),
}

#[OpenApi]
impl<S: Store> DbApi<S> {
    /// Back up the store.
    ///
    /// One consistent state of the whole store; writes continue meanwhile. The backup does not contain the
    /// master key and cannot be restored without it. `keyfob db backup FILE` uses this route and verifies
    /// that the file is complete.
    #[oai(path = "/v1/db/backup", method = "get", tag = "Tag::Operation", operation_id = "backUp")]
    async fn backup(
        &self,
        authorization: Authorization<BasicOrBearer>,
        /// The largest number of bytes to read per second, at least 1048576. Default: 64 MiB.
        rate: Query<Option<Whole<RATE_MIN, WHOLE_MAX>>>,
    ) -> Result<BackupResponse, Problem> {
        let caller = authorization.caller(&self.0).await?;
        let walk = self.0.backup(&caller, rate.read()?.map(|rate| rate.0))?;
        let name = format!(
            "attachment; filename=\"keyfob-{}.backup\"",
            walk.at.floor().to_string().replace(':', "")
        );
        Ok(BackupResponse::Backup(Binary(stream::body(walk, |piece| piece)), name))
    }

    /// Check the store.
    ///
    /// Compares every record and every index of one consistent state of the store; writes continue meanwhile.
    /// Streams one JSON object per line: progress, damaged entries, and a summary at the end.
    #[oai(path = "/v1/db/check", method = "get", tag = "Tag::Operation", operation_id = "checkStore")]
    async fn check(&self, authorization: Authorization<BasicOrBearer>) -> Result<Lines, Problem> {
        let caller = authorization.caller(&self.0).await?;
        let walk = self.0.check_store(&caller)?;
        let mut log = FindLog::default();
        Ok(Lines(stream::body(walk, move |note| {
            log.hear(&note);
            let mut line = serde_json::to_string(&CheckLine::from(note)).unwrap_or_default();
            line.push('\n');
            Bytes::from(line)
        })))
    }

    /// Read sizes and counts.
    ///
    /// Reads the whole file, which takes seconds on a large store.
    #[oai(path = "/v1/db/stats", method = "get", tag = "Tag::Operation", operation_id = "readStats")]
    async fn stats(&self, authorization: Authorization<Management>) -> Result<Json<StoreStats>, Problem> {
        let caller = authorization.caller(&self.0).await?;
        Ok(Json(self.0.stats(&caller).await?.into()))
    }
}

impl From<Note> for CheckLine {
    fn from(note: Note) -> Self {
        match note {
            Note::Progress(at) => {
                let progress = CheckProgress { table: at.table.to_owned(), done: at.done, of: at.of };
                Self { progress: Some(progress), ..Self::default() }
            }
            Note::Find(find) => {
                let find = CheckFind {
                    table: find.table.to_owned(),
                    key: find.key.into(),
                    cause: find.cause.to_owned(),
                };
                Self { find: Some(find), ..Self::default() }
            }
            Note::Done(Checked { entries, finds, sessions, active, clients }) => {
                let done =
                    CheckDone { entries, finds, sessions, live: active, clients: clients.len() as u64 };
                Self { done: Some(done), ..Self::default() }
            }
        }
    }
}

impl From<Stats> for StoreStats {
    fn from(stats: Stats) -> Self {
        let entries = |name| {
            stats.tables.iter().find(|(table, ..)| *table == name).map_or(0, |(_, entries, _)| *entries)
        };
        let taken: u64 = stats.tables.iter().map(|(_, _, bytes)| bytes).sum();
        let place = |event: Option<(Position, Timestamp)>| {
            event.map(|(position, at)| EventPlace { cursor: position.to_string(), at: Parsed(at) })
        };
        Self {
            sessions: entries("sessions"),
            events: entries("events"),
            oldest_event: place(stats.oldest_event),
            newest_event: place(stats.newest_event),
            head: stats.head.to_string(),
            epoch: stats.epoch,
            file_bytes: stats.file.map(|file| file.bytes),
            free_bytes: stats.file.map(|file| file.bytes.saturating_sub(taken)),
            disk_free_bytes: stats.file.map(|file| file.disk_free_bytes),
            tables: stats
                .tables
                .into_iter()
                .map(|(name, entries, bytes)| StoreTable { name: name.to_owned(), entries, bytes })
                .collect(),
        }
    }
}

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        Response::builder().content_type("application/x-ndjson").body(self.0)
    }
}

impl ApiResponse for Lines {
    fn meta() -> MetaResponses {
        let schema = CheckLine::schema_ref();
        done(vec![MetaMediaType { content_type: "application/x-ndjson", schema }])
    }

    fn register(registry: &mut Registry) {
        CheckLine::register(registry);
    }
}
