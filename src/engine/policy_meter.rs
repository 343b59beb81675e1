//! Gaps between the uses of sessions, and delays of retried refreshes, by policy: in memory, for
//! `policy simulate`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::policy::Policy;
use crate::meter::{Distribution, Histogram};

/// Histogram bounds for gaps between uses, in milliseconds: from a second to 30 days.
const GAPS_MS: &[u64] = &[
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    2 * 60_000,
    5 * 60_000,
    10 * 60_000,
    15 * 60_000,
    20 * 60_000,
    30 * 60_000,
    45 * 60_000,
    3_600_000,
    2 * 3_600_000,
    4 * 3_600_000,
    8 * 3_600_000,
    12 * 3_600_000,
    24 * 3_600_000,
    2 * 86_400_000,
    3 * 86_400_000,
    7 * 86_400_000,
    14 * 86_400_000,
    30 * 86_400_000,
];
/// Histogram bounds for delays of retries, in milliseconds.
const RETRIES_MS: &[u64] = &[
    10, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000,
    600_000, 1_800_000, 3_600_000,
];

/// The histograms of each configured policy.
pub struct PolicyMeters(BTreeMap<Box<str>, PolicyMeter>);

/// The histograms of one policy.
pub struct PolicyMeter {
    gaps: Histogram,
    remembered_gaps: Histogram,
    retries: Histogram,
}

/// A snapshot, in milliseconds.
pub struct MeteredPolicy {
    pub gaps: Distribution,
    pub remembered_gaps: Distribution,
    pub retries: Distribution,
}

impl PolicyMeters {
    /// Empty histograms for these policies.
    pub fn new(policies: &BTreeMap<String, Policy>) -> Self {
        let meter = || PolicyMeter {
            gaps: Histogram::new(GAPS_MS),
            remembered_gaps: Histogram::new(GAPS_MS),
            retries: Histogram::new(RETRIES_MS),
        };
        Self(policies.keys().map(|name| (name.as_str().into(), meter())).collect())
    }

    /// The histograms of a policy; those of the default for one that is not configured any more.
    pub fn of(&self, policy: &str) -> &PolicyMeter {
        let meter = self.0.get(policy).or_else(|| self.0.get("default"));
        meter.expect("the configuration always contains a default policy")
    }
}

impl PolicyMeter {
    /// A session was used `gap` after its last use.
    pub fn used(&self, remembered: bool, gap: Duration) {
        let gaps = if remembered { &self.remembered_gaps } else { &self.gaps };
        gaps.observe(millis(gap));
    }

    /// The previous refresh token was presented again `delay` after it was rotated.
    pub fn retried(&self, delay: Duration) {
        self.retries.observe(millis(delay));
    }

    pub fn read(&self) -> MeteredPolicy {
        MeteredPolicy {
            gaps: self.gaps.read(),
            remembered_gaps: self.remembered_gaps.read(),
            retries: self.retries.read(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
