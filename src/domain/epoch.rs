//! Epochs of the event log: a restored store continues at a position that the lost history cannot have
//! reached.

use serde::{Deserialize, Serialize};

use super::id::Position;
use super::time::Timestamp;

/// The positions per millisecond of the clock, as a power of two. No store writes as many events in one.
const POSITIONS_PER_MILLISECOND_BITS: u32 = 20;
/// The last millisecond that is used (in the year 2109), so that positions stay below 2^63.
const MILLISECONDS_MAX: u64 = (1 << 42) - 1;
/// The least distance of two epochs, in positions, whatever the clock shows.
const STEP: u64 = 1 << 40;
/// The random bits that separate two restores within one millisecond.
const CHANCE_BITS: u32 = 16;

/// An epoch that a restore started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number; a store that was never restored is in the first.
    pub number: u32,
    /// The position of its first event.
    pub began: Position,
    /// The position of the last event before it: the end of the backup. The events between were lost.
    pub after: Position,
}

/// The end of a history: the position of its last event, and the number of its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    pub head: Position,
    pub number: u32,
}

/// The epochs whose first event is still in the log, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epochs(Vec<Epoch>);

impl Epochs {
    /// The number of the current epoch.
    pub fn number(&self) -> u32 {
        self.0.last().map_or(1, |epoch| epoch.number)
    }

    /// The first position of the current epoch, if a restore started it.
    pub fn began(&self) -> Option<Position> {
        self.0.last().map(|epoch| epoch.began)
    }

    /// The position after this one; `None` for one in a lost history.
    pub fn next(&self, position: Position) -> Option<Position> {
        match self.0.iter().find(|epoch| (epoch.after..epoch.began).contains(&position)) {
            Some(epoch) => (position == epoch.after).then_some(epoch.began),
            None => Some(position.next()),
        }
    }

    /// Starts another epoch after a backup that ends at `head`, and returns its first position. That is
    /// beyond every position of the lost store (`lost`, if known) and of other restores of the same backup.
    /// Epochs that started before `oldest`, the first retained event, are removed: no cursor can pass them.
    pub fn begin(
        &mut self,
        head: Position,
        oldest: Position,
        lost: Option<Reached>,
        now: Timestamp,
        chance: u32,
    ) -> Position {
        let number = self.number().max(lost.map_or(1, |lost| lost.number)).saturating_add(1);
        let reached = head.max(lost.map_or(head, |lost| lost.head));
        let milliseconds = u64::try_from(now.millis()).unwrap_or(0).min(MILLISECONDS_MAX);
        let floor = (milliseconds << POSITIONS_PER_MILLISECOND_BITS).max(reached.0.saturating_add(STEP));
        let began = Position(floor.saturating_add(u64::from(chance >> (u32::BITS - CHANCE_BITS))));
        self.0.retain(|epoch| epoch.began >= oldest);
        self.0.push(Epoch { number, began, after: head });
        began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    #[test]
    fn a_reader_at_the_end_of_the_backup_goes_on_and_one_in_the_lost_history_does_not() {
        let mut epochs = Epochs::default();
        assert_eq!((epochs.number(), epochs.next(Position(0))), (1, Some(Position(1))));
        let began = epochs.begin(Position(100), Position(1), None, second(1_800_000_000), 0);
        assert_eq!((epochs.number(), epochs.began()), (2, Some(began)));
        assert_eq!(epochs.next(Position(99)), Some(Position(100)));
        assert_eq!(epochs.next(Position(100)), Some(began));
        for lost in [101, 102, began.0 - 1] {
            assert_eq!(epochs.next(Position(lost)), None, "{lost}");
        }
        assert_eq!(epochs.next(began), Some(began.next()));
    }

    #[test]
    fn no_epoch_begins_where_another_can_have_been() {
        let begin = |now, chance| {
            Epochs::default().begin(Position(100), Position(1), None, Timestamp::from_millis(now), chance).0
        };
        let first = begin(1_800_000_000_000, u32::MAX);
        assert!(begin(1_800_000_000_001, 0) > first, "the next millisecond is later, whatever chance says");
        assert!(
            begin(1_800_000_001_000, 0) > first + 1_000_000_000,
            "a second is more than a store writes in it"
        );
        assert_ne!(
            begin(1_800_000_000_000, 1 << 16),
            begin(1_800_000_000_000, 2 << 16),
            "two in one millisecond"
        );
        assert!(begin(0, 0) > 100 + 1_000_000_000, "a clock that has lost its battery");
        assert!(begin(i64::MAX, u32::MAX) < 1 << 63);
        let mut twice = Epochs::default();
        let first = twice.begin(Position(100), Position(1), None, second(1_800_000_000), 0);
        let second = twice.begin(first, Position(1), None, second(1_700_000_000), 0);
        assert!(second.0 > first.0 + 1_000_000_000, "a clock that was set back");
    }

    /// The same backup twice, and the clock set back in between: the backup does not know of the first time,
    /// the store that is replaced does.
    #[test]
    fn an_epoch_begins_beyond_the_store_that_is_replaced() {
        let (mut first, mut again) = (Epochs::default(), Epochs::default());
        let began = first.begin(Position(100), Position(1), None, second(1_800_000_000), 0);
        let lost = Reached { head: began.next(), number: first.number() };
        let later = again.begin(Position(100), Position(1), Some(lost), second(1_700_000_000), 0);
        assert!(later > began.next() && again.number() > first.number());
        assert_eq!((again.next(began.next()), again.next(Position(100))), (None, Some(later)));
    }

    #[test]
    fn beginnings_that_left_the_log_are_forgotten_and_still_counted() {
        let mut epochs = Epochs::default();
        let first = epochs.begin(Position(100), Position(1), None, second(1_800_000_000), 0);
        let next = epochs.begin(first.next(), first.next(), None, second(1_800_000_100), 0);
        assert_eq!((epochs.0.len(), epochs.number()), (1, 3));
        assert_eq!(
            epochs.next(Position(100)),
            Some(Position(101)),
            "which the log does not have any more: gone"
        );
        assert_eq!(epochs.next(first.next()), Some(next));
    }

    /// The clock is read up to the year 2109, and a position has room for a million events per millisecond.
    #[test]
    fn the_last_epoch_begins_at_the_last_millisecond_of_42_bits() {
        let begin = |millis, chance| {
            let now = Timestamp::from_millis(millis);
            Epochs::default().begin(Position(0), Position(1), None, now, chance).0
        };
        let last = (1 << 42) - 1;
        assert_eq!((begin(last, 0), begin(i64::MAX, 0)), (4_398_046_511_103 << 20, 4_398_046_511_103 << 20));
        assert_eq!(begin(last, u32::MAX) - begin(last, 0), 0xffff);
    }
}
