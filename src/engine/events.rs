//! The event log, read in order; and waited for.

use std::time::Duration;

use tokio::time::timeout;

use super::{Engine, Result};
use crate::domain::caller::Caller;
use crate::domain::client::Permission;
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::refusal::Refusal;
use crate::engine::open::invalid;
use crate::store::Store;

/// A page of the log.
#[derive(Debug)]
pub struct Events {
    /// The events, in the order in which they were committed, each with its position.
    pub items: Vec<(Position, Event)>,
    /// The position of the last event there is.
    pub head: Position,
}

impl<S: Store> Engine<S> {
    /// At most `limit` events after `after`. If there are none yet, waits for one for as long as `wait`, or
    /// until the server stops; a waiting reader costs nothing.
    ///
    /// # Errors
    /// `Forbidden` without the permission `events`; `Gone` when events after `after` were forgotten, or
    /// `after` is in a history that a restore has lost, as a place in the future is where there was a
    /// restore; `Invalid` for one where there was none.
    pub async fn events(
        &self,
        caller: &Caller,
        after: Position,
        limit: usize,
        wait: Duration,
    ) -> Result<Events> {
        caller.require(Permission::Events)?;
        let registry = self.store.registry();
        let lost = || {
            let lost = "this cursor is from a history that was lost: the store was restored from a backup made before; begin again without a cursor";
            Err(Refusal::Gone.because(lost).into())
        };
        let Some(next) = registry.epochs.next(after) else { return lost() };
        if after > self.store.head() {
            // Another restore of the same backup, under a clock that was ahead, can have reached it.
            if registry.epochs.number() > 1 {
                return lost();
            }
            return Err(invalid("after", "is a place that the log has not reached").into());
        }
        if after == self.store.head() && !wait.is_zero() {
            let mut stopping = self.stopping.subscribe();
            tokio::select! {
                _ = timeout(wait, self.store.head_after(after)) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        let head = self.store.head();
        let items = self.store.events(after, limit).await?;
        let first = items.first().map_or(head.next(), |(position, _)| *position);
        if first > next {
            return Err(Refusal::Gone
                .because("events after this cursor were forgotten; begin again without a cursor")
                .into());
        }
        Ok(Events { items, head })
    }

    /// At most `limit` of the oldest events that are kept.
    ///
    /// # Errors
    /// `Forbidden` without the permission `events`.
    pub async fn oldest_events(&self, caller: &Caller, limit: usize) -> Result<Events> {
        caller.require(Permission::Events)?;
        let head = self.store.head();
        Ok(Events { items: self.store.events(Position::default(), limit).await?, head })
    }
}
