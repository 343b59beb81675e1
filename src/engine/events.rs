//! Reading the event log in order, and waiting for its next event.

use std::time::Duration;

use tokio::time::timeout;

use super::{Engine, Result};
use crate::domain::caller::{Granted, ReadEvents};
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::refusal::{Refusal, Refused};
use crate::store::Store;

/// A page of the log.
#[derive(Debug)]
pub struct Events {
    /// The events, in the order in which they were committed, each with its position.
    pub items: Vec<(Position, Event)>,
    /// The position of the last event in the log.
    pub head: Position,
}

impl<S: Store> Engine<S> {
    /// At most `limit` events after `after`. If there are none yet, waits for one, for at most `wait` or
    /// until the server stops.
    ///
    /// # Errors
    /// `Gone` when events after `after` were deleted, or `after` is in a history that a restore has lost;
    /// `Invalid` for a position that the log has not reached.
    pub async fn events(
        &self,
        _: &Granted<ReadEvents>,
        after: Position,
        limit: usize,
        wait: Duration,
    ) -> Result<Events> {
        if after == self.store.head() && !wait.is_zero() {
            let _ = timeout(wait, self.head_moved(after)).await;
        }
        self.events_behind(after, limit).await
    }

    /// Refuses a cursor that is not a position of this log.
    fn check_reached(&self, after: Position) -> Result<Position> {
        let registry = self.store.registry();
        let lost = "this cursor is from a history that was lost: the store was restored from an older \
                    backup; start again without a cursor";
        let next = registry.epochs.next(after).ok_or_else(|| Refusal::Gone.because(lost))?;
        if after <= self.store.head() {
            return Ok(next);
        }
        // Another restore of the same backup, with a clock that was ahead, can have reached it.
        if registry.epochs.number() > 1 {
            return Err(Refusal::Gone.because(lost).into());
        }
        Err(Refused::invalid("after", "is a position that the log has not reached").into())
    }

    /// Waits until there is an event behind `after`, or the server stops.
    pub(super) async fn head_moved(&self, after: Position) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            () = self.store.head_after(after) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// At most `limit` events behind a position of this log, without a gap.
    pub(super) async fn events_behind(&self, after: Position, limit: usize) -> Result<Events> {
        let next = self.check_reached(after)?;
        let Events { items, head } = self.retained_events(after, limit).await?;
        let first = items.first().map_or(head.next(), |(position, _)| *position);
        if first > next {
            return Err(Refusal::Gone
                .because("events after this cursor were deleted; start again without a cursor")
                .into());
        }
        Ok(Events { items, head })
    }

    /// At most `limit` of the oldest retained events.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn oldest_events(&self, _: &Granted<ReadEvents>, limit: usize) -> Result<Events> {
        self.retained_events(Position::default(), limit).await
    }

    /// At most `limit` of the retained events behind `after`. Those up to the head are among them, unless
    /// there are more.
    pub(super) async fn retained_events(&self, after: Position, limit: usize) -> Result<Events> {
        let head = self.store.head();
        Ok(Events { items: self.store.events(after, limit).await?, head })
    }
}
