//! Step-up: the subject authenticated again.

use super::{Decision, NewFamily, Session};
use crate::domain::access::Authentication;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
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
    /// The subject authenticated again: a new session token, both timeouts from their start, and the family
    /// that came with the old token replaced. That family's tokens are dead without being counted as reuse,
    /// and the log says so: to whoever follows it they were revoked. `None` for a session that is no longer
    /// alive.
    pub fn renew(
        &mut self,
        renewal: Renewal,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Option<Decision<Option<u16>>> {
        let renewals = self.renewals.checked_add(1)?;
        if !self.is_active(now, cuts) {
            return None;
        }
        let replaced = End { at: now, reason: EndReason::TokenRevoked, by: renewal.by.clone() };
        let mut events =
            self.own_family.take().map_or_else(Vec::new, |old| self.close_family(old, replaced, now, cuts));
        self.renewals = renewals;
        self.token = renewal.token;
        self.expires_at = renewal.authentication.at.plus(renewal.lifetimes.absolute_lifetime);
        self.idle_timeout = renewal.lifetimes.idle_timeout;
        self.authentication = renewal.authentication;
        self.version = self.version.saturating_add(1);
        self.touch(now);
        let issued = cuts.head.next();
        self.own_family = renewal.family.and_then(|new| self.add_family(new, issued, now, cuts));
        let mut renewed = self.event(EventKind::SessionRenewed, now, &renewal.by);
        renewed.family = self.own_family;
        events.push(renewed);
        Some(Decision::with_events(self.own_family, events))
    }
}
