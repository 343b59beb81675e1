//! Refreshing: rotation, retries, and the detection of reuse. Every row of the table in standards section 6.4
//! is decided here.

use std::sync::Arc;

use super::{Decision, Session, Standing};
use crate::domain::client::Client;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::{End, EndReason};
use crate::domain::event::EventKind;
use crate::domain::family::{ChainPosition, PresentedToken, RETRIES_MAX, RetryWindow, Stamp};
use crate::domain::id::{KeyId, Salt};
use crate::domain::malformed::Malformed;
use crate::domain::names::ENGINE;
use crate::domain::policy::{LateRetry, Policy};
use crate::domain::refusal::Refusal;
use crate::domain::scope::ScopeSet;
use crate::domain::time::{Moment, Timestamp};

/// A request to refresh, with a genuine token.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The client that sent it, as it was authenticated.
    pub client: Arc<Client>,
    /// The issuer: the audience of a client without any.
    pub issuer: Box<str>,
    /// The family that the token names.
    pub family: u16,
    pub presented: PresentedToken,
    /// The requested scope. A malformed one is refused only after the token was judged.
    pub scope: Option<Result<ScopeSet, Malformed>>,
    pub resource: Option<Box<str>>,
    pub policy: Policy,
    /// The active signing key.
    pub key: KeyId,
    /// A keyed hash of the address that the request came from.
    pub address: Option<[u8; 16]>,
}

/// A refresh that was granted: what the pair of tokens is made from.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// The session after the refresh.
    pub session: Session,
    pub family: u16,
    /// The scope of the access token.
    pub scope: ScopeSet,
    /// Gives, with the presented secret, the new one.
    pub salt: Salt,
    /// What the access token is made from.
    pub stamp: Stamp,
    /// Whether the request was a retry.
    pub retried: bool,
    /// Whether it was one after the window: its access token is a fresh one.
    pub late: bool,
}

/// Why a refresh was refused. The caller learns it only where it can fix the request (TOK-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRefreshed {
    /// The client is not as it was when it was authenticated, or may not refresh any more.
    NotCurrent,
    /// The token was issued to another client.
    BindingMismatch,
    /// The session or the family has ended or expired.
    Inactive,
    /// The token was spent before: the session was ended.
    Reused,
    /// The previous token was presented after its window, and the policy only refuses that.
    Late,
    /// The store has lost a rotation: the session was ended, now or by the restore.
    StoreRollback,
    /// The family has no generation left.
    Exhausted,
    /// The scope is malformed or wider than granted, or the client may not request any of it now.
    Scope,
    /// The resource is not that of the family, or the client may not request it now.
    Target,
    /// The previous token was retried too often.
    TooManyRetries,
}

impl Session {
    /// Rotates, answers a retry, or refuses, by the table of standards section 6.4. Detected reuse ends the
    /// session. `client` is the record of the client now.
    pub fn refresh(
        &mut self,
        refresh: &Refresh,
        client: &Client,
        now: Moment,
        cuts: &CutOffs,
    ) -> Decision<Result<Refreshed, NotRefreshed>> {
        let refused = |why| Decision::answer(Err(why));
        let Some(index) = self.families.iter().position(|family| family.number == refresh.family) else {
            // Either the family was removed long ago, or the store was restored from a backup made before the
            // family was opened.
            let never_seen = self.next_family != 0 && refresh.family >= self.next_family;
            return if never_seen && self.is_active(now.wall, cuts) {
                self.rolled_back(now.wall)
            } else {
                refused(if never_seen && self.was_cut_off_by_restore(now.wall, cuts) {
                    NotRefreshed::StoreRollback
                } else {
                    NotRefreshed::Inactive
                })
            };
        };
        let family = &self.families[index];
        if family.client_id != refresh.client.id {
            return refused(NotRefreshed::BindingMismatch);
        }
        let position = family.position_of(&refresh.presented, now);
        if !self.is_active(now.wall, cuts) || !family.is_active(cuts) {
            // A restore has ended the session already. A token that is newer than the backup is still
            // reported to the operator.
            let lost = position == ChainPosition::Unknown
                && family.end.is_none()
                && self.was_cut_off_by_restore(now.wall, cuts);
            return refused(if lost { NotRefreshed::StoreRollback } else { NotRefreshed::Inactive });
        }
        match position {
            ChainPosition::Unknown => return self.rolled_back(now.wall),
            ChainPosition::Spent(behind) => return self.reused(refresh, behind, now.wall),
            ChainPosition::Late => match refresh.policy.late_retry {
                LateRetry::Refuse => return refused(NotRefreshed::Late),
                LateRetry::Answer if family.window.as_ref().is_some_and(RetryWindow::answers_late) => {}
                LateRetry::Answer | LateRetry::EndSession => return self.reused(refresh, 1, now.wall),
            },
            ChainPosition::Current | ChainPosition::Retry => {}
        }
        let audience = client.audience_now(&family.audience, &refresh.issuer);
        let asked = match &refresh.scope {
            None => &family.scope,
            Some(Ok(asked)) if family.scope.contains_all(asked) => asked,
            Some(_) => return refused(NotRefreshed::Scope),
        };
        if refresh.resource.as_ref().is_some_and(|asked| **asked != *audience) {
            return refused(NotRefreshed::Target);
        }
        let scope = match client.narrow(asked, audience, &refresh.issuer) {
            Ok(scope) => scope,
            Err(narrowed) if narrowed.refusal == Refusal::InvalidTarget => {
                return refused(NotRefreshed::Target);
            }
            Err(_) => return refused(NotRefreshed::Scope),
        };
        self.families[index].audience = audience.into();
        if position == ChainPosition::Current {
            self.rotate(index, scope, refresh, now)
        } else {
            self.retry(index, scope, position == ChainPosition::Late, now.wall)
        }
    }

