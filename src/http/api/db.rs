//! `/v1/db`: the store as a whole, for administrators.

use std::sync::Arc;

use bytes::Bytes;
use poem::{Body, IntoResponse, Response};
use poem_openapi::param::Query;
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::id::Position;
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::engine::upkeep::FindLog;
use crate::http::document::Tag;
use crate::http::request::caller::{RequestSource, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::request::types::{Time, Wire};
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::http::response::stream;
use crate::store::check::{Checked, Note};
use crate::store::{Stats, Store};

/// The store as a whole.
pub struct DbApi<S>(pub Arc<Engine<S>>);

/// A backup: see the file itself for what it says of itself.
pub struct Backup(Body);

/// Objects, one a line.
pub struct Lines(Body);

/// What a check tells, one member at a time: how far it is, what it found, and at the end what it looked at.
#[derive(Default, Serialize, Deserialize, Object)]
pub struct CheckLine {
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<CheckProgress>,
    /// Something that is not as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub find: Option<CheckFind>,
    /// The end: without it, the check broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<CheckDone>,
}

/// How far a check is.
#[derive(Serialize, Deserialize, Object)]
pub struct CheckProgress {
    /// The table.
    pub table: String,
    /// How many of its entries were looked at.
    pub done: u64,
    /// How many there are.
    pub of: u64,
}

/// Something that is not as it should be.
#[derive(Serialize, Deserialize, Object)]
pub struct CheckFind {
    /// The table.
    pub table: String,
    /// The key of the entry.
    pub key: String,
    /// What is wrong with it.
    pub cause: String,
}

/// What a check looked at.
#[derive(Serialize, Deserialize, Object)]
pub struct CheckDone {
    /// How many entries there are in all tables.
    pub entries: u64,
    /// How many finds there were.
    pub finds: u64,
    /// How many sessions there are.
    pub sessions: u64,
    /// How many of them live.
    pub live: u64,
    /// How many clients there are.
    pub clients: u64,
}

/// What is in the store, and how large it is.
#[derive(Serialize, Deserialize, Object)]
#[oai(rename = "StoreStats")]
pub struct StatsObject {
    /// Its tables.
    pub tables: Vec<TableObject>,
    /// How many sessions there are, ended and expired ones that still explain themselves included.
    pub sessions: u64,
    /// How many events are kept.
    pub events: u64,
    /// The oldest event that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_event: Option<Place>,
    /// The newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_event: Option<Place>,
    /// The place of the last event ever written.
    pub head: String,
    /// The number of the epoch: 1, and one more for each restore.
    pub epoch: u32,
    /// How long the file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// How much of it no table takes: it is used before the file grows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// How much its file system still takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
}

/// A table.
#[derive(Serialize, Deserialize, Object)]
#[oai(rename = "StoreTable")]
pub struct TableObject {
    /// Its name.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes of the file it takes.
    pub bytes: u64,
}

/// A place in the log, and when that was.
#[derive(Serialize, Deserialize, Object)]
#[oai(rename = "EventPlace")]
pub struct Place {
    /// The place.
    pub cursor: String,
    /// When.
    pub at: Time,
}

#[derive(ApiResponse)]
enum BackupResponse {
    /// The backup, as it is read.
    #[oai(status = 200)]
    Backup(Backup, #[oai(header = "Content-Disposition")] String),
}

#[derive(ApiResponse)]
enum CheckResponse {
    /// What the check tells while it goes on.
    #[oai(status = 200)]
    Lines(Lines),
}

#[OpenApi]
impl<S: Store> DbApi<S> {
    /// Back up.
    ///
    /// One consistent state of the whole store, as it is when this is called; writers go on. The master key
    /// is not in it, and without that it cannot be restored. `keyfob db backup FILE` is made of this, and
    /// sees to it that the file is whole.
    #[oai(path = "/v1/db/backup", method = "get", tag = "Tag::Operation", operation_id = "backUp")]
    async fn backup(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// How many bytes a second to read at most: from 1048576. Without it 64 MiB.
        rate: Query<Option<u64>>,
    ) -> Result<BackupResponse, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let walk = self.0.backup(&caller, rate.0)?;
        let name = format!(
            "attachment; filename=\"keyfob-{}.backup\"",
            walk.at.floor().to_string().replace(':', "")
        );
        Ok(BackupResponse::Backup(Backup(stream::body(walk, |piece| piece)), name))
    }

    /// Check every record.
    ///
    /// Holds every record and every index of the store as it is when this is called against each other;
    /// writers go on. Tells as it goes on, one object a line: how far it is, what it finds, and at last that
    /// it is done.
    #[oai(path = "/v1/db/check", method = "get", tag = "Tag::Operation", operation_id = "checkStore")]
    async fn check(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
    ) -> Result<CheckResponse, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let walk = self.0.check_store(&caller)?;
        let mut log = FindLog::default();
        Ok(CheckResponse::Lines(Lines(stream::body(walk, move |note| {
            log.hear(&note);
            let mut line = serde_json::to_string(&CheckLine::from(note)).unwrap_or_default();
            line.push('\n');
            Bytes::from(line)
        }))))
    }

    /// Sizes and counts.
    ///
    /// Reads the whole file once: on a large store it takes seconds.
    #[oai(path = "/v1/db/stats", method = "get", tag = "Tag::Operation", operation_id = "readStats")]
    async fn stats(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
    ) -> Result<Json<StatsObject>, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
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

impl From<Stats> for StatsObject {
    fn from(stats: Stats) -> Self {
        let entries = |name| {
            stats.tables.iter().find(|(table, ..)| *table == name).map_or(0, |(_, entries, _)| *entries)
        };
        let taken: u64 = stats.tables.iter().map(|(_, _, bytes)| bytes).sum();
        let place = |event: Option<(Position, Timestamp)>| {
            event.map(|(position, at)| Place { cursor: position.to_string(), at: Wire(at) })
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
                .map(|(name, entries, bytes)| TableObject { name: name.to_owned(), entries, bytes })
                .collect(),
        }
    }
}

impl Payload for Backup {
    const CONTENT_TYPE: &'static str = "application/octet-stream";

    fn schema_ref() -> MetaSchemaRef {
        poem_openapi::payload::Binary::<Body>::schema_ref()
    }
}

impl IntoResponse for Backup {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}

impl Payload for Lines {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn schema_ref() -> MetaSchemaRef {
        CheckLine::schema_ref()
    }

    fn register(registry: &mut Registry) {
        CheckLine::register(registry);
    }
}

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::CONTENT_TYPE).body(self.0)
    }
}
