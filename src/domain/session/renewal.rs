//! Renewing a session, after the subject authenticated again (step-up).

use super::{Decision, NewFamily, Session};
use crate::domain::access::Authentication;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::Hash;
use crate::domain::policy::Lifetimes;
use crate::domain::refusal::Refused;
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// What a session is renewed with.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The hash of the new session token's secret.
    pub token: Hash,
    /// What is left to the client of the session's scope.
    pub scope: ScopeSet,
    /// The audience of its access tokens.
    pub audience: Box<str>,
    pub authentication: Authentication,
    /// Whether the caller reported its time; otherwise it is the later of now and the previous one.
    pub reports_time: bool,
    /// The timeouts of the policy.
    pub lifetimes: Lifetimes,
    /// The family to issue with it, if the client has that grant.
    pub family: Option<NewFamily>,
    /// The caller that renews.
    pub by: Box<str>,
}

impl Session {
    /// Issues a new session token, restarts both timeouts, and replaces the family that came with the old
    /// token. Later use of that family's tokens is not reuse; its end is recorded as a revocation.
    ///
    /// # Errors
    /// `Invalid` for a reported time in a second before the previous one's; `Conflict` for a session that is
    /// not active.
    pub fn renew(
        &mut self,
        renewal: Renewal,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Result<Decision<Option<u16>>, Refused> {
        let (mut authentication, previous) = (renewal.authentication, self.authentication.at);
        if !renewal.reports_time {
            authentication.at = authentication.at.max(previous);
        } else if authentication.at.seconds() < previous.seconds() {
            return Err(Refused::invalid("auth_time", "must not be before the previous authentication"));
        }
        let renewals = self.renewals.checked_add(1).ok_or_else(Refused::session_not_active)?;
        if !self.is_active(now, cuts) {
            return Err(Refused::session_not_active());
        }
        let replaced = End { at: now, reason: EndReason::TokenRevoked, by: renewal.by.clone() };
        let mut events =
            self.own_family.take().map_or_else(Vec::new, |old| self.close_family(old, replaced, now, cuts));
        self.renewals = renewals;
        self.token = renewal.token;
        self.scope = renewal.scope;
        self.audience = renewal.audience;
        self.expires_at = authentication.at.plus(renewal.lifetimes.absolute_lifetime);
        self.idle_timeout = renewal.lifetimes.idle_timeout;
        self.authentication = authentication;
        self.version = self.version.saturating_add(1);
        self.touch(now);
        let issued = cuts.head.next();
        self.own_family = renewal.family.and_then(|new| self.add_family(new, issued, now, cuts));
        let renewed = self.event(EventKind::SessionRenewed, now, &renewal.by);
        events.push(Event { family: self.own_family, ..renewed });
        Ok(Decision::with_events(self.own_family, events))
    }
}
