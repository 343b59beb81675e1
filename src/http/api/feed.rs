//! `GET /v1/feed`: what makes kept answers and locally verified tokens invalid, for one caller, by long poll.

use std::sync::Arc;
use std::time::Duration;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::event::{Event, EventKind};
use crate::domain::id::Position;
use crate::engine::Engine;
use crate::engine::feed::FeedStart;
use crate::http::api::events::{long_poll, no_wait};
use crate::http::document::Tag;
use crate::http::request::{
    Authorization, BasicOrBearer, DateTime, PageSize, Parsed, Query, WHOLE_MAX, Whole, page_default,
};
use crate::http::response::{Json, Problem, ProblemOr};
use crate::store::Store;

/// The feed.
pub struct FeedApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// The longest time to answer a request.
    pub request_timeout: Duration,
}

/// What became invalid. An item without `session_id` and `client_id` concerns all sessions.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct FeedItem {
    /// The position in the log.
    pub cursor: String,
    /// When it happened.
    pub at: DateTime,
    /// The type of the event.
    pub r#type: Parsed<EventKind>,
    /// The session.
    pub session_id: Option<String>,
    /// The number of the family in the session; then only that family is concerned.
    pub family: Option<u16>,
    /// The identifier of the revoked access token; then only that token is concerned.
    pub jti: Option<String>,
    /// The client, where all that was issued to it is concerned, or a token of its own.
    pub client_id: Option<String>,
    /// The key that was revoked.
    pub kid: Option<String>,
}

/// A part of the feed.
#[derive(Serialize, Deserialize, Object)]
pub struct FeedPage {
    /// The items, oldest first.
    pub items: Vec<FeedItem>,
    /// The `after` of the next request: up to this position nothing else concerns the caller.
    pub next: String,
    /// The position of the last event in the log.
    pub head: String,
}

#[OpenApi]
impl<S: Store> FeedApi<S> {
    /// Read the feed.
    ///
    /// What makes an answer of introspection or a check invalid, and a token that was verified locally: changes of
    /// sessions whose tokens the caller may introspect, of clients that share an audience with its `serves`, that
    /// it opens for or that it is, and what concerns all. In commit order, and nothing personal. Needs the
    /// permission `introspect`. Continue with `next`. Without `after` and `since` the answer is the end of the log,
    /// at once, without items. 410 is as at `/v1/events`: discard what was kept, and start again without `after`.
    #[oai(path = "/v1/feed", method = "get", tag = "Tag::Operation", operation_id = "readFeed")]
    async fn read(
        &self,
        authorization: Authorization<BasicOrBearer>,
        /// The position to start behind: a `next`, `head` or `feed_seq`. Not with `since`.
        after: Query<Option<Parsed<Position>>>,
        /// Start with the items of the last so many seconds, at most those of `[events] retention`. Not with
        /// `after`.
        since: Query<Option<Whole<0, WHOLE_MAX>>>,
        /// The largest number of items: 1 to 200.
        #[oai(default = "page_default")]
        limit: Query<PageSize>,
        /// How many seconds to wait for an item if there is none: 0 to 60, and at most nine tenths of `[limits]
        /// request_timeout`. If none comes, the answer has no items.
        #[oai(default = "no_wait")]
        wait: Query<Whole<0, 60>>,
    ) -> Result<Json<FeedPage>, ProblemOr<410>> {
        let caller = authorization.caller(&self.engine).await?;
        let start = match (after.read()?, since.read()?) {
            (None, None) => FeedStart::Head,
            (Some(after), None) => FeedStart::After(after.0),
            (None, Some(since)) => FeedStart::Since(Duration::from_secs(since.0)),
            (Some(_), Some(_)) => {
                return Err(Problem::invalid("since", "give after or since, not both").into());
            }
        };
        let wait = long_poll(wait.read()?, self.request_timeout);
        let feed = self.engine.feed(&caller, start, limit.read()?.size(), wait).await?;
        let items = feed.items.into_iter().map(|(position, event)| FeedItem::new(position, &event));
        Ok(Json(FeedPage {
            items: items.collect(),
            next: feed.next.to_string(),
            head: feed.head.to_string(),
        }))
    }
}

impl FeedItem {
    fn new(position: Position, event: &Event) -> Self {
        Self {
            cursor: position.to_string(),
            at: Parsed(event.at),
            r#type: Parsed(event.kind),
            session_id: event.session.map(|id| id.to_string()),
            family: event.family,
            jti: event.token.map(|id| id.to_string()),
            // The client of a session is not needed to find what was kept.
            client_id: event.client.as_ref().filter(|_| event.session.is_none()).map(ToString::to_string),
            kid: event.key.map(|id| id.to_string()),
        }
    }
}
