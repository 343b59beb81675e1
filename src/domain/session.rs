//! The aggregate: one sign-in of a subject on a device, and all that was issued for it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::{Authentication, Claims, TokenFormat};
use super::cutoff::CutOffs;
use super::end::{End, EndReason};
use super::event::{Event, EventKind};
use super::family::{Family, Stamp};
use super::id::{ClientId, Hash, KeyId, Position, SessionId, Subject, TokenId};
use super::names::{ADMIN_SOCKET, CONSOLE, ENGINE, names};
use super::scope::ScopeSet;
use super::time::Timestamp;

mod change;
mod device;
mod families;
mod opening;
mod reach;
mod renewal;
mod repeat;
mod revocation;
mod room;
mod rotation;

pub use change::Changes;
pub use device::{Data, Device, USER_AGENT_BYTES_MAX};
pub use families::{FAMILIES_MAX, NewFamily};
pub use opening::{NewSession, NotOpened};
pub use renewal::Renewal;
pub use repeat::{KeyUse, OpeningKey, REPEAT_WINDOW, Repeatable, Repeated};
pub use revocation::{REVOKED_TOKENS_MAX, Revocation};
pub use room::{Cap, make_room};
pub use rotation::{NotRefreshed, Refresh, Refreshed};

/// The longest time between two writes of a session's last use.
const ACTIVITY_INTERVAL_MAX: Duration = Duration::from_secs(45);
/// How long such a write may take: until the sweep finds it due, and until it is on the disk.
const ACTIVITY_WRITE: Duration = Duration::from_secs(15);
/// The sweep runs once a second, so even a timeout of one second leaves it this long.
const ACTIVITY_GRACE_MIN: Duration = Duration::from_secs(2);

/// One sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `sid` in tokens.
    pub id: SessionId,
    /// `sub` in tokens.
    pub subject: Subject,
    /// The client that the session is for.
    pub client_id: ClientId,
    /// The caller that opened it: a client's name or that of the admin socket.
    pub opened_by: Box<str>,
    /// The event position of its opening, for cut-offs.
    pub issued: Position,
    pub created_at: Timestamp,
    /// The last authentication of the subject.
    pub authentication: Authentication,
    pub last_used_at: Timestamp,
    /// How long after its last activity it expires.
    pub idle_timeout: Duration,
    /// When it expires, whatever its activity.
    pub expires_at: Timestamp,
    /// Whether it was opened with `remember`.
    pub remember: bool,
    pub scope: ScopeSet,
    /// The audience of its own access tokens.
    pub audience: Box<str>,
    /// The number of renewals, which is the generation of the session token.
    pub renewals: u32,
    /// The hash of the session token's secret.
    pub token: Hash,
    /// Where it was opened.
    pub device: Device,
    /// The claims for tokens and introspection.
    pub claims: Option<Claims>,
    /// Counts changes and renewals.
    pub version: u32,
    /// Counts changes of `claims`.
    pub claims_version: u32,
    /// Its families, in order of their numbers.
    pub families: Vec<Family>,
    /// The number of the next family; 0 when all are used.
    pub next_family: u16,
    /// The family that the opening or the last renewal issued.
    pub own_family: Option<u16>,
    /// Access tokens that were revoked one by one.
    pub revoked_tokens: Vec<Revocation>,
    /// The latest `exp` of the revocations that were removed, in seconds. Every access token that expires no
    /// later counts as revoked, so that no clock makes one of those valid again.
    pub revoked_until: i64,
    /// How it ended, if it was ended.
    pub end: Option<End>,
    /// Whether the sweep has reported that it expired.
    pub expiry_reported: bool,
}

/// An access token that was revoked before it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedToken {
    /// Its `jti`.
    pub id: TokenId,
    /// Its `exp`, in seconds.
    pub expires_at: i64,
}

impl RevokedToken {
    /// Whether it is among the tokens that count as revoked because they expire no later than one whose
    /// revocation was removed. No clock is asked, so none makes such a token valid again.
    pub fn counts_as_revoked(&self, revoked_until: i64) -> bool {
        self.expires_at <= revoked_until
    }
}

