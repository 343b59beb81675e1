//! The aggregate: one sign-in of a subject on a device, and all that was issued for it. What ends a session
//! ends it all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::{Authentication, Claims, TokenFormat};
use super::cutoff::CutOffs;
use super::end::{End, EndReason};
use super::event::{Event, EventKind};
use super::family::{Family, Stamp};
use super::id::{ClientId, Hash, KeyId, Position, SessionId, Subject, TokenId};
use super::names::{ENGINE, names};
use super::scope::ScopeSet;
use super::time::Timestamp;

mod change;
mod renewal;
mod room;
mod rotation;

pub use change::Changes;
pub use renewal::Renewal;
pub use room::{Cap, make_room};
pub use rotation::{NotRefreshed, Refresh, Refreshed};

/// The longest time between two writes of a session's use.
const ACTIVITY_INTERVAL_MAX: Duration = Duration::from_secs(45);
/// How long such a write may take besides: until the sweep finds it due, and until it is on the disk.
const ACTIVITY_WRITE: Duration = Duration::from_secs(15);
/// Even a policy of one second leaves the sweep, which comes once a second, this long.
const ACTIVITY_GRACE_MIN: Duration = Duration::from_secs(2);
/// How many live families a session may have.
pub const FAMILIES_MAX: usize = 64;
/// How many ended families a session remembers, so that people can see what was there.
const ENDED_FAMILIES_KEPT: usize = 8;
/// How many unexpired access tokens of one session can be revoked one by one; the next ends their family, or
/// the session.
pub const REVOKED_TOKENS_MAX: usize = 256;
/// How long a revocation is remembered beyond its token's expiry, where there is room: a clock that was ahead
/// may go back.
const REVOCATION_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// One sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name, `sid` in tokens.
    pub id: SessionId,
    /// Who signed in.
    pub subject: Subject,
    /// The client whose session it is.
    pub client_id: ClientId,
    /// Who opened it.
    pub opened_by: Box<str>,
    /// The event position of its opening, for cut-offs.
    pub issued: Position,
    /// When it was opened.
    pub created_at: Timestamp,
    /// How and when the subject last authenticated.
    pub authentication: Authentication,
    /// The last activity.
    pub last_used_at: Timestamp,
    /// How long it lives without activity.
    pub idle_timeout: Duration,
    /// When it ends whatever happens.
    pub expires_at: Timestamp,
    /// Whether it was opened to be remembered.
    pub remember: bool,
    /// What was granted.
    pub scope: ScopeSet,
    /// For whom its own access tokens are.
    pub audience: Box<str>,
    /// The session token's generation: the number of renewals.
    pub renewals: u32,
    /// The hash of the session token's secret.
    pub token: Hash,
    /// Where it was opened from.
    pub device: Device,
    /// What goes into tokens and introspection.
    pub claims: Option<Claims>,
    /// Counts changes and renewals.
    pub version: u32,
    /// Counts changes of `claims`.
    pub claims_version: u32,
    /// Its families, in order of their numbers.
    pub families: Vec<Family>,
    /// The number that the next family gets; 0 when all are used up.
    pub next_family: u16,
    /// The family that the opening or the last renewal issued.
    pub own_family: Option<u16>,
    /// Access tokens revoked one by one.
    pub revoked_tokens: Vec<RevokedToken>,
    /// How it ended, if it was ended.
    pub end: Option<End>,
    /// Whether the sweep has reported that it expired.
    pub expiry_reported: bool,
}

/// Where a session was opened from. Personal.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The browser's or program's own name.
    pub user_agent: Option<Box<str>>,
    /// The address.
    pub ip: Option<Box<str>>,
    /// What a person calls it.
    pub label: Option<Box<str>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Device(…)")
    }
}

/// An access token revoked before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedToken {
    /// Its name.
    pub id: TokenId,
    /// When it expires by itself, in seconds.
    pub expires_at: i64,
}

/// Whether a session lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It lives.
    Active,
    /// A timeout has passed.
    Expired,
    /// It was ended.
    Ended(End),
}

/// The state of a session, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It lives.
    Active,
    /// A timeout has passed.
    Expired,
    /// It was ended.
    Ended,
}

names!(State { Active = "active", Expired = "expired", Ended = "ended" });

impl From<&Standing> for State {
    fn from(standing: &Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Expired => Self::Expired,
            Standing::Ended(_) => Self::Ended,
        }
    }
}

/// What a decision on a session leaves behind: an answer, and the events to write with the change.
#[derive(Debug)]
pub struct Decision<T> {
    /// For the caller.
    pub answer: T,
    /// For the log, in order.
    pub events: Vec<Event>,
    /// The session's private data, if it was changed.
    pub data: Option<Data>,
}

/// A session's private data: a JSON object as text. Personal: `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data(pub Box<str>);

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Data(…)")
    }
}

impl<T> Decision<T> {
    /// An answer without events.
    pub fn answer(answer: T) -> Self {
        Self { answer, events: vec![], data: None }
    }

