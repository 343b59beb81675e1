//! What is due for the sweep, whichever backend it runs on.

use std::time::Duration;

use super::record::event_time;
use super::{Sweep, Swept, corrupt};
use crate::domain::cutoff::CutOffs;
use crate::domain::event::Event;
use crate::domain::id::SessionId;
use crate::domain::policy::RETRY_WINDOW_MAX;
use crate::domain::session::{REPEAT_WINDOW, Session};
use crate::domain::time::Timestamp;

/// A sweep waits in the queue, so that decisions with a later time can precede it. A window whose time is
/// later than that of the sweep by more than this was opened by a clock that was set back since.
pub const LATER_MAX: Duration = Duration::from_secs(60);
/// The resolution of the times in session ids.
const MILLISECOND: Duration = Duration::from_millis(1);

impl Sweep {
    /// A retry window that closes later was opened by a clock that was set back since, see [`LATER_MAX`].
    pub(super) fn window_beyond(&self) -> Timestamp {
        self.now.wall.plus(LATER_MAX + RETRY_WINDOW_MAX)
    }

    /// Openings with a lower id can no longer be repeated.
    pub(super) fn repeat_closed(&self) -> SessionId {
        SessionId::new(self.now.wall.minus(REPEAT_WINDOW).plus(MILLISECOND), &[0; 10])
    }

    /// Openings from this id on were made by a clock that was set back since, see [`LATER_MAX`].
    pub(super) fn repeat_beyond(&self) -> SessionId {
        SessionId::new(self.now.wall.plus(LATER_MAX + MILLISECOND), &[0; 10])
    }

    /// The revocations of tokens that expired by then, in seconds, are removed.
    pub(super) fn token_expired_by(&self) -> i64 {
        self.now.wall.minus(self.retention).seconds()
    }

    /// Reports the expiry of a session that is due. Returns the events, and when the session is due again;
    /// `None` for one to purge.
    pub(super) fn report(
        &self,
        session: &mut Session,
        cuts: &CutOffs,
        swept: &mut Swept,
    ) -> (Vec<Event>, Option<Timestamp>) {
        let (now, due) = (self.now.wall, session.due());
        if due > now {
            return (vec![], Some(due));
        }
        let reported = session.report_expiry(now, cuts);
        swept.expired += usize::from(!reported.is_empty());
        match session.kept_until(self.retention, now, cuts) {
            Some(until) if until <= now => {
                swept.purged += 1;
                (reported, None)
            }
            kept_until => (reported, Some(kept_until.unwrap_or(due))),
        }
    }

    /// Whether an event whose record starts with these bytes is past its retention. One whose time cannot be
    /// decoded is.
    pub(super) fn is_past(&self, position: u64, start: &[u8]) -> bool {
        match event_time(start) {
            Ok(at) => at.plus(self.retention) <= self.now.wall,
            Err(fault) => {
                let error = corrupt("events", position, fault);
                tracing::error!(%error, "the sweep removes an event whose time cannot be decoded");
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Moment;

    #[test]
    fn what_is_swept_begins_and_ends_at_these_times() {
        let at = |millis| Timestamp::from_millis(1_800_000_000_000_i64 + millis);
        let now = Moment { wall: at(0), boot: 1, elapsed_ms: 0 };
        let sweep = Sweep { now, retention: Duration::from_secs(3600), entries_max: 1 };
        let first_of = |millis| SessionId::new(at(millis), &[0; 10]);
        assert_eq!(sweep.repeat_closed(), first_of(-600_000 + 1), "ten minutes have passed");
        assert_eq!(sweep.repeat_beyond(), first_of(60_000 + 1), "more than a minute ahead");
        assert_eq!(sweep.window_beyond(), at(60_000 + 300_000), "and the longest window");
        assert_eq!(sweep.token_expired_by(), at(-3_600_000).seconds());
    }
}
