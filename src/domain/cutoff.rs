//! Cut-offs: one entry that ends everything issued before it, whatever its number (no clock is compared).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::end::{End, EndReason};
use super::id::{ClientId, Position};
use super::time::Timestamp;

/// A place in the event log; what was issued at an earlier one is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    /// The place.
    pub position: Position,
    /// When it was made; told to people, never compared.
    pub at: Timestamp,
    /// Who made it.
    pub by: Box<str>,
}

/// All cut-offs there are, as of one state of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutOffs {
    /// Made when everything was ended.
    pub everything: Option<CutOff>,
    /// Made when the store was restored: what became of anything issued before it is not known, so it is
    /// dead.
    pub restored: Option<CutOff>,
    /// Made when a client was deleted. Outlives the client, so that a later one of its name inherits nothing.
    pub clients: HashMap<ClientId, CutOff>,
    /// The last event written so far. What is decided now is recorded after it.
    pub head: Position,
}

impl CutOffs {
    /// How what was issued to `client` at `issued` ended, if a cut-off ended it.
    pub fn end_of(&self, client: &ClientId, issued: Position) -> Option<End> {
        let cut = |cut: &CutOff, reason| {
            (issued < cut.position).then(|| End { at: cut.at, reason, by: cut.by.clone() })
        };
        let everything = self.everything.as_ref().and_then(|c| cut(c, EndReason::AllRevoked));
        let restored = self.restored.as_ref().and_then(|c| cut(c, EndReason::StoreRollback));
        let client = self.clients.get(client).and_then(|c| cut(c, EndReason::ClientDeleted));
        [everything, client, restored].into_iter().flatten().min_by_key(|end| end.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FED-10 in the engine's own terms: positions decide, so identical clock readings do not matter.
    #[test]
    fn what_was_issued_before_a_cut_off_is_dead_and_what_came_after_lives() {
        let at = Timestamp::from_seconds(5);
        let client: ClientId = "app".parse().unwrap();
        let cuts = CutOffs {
            everything: Some(CutOff { position: Position(10), at, by: "root".into() }),
            restored: Some(CutOff {
                position: Position(15),
                at: Timestamp::from_seconds(6),
                by: "root".into(),
            }),
            clients: HashMap::from([(
                client.clone(),
                CutOff { position: Position(20), at, by: "root".into() },
            )]),
            head: Position(30),
        };
        let other: ClientId = "other".parse().unwrap();
        let reason = |client: &ClientId, issued| cuts.end_of(client, Position(issued)).map(|end| end.reason);
        assert_eq!(reason(&other, 9), Some(EndReason::AllRevoked));
        assert_eq!(
            reason(&other, 10),
            Some(EndReason::StoreRollback),
            "what came first explains it, and nothing else does"
        );
        assert_eq!(reason(&other, 15), None);
        assert_eq!(reason(&client, 19), Some(EndReason::ClientDeleted));
        assert_eq!(reason(&client, 20), None);
    }
}
