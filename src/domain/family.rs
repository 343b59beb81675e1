//! A family: one chain of refresh tokens, of which one is current (standards, section 6).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::{Authentication, TokenFormat};
use super::cutoff::CutOffs;
use super::end::End;
use super::id::{ClientId, Hash, KeyId, Position, Salt};
use super::policy::{LateRetry, Policy};
use super::scope::ScopeSet;
use super::time::{Moment, Timestamp};

/// By how much the clock of another process can be ahead: replicas share their windows.
pub const SKEW_MAX: Duration = Duration::from_secs(2);
/// How often one spent token is answered again, within its window and after it.
pub const RETRIES_MAX: u8 = 64;

/// One chain of refresh tokens, for one client, scope and audience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its number in the session; never used again there.
    pub number: u16,
    /// The client that it was issued to.
    pub client_id: ClientId,
    /// The granted scope. A refresh can narrow the access token only (RFC 6749 §6).
    pub scope: ScopeSet,
    /// The audience of its access tokens.
    pub audience: Box<str>,
    /// The authentication under which it was granted; refreshes do not change it.
    pub authentication: Authentication,
    /// The event position at which it was issued, for cut-offs.
    pub issued: Position,
    /// How it ended, if it did so before its session.
    pub end: Option<End>,
    /// The number of rotations: the generation of the current token.
    pub generation: u32,
    /// The hash of the current token's secret.
    pub current: Hash,
    /// The hash of the previous token's secret.
    pub previous: Option<Hash>,
    /// When it was opened or last rotated.
    pub refreshed_at: Timestamp,
    /// While it is open or kept, the previous token can be answered.
    pub window: Option<RetryWindow>,
}

/// The time in which a retry of the last refresh gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryWindow {
    /// Gives, with the previous secret, the current one.
    pub salt: Salt,
    /// The time of the rotation.
    pub opened: Reading,
    /// How long the window is open.
    pub length: Duration,
    /// How many retries were answered.
    pub retries: u8,
    /// What the access token of this generation was made from.
    pub stamp: Stamp,
    /// Whether it is kept after its length, until the current token is used (`late_retry = "answer"`).
    pub kept: bool,
    /// Whether the previous token was answered after the window.
    pub late: bool,
    /// Whether the token before it was. Late answers in two successive generations are reuse.
    pub after_late: bool,
}

/// A [`Moment`] as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    pub wall: Timestamp,
    /// Identifies the run of the process.
    pub boot: u64,
    /// Monotonic time in that run.
    pub elapsed_ms: u64,
}

/// What an access token was made from, so that the same one can be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// `iat`, in seconds.
    pub issued_at: i64,
    /// `exp`, in seconds.
    pub expires_at: i64,
    /// The key that signed.
    pub key: KeyId,
    pub format: TokenFormat,
    /// The version of the session's claims.
    pub claims_version: u32,
}

impl Stamp {
    /// Whether an access token that is made from it has not expired.
    pub fn is_unexpired(&self, now: Timestamp) -> bool {
        now.seconds() < self.expires_at
    }
}

/// A genuine refresh token (its MAC is valid) as it was presented, and its successor if it is current.
#[derive(Clone, Debug)]
pub struct PresentedToken {
    /// The generation of the token.
    pub generation: u32,
    /// The hash of its secret.
    pub hash: Hash,
    /// Random bytes for the successor.
    pub salt: Salt,
    /// The hash of the successor's secret under that salt.
    pub successor: Hash,
}

/// The position of a presented token in its chain (standards, section 6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainPosition {
    Current,
    /// The previous token; its window is open.
    Retry,
    /// The previous token; its window is closed.
    Late,
    /// Older than the previous token; this many generations behind the current one.
    Spent(u32),
    /// Genuine, but not issued by this store: the store has lost a rotation.
    Unknown,
}

impl RetryWindow {
    /// Whether the window is open. In the run that opened it the monotonic clock decides. After a restart and
    /// at another replica wall time does, and a clock that was set back by more than its skew closes it.
    pub fn is_open(&self, now: Moment) -> bool {
        if now.boot == self.opened.boot {
            let elapsed = now.elapsed_ms.saturating_sub(self.opened.elapsed_ms);
            Duration::from_millis(elapsed) < self.length
        } else {
            self.opened.wall <= now.wall.plus(SKEW_MAX) && now.wall < self.opened.wall.plus(self.length)
        }
    }

    /// Whether the previous token is answered though the window is closed.
    pub fn answers_late(&self) -> bool {
        self.kept && !self.after_late
    }

    /// When it may be erased by the wall clock: when it closes; one that is kept never.
    pub fn erased_at(&self) -> Timestamp {
        if self.kept { Timestamp::MAX } else { self.opened.wall.plus(self.length) }
    }
}

impl From<Moment> for Reading {
    fn from(now: Moment) -> Self {
        Self { wall: now.wall, boot: now.boot, elapsed_ms: now.elapsed_ms }
    }
}

impl Family {
    /// How it ended by itself or by a cut-off; the end of its session is not considered.
    pub fn end(&self, cuts: &CutOffs) -> Option<End> {
        self.end.clone().or_else(|| cuts.end_of(&self.client_id, self.issued))
    }

    /// Whether it can be used while its session is active.
    pub fn is_active(&self, cuts: &CutOffs) -> bool {
        self.end(cuts).is_none()
    }

    /// Whether this is the current token of the chain.
    pub fn is_current(&self, generation: u32, hash: &Hash) -> bool {
        generation == self.generation && *hash == self.current
    }

    /// The position of a genuine token.
    pub fn position_of(&self, presented: &PresentedToken, now: Moment) -> ChainPosition {
        let behind = self.generation.checked_sub(presented.generation);
        match behind {
            Some(0) if presented.hash == self.current => ChainPosition::Current,
            Some(1) if Some(presented.hash) == self.previous => match &self.window {
                Some(window) if window.is_open(now) => ChainPosition::Retry,
                _ => ChainPosition::Late,
            },
            Some(behind @ 2..) => ChainPosition::Spent(behind),
            _ => ChainPosition::Unknown,
        }
    }

    /// Makes the successor current. The salt is stored only if the policy has a retry window.
    pub(super) fn rotate(&mut self, presented: &PresentedToken, stamp: Stamp, policy: &Policy, now: Moment) {
        let length = policy.refresh_retry_window;
        let after_late = self.window.as_ref().is_some_and(|window| window.late);
        self.generation += 1;
        self.previous = Some(self.current);
        self.current = presented.successor;
        self.refreshed_at = now.wall;
        self.window = (!length.is_zero()).then(|| RetryWindow {
            salt: presented.salt.clone(),
            opened: now.into(),
            length,
            retries: 0,
            stamp,
            kept: policy.late_retry == LateRetry::Answer,
            late: false,
            after_late,
        });
    }

    /// Ends the family and erases what answers retries.
    pub(super) fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.window = None;
    }
}
