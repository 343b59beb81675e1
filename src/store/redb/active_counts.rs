//! The number of active sessions of each client, kept in a table in the same transactions as the sessions.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, Table, TableHandle};

use super::Result;
use super::tables::{self, ACTIVE_COUNTS};
use crate::domain::cutoff::CutOffs;
use crate::domain::id::{ClientId, SessionId};
use crate::domain::session::Session;
use crate::store::corrupt;
use crate::store::record::Codec;

/// The counts in memory, and the clients whose counts are not written yet.
#[derive(Default)]
pub(super) struct ActiveCounts {
    /// A client without active sessions has no entry.
    pub numbers: BTreeMap<ClientId, u64>,
    pub sum: u64,
    changed: BTreeSet<ClientId>,
}

impl ActiveCounts {
    pub fn read(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Self> {
        let mut numbers = BTreeMap::new();
        for row in table.iter()? {
            let (name, bytes) = row?;
            let fault = |cause| corrupt(ACTIVE_COUNTS.name(), name.value(), cause);
            let client = name.value().parse().map_err(|_| fault("its client_id is malformed"))?;
            numbers.insert(
                client,
                u64::from_be_bytes(bytes.value().try_into().map_err(|_| fault("not a number"))?),
            );
        }
        let sum = numbers.values().sum();
        Ok(Self { numbers, sum, changed: BTreeSet::new() })
    }

    /// Counts all sessions. A corrupt record is logged and not counted.
    pub fn count(
        codec: &Codec,
        sessions: &impl ReadableTable<&'static [u8; 16], &'static [u8]>,
        windows: &impl ReadableTable<&'static [u8; 26], &'static [u8]>,
        cuts: &CutOffs,
    ) -> Result<Self> {
        let mut active = Self::default();
        for row in sessions.iter()? {
            let (id, bytes) = row?;
            match tables::decode(codec, windows, SessionId(*id.value()), bytes.value()) {
                Ok(loaded) => active.opened(&loaded.session, cuts),
                Err(error @ super::StoreError::Corrupt { .. }) => {
                    tracing::error!(%error, "a corrupt session is not counted");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(active)
    }

    pub fn opened(&mut self, session: &Session, cuts: &CutOffs) {
        self.moved(&session.client_id, false, session.counts_as_live(cuts));
    }

    /// `after` is `None` for a session that was removed.
    pub fn became(&mut self, before: &Session, after: Option<&Session>, cuts: &CutOffs) {
        let as_before = after.is_some_and(|after| {
            before.end.is_some() == after.end.is_some() && before.expiry_reported == after.expiry_reported
        });
        if !as_before {
            self.moved(
                &before.client_id,
                before.counts_as_live(cuts),
                after.is_some_and(|after| after.counts_as_live(cuts)),
            );
        }
    }

    /// A cut-off ended all sessions of a client; returns their number.
    pub fn client_cut_off(&mut self, client: &ClientId) -> u64 {
        let ended = self.numbers.remove(client).unwrap_or(0);
        self.sum -= ended;
        self.changed.insert(client.clone());
        ended
    }

    /// A cut-off ended all sessions; returns their number.
    pub fn all_cut_off(&mut self) -> u64 {
        let ended = std::mem::take(&mut self.sum);
        self.changed.extend(std::mem::take(&mut self.numbers).into_keys());
        ended
    }

    /// Writes the changed counts. A rotation changes none.
    pub fn write(&mut self, table: &mut Table<&'static str, &'static [u8]>) -> Result<()> {
        for client in std::mem::take(&mut self.changed) {
            match self.numbers.get(&client) {
                Some(number) => table.insert(client.as_str(), &number.to_be_bytes()[..])?,
                None => table.remove(client.as_str())?,
            };
        }
        Ok(())
    }

    fn moved(&mut self, client: &ClientId, before: bool, after: bool) {
        if before == after {
            return;
        }
        let number = self.numbers.entry(client.clone()).or_default();
        let step = |number: u64| if after { number + 1 } else { number.saturating_sub(1) };
        (*number, self.sum) = (step(*number), step(self.sum));
        if *number == 0 {
            self.numbers.remove(client);
        }
        self.changed.insert(client.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::tests::session;

    #[test]
    fn a_rotation_leaves_nothing_to_write_and_an_end_does() {
        let (mut active, cuts, before) = (ActiveCounts::default(), CutOffs::default(), session());
        active.opened(&before, &cuts);
        active.changed.clear();
        let mut after = before.clone();
        after.families[0].generation += 1;
        active.became(&before, Some(&after), &cuts);
        assert_eq!((active.sum, active.changed.len()), (1, 0));
        active.became(&after, None, &cuts);
        assert_eq!((active.sum, active.changed.len()), (0, 1));
    }
}
