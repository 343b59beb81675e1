//! `GET /v1/events`: the event log, in order, by long poll.

use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::end::EndReason;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::Position;
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::{
    Authorization, DateTime, Management, PageSize, Parsed, Query, Whole, page_default,
};
use crate::http::response::{Json, ProblemOr};
use crate::store::Store;

/// Events.
pub struct EventsApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// The longest time to answer a request.
    pub request_timeout: Duration,
}

/// An event. Members that do not concern its type are absent.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
#[oai(rename = "Event")]
pub struct EventObject {
    /// The position in the log; pass it as `after` to read the events behind it.
    pub cursor: String,
    /// When it happened.
    pub at: DateTime,
    /// The type of the event.
    pub r#type: Parsed<EventKind>,
    /// Who caused it: a client, `admin.sock`, `console` (an operator there), or `keyfob` itself.
    pub by: String,
    /// The session.
    pub session_id: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The client.
    pub client_id: Option<String>,
    /// The number of the family in the session.
    pub family: Option<u16>,
    /// Why the session or family ended.
    pub reason: Option<Parsed<EndReason>>,
    /// The identifier of the revoked access token.
    pub jti: Option<String>,
    /// The key that became active or was revoked.
    pub kid: Option<String>,
    /// How many generations behind the current one the reused refresh token was.
    pub generations_behind: Option<u32>,
    /// A keyed hash of the address that the reused refresh token came from, to compare addresses without
    /// revealing them.
    pub address_hash: Option<String>,
    /// The reason that the caller gave.
    pub note: Option<String>,
}

/// A page of the log.
#[derive(Serialize, Deserialize, Object)]
pub struct EventPage {
    /// The events, oldest first.
    pub items: Vec<EventObject>,
    /// The position of the last event in the log.
    pub head: String,
}

#[OpenApi]
impl<S: Store> EventsApi<S> {
    /// Read the event log.
    ///
    /// In commit order, without gaps. Needs the permission `events`, which shows all clients and subjects. A
    /// cursor older than the retention, or from before a restore, is 410: start again without `after`.
    #[oai(path = "/v1/events", method = "get", tag = "Tag::Operation", operation_id = "readEvents")]
    async fn read(
        &self,
        authorization: Authorization<Management>,
        /// The position to start behind. Default: before the oldest retained event.
        after: Query<Option<Parsed<Position>>>,
        /// The largest number of items: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<PageSize>,
        /// How many seconds to wait for an event if there is none behind `after`: 0 to 60, and at most nine
        /// tenths of `[limits] request_timeout`. If none comes, the answer has no items. Without `after`
        /// there is no wait.
        #[oai(default = "no_wait")]
        wait: Query<Whole<0, 60>>,
    ) -> Result<Json<EventPage>, ProblemOr<410>> {
        let caller = authorization.caller(&self.engine).await?;
        let (after, limit) = (after.read()?.map(|parsed| parsed.0), limit.read()?.size());
        let wait = long_poll(wait.read()?, self.request_timeout);
        let events = match after {
            Some(after) => self.engine.events(&caller, after, limit, wait).await?,
            None => self.engine.oldest_events(&caller, limit).await?,
        };
        let items =
            events.items.into_iter().map(|(position, event)| EventObject::new(position, event)).collect();
        Ok(Json(EventPage { items, head: events.head.to_string() }))
    }
}

/// A request that does not say how long to wait is answered at once.
pub(super) fn no_wait() -> Whole<0, 60> {
    Whole(0)
}

/// How long a request waits for an event: at most nine tenths of the time that it may take.
pub(super) fn long_poll(wait: Whole<0, 60>, request_timeout: Duration) -> Duration {
    Duration::from_secs(wait.0).min(request_timeout.mul_f32(0.9))
}

impl EventObject {
    fn new(position: Position, event: Event) -> Self {
        Self {
            cursor: position.to_string(),
            at: Parsed(event.at),
            r#type: Parsed(event.kind),
            by: event.by.into(),
            session_id: event.session.map(|id| id.to_string()),
            subject: event.subject.map(|subject| subject.as_str().into()),
            client_id: event.client.map(|id| id.to_string()),
            family: event.family,
            reason: event.reason.map(Parsed),
            jti: event.token.map(|id| id.to_string()),
            kid: event.key.map(|id| id.to_string()),
            generations_behind: event.generations_behind,
            address_hash: event.address.map(|hash| Base64UrlUnpadded::encode_string(&hash)),
            note: event.note.map(Into::into),
        }
    }
}
