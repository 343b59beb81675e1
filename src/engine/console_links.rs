//! The one-time links to the console, in memory only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::console::{ConsoleRole, LINK_VALID_FOR, LINKS_MAX};
use crate::domain::id::Hash;
use crate::domain::time::Moment;

/// The links that were made and not used. They end with the process.
#[derive(Default)]
pub(super) struct ConsoleLinks {
    is_on: AtomicBool,
    unused: Mutex<Vec<UnusedLink>>,
}

/// A link, of which only the hash is kept.
pub(super) struct UnusedLink {
    pub hash: Hash,
    pub role: ConsoleRole,
    pub made: Moment,
}

impl ConsoleLinks {
    pub fn switch_on(&self) {
        self.is_on.store(true, Ordering::Relaxed);
    }

    /// Whether there is a console.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Adds a new link; false if there are too many.
    pub fn add(&self, link: UnusedLink) -> bool {
        let mut unused = self.unused(link.made);
        let has_room = unused.len() < LINKS_MAX;
        if has_room {
            unused.push(link);
        }
        has_room
    }

    fn unused(&self, now: Moment) -> MutexGuard<'_, Vec<UnusedLink>> {
        let mut unused = self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        unused.retain(|link| link.age(now) < LINK_VALID_FOR);
        unused
    }

    /// Takes the link with this hash. Compares every link, so that the time does not depend on which matches.
    pub fn take(&self, hash: Option<Hash>, now: Moment) -> Option<UnusedLink> {
        let mut unused = self.unused(now);
        let mut found = None;
        for (place, link) in unused.iter().enumerate() {
            if hash.is_some_and(|hash| hash == link.hash) {
                found = Some(place);
            }
        }
        found.map(|place| unused.swap_remove(place))
    }
}

impl UnusedLink {
    fn age(&self, now: Moment) -> Duration {
        Duration::from_millis(now.elapsed_ms.saturating_sub(self.made.elapsed_ms))
    }
}
