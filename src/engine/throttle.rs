//! The rate limit of failed authentications per address. A valid secret is never refused, so an attacker
//! cannot lock a client out.

use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::domain::time::Moment;

/// The most addresses that are remembered; the least used are removed first.
const ADDRESSES_MAX: usize = 16_384;
const MINUTE_MS: f64 = 60_000.0;

/// A bucket of permitted failures per address, refilled evenly over a minute. It counts failures for all
/// clients together, which is stricter than a count per client.
pub(super) struct Throttle {
    per_minute: f64,
    spent: Cache<Option<IpAddr>, Spent>,
}

#[derive(Clone, Copy)]
struct Spent {
    failures: f64,
    at_ms: u64,
}

impl Throttle {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute: f64::from(per_minute), spent: Cache::new(ADDRESSES_MAX) }
    }

    /// Counts a failure. `Some` when there were too many: how long to wait.
    pub(super) fn fail(&self, address: Option<IpAddr>, now: Moment) -> Option<Duration> {
        let spent = self.spent.get(&address).unwrap_or(Spent { failures: 0.0, at_ms: now.elapsed_ms });
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since the start are far below 2^52")]
        let passed = now.elapsed_ms.saturating_sub(spent.at_ms) as f64;
        let failures = (spent.failures - passed * self.per_minute / MINUTE_MS).max(0.0);
        if failures + 1.0 > self.per_minute {
            let wait_s = (failures + 1.0 - self.per_minute) * 60.0 / self.per_minute;
            return Some(Duration::from_secs_f64(wait_s.ceil()));
        }
        self.spent.insert(address, Spent { failures: failures + 1.0, at_ms: now.elapsed_ms });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    /// INT-41, CLI-13.
    #[test]
    fn an_address_that_fails_too_often_waits_and_others_do_not() {
        let throttle = Throttle::new(30);
        let at = |elapsed_ms| Moment { wall: Timestamp::from_seconds(0), boot: 1, elapsed_ms };
        let here = Some(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..30 {
            assert_eq!(throttle.fail(here, at(0)), None);
        }
        assert_eq!(throttle.fail(here, at(0)), Some(Duration::from_secs(2)));
        assert_eq!(throttle.fail(None, at(0)), None);
        assert_eq!(throttle.fail(here, at(2_000)), None, "one more after two seconds");
        assert!(throttle.fail(here, at(2_000)).is_some());
        for _ in 0..30 {
            assert_eq!(throttle.fail(here, at(120_000)), None, "a minute of silence forgives all");
        }
    }

    /// An attacker behind a trusted proxy can invent as many addresses as it likes.
    #[test]
    fn of_invented_addresses_only_so_many_are_remembered() {
        let throttle = Throttle::new(30);
        let now = Moment { wall: Timestamp::from_seconds(0), boot: 1, elapsed_ms: 0 };
        for number in 0..60_000u128 {
            assert_eq!(throttle.fail(Some(IpAddr::from(number.to_be_bytes())), now), None);
        }
        assert!(throttle.spent.len() <= ADDRESSES_MAX, "{}", throttle.spent.len());
    }
}
