//! The writer: a thread that runs every waiting decision in one transaction, commits once, then answers all
//! callers. While a commit is in progress the next batch collects, so there is no timer.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use redb::{Database, Durability, WriteTransaction};
use tokio::sync::{oneshot, watch};

use super::batch::{Batch, Job, Settle, WriterState};
use super::recall::Recall;
use super::space::Space;
use super::{Options, Registry, Result, StoreError};
use crate::domain::id::Position;
use crate::meter::{Gauge, Stopwatch};
use crate::store::counters::StoreCounters;
use crate::store::record::Codec;
use crate::store::{BATCH_MAX, Lane};

/// A commit that takes longer makes the store not ready. Less than `request_timeout`, so that a load balancer
/// notices first.
const COMMIT_NANOS_MAX: u64 = 15_000_000_000;

/// What the writer and its callers share.
pub(super) struct Shared {
    pub registry: ArcSwap<Registry>,
    pub recall: Recall,
    head: AtomicU64,
    /// The same head, for waiting.
    head_changes: watch::Sender<u64>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    /// How many ordinary writes may wait.
    pub places: usize,
    /// The failed commit's error. Set once; then nothing is written any more.
    broken: OnceLock<Arc<str>>,
    pub counts: StoreCounters,
    /// Active sessions.
    pub active: Gauge,
    /// Not set for a store that is not a file, and for one that is only checked or restored.
    pub space: OnceLock<Space>,
    since: Stopwatch,
    /// Start of the commit in progress, in nanoseconds after `since`; 0 while there is none.
    commit_started: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    fn take(&mut self) -> Vec<Job> {
        let count = self.jobs.len().min(BATCH_MAX);
        self.jobs.drain(..count).collect()
    }
}

/// The writer's counters since the start, and its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    pub commits: u64,
    /// Decisions run, in all batches together.
    pub decisions: u64,
    /// Decisions waiting now.
    pub waiting: usize,
}

impl Shared {
    pub fn new(state: &WriterState, options: Options) -> Self {
        Self {
            registry: ArcSwap::from_pointee(state.registry()),
            recall: Recall::new(options.cache_bytes),
            head: AtomicU64::new(state.cuts.head.0),
            head_changes: watch::Sender::new(state.cuts.head.0),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            places: options.write_queue_max,
            broken: OnceLock::new(),
            counts: StoreCounters::new(),
            active: Gauge::at(state.active.sum),
            space: OnceLock::new(),
            since: Stopwatch::start(),
            commit_started: AtomicU64::new(0),
        }
    }

    pub fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    pub async fn head_after(&self, position: Position) {
        // The sender is never dropped before `self`, so this returns only when the head has moved.
        let _ = self.head_changes.subscribe().wait_for(|head| Position(*head) > position).await;
    }

    pub fn counters(&self) -> Counters {
        Counters {
            commits: self.counts.commits.get(),
            decisions: self.counts.decisions.get(),
            waiting: self.queue().jobs.len(),
        }
    }

    /// `Unavailable` after a failed commit: what can still be read may not be what the file contains.
    pub fn intact(&self) -> Result<()> {
        if self.broken.get().is_some() { Err(self.gone()) } else { Ok(()) }
    }

    pub fn ready(&self) -> Result<()> {
        if self.broken.get().is_some() || self.queue().closed {
            return Err(self.gone());
        }
        if hangs(self.commit_started.load(Ordering::Relaxed), self.since.nanos()) {
            Err(StoreError::Busy)
        } else {
            Ok(())
        }
    }

    /// Accepts no more writes; those in the queue still run.
    pub fn close(&self) {
        self.queue().closed = true;
        self.arrived.notify_one();
    }

    /// Queues `run` for the next batch and waits for its commit. Dropping the future does not cancel it.
    pub async fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        run: impl FnOnce(&mut Batch) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(lane, Box::new(|batch| settle(run(batch), batch, sender)))?;
        receiver.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// The same for a job of several slices: `run` is called in one batch after the other until it returns
    /// `Some`. Neither dropping the future nor closing the store cancels it.
    pub async fn submit_slices<T: Send + 'static>(
        &self,
        lane: Lane,
        run: impl FnMut(&mut Batch) -> Result<Option<T>> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(lane, slices(run, sender))?;
        receiver.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn enqueue(&self, lane: Lane, job: Job) -> Result<()> {
        if lane == Lane::Opening && self.space.get().is_some_and(|space| !space.admits_opening()) {
            self.counts.rejected(lane);
            return Err(StoreError::Full);
        }
        let mut queue = self.queue();
        if queue.closed || self.broken.get().is_some() {
            drop(queue);
            return Err(self.gone());
        }
        if queue.jobs.len() >= lane.places(self.places) {
            self.counts.rejected(lane);
            return Err(StoreError::Busy);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for jobs; `None` when the queue is closed and empty.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue();
        loop {
            if !queue.jobs.is_empty() {
                return Some(queue.take());
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No code that can panic runs under this lock.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> StoreError {
        StoreError::Unavailable(self.broken.get().cloned().unwrap_or_else(|| "it is closed".into()))
    }

    fn publish(&self, state: &mut WriterState) {
        if std::mem::take(&mut state.registry_changed) {
            self.registry.store(Arc::new(state.registry()));
        }
        // After the registry: a reader of this head finds every cut-off up to it.
        self.head.store(state.cuts.head.0, Ordering::Release);
        self.counts.committed(&mut state.uncommitted);
        self.active.set(state.active.sum);
        self.head_changes
            .send_if_modified(|head| std::mem::replace(head, state.cuts.head.0) != state.cuts.head.0);
    }

    /// Stops all writing: what the file contains is unknown until the next start reads it.
    fn latch(&self, why: &StoreError) {
        self.counts.failures.one();
        let _ = self.broken.set(why.to_string().into());
        self.queue().jobs.clear();
    }
}

/// A caller's own error answers that caller only; a failure of the store fails the whole batch.
fn settle<T: Send + 'static>(
    outcome: Result<T>,
    batch: &mut Batch,
    sender: oneshot::Sender<Result<T>>,
) -> Settle {
    if let Err(StoreError::Failed(why)) = &outcome {
        batch.broken = Some(StoreError::Failed(why.clone()));
    }
    Box::new(move |error| {
        // The caller may be gone; the decision is kept.
        let _ = sender.send(error.map_or(outcome, Err));
    })
}

fn slices<T: Send + 'static>(
    mut run: impl FnMut(&mut Batch) -> Result<Option<T>> + Send + 'static,
    sender: oneshot::Sender<Result<T>>,
) -> Job {
    Box::new(move |batch| match run(batch).transpose() {
        Some(outcome) => settle(outcome, batch, sender),
        None => {
            batch.again.push(slices(run, sender));
            Box::new(|_| ())
        }
    })
}

/// The one writer of a store.
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) db: Arc<Database>,
    pub(super) codec: Codec,
    pub(super) state: WriterState,
}

