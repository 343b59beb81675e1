//! The queue of writes. Each waits for a transaction that decides it, together with others.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::decisions::Decisions;
use super::reads::Reads;
use crate::store::{BATCH_MAX, Lane, Result, StoreError};

/// One write. It can be decided again, on another state.
pub(super) trait PendingWrite: Send {
    fn reads(&self) -> &Reads;
    fn decide(&mut self, decisions: &mut Decisions<'_>);
    /// Answers the caller: with what was decided last, unless the transaction failed.
    fn answer(self: Box<Self>, failure: Option<StoreError>);
}

struct Submitted<T, F> {
    reads: Reads,
    decide: F,
    outcome: Option<Result<T>>,
    sender: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Decisions<'_>) -> Result<T> + Send> PendingWrite for Submitted<T, F> {
    fn reads(&self) -> &Reads {
        &self.reads
    }

    fn decide(&mut self, decisions: &mut Decisions<'_>) {
        self.outcome = Some((self.decide)(decisions));
    }

    fn answer(self: Box<Self>, failure: Option<StoreError>) {
        let outcome = failure.map_or(self.outcome, |failure| Some(Err(failure)));
        // The caller may be gone; the decision is kept.
        let _ = self.sender.send(outcome.unwrap_or_else(|| Err(closed())));
    }
}

/// What a transaction of a writer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriterKind {
    /// Writes that take the head: they exclude each other, in this process and in all others.
    Head,
    /// Rotations, retries and uses, which lock only their sessions.
    Sessions,
}

pub(super) struct WriteQueue {
    queued: Mutex<QueuedWrites>,
    head_arrived: Notify,
    sessions_arrived: Notify,
    closing: Notify,
    /// How many ordinary writes may wait.
    pub places: usize,
}

#[derive(Default)]
struct QueuedWrites {
    head: VecDeque<Box<dyn PendingWrite>>,
    sessions: VecDeque<Box<dyn PendingWrite>>,
    is_closed: bool,
}

impl WriteQueue {
    pub fn new(places: usize) -> Self {
        Self {
            queued: Mutex::default(),
            head_arrived: Notify::new(),
            sessions_arrived: Notify::new(),
            closing: Notify::new(),
            places,
        }
    }

    /// Queues a write and waits for its transaction. Dropping the future does not cancel it.
    pub async fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        reads: Reads,
        decide: impl FnMut(&mut Decisions<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let share = if reads.head { WriterKind::Head } else { WriterKind::Sessions };
        self.enqueue(lane, share, Box::new(Submitted { reads, decide, outcome: None, sender }))?;
        receiver.await.unwrap_or_else(|_| Err(lost()))
    }

    fn enqueue(&self, lane: Lane, share: WriterKind, write: Box<dyn PendingWrite>) -> Result<()> {
        let mut queued = self.queued();
        if queued.is_closed {
            return Err(closed());
        }
        if queued.head.len() + queued.sessions.len() >= lane.places(self.places) {
            return Err(StoreError::Busy);
        }
        queued.of(share).push_back(write);
        drop(queued);
        self.arrived(share).notify_one();
        Ok(())
    }

    /// Waits for writes; `None` when the queue is closed and has none of this share.
    pub async fn next(&self, share: WriterKind) -> Option<Vec<Box<dyn PendingWrite>>> {
        loop {
            // Registered before the queue is looked at, so that no arrival is missed.
            let arrived = self.arrived(share).notified();
            {
                let mut queued = self.queued();
                let is_closed = queued.is_closed;
                let writes = queued.of(share);
                if !writes.is_empty() {
                    let count = writes.len().min(BATCH_MAX);
                    return Some(writes.drain(..count).collect());
                }
                if is_closed {
                    return None;
                }
            }
            arrived.await;
        }
    }

    /// Accepts no more writes; those in the queue still run.
    pub fn close(&self) {
        self.queued().is_closed = true;
        // Each writer waits on one of them; a permit is kept for one that does not wait now.
        for arrived in [&self.head_arrived, &self.sessions_arrived] {
            arrived.notify_waiters();
            arrived.notify_one();
        }
        self.closing.notify_waiters();
    }

    /// Waits until the queue is closed.
    pub async fn closed(&self) {
        // Registered before the queue is looked at.
        let closing = self.closing.notified();
        if !self.is_closed() {
            closing.await;
        }
    }

    pub fn is_closed(&self) -> bool {
        self.queued().is_closed
    }

    pub fn waiting(&self) -> usize {
        let queued = self.queued();
        queued.head.len() + queued.sessions.len()
    }

    fn arrived(&self, share: WriterKind) -> &Notify {
        match share {
            WriterKind::Head => &self.head_arrived,
            WriterKind::Sessions => &self.sessions_arrived,
        }
    }

    /// No code that can panic runs under this lock.
    fn queued(&self) -> MutexGuard<'_, QueuedWrites> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueuedWrites {
    fn of(&mut self, share: WriterKind) -> &mut VecDeque<Box<dyn PendingWrite>> {
        match share {
            WriterKind::Head => &mut self.head,
            WriterKind::Sessions => &mut self.sessions,
        }
    }
}

/// The writer panicked, or was stopped, while it had the write.
fn lost() -> StoreError {
    StoreError::Failed("internal error: a write was given up; whether it was made is unknown".into())
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}
