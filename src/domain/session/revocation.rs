//! Access tokens of a session that are revoked one by one.

use std::time::Duration;

use super::{RevokedToken, Session};
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::{Event, EventKind};
use crate::domain::id::TokenId;
use crate::domain::time::Timestamp;

/// How many unexpired access tokens of one session can be revoked one by one; the next revocation ends their
/// family, or the session.
pub const REVOKED_TOKENS_MAX: usize = 256;
/// How long a revocation is retained after its token has expired, where there is room: the clock may be set
/// back.
const REVOCATION_KEPT: Duration = Duration::from_secs(30 * 86_400);

impl Session {
    /// Whether this access token was revoked by its `jti`.
    pub fn has_revoked(&self, token: &TokenId) -> bool {
        self.revoked_tokens.iter().any(|revoked| revoked.id == *token)
    }

    /// Revokes one access token. If too many of the session are revoked already, its family ends instead, or
    /// the session: never less than was asked for.
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

    pub(super) fn forget_old_revocations(&mut self, now: Timestamp) {
        let old = now.minus(REVOCATION_KEPT).seconds();
        self.revoked_tokens.retain(|token| token.expires_at > old);
    }

    /// Whether there is room for one more, if need be in place of the first that has expired.
    fn make_room_for_revocation(&mut self, now: Timestamp) -> bool {
        if self.revoked_tokens.len() < REVOKED_TOKENS_MAX {
            return true;
        }
        let oldest =
            (0..self.revoked_tokens.len()).min_by_key(|index| self.revoked_tokens[*index].expires_at);
        let expired = oldest.filter(|index| self.revoked_tokens[*index].expires_at <= now.seconds());
        expired.map(|index| self.revoked_tokens.remove(index)).is_some()
    }
}
