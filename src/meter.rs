//! Lock-free counters, gauges and histograms. The part of the program that does a thing counts it; only
//! `http/metrics` prints them, and no decision depends on them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Histogram bounds for durations in nanoseconds: 0.1 ms (an answer from memory) to 10 s.
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
/// The shortest time between two log lines of a [`RateLimitedLog`].
const LOG_INTERVAL_MS: u64 = 60_000;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn at(number: u64) -> Self {
        Self(AtomicU64::new(number))
    }

    pub fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    pub fn up(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// One counter for each value of a fixed set.
#[derive(Debug)]
pub struct Tally<K: 'static> {
    all: &'static [K],
    counters: Box<[Counter]>,
}

impl<K: Copy + PartialEq> Tally<K> {
    /// A counter for each value in `all`.
    pub fn new(all: &'static [K]) -> Self {
        Self { all, counters: all.iter().map(|_| Counter::default()).collect() }
    }

    pub fn one(&self, thing: K) {
        self.add(thing, 1);
    }

    /// Adds `number` to the counter of `thing`; other values than those of `new` are ignored.
    pub fn add(&self, thing: K, number: u64) {
        if let Some(place) = self.all.iter().position(|known| *known == thing) {
            self.counters[place].add(number);
        }
    }

    /// The value of each counter.
    pub fn read(&self) -> Vec<(K, u64)> {
        self.all.iter().copied().zip(self.counters.iter().map(Counter::get)).collect()
    }
}

/// Counts values by upper bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for values above the last bound.
    buckets: Box<[Counter]>,
    sum: Counter,
}

/// A snapshot of a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Each bound with the number of values at or below it (cumulative).
    pub buckets: Vec<(u64, u64)>,
    pub count: u64,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// An empty histogram. `bounds` must be ascending.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            buckets: (0..=bounds.len()).map(|_| Counter::default()).collect(),
            sum: Counter::default(),
        }
    }

    pub fn observe(&self, value: u64) {
        let place = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        self.buckets[place].one();
        self.sum.add(value);
    }

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

/// Measures elapsed time for metrics and logs. Decisions use the time of `engine/clock.rs`.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "no decision depends on it, so tests need not control it"
        )]
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Limits the log lines about an event that can happen at any rate to one per minute.
#[derive(Debug, Default)]
pub struct RateLimitedLog {
    next_line_at_ms: AtomicU64,
    suppressed: AtomicU64,
}

impl RateLimitedLog {
    /// The first event is logged.
    pub const fn new() -> Self {
        Self { next_line_at_ms: AtomicU64::new(0), suppressed: AtomicU64::new(0) }
    }

    /// Records an event at `now_ms` of a monotonic clock. `Some` if it is to be logged, with the number of
    /// events since the last line.
    pub fn record(&self, now_ms: u64) -> Option<u64> {
        let next_line_at = self.next_line_at_ms.load(Relaxed);
        let logs = now_ms >= next_line_at
            && self
                .next_line_at_ms
                .compare_exchange(next_line_at, now_ms.saturating_add(LOG_INTERVAL_MS), Relaxed, Relaxed)
                .is_ok();
        if logs {
            return Some(self.suppressed.swap(0, Relaxed) + 1);
        }
        self.suppressed.fetch_add(1, Relaxed);
        None
    }

    /// Records an event now, by the monotonic time since the first call in this process.
    pub fn record_now(&self) -> Option<u64> {
        static RUNNING: LazyLock<Stopwatch> = LazyLock::new(Stopwatch::start);
        self.record(RUNNING.nanos() / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_at_the_first_bound_that_is_not_smaller() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.observe(value);
        }
        assert_eq!(histogram.read(), Distribution { buckets: vec![(1, 2), (10, 4)], count: 5, sum: 24 });
    }

    #[test]
    fn a_frequent_event_is_logged_once_a_minute_with_its_count() {
        let log = RateLimitedLog::new();
        assert_eq!(log.record(0), Some(1));
        for ms in [0, 1, 59_999] {
            assert_eq!(log.record(ms), None);
        }
        assert_eq!(log.record(60_000), Some(4));
        assert_eq!(log.record(60_001), None);
        assert_eq!(log.record(500_000), Some(2));
    }
}
