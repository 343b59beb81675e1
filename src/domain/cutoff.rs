//! Cut-offs: one entry ends everything that was issued before it. Positions are compared, never clocks.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::client::{Incarnation, Registration};
use super::end::{End, EndReason};
use super::id::{ClientId, Position};
use super::refusal::{Refusal, Refused};
use super::time::Timestamp;

/// A position in the event log; all that was issued at an earlier one has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutOff {
    pub position: Position,
    /// When it was made; for display, never compared with another cut-off's.
    pub at: Timestamp,
    /// The caller that made it.
    pub by: Box<str>,
}

/// All cut-offs, and which clients are registered, as of one state of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutOffs {
    /// Made when everything was ended.
    pub everything: Option<CutOff>,
    /// Made when the store was restored: later changes of what was issued before are unknown, so it is ended.
    pub restored: Option<CutOff>,
    /// Made when a client was deleted. Retained, so that a later client of that name inherits nothing.
    pub clients: HashMap<ClientId, CutOff>,
    /// Every registered client.
    pub registered: HashMap<ClientId, Registration>,
    /// The last event so far. What is decided now is recorded after it.
    pub head: Position,
}

impl CutOffs {
    /// Refuses a request if one of these clients was deleted or disabled since it was authenticated or
    /// found, even if another client has its name now, or if the secrets or own tokens of the caller were
    /// ended since. Every transaction that changes something for a caller must ask this.
    ///
    /// # Errors
    /// `InvalidClient` for the caller, `Conflict` for another client.
    pub fn check_registered(&self, clients: &[Incarnation]) -> Result<(), Refused> {
        let is_current = |client: &&Incarnation| {
            self.registered.get(&client.client_id).is_some_and(|now| {
                now.created == client.created
                    && !now.disabled
                    && client.authenticated.is_none_or(|then| now.tokens_from == then)
            })
        };
        match clients.iter().find(|client| !is_current(client)) {
            None => Ok(()),
            Some(Incarnation { authenticated: Some(_), .. }) => Err(Refused::caller_changed()),
            Some(_) => Err(Refusal::Conflict
                .because("the client was deleted or disabled while the request was in progress")),
        }
    }

    /// The earliest cut-off that ended what was issued to `client` at `issued`.
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
    fn what_was_issued_before_a_cut_off_has_ended_and_what_came_after_has_not() {
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
            registered: HashMap::new(),
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
