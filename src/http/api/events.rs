//! `GET /v1/events`: the event log, in order, by long poll.

use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use poem_openapi::param::Query;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::end::EndReason;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::Position;
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::caller::{RequestSource, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::request::parameters::{page_default, page_size};
use crate::http::request::types::{Time, Wire};
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::Store;

/// The longest that a reader may wait, in seconds.
const WAIT_MAX_S: u64 = 60;

/// What is said of an `after` that is nothing of the kind.
const NO_CURSOR: &str = "after must be a cursor: the `cursor` or `head` of an earlier answer";

/// Events.
pub struct EventsApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// How long a request may take; a reader waits a little less.
    pub request_timeout: Duration,
}

/// One thing that happened. What does not concern its type is left out.
#[derive(Serialize, Deserialize, Object)]
#[oai(rename = "Event")]
pub struct EventObject {
    /// Its place in the log: ask for what follows with `after`.
    pub cursor: String,
    /// When it happened.
    pub at: Time,
    /// What happened.
    #[oai(rename = "type")]
    #[serde(rename = "type")]
    pub kind: Wire<EventKind>,
    /// Who did it: a client, `admin.sock`, or `keyfob` itself.
    pub by: String,
    /// The session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The family's number in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<u16>,
    /// Why something ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Wire<EndReason>>,
    /// The access token that was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The key that signs now, or was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// How many generations behind a reused refresh token was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generations_behind: Option<u32>,
    /// A keyed hash of the address that a reused refresh token came from: tells whether two are the same, and
    /// not which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_hash: Option<String>,
    /// The caller's own words for why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A page of the log.
#[derive(Serialize, Deserialize, Object)]
pub struct EventPage {
    /// The events, oldest first.
    pub items: Vec<EventObject>,
    /// The place of the last event there is.
    pub head: String,
}

#[OpenApi]
impl<S: Store> EventsApi<S> {
    /// Read the event log.
    ///
    /// In the order in which things were committed, without gaps. Needs the permission `events`: the log is
    /// whole, with all clients and subjects. A cursor older than the retention, or from a history that was
    /// lost in a restore, is 410: begin again without `after`.
    #[oai(path = "/v1/events", method = "get", tag = "Tag::Operation", operation_id = "readEvents")]
    async fn read(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// The cursor after which to begin; without it, at the oldest event that is kept.
        after: Query<Option<String>>,
        /// How many: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<usize>,
        /// For how many seconds to wait for an event if there is none yet: 0 to 60. Counts only with `after`,
        /// and never for longer than nine tenths of `[limits] request_timeout`: then the answer has no items,
        /// and the reader asks again.
        #[oai(default)]
        wait: Query<u64>,
    ) -> Result<Json<EventPage>, Problem> {
        let caller = caller(&self.engine, authorization, &source).await?;
        let limit = page_size(limit.0)?;
        if wait.0 > WAIT_MAX_S {
            return Err(Problem::invalid("wait", format!("wait must be from 0 to {WAIT_MAX_S} seconds")));
        }
        let wait = Duration::from_secs(wait.0).min(self.request_timeout.mul_f32(0.9));
        let after = after
            .0
            .as_deref()
            .map(str::parse::<Position>)
            .transpose()
            .map_err(|_| Problem::invalid("after", NO_CURSOR))?;
        let events = match after {
            Some(after) => self.engine.events(&caller, after, limit, wait).await?,
            None => self.engine.oldest_events(&caller, limit).await?,
        };
        let items =
            events.items.into_iter().map(|(position, event)| EventObject::new(position, event)).collect();
        Ok(Json(EventPage { items, head: events.head.to_string() }))
    }
}

impl EventObject {
    fn new(position: Position, event: Event) -> Self {
        Self {
            cursor: position.to_string(),
            at: Wire(event.at),
            kind: Wire(event.kind),
            by: event.by.into(),
            session_id: event.session.map(|id| id.to_string()),
            subject: event.subject.map(|subject| subject.as_str().into()),
            client_id: event.client.map(|id| id.to_string()),
            family: event.family,
            reason: event.reason.map(Wire),
            jti: event.token.map(|id| id.to_string()),
            kid: event.key.map(|id| id.to_string()),
            generations_behind: event.generations_behind,
            address_hash: event.address.map(|hash| Base64UrlUnpadded::encode_string(&hash)),
            note: event.note.map(Into::into),
        }
    }
}
