//! Step-up: the subject authenticated again.

use super::{Decision, End, EndReason, NewFamily, Session};
use crate::domain::access::Authentication;
use crate::domain::cutoff::CutOffs;
use crate::domain::event::EventKind;
use crate::domain::id::Hash;
use crate::domain::policy::Lifetimes;
use crate::domain::time::Timestamp;

/// What a renewal brings.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The hash of the new session token's secret.
    pub token: Hash,
    /// The new authentication.
    pub authentication: Authentication,
    /// The policy's timeouts.
    pub lifetimes: Lifetimes,
    /// The family to issue with it, if the client has that grant.
    pub family: Option<NewFamily>,
    /// Who renews.
    pub by: Box<str>,
}

impl Session {
    /// The subject authenticated again: a new session token, both timeouts from their start, and the family that came with the old token
    /// replaced. That family's tokens are dead without being counted as reuse. `None` for a session that is no longer alive.
    pub fn renew(&mut self, renewal: Renewal, now: Timestamp, cuts: &CutOffs) -> Option<Decision<Option<u16>>> {
        let renewals = self.renewals.checked_add(1)?;
        if !self.is_active(now, cuts) {
            return None;
        }
        self.renewals = renewals;
        self.token = renewal.token;
        self.expires_at = renewal.authentication.at.plus(renewal.lifetimes.absolute_lifetime);
        self.idle_timeout = renewal.lifetimes.idle_timeout;
        self.authentication = renewal.authentication;
        self.version = self.version.saturating_add(1);
        self.touch(now);
        let old = self.own_family.take();
        if let Some(family) = self.families.iter_mut().find(|family| Some(family.number) == old) {
            family.finish(End { at: now, reason: EndReason::Logout, by: renewal.by.clone() });
        }
        let issued = cuts.head.next();
        self.own_family = renewal.family.and_then(|new| self.add_family(new, issued, now, cuts));
        let event = self.event(EventKind::SessionRenewed, now, &renewal.by);
        Some(Decision::told(self.own_family, vec![event]))
    }
}
