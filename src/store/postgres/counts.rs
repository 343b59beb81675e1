//! What this replica counts of its work with the database.

use crate::meter::{Counter, DURATIONS, Histogram, Tally};

/// Histogram bounds for questions per round trip.
const QUESTIONS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// A round trip to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundTrip {
    Read,
    /// Locks and reads what a transaction decides on.
    Lock,
    Write,
    Commit,
    Heartbeat,
}

impl RoundTrip {
    const ALL: &[Self] = &[Self::Read, Self::Lock, Self::Write, Self::Commit, Self::Heartbeat];

    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Lock => "lock",
            Self::Write => "write",
            Self::Commit => "commit",
            Self::Heartbeat => "heartbeat",
        }
    }
}

pub(super) struct DatabaseCounters {
    pub round_trips: Tally<RoundTrip>,
    /// Questions about sessions or the head that one round trip answered.
    pub questions: Histogram,
    pub read_nanos: Histogram,
    /// Transactions that were rolled back and tried again.
    pub retried: Counter,
    pub heartbeats_failed: Counter,
    pub connections: Counter,
    pub connections_failed: Counter,
}

impl DatabaseCounters {
    pub fn new() -> Self {
        Self {
            round_trips: Tally::new(RoundTrip::ALL),
            questions: Histogram::new(QUESTIONS),
            read_nanos: Histogram::new(DURATIONS),
            retried: Counter::default(),
            heartbeats_failed: Counter::default(),
            connections: Counter::default(),
            connections_failed: Counter::default(),
        }
    }
}