/// The state of a session, with its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be used.
    Active,
    /// A timeout has passed.
    Expired,
    Ended(End),
}

names! {
    /// The state of a session, as a word.
    pub enum State {
        /// It can be used.
        Active = "active",
        /// A timeout has passed.
        Expired = "expired",
        Ended = "ended",
    }
}

impl From<&Standing> for State {
    fn from(standing: &Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Expired => Self::Expired,
            Standing::Ended(_) => Self::Ended,
        }
    }
}

/// The result of a decision on a session. The events are written with the change, also if the answer is a
/// refusal.
#[derive(Debug)]
pub struct Decision<T> {
    /// For the caller.
    pub answer: T,
    /// For the event log, in order.
    pub events: Vec<Event>,
    /// The session's private data, if it was changed.
    pub data: Option<Data>,
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

impl<T, E> Decision<Result<T, E>> {
    /// What was decided, or a refusal, which has no events.
    pub fn of(decided: Result<Decision<T>, E>) -> Self {
        match decided {
            Ok(Decision { answer, events, data }) => Self { answer: Ok(answer), events, data },
            Err(refused) => Self::answer(Err(refused)),
        }
    }
}

impl Session {
    /// The state at `now`. What happened first decides: a session that had expired before everything was
    /// ended stays expired. An expiry that was reported is final, even if the clock is set back.
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

    /// Whether it can be used at `now`.
    pub fn is_active(&self, now: Timestamp, cuts: &CutOffs) -> bool {
        self.standing(now, cuts) == Standing::Active
    }

    /// Whether its record does not exclude that it is active: until it is ended or reported as expired. A
    /// cut-off or a timeout may have ended it all the same.
    pub fn may_be_active(&self) -> bool {
        self.end.is_none() && !self.expiry_reported
    }

    /// Whether it is counted as active: until it is ended, cut off, or reported as expired. Needs no clock.
    pub fn counts_as_live(&self, cuts: &CutOffs) -> bool {
        self.may_be_active() && cuts.end_of(&self.client_id, self.issued).is_none()
    }

    /// When it expires without further activity.
    pub fn deadline(&self) -> Timestamp {
        self.idle_expires_at().min(self.expires_at)
    }

    /// When its idle timeout passes without further activity.
    pub fn idle_expires_at(&self) -> Timestamp {
        self.last_used_at.plus(self.idle_timeout)
    }

    /// The age of the written use at which a later one is written: a tenth of the idle timeout, and at most
    /// 45 seconds.
    pub fn activity_interval(&self) -> Duration {
        (self.idle_timeout / 10).min(ACTIVITY_INTERVAL_MAX)
    }

    /// By how much the last use may be later than the written one: at most a minute.
    pub fn activity_grace(&self) -> Duration {
        (self.activity_interval() + ACTIVITY_WRITE).min(self.idle_timeout.max(ACTIVITY_GRACE_MIN))
    }

    /// The last use that counts at `now`, if uses until `unknown_until` may not be written: the written one,
    /// and once the session would have expired by it, the latest that may be missing. A session that has
    /// ended, or has expired all the same, is shown as it is written.
    pub fn last_use_at(&self, now: Timestamp, unknown_until: Timestamp) -> Timestamp {
        let missing = self.last_used_at.plus(self.activity_grace()).min(unknown_until).min(now);
        let is_kept_active = self.may_be_active() && now >= self.idle_expires_at();
        if is_kept_active && now < missing.plus(self.idle_timeout) { missing } else { self.last_used_at }
    }

    /// When the sweep should look at it: when it has certainly expired, or when it was ended, to learn how
    /// long it is retained.
    pub fn due(&self) -> Timestamp {
        let expired = self.idle_expires_at().plus(self.activity_grace()).min(self.expires_at);
        self.end.as_ref().map_or(expired, |end| end.at.min(expired))
    }

    /// Whether it is of the operator's console, and not of a client that had that name before.
    pub fn is_of_console(&self) -> bool {
        self.client_id.as_str() == CONSOLE && *self.opened_by == *ADMIN_SOCKET
    }

    /// Whether this is its current session token.
    pub fn is_current_token(&self, renewals: u32, hash: &Hash) -> bool {
        renewals == self.renewals && *hash == self.token
    }

