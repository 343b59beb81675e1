//! The only place that reads the clocks and the operating system's randomness.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::domain::hidden::hidden;
use crate::domain::time::{Moment, Timestamp};

/// The engine's source of time and randomness.
#[derive(Clone, Debug)]
pub struct Clock(ClockKind);

#[derive(Clone, Debug)]
enum ClockKind {
    System {
        boot: u64,
        started: Instant,
        /// How far both clocks are ahead, in milliseconds.
        ahead_ms: Arc<AtomicU64>,
    },
    Manual(Arc<Mutex<Moment>>, Option<RandomBytes>),
}

/// The source of random bytes in a simulation.
#[derive(Clone)]
struct RandomBytes(Arc<Fill>);

type Fill = dyn Fn(&mut [u8]) + Send + Sync;

hidden!(RandomBytes);

/// Moves the clocks of a development server forward.
#[derive(Clone, Debug)]
pub struct ClockAdvance(Arc<AtomicU64>);

/// Moves a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Moment>>);

impl Clock {
    /// The clocks of the system.
    pub fn system() -> Self {
        Self::advanceable().0
    }

    /// The clocks of the system, which can be moved forward; for development.
    pub fn advanceable() -> (Self, ClockAdvance) {
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let mut boot = [0; 8];
        fill(&mut boot);
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
        let started = Instant::now();
        let boot = u64::from_le_bytes(boot);
        (Self(ClockKind::System { boot, started, ahead_ms: ahead_ms.clone() }), ClockAdvance(ahead_ms))
    }

    /// A clock that stays at `wall` until it is moved; for tests.
    pub fn manual(wall: Timestamp) -> (Self, ManualClock) {
        Self::stopped(wall, None)
    }

    /// The same with random bytes from `fill`; for simulations that can be repeated exactly.
    pub fn simulated(
        wall: Timestamp,
        fill: impl Fn(&mut [u8]) + Send + Sync + 'static,
    ) -> (Self, ManualClock) {
        Self::stopped(wall, Some(RandomBytes(Arc::new(fill))))
    }

    fn stopped(wall: Timestamp, source: Option<RandomBytes>) -> (Self, ManualClock) {
        let moment = Arc::new(Mutex::new(Moment { wall, boot: 1, elapsed_ms: 0 }));
        (Self(ClockKind::Manual(moment.clone(), source)), ManualClock(moment))
    }

    pub fn now(&self) -> Moment {
        match &self.0 {
            ClockKind::System { boot, started, ahead_ms } => {
                let ahead = Duration::from_millis(ahead_ms.load(Ordering::Relaxed));
                #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clocks")]
                let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                Moment {
                    wall: Timestamp::from_millis(0).plus(since_1970 + ahead),
                    boot: *boot,
                    elapsed_ms: whole_millis(started.elapsed() + ahead),
                }
            }
            ClockKind::Manual(moment, _) => *moment.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// `N` random bytes from the operating system, except in a simulation.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            ClockKind::Manual(_, Some(RandomBytes(source))) => source(&mut bytes),
            _ => fill(&mut bytes),
        }
        bytes
    }
}

impl ClockAdvance {
    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(whole_millis(by), Ordering::Relaxed);
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

/// The time since the machine started, also while it slept.
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn fill(bytes: &mut [u8]) {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads randomness")]
    getrandom::fill(bytes).expect("without the operating system's randomness no secret can be made");
}
