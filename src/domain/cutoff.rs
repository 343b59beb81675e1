//! Cut-offs: one entry ends everything that was issued before it. Positions are compared, never clocks.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::client::{Client, Party};
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
    pub registered: HashMap<ClientId, Arc<Client>>,
    /// The last event so far. What is decided now is recorded after it.
    pub head: Position,
}

impl CutOffs {
    /// The record of a client now. Refuses a client that was deleted or disabled since the request found it,
    /// even if another client has its name now, or a caller whose secrets or own tokens were ended since.
    ///
    /// # Errors
    /// `InvalidClient` for the caller, `Conflict` for another client.
    pub fn current(&self, Party { client: then, is_caller }: &Party) -> Result<&Arc<Client>, Refused> {
        let is_current = |now: &&Arc<Client>| {
            now.incarnation == then.incarnation
                && !now.disabled
                && (!is_caller || now.tokens_from == then.tokens_from)
        };
        self.registered.get(&then.id).filter(is_current).ok_or_else(|| {
            if *is_caller {
                return Refused::caller_changed();
            }
            Refusal::Conflict.because("the client was deleted or disabled while the request was in progress")
        })
    }

    /// Refuses a request if one of these clients is not as the request found it: see [`Self::current`]; or if
    /// it has lost a right since. Every transaction that changes something for a caller must ask this.
    ///
    /// # Errors
    /// Those of [`Self::current`]; `Forbidden` for a lost permission, `Conflict` for a lost grant. The answer
    /// to a repetition of the request names it.
    pub fn check_registered(&self, parties: &[Party]) -> Result<(), Refused> {
        for party in parties {
            let (now, then) = (self.current(party)?, &party.client);
            if Arc::ptr_eq(now, then) {
                continue;
            }
            let (refusal, keeps) = if party.is_caller {
                (Refusal::Forbidden, now.keeps_permissions_of(then))
            } else {
                (Refusal::Conflict, now.keeps_grants_of(then))
            };
            if !keeps {
                let why = "the client lost a right while the request was in progress; send it again";
                return Err(refusal.because(why));
            }
        }
        Ok(())
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
    use crate::domain::client::Permission;
    use crate::domain::client::tests::client;

    /// Nothing is issued to a client after its deletion, and a caller whose credentials were revoked changes
    /// nothing: its requests in progress are refused too.
    #[test]
    fn a_request_is_carried_out_only_for_clients_that_are_as_it_found_them() {
        let then = Client {
            permissions: vec![Permission::Sessions],
            incarnation: Position(3),
            tokens_from: Position(4),
            ..client("app")
        };
        let refusal = |now: &Option<Client>, is_caller| {
            let registered = now.iter().map(|now| (now.id.clone(), Arc::new(now.clone()))).collect();
            let party = Party { client: Arc::new(then.clone()), is_caller };
            let checked = CutOffs { registered, ..CutOffs::default() }.check_registered(&[party]);
            checked.err().map(|refused| refused.refusal)
        };
        let (unknown, conflict) = (Some(Refusal::InvalidClient), Some(Refusal::Conflict));
        let changed = |change: fn(&mut Client)| {
            let mut now = then.clone();
            change(&mut now);
            Some(now)
        };
        for (name, now, as_caller, as_recipient) in [
            ("as it was", changed(|_| {}), None, None),
            ("deleted", None, unknown.clone(), conflict.clone()),
            ("another", changed(|now| now.incarnation = Position(9)), unknown.clone(), conflict.clone()),
            ("disabled", changed(|now| now.disabled = true), unknown.clone(), conflict.clone()),
            ("revoked", changed(|now| now.tokens_from = Position(9)), unknown, None),
            ("less permitted", changed(|now| now.permissions.clear()), Some(Refusal::Forbidden), None),
            ("granted less", changed(|now| now.grants.clear()), None, conflict),
        ] {
            assert_eq!(refusal(&now, true), as_caller, "a caller that is {name}");
            assert_eq!(refusal(&now, false), as_recipient, "a recipient that is {name}");
        }
    }

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