    fn rotate(
        &mut self,
        index: usize,
        scope: ScopeSet,
        refresh: &Refresh,
        now: Moment,
    ) -> Decision<Result<Refreshed, NotRefreshed>> {
        if self.families[index].generation == u32::MAX {
            return Decision::answer(Err(NotRefreshed::Exhausted));
        }
        let format = refresh.client.access_token_format;
        let stamp = self.stamp(refresh.policy.access_token_ttl, refresh.key, format, now.wall);
        self.families[index].rotate(&refresh.presented, stamp.clone(), &refresh.policy, now);
        self.touch(now.wall);
        self.forget_old_revocations(now.wall);
        let (session, family) = (self.clone(), self.families[index].number);
        let salt = refresh.presented.salt.clone();
        Decision::answer(Ok(Refreshed { session, family, scope, salt, stamp, retried: false, late: false }))
    }

    /// Answers with the current refresh token again. The retry is counted; the generation and the end of
    /// the window are unchanged (ROT-08). Only a late retry counts as activity (ROT-09).
    fn retry(
        &mut self,
        index: usize,
        scope: ScopeSet,
        late: bool,
        now: Timestamp,
    ) -> Decision<Result<Refreshed, NotRefreshed>> {
        let Some(window) = &mut self.families[index].window else {
            return Decision::answer(Err(NotRefreshed::Inactive));
        };
        if window.retries >= RETRIES_MAX {
            return Decision::answer(Err(NotRefreshed::TooManyRetries));
        }
        window.retries += 1;
        window.late |= late;
        let (salt, stamp) = (window.salt.clone(), window.stamp.clone());
        if late {
            self.touch(now);
        }
        let (session, family) = (self.clone(), self.families[index].number);
        Decision::answer(Ok(Refreshed { session, family, scope, salt, stamp, retried: true, late }))
    }

    fn reused(
        &mut self,
        refresh: &Refresh,
        behind: u32,
        now: Timestamp,
    ) -> Decision<Result<Refreshed, NotRefreshed>> {
        let mut reused = self.event(EventKind::RefreshReused, now, ENGINE);
        reused.client = Some(refresh.client.id.clone());
        reused.family = Some(refresh.family);
        reused.generations_behind = Some(behind);
        reused.address = refresh.address;
        let ended = self.finish(End { at: now, reason: EndReason::RefreshReuse, by: ENGINE.into() });
        Decision::with_events(Err(NotRefreshed::Reused), vec![reused, ended])
    }

    fn was_cut_off_by_restore(&self, now: Timestamp, cuts: &CutOffs) -> bool {
        let standing = self.standing(now, cuts);
        self.end.is_none()
            && matches!(standing, Standing::Ended(End { reason: EndReason::StoreRollback, .. }))
    }

    fn rolled_back(&mut self, now: Timestamp) -> Decision<Result<Refreshed, NotRefreshed>> {
        let ended = self.finish(End { at: now, reason: EndReason::StoreRollback, by: ENGINE.into() });
        Decision::with_events(Err(NotRefreshed::StoreRollback), vec![ended])
    }
}
