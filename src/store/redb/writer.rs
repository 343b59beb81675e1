//! The one thread that writes: runs every waiting decision in one transaction, commits once, then answers
//! them all. No timers: while one commit is on its way to the disk, the next batch collects.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use redb::{Database, Durability, WriteTransaction};
use tokio::sync::{oneshot, watch};

use super::batch::{Batch, State};
use super::error::failed;
use super::figures::Counts;
use super::recall::Recall;
use super::{Options, Registry, Result, StoreError};
use crate::domain::id::Position;
use crate::meter::Stopwatch;
use crate::store::Lane;
use crate::store::record::Codec;

/// How many decisions one transaction takes at most.
const BATCH_MAX: usize = 1024;
/// How many more places revocations find in a full queue, at least.
const RESERVED_MIN: usize = 64;

/// How long a commit may take before the store is not ready: less than `request_timeout`, so that callers are
/// sent elsewhere in time.
const COMMIT_NANOS_MAX: u64 = 15_000_000_000;

/// One write: decides in a batch, and is told afterwards what became of the commit. Dropped undone, its
/// caller hears that the store is gone.
type Job = Box<dyn FnOnce(&mut Batch) -> Settle + Send>;
/// Answers a caller, with the error if the commit failed.
type Settle = Box<dyn FnOnce(Option<StoreError>)>;

/// What the writer and its callers share.
pub(super) struct Shared {
    pub registry: ArcSwap<Registry>,
    pub recall: Recall,
    head: AtomicU64,
    /// The same head, for those who wait for it to move.
    told: watch::Sender<u64>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    places: usize,
    /// Why nothing can be written any more, once that is so.
    broken: OnceLock<Arc<str>>,
    pub counts: Counts,
    since: Stopwatch,
    /// When the commit that is on its way began, in nanoseconds after `since`; 0 while there is none.
    commit_began: AtomicU64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// What the writer has done since the start, and what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Transactions committed to the disk.
    pub commits: u64,
    /// Decisions run, in all batches together.
    pub decisions: u64,
    /// Decisions waiting now.
    pub waiting: usize,
}

impl Shared {
    pub fn new(state: &State, options: Options) -> Self {
        Self {
            registry: ArcSwap::from_pointee(state.registry()),
            recall: Recall::new(options.cache_bytes),
            head: AtomicU64::new(state.cuts.head.0),
            told: watch::Sender::new(state.cuts.head.0),
            queue: Mutex::default(),
            arrived: Condvar::new(),
            places: options.write_queue_max,
            broken: OnceLock::new(),
            counts: Counts::new(state.live.sum()),
            since: Stopwatch::start(),
            commit_began: AtomicU64::new(0),
        }
    }

    pub fn head(&self) -> Position {
        Position(self.head.load(Ordering::Acquire))
    }

    pub async fn head_after(&self, position: Position) {
        // The sender lives as long as the store, so this ends only when the head has moved.
        let _ = self.told.subscribe().wait_for(|head| Position(*head) > position).await;
    }

    pub fn counters(&self) -> Counters {
        Counters {
            commits: self.counts.commits.get(),
            decisions: self.counts.decisions.get(),
            waiting: self.queue().jobs.len(),
        }
    }

    /// How many writes may wait; revocations find more.
    pub fn places(&self) -> usize {
        self.places
    }

    pub fn ready(&self) -> Result<()> {
        if self.broken.get().is_some() || self.queue().closed {
            return Err(self.gone());
        }
        if hangs(self.commit_began.load(Ordering::Relaxed), self.since.nanos()) {
            Err(StoreError::Busy)
        } else {
            Ok(())
        }
    }

    /// Takes no more; what waits is still done.
    pub fn close(&self) {
        self.queue().closed = true;
        self.arrived.notify_one();
    }

