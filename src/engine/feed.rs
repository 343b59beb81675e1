//! The feed: what makes kept answers and locally verified tokens invalid, for one caller.

use std::time::Duration;

use tokio::time::timeout;

use super::events::Events;
use super::{Engine, Result};
use crate::domain::caller::{Granted, IntrospectTokens};
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::refusal::Refused;
use crate::domain::time::Timestamp;
use crate::store::Store;

/// How many events one request reads at most, most of which may not concern its caller.
const READ_MAX: usize = 2_000;
/// How many it reads at once.
const SLICE: usize = 200;
/// By how much the times of events may be out of the order in which they were committed.
const DISORDER_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedStart {
    /// At the end of the log.
    Head,
    After(Position),
    /// At the events of the last so many seconds.
    Since(Duration),
}

/// A part of the feed.
#[derive(Debug)]
pub struct Feed {
    /// The events that the caller is shown, in order, each with its position.
    pub items: Vec<(Position, Event)>,
    /// There is no further event for the caller up to this position.
    pub next: Position,
    /// The position of the last event in the log.
    pub head: Position,
}

impl<S: Store> Engine<S> {
    /// At most `limit` events that concern `caller`. If there are none yet, waits for one, for at most `wait`
    /// or until the server stops. The end of the log is answered at once.
    ///
    /// # Errors
    /// As for [`Engine::events`]; `Invalid` for a time that is longer ago than events are retained.
    pub async fn feed(
        &self,
        caller: &Granted<IntrospectTokens>,
        start: FeedStart,
        limit: usize,
        wait: Duration,
    ) -> Result<Feed> {
        match start {
            FeedStart::Head => {
                let head = self.store.head();
                Ok(Feed { items: vec![], next: head, head })
            }
            FeedStart::After(after) => {
                let first = self.events_behind(after, SLICE).await?;
                let feed = self.read_feed(caller, after, first, limit).await?;
                self.wait_for_feed(caller, feed, limit, wait).await
            }
            FeedStart::Since(since) => self.feed_since(caller, since, limit, wait).await,
        }
    }

    /// Reads on while nothing concerns the caller.
    async fn wait_for_feed(
        &self,
        caller: &Granted<IntrospectTokens>,
        mut feed: Feed,
        limit: usize,
        wait: Duration,
    ) -> Result<Feed> {
        let waited = timeout(wait, async {
            while feed.items.is_empty() && feed.next == feed.head && !*self.stopping.borrow() {
                self.head_moved(feed.next).await;
                let first = self.events_behind(feed.next, SLICE).await?;
                feed = self.read_feed(caller, feed.next, first, limit).await?;
            }
            Ok(())
        });
        match waited.await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(feed),
        }
    }

    /// Reads from `first`, the first slice behind `after`.
    async fn read_feed(
        &self,
        caller: &Granted<IntrospectTokens>,
        after: Position,
        first: Events,
        limit: usize,
    ) -> Result<Feed> {
        let (mut items, mut next, mut slice) = (vec![], after, first);
        for _ in 0..READ_MAX / SLICE {
            let (head, is_end) = (slice.head, slice.items.len() < SLICE);
            for (position, event) in slice.items {
                next = position;
                if caller.is_shown(&event, &self.rules.issuer) {
                    items.push((position, event));
                    if items.len() == limit {
                        return Ok(Feed { items, next, head: head.max(next) });
                    }
                }
            }
            if is_end {
                next = next.max(head);
                return Ok(Feed { items, next, head: next });
            }
            slice = self.events_behind(next, SLICE).await?;
        }
        Ok(Feed { items, next, head: self.store.head() })
    }

    /// Searches the first event that can be recent enough, and leaves out older ones that follow it.
    async fn feed_since(
        &self,
        caller: &Granted<IntrospectTokens>,
        since: Duration,
        limit: usize,
        wait: Duration,
    ) -> Result<Feed> {
        let retention = self.rules.retention;
        if since > retention {
            let most = format!("must be at most {}: events are not retained longer", retention.as_secs());
            return Err(Refused::invalid("since", most).into());
        }
        let from = self.clock.now().wall.minus(since);
        let after = self.position_before(from.minus(DISORDER_MAX)).await?;
        let first = self.retained_events(after, SLICE).await?;
        let feed = self.read_feed(caller, after, first, limit).await?;
        let mut feed = self.wait_for_feed(caller, feed, limit, wait).await?;
        feed.items.retain(|(_, event)| event.at >= from);
        Ok(feed)
    }

    /// A position behind which all events from `from` on are, if their times are in order.
    async fn position_before(&self, from: Timestamp) -> Result<Position> {
        let (mut low, mut high) = (Position::default(), self.store.head());
        while low < high {
            let middle = Position(low.0 + (high.0 - low.0) / 2);
            match self.store.events(middle, 1).await?.first() {
                Some((position, event)) if event.at < from => low = *position,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}
