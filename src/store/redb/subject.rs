//! A decision on every session of a subject that may be active, in slices, so that other writes run in
//! between.
//!
//! The result is as exact as that of one transaction: a session that is opened or changed after its slice has
//! run is noted, and decided on in the transaction that writes the closing event. Later sessions have later
//! positions than that event.

use std::ops::Bound;

use redb::ReadableTable;

use super::Result;
use super::batch::Batch;
use super::tables::{active_key, id_at_end};
use crate::domain::client::Party;
use crate::domain::cutoff::CutOffs;
use crate::domain::event::Event;
use crate::domain::id::{SessionId, Subject};
use crate::domain::refusal::Refused;
use crate::domain::session::{Decision, Session};

/// How many sessions one transaction decides on, for one such update.
const SLICE: usize = 256;

/// An update of a subject, from its first slice to its last.
pub(super) struct SubjectUpdate<D> {
    subject: Subject,
    caller: Option<Party>,
    closing: Event,
    decide: D,
    /// The last entry of the index that was decided on.
    after: Option<[u8; 48]>,
    /// Its number among the updates that need more than one slice.
    number: Option<u64>,
    /// How often the decision answered true.
    count: usize,
}

impl<D: Fn(&mut Session, &CutOffs) -> Decision<bool>> SubjectUpdate<D> {
    pub fn new(subject: Subject, caller: Option<Party>, closing: Event, decide: D) -> Self {
        Self { subject, caller, closing, decide, after: None, number: None, count: 0 }
    }
}

impl Batch<'_> {
    /// Runs the next slice. Returns how often the decision answered true once that was the last one; the
    /// closing event follows if it ever did. A slice is refused for a caller that is no longer as it was
    /// authenticated, and none follows.
    pub fn update_subject<D: Fn(&mut Session, &CutOffs) -> Decision<bool>>(
        &mut self,
        update: &mut SubjectUpdate<D>,
    ) -> Result<Option<std::result::Result<usize, Refused>>> {
        let done = match self.state.cuts.check_registered(update.caller.as_slice()) {
            Ok(()) => self.update_slice(update).map(|count| count.map(Ok)),
            Err(refused) => Ok(Some(Err(refused))),
        };
        if matches!(done, Err(_) | Ok(Some(Err(_)))) {
            self.state.subject_updates.end(update.number);
        }
        done
    }

    fn update_slice<D: Fn(&mut Session, &CutOffs) -> Decision<bool>>(
        &mut self,
        update: &mut SubjectUpdate<D>,
    ) -> Result<Option<usize>> {
        let subject = self.codec.subject_index(&update.subject);
        let first = update.after.unwrap_or_else(|| active_key(subject, [0; 16], SessionId([0; 16])));
        let last = active_key(subject, [0xff; 16], SessionId([0xff; 16]));
        let range = (Bound::Excluded(&first), Bound::Included(&last));
        let mut keys = vec![];
        for entry in self.tables.active.open()?.range::<&[u8; 48]>(range)?.take(SLICE + 1) {
            keys.push(*entry?.0.value());
        }
        let more = keys.len() > SLICE;
        keys.truncate(SLICE);
        let mut ids: Vec<SessionId> = keys.iter().map(|key| id_at_end(key)).collect();
        ids.sort_unstable();
        for id in ids {
            self.update_one(id, update)?;
        }
        if more {
            update.after = keys.last().copied();
            if update.number.is_none() {
                update.number = Some(self.state.subject_updates.start(subject));
            }
            return Ok(None);
        }
        for id in self.state.subject_updates.end(update.number) {
            self.update_one(id, update)?;
        }
        if update.count > 0 {
            self.append(std::slice::from_ref(&update.closing))?;
        }
        Ok(Some(update.count))
    }

    fn update_one<D: Fn(&mut Session, &CutOffs) -> Decision<bool>>(
        &mut self,
        id: SessionId,
        update: &mut SubjectUpdate<D>,
    ) -> Result<()> {
        if let Some(loaded) = self.load(id)? {
            update.count += usize::from(self.decide(loaded, &update.decide)?);
            self.state.subject_updates.decided(update.number, id);
        }
        Ok(())
    }
}