    /// Has `run` run in the next batch, and waits for its commit. It runs even if nobody waits any more.
    pub async fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        run: impl FnOnce(&mut Batch) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(lane, Box::new(|batch| settle(run(batch), batch, sender)))?;
        receiver.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn enqueue(&self, lane: Lane, job: Job) -> Result<()> {
        let places = match lane {
            Lane::Ordinary => self.places,
            Lane::Revocation => self.places + (self.places / 4).max(RESERVED_MIN),
        };
        let mut queue = self.queue();
        if queue.closed || self.broken.get().is_some() {
            drop(queue);
            return Err(self.gone());
        }
        if queue.jobs.len() >= places {
            self.counts.refused(lane);
            return Err(StoreError::Busy);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits for something to do; `None` when closed and done.
    fn next_batch(&self) -> Option<Vec<Job>> {
        let mut queue = self.queue();
        loop {
            if !queue.jobs.is_empty() {
                let count = queue.jobs.len().min(BATCH_MAX);
                return Some(queue.jobs.drain(..count).collect());
            }
            if queue.closed {
                return None;
            }
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing that can panic runs under this lock.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gone(&self) -> StoreError {
        StoreError::Unavailable(self.broken.get().cloned().unwrap_or_else(|| "it is closed".into()))
    }

    fn publish(&self, state: &mut State) {
        if std::mem::take(&mut state.registry_changed) {
            self.registry.store(Arc::new(state.registry()));
        }
        // After the registry: who reads this head finds every cut-off up to it.
        self.head.store(state.cuts.head.0, Ordering::Release);
        self.counts.committed(&mut state.told, state.live.sum());
        self.told.send_if_modified(|head| std::mem::replace(head, state.cuts.head.0) != state.cuts.head.0);
    }

    /// From here on nothing is written: what the disk holds is unknown until the next start reads it.
    fn latch(&self, why: &StoreError) {
        self.counts.failures.one();
        let _ = self.broken.set(why.to_string().into());
        self.queue().jobs.clear();
    }
}

/// A caller's own failure is told to it alone; a failure of the store is everybody's.
fn settle<T: Send + 'static>(
    outcome: Result<T>,
    batch: &mut Batch,
    sender: oneshot::Sender<Result<T>>,
) -> Settle {
    if let Err(StoreError::Failed(why)) = &outcome {
        batch.broken = Some(StoreError::Failed(why.clone()));
    }
    Box::new(move |error| {
        // The caller may have gone; what was decided stays.
        let _ = sender.send(error.map_or(outcome, Err));
    })
}

/// The writer's life, until the store is closed or breaks.
pub(super) fn run(shared: &Shared, db: &Database, codec: &Codec, mut state: State) {
    let _guard = AbortOnPanic;
    while let Some(jobs) = shared.next_batch() {
        let mut settles = Vec::with_capacity(jobs.len());
        let outcome = write(shared, db, codec, &mut state, jobs, &mut settles);
        match &outcome {
            Ok(()) => shared.publish(&mut state),
            Err(error) => shared.latch(error),
        }
        for settle in settles {
            settle(outcome.as_ref().err().cloned());
        }
        if outcome.is_err() {
            return;
        }
    }
}

fn write(
    shared: &Shared,
    db: &Database,
    codec: &Codec,
    state: &mut State,
    jobs: Vec<Job>,
    settles: &mut Vec<Settle>,
) -> Result<()> {
    let transaction = begin(db)?;
    // Declared after the transaction, so that a panic ends the process before it unwinds through it.
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
    let Some(touched) = batch.finish()? else {
        return transaction.abort().map_err(failed);
    };
    shared.recall.changing(&touched);
    let watch = Stopwatch::start();
    shared.commit_began.store(shared.since.nanos().max(1), Ordering::Relaxed);
    let committed = transaction.commit();
    shared.commit_began.store(0, Ordering::Relaxed);
    committed.map_err(failed)?;
    shared.counts.commit_nanos.observe(watch.nanos());
    shared.recall.changed(&touched);
    shared.counts.commits.one();
    shared.counts.batches.observe(size);
    Ok(())
}

/// Whether a commit that began at `began` (0: none is on its way) has waited so long for the disk that nobody
/// should wait behind it.
fn hangs(began: u64, now: u64) -> bool {
    began > 0 && now.saturating_sub(began) > COMMIT_NANOS_MAX
}

/// A transaction that is durable when committed, and leaves behind what makes the next opening quick, crash
/// or not.
pub(super) fn begin(db: &Database) -> Result<WriteTransaction> {
    let mut transaction = db.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// A panic that unwinds through a write transaction would silently disable quick repair for the rest of the
/// process (and leave its batch half run). A restart is safe, and takes milliseconds.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "keyfob: the writer panicked, which is a bug; aborting, so that the next start finds the last commit"
            );
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_does_not_come_back_makes_the_store_unready_and_one_that_takes_its_time_does_not() {
        assert!(!hangs(0, u64::MAX), "there is none");
        assert!(!hangs(1, COMMIT_NANOS_MAX + 1) && hangs(1, COMMIT_NANOS_MAX + 2));
        assert!(!hangs(9, 1), "read out of order");
    }
}
