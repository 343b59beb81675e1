//! How long things last, in proportion to the run: openings and ends are in balance within its first quarter.

use std::time::Duration;

#[derive(Clone, Copy)]
pub struct Times {
    pub access_token_ttl: Duration,
    pub idle_timeout: Duration,
    pub absolute_lifetime: Duration,
    pub retry_window: Duration,
    pub retention: Duration,
    /// How close to its end a session, token or retry window is used.
    pub margin: Duration,
    /// The age, up to twice which the memory of processes is compared.
    pub young: Duration,
}

impl Times {
    /// Of a run of so many minutes. Of an hour: 1, 2 and 5 minutes, half a minute, 2 minutes.
    pub fn of(minutes: usize) -> Self {
        let part = |parts: u64| Duration::from_secs(60 * minutes as u64 / parts);
        Self {
            access_token_ttl: part(60),
            idle_timeout: part(30),
            absolute_lifetime: part(12),
            retry_window: part(120),
            retention: part(30),
            margin: part(360),
            young: part(60),
        }
    }
}
