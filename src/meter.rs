//! What is counted and measured: numbers that anybody may add to and read at any time, without a lock and
//! without waiting.
//!
//! Whoever does a thing counts it (the store its commits, the engine its refreshes); only `http/metrics`
//! prints. Nothing is ever decided by what is counted here.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Bounds for how long something takes, in nanoseconds: from 0.1 ms, which is an answer from memory, to 10 s.
pub const DURATIONS: &[u64] = &[
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// How long [`Seldom`] is silent after it has spoken.
const SILENCE_MS: u64 = 60_000;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts `number` more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// It is `number` now.
    pub fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter for each of some things that are known beforehand.
#[derive(Debug)]
pub struct Tally<K: 'static> {
    all: &'static [K],
    counters: Box<[Counter]>,
}

impl<K: Copy + PartialEq> Tally<K> {
    /// Counts nothing but these.
    pub fn new(all: &'static [K]) -> Self {
        Self { all, counters: all.iter().map(|_| Counter::default()).collect() }
    }

    /// One more of `thing`.
    pub fn one(&self, thing: K) {
        self.add(thing, 1);
    }

    /// So many more of `thing`.
    pub fn add(&self, thing: K, number: u64) {
        if let Some(place) = self.all.iter().position(|known| *known == thing) {
            self.counters[place].add(number);
        }
    }

    /// How many there were of each.
    pub fn read(&self) -> Vec<(K, u64)> {
        self.all.iter().copied().zip(self.counters.iter().map(Counter::get)).collect()
    }
}

/// How often values fell under each of some bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is above them all.
    buckets: Box<[Counter]>,
    sum: Counter,
}

/// What a histogram has seen, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Each bound, and how many values were at most so large.
    pub buckets: Vec<(u64, u64)>,
    /// How many values there were.
    pub count: u64,
    /// All values together.
    pub sum: u64,
}

impl Histogram {
    /// Nothing seen yet. The bounds rise.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            sum: Counter::default(),
        }
    }

    /// Sees a value.
    pub fn observe(&self, value: u64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.buckets[place].one();
        self.sum.add(value);
    }

    /// What was seen so far.
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut up_to = |bucket: &Counter| {
            count += bucket.get();
            count
        };
        let buckets =
            self.bounds.iter().zip(&self.buckets).map(|(bound, bucket)| (*bound, up_to(bucket))).collect();
        up_to(&self.buckets[self.bounds.len()]);
        Distribution { buckets, count, sum: self.sum.get() }
    }
}

/// Measures how long something takes, which decides nothing; the time by which things are decided is
/// `engine/clock.rs`'s.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    pub fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "it measures and decides nothing, so no test needs it to be an argument"
        )]
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Lets something that can happen at any rate be told of at most once a minute.
#[derive(Debug, Default)]
pub struct Seldom {
    speaks_at_ms: AtomicU64,
    unsaid: AtomicU64,
}

impl Seldom {
    /// It has not spoken yet.
    pub const fn new() -> Self {
        Self { speaks_at_ms: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// It happened, at `now_ms` on a clock that runs forwards. `Some` if it is to be told: how often it
    /// happened since the last time.
    pub fn happened(&self, now_ms: u64) -> Option<u64> {
        let speaks_at = self.speaks_at_ms.load(Relaxed);
        let speaks = now_ms >= speaks_at
            && self
                .speaks_at_ms
                .compare_exchange(speaks_at, now_ms.saturating_add(SILENCE_MS), Relaxed, Relaxed)
                .is_ok();
        if speaks {
            return Some(self.unsaid.swap(0, Relaxed) + 1);
        }
        self.unsaid.fetch_add(1, Relaxed);
        None
    }

    /// The same, by the time since the process first asked.
    pub fn happened_now(&self) -> Option<u64> {
        static RUNNING: LazyLock<Stopwatch> = LazyLock::new(Stopwatch::start);
        self.happened(RUNNING.nanos() / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_under_the_first_bound_that_is_not_smaller() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.observe(value);
        }
        assert_eq!(histogram.read(), Distribution { buckets: vec![(1, 2), (10, 4)], count: 5, sum: 24 });
    }

    #[test]
    fn what_happens_often_is_told_once_a_minute_with_its_number() {
        let seldom = Seldom::new();
        assert_eq!(seldom.happened(0), Some(1));
        for ms in [0, 1, 59_999] {
            assert_eq!(seldom.happened(ms), None);
        }
        assert_eq!(seldom.happened(60_000), Some(4));
        assert_eq!(seldom.happened(60_001), None);
        assert_eq!(seldom.happened(500_000), Some(2));
    }
}