    /// An answer, and the events to record with it.
    pub fn with_events(answer: T, events: Vec<Event>) -> Self {
        Self { answer, events, data: None }
    }
}

impl Session {
    /// Whether it lives at `now`. What comes first counts: a session that had expired before everything was
    /// ended stays expired. What was reported as expired is so for good, even if the clock goes back.
    pub fn standing(&self, now: Timestamp, cuts: &CutOffs) -> Standing {
        if let Some(end) = &self.end {
            return Standing::Ended(end.clone());
        }
        let deadline = self.deadline();
        match cuts.end_of(&self.client_id, self.issued) {
            _ if self.expiry_reported => Standing::Expired,
            Some(cut) if cut.at < deadline => Standing::Ended(cut),
            Some(_) => Standing::Expired,
            None if now >= deadline => Standing::Expired,
            None => Standing::Active,
        }
    }

    /// Whether it lives at `now`.
    pub fn is_active(&self, now: Timestamp, cuts: &CutOffs) -> bool {
        self.standing(now, cuts) == Standing::Active
    }

    /// Whether it is counted among those that live: until it is ended, cut off, or reported as expired. No
    /// clock is asked.
    pub fn counts_as_live(&self, cuts: &CutOffs) -> bool {
        self.end.is_none() && !self.expiry_reported && cuts.end_of(&self.client_id, self.issued).is_none()
    }

    /// When it expires if nothing happens until then.
    pub fn deadline(&self) -> Timestamp {
        self.idle_expires_at().min(self.expires_at)
    }

    /// When it expires for want of activity.
    pub fn idle_expires_at(&self) -> Timestamp {
        self.last_used_at.plus(self.idle_timeout)
    }

    /// How old its written use may get before a later one is written: a tenth of the idle timeout, and at
    /// most 45 seconds.
    pub fn activity_interval(&self) -> Duration {
        (self.idle_timeout / 10).min(ACTIVITY_INTERVAL_MAX)
    }

    /// By how much its last use may be later than what is written, if nobody knows: at most a minute.
    pub fn activity_grace(&self) -> Duration {
        (self.activity_interval() + ACTIVITY_WRITE).min(self.idle_timeout.max(ACTIVITY_GRACE_MIN))
    }

    /// When the sweep should look at it: when it has expired beyond doubt, or, if it was ended, at once, to
    /// see how long it is to be kept.
    pub fn due(&self) -> Timestamp {
        let expired = self.idle_expires_at().plus(self.activity_grace()).min(self.expires_at);
        self.end.as_ref().map_or(expired, |end| end.at.min(expired))
    }

    /// Whether this is its current session token.
    pub fn is_current_token(&self, renewals: u32, hash: &Hash) -> bool {
        renewals == self.renewals && *hash == self.token
    }

    /// The family of this number, if it is remembered.
    pub fn family(&self, number: u16) -> Option<&Family> {
        self.families.iter().find(|family| family.number == number)
    }

    /// Whether the family lives; the session must live besides.
    pub fn family_is_active(&self, number: u16, cuts: &CutOffs) -> bool {
        self.family(number).is_some_and(|family| family.end(cuts).is_none())
    }

    /// Whether this access token was revoked by itself.
    pub fn has_revoked(&self, token: &TokenId) -> bool {
        self.revoked_tokens.iter().any(|revoked| revoked.id == *token)
    }

    /// What an access token issued now is made from. It never outlives the session (RFR-15).
    pub fn stamp(&self, ttl: Duration, key: KeyId, format: TokenFormat, now: Timestamp) -> Stamp {
        let expires_at = now.floor().plus(ttl).min(self.expires_at).seconds();
        Stamp { issued_at: now.seconds(), expires_at, key, format, claims_version: self.claims_version }
    }

    /// Counts as activity: the idle timeout starts again. A clock that went back moves nothing.
    pub fn touch(&mut self, now: Timestamp) {
        self.last_used_at = self.last_used_at.max(now);
    }

    /// Counts a use that was found good when it happened, though it is written only now: what was written may
    /// have expired meanwhile.
    pub fn use_at(&mut self, used: Timestamp, cuts: &CutOffs) {
        let written = self.last_used_at;
        self.touch(used);
        if !self.is_active(used, cuts) {
            self.last_used_at = written;
        }
    }

    /// Ends the session and all it issued. Ending what has ended or expired changes nothing and tells
    /// nothing.
    pub fn close(&mut self, end: End, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if self.is_active(now, cuts) { vec![self.finish(end)] } else { vec![] }
    }

    /// Ends one family; its session lives on. What is dead already stays as it is.
    pub fn close_family(&mut self, number: u16, end: End, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if !self.is_active(now, cuts) || !self.family_is_active(number, cuts) {
            return vec![];
        }
        let mut ended = self.event(EventKind::FamilyEnded, end.at, &end.by);
        ended.family = Some(number);
        ended.reason = Some(end.reason);
        if let Some(family) = self.families.iter_mut().find(|family| family.number == number) {
            ended.client = Some(family.client_id.clone());
            family.finish(end);
        }
        self.forget_old_families(cuts);
        vec![ended]
    }

