//! The only place that reads the clocks and the operating system's randomness.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::domain::time::{Moment, Timestamp};

/// The engine's source of time and randomness.
#[derive(Clone, Debug)]
pub struct Clock(ClockKind);

#[derive(Clone, Debug)]
enum ClockKind {
    System { boot: u64, started: Instant },
    Manual(Arc<Mutex<Moment>>),
}

/// Moves a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Moment>>);

impl Clock {
    /// The clocks of the system.
    pub fn system() -> Self {
        let mut boot = [0; 8];
        fill(&mut boot);
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
        let started = Instant::now();
        Self(ClockKind::System { boot: u64::from_le_bytes(boot), started })
    }

    /// A clock that stays at `wall` until it is moved; for tests.
    pub fn manual(wall: Timestamp) -> (Self, ManualClock) {
        let moment = Arc::new(Mutex::new(Moment { wall, boot: 1, elapsed_ms: 0 }));
        (Self(ClockKind::Manual(moment.clone())), ManualClock(moment))
    }

    /// The current time.
    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockKind::System { boot, started } => {
                #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Moment {
                    wall: Timestamp::from_millis(0).plus(since_1970),
                    boot: *boot,
                    elapsed_ms: whole_millis(started.elapsed()),
                }
            }
            ClockKind::Manual(moment) => *moment.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// `N` random bytes from the operating system.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        fill(&mut bytes);
        bytes
    }
}

impl ManualClock {
    /// Advances both clocks.
    pub fn advance(&self, by: Duration) {
        let mut moment = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.wall = moment.wall.plus(by);
        moment.elapsed_ms += whole_millis(by);
    }

    /// Sets the wall clock only.
    pub fn set_wall(&self, wall: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wall = wall;
    }

    /// Restarts the monotonic clock, as a restart of the process does.
    pub fn restart(&self) {
        let mut moment = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.boot += 1;
        moment.elapsed_ms = 0;
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn fill(bytes: &mut [u8]) {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads randomness")]
    getrandom::fill(bytes).expect("without the operating system's randomness no secret can be made");
}