impl Writer {
    /// Runs until the store is closed or a commit fails.
    pub(super) fn run(mut self) {
        let _guard = AbortOnPanic;
        lower_priority();
        while let Some(jobs) = self.shared.next_batch() {
            if !self.run_batch(jobs) {
                return;
            }
        }
    }

    /// Runs one batch, unless no decision is waiting. Returns whether it ran one, and it was committed.
    pub fn step(&mut self) -> bool {
        let jobs = self.shared.queue().take();
        !jobs.is_empty() && self.run_batch(jobs)
    }

    fn run_batch(&mut self, jobs: Vec<Job>) -> bool {
        let Self { shared, db, codec, state } = self;
        let (mut settles, mut again) = (Vec::with_capacity(jobs.len()), vec![]);
        let outcome = write(shared, db, codec, state, jobs, &mut settles, &mut again);
        match &outcome {
            Ok(()) => {
                shared.publish(state);
                // Jobs that continue are queued even if the queue is full or closed.
                shared.queue().jobs.extend(again);
            }
            Err(error) => shared.latch(error),
        }
        for settle in settles {
            settle(outcome.as_ref().err().cloned());
        }
        outcome.is_ok()
    }
}

fn write(
    shared: &Shared,
    db: &Database,
    codec: &Codec,
    state: &mut WriterState,
    jobs: Vec<Job>,
    settles: &mut Vec<Settle>,
    again: &mut Vec<Job>,
) -> Result<()> {
    let transaction = begin(db)?;
    // Declared after the transaction, so that a panic ends the process before the transaction is dropped.
    let _guard = AbortOnPanic;
    let mut batch = Batch::new(&transaction, codec, state)?;
    let size = jobs.len() as u64;
    for job in jobs {
        shared.counts.decisions.one();
        settles.push(job(&mut batch));
        if let Some(error) = batch.broken {
            return Err(error);
        }
    }
    again.append(&mut batch.again);
    let Some(touched) = batch.finish()? else {
        return Ok(transaction.abort()?);
    };
    shared.recall.changing(&touched);
    let watch = Stopwatch::start();
    shared.commit_started.store(shared.since.nanos().max(1), Ordering::Relaxed);
    let committed = transaction.commit();
    shared.commit_started.store(0, Ordering::Relaxed);
    committed?;
    shared.counts.commit_nanos.observe(watch.nanos());
    shared.recall.changed(&touched);
    shared.counts.commits.one();
    shared.counts.batches.observe(size);
    Ok(())
}

/// Gives the threads that answer precedence over this one where there are too few cores for both: a batch
/// computes for milliseconds, an introspection for microseconds (docs/decisions/0040).
fn lower_priority() {
    // Elsewhere it would be the niceness of the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(5) {
        tracing::debug!("the priority of the writer is not lowered: {error}");
    }
}

/// Whether a commit that started at `began` (0: none is in progress) has taken longer than allowed.
fn hangs(began: u64, now: u64) -> bool {
    began > 0 && now.saturating_sub(began) > COMMIT_NANOS_MAX
}

/// Starts a transaction that is durable when committed, and that keeps the next opening quick even after a
/// crash.
pub(super) fn begin(db: &Database) -> Result<WriteTransaction> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// A panic that unwinds through a write transaction would disable quick repair for the rest of the process
/// and leave its batch incomplete. A restart is safe and takes milliseconds.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "keyfob: internal error: the writer panicked; the process aborts, and the next start \
                 continues from the last commit"
            );
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_takes_longer_than_the_limit_makes_the_store_unready_and_a_slow_one_does_not() {
        assert!(!hangs(0, u64::MAX), "no commit is in progress");
        assert!(!hangs(1, COMMIT_NANOS_MAX + 1) && hangs(1, COMMIT_NANOS_MAX + 2));
        assert!(!hangs(9, 1), "read out of order");
    }

    #[test]
    fn a_quarter_of_the_places_and_at_least_64_more_are_for_revocations_alone() {
        let places = |write_queue_max| {
            let options = Options { cache_bytes: 1 << 20, write_queue_max };
            let shared = Shared::new(&WriterState::default(), options);
            [Lane::Opening, Lane::Ordinary, Lane::Revocation].map(|lane| lane.places(shared.places))
        };
        assert_eq!(places(4096), [4096, 4096, 5120]);
        assert_eq!(places(2), [2, 2, 66]);
    }
}
