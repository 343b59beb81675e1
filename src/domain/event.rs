//! Events: what happened, in the order in which it was committed.

use serde::{Deserialize, Serialize};

use super::end::EndReason;
use super::id::{ClientId, KeyId, Position, SessionId, Subject, TokenId};
use super::names::names;
use super::time::Timestamp;

/// One entry of the event log. Members that do not apply to its type are absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    pub at: Timestamp,
    /// The actor: a client's name, `admin.sock`, `console`, or `keyfob` itself.
    pub by: Box<str>,
    pub session: Option<SessionId>,
    pub subject: Option<Subject>,
    pub client: Option<ClientId>,
    pub family: Option<u16>,
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
    /// Which callers the feed shows it to; `None` if it concerns all, or was recorded by an earlier keyfob.
    pub reach: Option<Reach>,
}

/// Who can have learned, by introspection or a check, what an event changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// The names of those that something was issued to or opened by, each with the position at which it was.
    pub parties: Vec<(Box<str>, Position)>,
    /// The audiences of the access tokens.
    pub audiences: Vec<Box<str>>,
}

impl Reach {
    /// Adds a party, once.
    pub fn add_party(&mut self, name: &str, issued: Position) {
        if !self.parties.iter().any(|(known, at)| **known == *name && *at == issued) {
            self.parties.push((name.into(), issued));
        }
    }

    /// Adds an audience, once.
    pub fn add_audience(&mut self, audience: &str) {
        if !self.audiences.iter().any(|known| **known == *audience) {
            self.audiences.push(audience.into());
        }
    }
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
            reach: None,
        }
    }
}

names! {
    /// The types of events (contract, section 5). Stored by their place in this list: a new one comes last.
    #[derive(Serialize, Deserialize)]
    pub enum EventKind {
        SessionOpened = "session.opened",
        /// Its claims, data or label changed.
        SessionUpdated = "session.updated",
        /// The subject authenticated again (step-up).
        SessionRenewed = "session.renewed",
        /// A timeout was found to have passed.
        SessionExpired = "session.expired",
        /// It was ended, for a reason.
        SessionEnded = "session.ended",
        /// A further family was opened.
        FamilyOpened = "family.opened",
        /// A family was ended; its session is still active.
        FamilyEnded = "family.ended",
        /// One access token was revoked.
        TokenRevoked = "token.revoked",
        /// A spent refresh token was presented.
        RefreshReused = "refresh.reused",
        /// Every session of a subject was ended.
        SubjectRevoked = "subject.revoked",
        AllRevoked = "all.revoked",
        ClientCreated = "client.created",
        ClientUpdated = "client.updated",
        ClientDeleted = "client.deleted",
        /// Another key became the signing key.
        KeyRotated = "key.rotated",
        /// A compromised key was revoked.
        KeyRevoked = "key.revoked",
        /// The store was restored from a backup.
        StoreRestored = "store.restored",
        /// The own tokens of a client were ended.
        ClientTokensRevoked = "client.tokens_revoked",
    }
}