    /// What an access token issued now is made from. It expires no later than the session (RFR-15).
    pub fn stamp(&self, ttl: Duration, key: KeyId, format: TokenFormat, now: Timestamp) -> Stamp {
        let expires_at = now.floor().plus(ttl).min(self.expires_at).seconds();
        Stamp { issued_at: now.seconds(), expires_at, key, format, claims_version: self.claims_version }
    }

    /// Whether the access token `id` that was made from `stamp` could be issued now as it was then; `signs`
    /// is whether its key could.
    pub fn may_issue_again(
        &self,
        id: &TokenId,
        stamp: &Stamp,
        format: TokenFormat,
        signs: bool,
        now: Timestamp,
    ) -> bool {
        signs
            && stamp.is_unexpired(now)
            && stamp.claims_version == self.claims_version
            && stamp.format == format
            && !self.has_revoked(id, stamp.expires_at)
    }

    /// Counts as activity: the idle timeout starts again. A clock that was set back changes nothing.
    pub fn touch(&mut self, now: Timestamp) {
        self.last_used_at = self.last_used_at.max(now);
    }

    /// Counts a use at which the session was active, though it is written only now: by the written use it may
    /// have expired since.
    pub fn use_at(&mut self, used: Timestamp, cuts: &CutOffs) {
        let written = self.last_used_at;
        self.touch(used);
        if !self.is_active(used, cuts) {
            self.last_used_at = written;
        }
    }

    /// Ends the session and all it issued. If it has expired, its expiry is recorded instead: then it stays
    /// inactive even if the clock is set back.
    pub fn close(&mut self, end: End, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if self.is_active(now, cuts) { vec![self.finish(end)] } else { self.confirm_expiry(now, cuts) }
    }

    /// Ends the session if this is its current session token. The answer is whether it ended. A session of
    /// the console is ended there.
    pub fn log_out(&mut self, renewals: u32, hash: &Hash, now: Timestamp, cuts: &CutOffs) -> Decision<bool> {
        if !self.is_current_token(renewals, hash) || self.is_of_console() {
            return Decision::answer(false);
        }
        let end = End { at: now, reason: EndReason::Logout, by: self.client_id.as_str().into() };
        let was_active = self.is_active(now, cuts);
        Decision::with_events(was_active, self.close(end, now, cuts))
    }

    /// Reports once that a timeout has passed, when no unwritten use can contradict it; for the sweep. Then
    /// the secrets of a session that a cut-off ended are erased too.
    pub fn report_expiry(&mut self, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if now < self.due() || self.is_active(now, cuts) {
            return vec![];
        }
        self.forget_secrets();
        self.confirm_expiry(now, cuts)
    }

    fn confirm_expiry(&mut self, now: Timestamp, cuts: &CutOffs) -> Vec<Event> {
        if self.expiry_reported || self.standing(now, cuts) != Standing::Expired {
            return vec![];
        }
        self.forget_secrets();
        self.expiry_reported = true;
        vec![self.event(EventKind::SessionExpired, now, ENGINE)]
    }

    /// Until when a session that ended or expired is retained; `None` while it is active. At least for as
    /// long as its opening may be repeated: without its record a repetition would open another session.
    pub fn kept_until(&self, retention: Duration, now: Timestamp, cuts: &CutOffs) -> Option<Timestamp> {
        let ended_at = match self.standing(now, cuts) {
            Standing::Active => return None,
            Standing::Ended(end) => end.at,
            Standing::Expired => self.deadline(),
        };
        Some(ended_at.plus(retention).max(self.created_at.plus(REPEAT_WINDOW)))
    }

    fn finish(&mut self, end: End) -> Event {
        let event = self.event(EventKind::SessionEnded, end.at, &end.by);
        let event = Event { reason: Some(end.reason), ..event };
        self.end = Some(end);
        self.forget_secrets();
        event
    }

    /// Nothing that could make a token remains in a session that ended or expired.
    fn forget_secrets(&mut self) {
        self.revoked_tokens.clear();
        for family in &mut self.families {
            family.window = None;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
