//! Events: what happened, in the order in which it was committed.

use serde::{Deserialize, Serialize};

use super::end::EndReason;
use super::id::{ClientId, KeyId, SessionId, Subject, TokenId};
use super::names::names;
use super::time::Timestamp;

/// One entry of the event log. Members that do not apply to its type are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    pub at: Timestamp,
    /// The actor: a client's name, `admin.sock`, or `keyfob` itself.
    pub by: Box<str>,
    pub session: Option<SessionId>,
    pub subject: Option<Subject>,
    pub client: Option<ClientId>,
    pub family: Option<u16>,
    /// Why something ended.
    pub reason: Option<EndReason>,
    /// The access token that was revoked.
    pub token: Option<TokenId>,
    /// The key that was rotated in or revoked.
    pub key: Option<KeyId>,
    /// How many generations behind a reused refresh token was.
    pub generations_behind: Option<u32>,
    /// A keyed hash of the address a reused refresh token came from.
    pub address: Option<[u8; 16]>,
    /// The reason that the caller gave.
    pub note: Option<Box<str>>,
}

impl Event {
    /// An event with only its type, time and actor.
    pub fn new(kind: EventKind, at: Timestamp, by: &str) -> Self {
        Self {
            kind,
            at,
            by: by.into(),
            session: None,
            subject: None,
            client: None,
            family: None,
            reason: None,
            token: None,
            key: None,
            generations_behind: None,
            address: None,
            note: None,
        }
    }
}

/// The types of events (contract, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A session was opened.
    SessionOpened,
    /// Its claims, data or label changed.
    SessionUpdated,
    /// The subject authenticated again (step-up).
    SessionRenewed,
    /// A timeout was found to have passed.
    SessionExpired,
    /// It was ended, for a reason.
    SessionEnded,
    /// A further family was opened.
    FamilyOpened,
    /// A family was ended; its session is still active.
    FamilyEnded,
    /// One access token was revoked.
    TokenRevoked,
    /// A spent refresh token was presented.
    RefreshReused,
    /// Every session of a subject was ended.
    SubjectRevoked,
    /// Every session was ended.
    AllRevoked,
    /// A client was registered.
    ClientCreated,
    /// A client was changed.
    ClientUpdated,
    /// A client was deleted.
    ClientDeleted,
    /// Another key became the signing key.
    KeyRotated,
    /// A compromised key was revoked.
    KeyRevoked,
    /// The store was restored from a backup.
    StoreRestored,
}

names!(EventKind {
    SessionOpened = "session.opened",
    SessionUpdated = "session.updated",
    SessionRenewed = "session.renewed",
    SessionExpired = "session.expired",
    SessionEnded = "session.ended",
    FamilyOpened = "family.opened",
    FamilyEnded = "family.ended",
    TokenRevoked = "token.revoked",
    RefreshReused = "refresh.reused",
    SubjectRevoked = "subject.revoked",
    AllRevoked = "all.revoked",
    ClientCreated = "client.created",
    ClientUpdated = "client.updated",
    ClientDeleted = "client.deleted",
    KeyRotated = "key.rotated",
    KeyRevoked = "key.revoked",
    StoreRestored = "store.restored",
});
