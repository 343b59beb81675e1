//! The families of a session: adding, finding and ending them.

use super::Session;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::family::Family;
use crate::domain::id::{ClientId, Hash, Position};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::scope::ScopeSet;
use crate::domain::time::Timestamp;

/// The most active families of a session.
pub const FAMILIES_MAX: usize = 64;
/// How many ended families a session retains, for display.
const ENDED_FAMILIES_KEPT: usize = 8;

/// What a further family is made from.
#[derive(Clone, Debug)]
pub struct NewFamily {
    /// The client that it is issued to.
    pub client_id: ClientId,
    pub scope: ScopeSet,
    /// The audience of its access tokens.
    pub audience: Box<str>,
    /// The hash of its first secret.
    pub secret: Hash,
}

impl Session {
    /// The family of this number, if it is retained.
    pub fn family(&self, number: u16) -> Option<&Family> {
        self.families.iter().find(|family| family.number == number)
    }

    /// Whether the family can be used; the session must be active too.
    pub fn family_is_active(&self, number: u16, cuts: &CutOffs) -> bool {
        self.family(number).is_some_and(|family| family.is_active(cuts))
    }

    /// The families that can be used while the session is active.
    pub fn active_families<'a>(&'a self, cuts: &'a CutOffs) -> impl Iterator<Item = &'a Family> {
        self.families.iter().filter(|family| family.is_active(cuts))
    }

    /// Opens a further family, issued at the next event, which reports it.
    ///
    /// # Errors
    /// `Conflict` for a session that is not active, or that has as many families as it can have.
    pub fn open_family(
        &mut self,
        new: NewFamily,
        by: &str,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Result<(u16, Event), Refused> {
        if !self.is_active(now, cuts) {
            return Err(Refused::session_not_active());
        }
        let Some(number) = self.add_family(new, cuts.head.next(), now, cuts) else {
            let why =
                format!("the session has {FAMILIES_MAX} active families, or has used all their numbers");
            return Err(Refusal::Conflict.because(why));
        };
        let family = self.family(number).expect("it was just added");
        Ok((number, self.family_event(EventKind::FamilyOpened, family, now, by)))
    }

    /// Adds a family, issued at `issued`; `None` when the session has as many as it can have.
    pub fn add_family(
        &mut self,
        new: NewFamily,
        issued: Position,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Option<u16> {
        if self.active_families(cuts).count() >= FAMILIES_MAX || self.next_family == 0 {
            return None;
        }
        let number = self.next_family;
        self.next_family = number.checked_add(1).unwrap_or(0);
        self.families.push(Family {
            number,
            client_id: new.client_id,
            scope: new.scope,
            audience: new.audience,
            authentication: self.authentication.clone(),
            issued,
            end: None,
            generation: 0,
            current: new.secret,
            previous: None,
            refreshed_at: now,
            window: None,
        });
        self.forget_old_families(cuts);
        Some(number)
    }

    /// Ends one family; the session stays active. Of an expired session the expiry becomes final, as by
    /// [`Self::close`].
    pub fn close_family(&mut self, number: u16, end: End, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if !self.is_active(now, cuts) {
            return self.confirm_expiry(now, cuts);
        }
        let active = |family: &&Family| family.number == number && family.is_active(cuts);
        let Some(family) = self.families.iter().find(active) else { return vec![] };
        let mut ended = self.family_event(EventKind::FamilyEnded, family, end.at, &end.by);
        ended.reason = Some(end.reason);
        if let Some(family) = self.families.iter_mut().find(|family| family.number == number) {
            family.finish(end);
        }
        // All tokens of the family are inactive now.
        self.revoked_tokens.retain(|revoked| revoked.family != Some(number));
        self.forget_old_families(cuts);
        vec![ended]
    }

    /// Ends one family because a token of it was revoked, and the session if no other family is active.
    pub fn revoke_family(&mut self, number: u16, by: &str, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        let end = End { at: now, reason: EndReason::TokenRevoked, by: by.into() };
        let mut events = self.close_family(number, end.clone(), now, cuts);
        let ended = !events.is_empty() && self.is_active(now, cuts);
        if ended && self.active_families(cuts).next().is_none() {
            events.push(self.finish(end));
        }
        events
    }

    fn forget_old_families(&mut self, cuts: &CutOffs) {
        let ended = self.families.len() - self.active_families(cuts).count();
        let mut surplus = ended.saturating_sub(ENDED_FAMILIES_KEPT);
        self.families.retain(|family| {
            let forget = surplus > 0 && !family.is_active(cuts);
            surplus -= usize::from(forget);
            !forget
        });
    }
}