    /// Ends one family because a token of it was revoked, and the session with it if no other family lives.
    pub fn revoke_family(&mut self, number: u16, by: &str, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        let end = End { at: now, reason: EndReason::TokenRevoked, by: by.into() };
        let mut events = self.close_family(number, end.clone(), now, cuts);
        if !events.is_empty() && self.families.iter().all(|family| family.end(cuts).is_some()) {
            events.push(self.finish(end));
        }
        events
    }

    /// Revokes one access token. A session that has too many of them loses the family instead, which is more
    /// and never less.
    pub fn revoke_token(
        &mut self,
        token: RevokedToken,
        family: Option<u16>,
        by: &str,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Vec<Event> {
        self.forget_old_revocations(now);
        if !self.is_active(now, cuts) || token.expires_at <= now.seconds() || self.has_revoked(&token.id) {
            return vec![];
        }
        if !self.make_room_for_revocation(now) {
            return match family {
                Some(number) => self.revoke_family(number, by, now, cuts),
                None => {
                    self.close(End { at: now, reason: EndReason::TokenRevoked, by: by.into() }, now, cuts)
                }
            };
        }
        self.revoked_tokens.push(token);
        let mut event = self.event(EventKind::TokenRevoked, now, by);
        event.token = Some(token.id);
        event.family = family;
        vec![event]
    }

    /// Adds a family, issued at `issued`; `None` when the session has as many as it may have.
    pub fn add_family(
        &mut self,
        new: NewFamily,
        issued: Position,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Option<u16> {
        let live = self.families.iter().filter(|family| family.end(cuts).is_none()).count();
        if live >= FAMILIES_MAX || self.next_family == 0 {
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

    /// Reports once that a timeout has passed, when no unwritten use can say otherwise; for the sweep.
    pub fn report_expiry(&mut self, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if self.expiry_reported || now < self.due() || self.standing(now, cuts) != Standing::Expired {
            return vec![];
        }
        self.expiry_reported = true;
        self.forget_secrets();
        vec![self.event(EventKind::SessionExpired, now, ENGINE)]
    }

    /// Until when a session that lives no longer is kept to explain itself; `None` while it lives.
    pub fn kept_until(&self, retention: Duration, now: Timestamp, cuts: &CutOffs) -> Option<Timestamp> {
        match self.standing(now, cuts) {
            Standing::Active => None,
            Standing::Ended(end) => Some(end.at.plus(retention)),
            Standing::Expired => Some(self.deadline().plus(retention)),
        }
    }

    /// An event about this session.
    pub fn event(&self, kind: EventKind, at: Timestamp, by: &str) -> Event {
        let mut event = Event::new(kind, at, by);
        event.session = Some(self.id);
        event.subject = Some(self.subject.clone());
        event.client = Some(self.client_id.clone());
        event
    }

    fn finish(&mut self, end: End) -> Event {
        let mut event = self.event(EventKind::SessionEnded, end.at, &end.by);
        event.reason = Some(end.reason);
        self.end = Some(end);
        self.forget_secrets();
        event
    }

    /// A session that lives no longer needs nothing that could make a token.
    fn forget_secrets(&mut self) {
        self.revoked_tokens.clear();
        for family in &mut self.families {
            family.window = None;
        }
    }

    fn forget_old_revocations(&mut self, now: Timestamp) {
        let old = now.minus(REVOCATION_KEPT).seconds();
        self.revoked_tokens.retain(|token| token.expires_at > old);
    }

    /// Whether there is room for one more. What has expired is in nobody's way: the first of it makes room.
    fn make_room_for_revocation(&mut self, now: Timestamp) -> bool {
        if self.revoked_tokens.len() < REVOKED_TOKENS_MAX {
            return true;
        }
        let oldest =
            (0..self.revoked_tokens.len()).min_by_key(|index| self.revoked_tokens[*index].expires_at);
        let expired = oldest.filter(|index| self.revoked_tokens[*index].expires_at <= now.seconds());
        expired.map(|index| self.revoked_tokens.remove(index)).is_some()
    }

    fn forget_old_families(&mut self, cuts: &CutOffs) {
        let mut surplus = self
            .families
            .iter()
            .filter(|f| f.end(cuts).is_some())
            .count()
            .saturating_sub(ENDED_FAMILIES_KEPT);
        self.families.retain(|family| {
            let forget = surplus > 0 && family.end(cuts).is_some();
            surplus -= usize::from(forget);
            !forget
        });
    }
}

/// What a further family is made from.
#[derive(Clone, Debug)]
pub struct NewFamily {
    /// To whom it is issued.
    pub client_id: ClientId,
    /// What is granted.
    pub scope: ScopeSet,
    /// For whom its access tokens are.
    pub audience: Box<str>,
    /// The hash of its first secret.
    pub secret: Hash,
}

#[cfg(test)]
pub(crate) mod tests;
