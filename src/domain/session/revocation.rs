//! Access tokens of a session that are revoked one by one.

use std::time::Duration;

use super::{RevokedToken, Session};
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::TokenId;
use crate::domain::time::Timestamp;

/// How many unexpired access tokens of one family, or without a family, can be revoked one by one. The next
/// revocation ends that family, or the session.
pub const REVOKED_TOKENS_MAX: usize = 256;
/// How long a revocation is retained after its token has expired, where there is room: the clock may be set
/// back.
const REVOCATION_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// An access token of a session that was revoked before it expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub token: RevokedToken,
    /// The family that it was issued in; none for a token of the session itself, or if it is not known.
    pub family: Option<u16>,
}

impl Session {
    /// Whether this access token was revoked by its `jti`.
    pub fn has_revoked(&self, token: &TokenId, expires_at: i64) -> bool {
        RevokedToken { id: *token, expires_at }.counts_as_revoked(self.revoked_until)
            || self.revoked_tokens.iter().any(|revoked| revoked.token.id == *token)
    }

    /// Revokes one access token, an expired one too: the clock may be set back. If too many of its family are
    /// revoked already, the family ends instead, and without a family the session: never less than was asked
    /// for, and nothing of another client's.
    pub fn revoke_token(
        &mut self,
        token: RevokedToken,
        family: Option<u16>,
        by: &str,
        now: Timestamp,
        cuts: &CutOffs,
    ) -> Vec<Event> {
        self.forget_old_revocations(now);
        if !self.is_active(now, cuts) {
            return self.confirm_expiry(now, cuts);
        }
        if self.has_revoked(&token.id, token.expires_at) {
            return vec![];
        }
        if self.make_room_for_revocation(family, now) {
            self.revoked_tokens.push(Revocation { token, family });
        } else if token.expires_at <= now.seconds() {
            self.revoked_until = self.revoked_until.max(token.expires_at);
        } else {
            let end = End { at: now, reason: EndReason::TokenRevoked, by: by.into() };
            return match family {
                Some(number) => self.close_family(number, end, now, cuts),
                None => self.close(end, now, cuts),
            };
        }
        let issued_in = family.and_then(|number| self.family(number));
        let reach = Some(self.reach(family.is_none().then_some(&*self.audience), issued_in));
        let event = self.event(EventKind::TokenRevoked, now, by);
        vec![Event { token: Some(token.id), family, reach, ..event }]
    }

    pub(super) fn forget_old_revocations(&mut self, now: Timestamp) {
        let old = now.minus(REVOCATION_KEPT).seconds();
        let forgotten = self.revoked_tokens.extract_if(.., |revoked| revoked.token.expires_at <= old);
        let last = forgotten.map(|revoked| revoked.token.expires_at).max();
        self.revoked_until = self.revoked_until.max(last.unwrap_or(0));
    }

    /// Whether there is room for one more of the family, if need be in place of the first that has expired.
    fn make_room_for_revocation(&mut self, family: Option<u16>, now: Timestamp) -> bool {
        let of_family = |revoked: &Revocation| revoked.family == family;
        if self.revoked_tokens.iter().filter(|revoked| of_family(revoked)).count() < REVOKED_TOKENS_MAX {
            return true;
        }
        let expires_at = |index: &usize| self.revoked_tokens[*index].token.expires_at;
        let oldest = (0..self.revoked_tokens.len())
            .filter(|index| of_family(&self.revoked_tokens[*index]))
            .min_by_key(expires_at)
            .filter(|index| expires_at(index) <= now.seconds());
        let Some(index) = oldest else { return false };
        let forgotten = self.revoked_tokens.remove(index);
        self.revoked_until = self.revoked_until.max(forgotten.token.expires_at);
        true
    }
}
