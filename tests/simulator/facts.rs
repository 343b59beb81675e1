//! What the clients know: what was acknowledged, and what may have happened without an answer.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyfob::domain::id::{Position, SessionId};
use keyfob::domain::time::Timestamp;
use serde_json::Value;

/// Whether something has happened: `Maybe` from the request until an answer, or until an audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fact {
    #[default]
    No,
    Maybe,
    Yes,
}

impl Fact {
    pub fn doubt(&mut self) {
        if *self == Self::No {
            *self = Self::Maybe;
        }
    }
}

/// One registration of a client.
#[derive(Clone, Debug)]
pub struct Incarnation {
    pub name: String,
    pub secret: String,
    /// Secrets that were replaced without a time of grace.
    pub dead_secrets: Vec<String>,
    pub deleted: Fact,
    /// Whether a rotation without an answer may have replaced the secret.
    pub secret_doubt: bool,
    /// Changes of it that were requested, so that a request knows whether one came in between.
    pub changes: u64,
    pub rotating: bool,
    pub position: Option<Position>,
}

#[derive(Clone, Debug)]
pub struct Family {
    pub incarnation: usize,
    pub ended: Fact,
    /// The last generation of an acknowledged refresh.
    pub generation: u32,
    /// The refresh token of that generation; `None` if the store is ahead of what was answered.
    pub current: Option<usize>,
    /// Refreshes in progress, and whether one has had no answer.
    pub in_progress: usize,
    pub unanswered: bool,
    /// Refreshes requested so far.
    pub requested: u64,
    /// The refresh token of each generation.
    pub texts: BTreeMap<u32, String>,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    pub incarnation: usize,
    pub subject: usize,
    pub ended: Fact,
    /// The tick of its acknowledgement.
    pub acknowledged: u64,
    pub expires_at: Timestamp,
    /// It is active until then at least, unless it is ended.
    pub idle_until: Timestamp,
    pub families: BTreeMap<u16, Family>,
    /// Openings of families without an answer.
    pub families_unanswered: usize,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Access { issued_at: i64, expires_at: i64, kid: String },
    Refresh { generation: u32 },
    Session,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub text: String,
    pub kind: Kind,
    /// `None` for a client's own token.
    pub session: Option<usize>,
    pub family: Option<u16>,
    pub incarnation: usize,
    pub acknowledged: u64,
    pub revoked: Fact,
}

/// A request that ends many at once, in ticks of request and acknowledgement.
#[derive(Clone, Debug)]
pub struct BroadEnd {
    pub from: u64,
    pub until: Option<u64>,
    pub subject: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Facts {
    pub tick: u64,
    /// How often the wall clock was moved.
    pub clock_moves: u64,
    pub now: Timestamp,
    pub incarnations: Vec<Incarnation>,
    pub sessions: Vec<Session>,
    pub tokens: Vec<Token>,
    pub broad: Vec<BroadEnd>,
    pub revoked_keys: BTreeMap<String, Fact>,
    /// The highest position of an event that an answer has shown.
    pub head_seen: u64,
}

impl Facts {
    pub fn new(now: Timestamp) -> Self {
        Self {
            tick: 0,
            clock_moves: 0,
            now,
            incarnations: vec![],
            sessions: vec![],
            tokens: vec![],
            broad: vec![],
            revoked_keys: BTreeMap::new(),
            head_seen: 0,
        }
    }

    /// Why a token certainly cannot be active; for ever, whatever the clock.
    pub fn certainly_ended(&self, token: &Token) -> Option<&'static str> {
        let facts = [
            (self.incarnations[token.incarnation].deleted, "its client was deleted"),
            (token.revoked, "it was revoked"),
            (self.session_of(token).map_or(Fact::No, |session| session.ended), "its session was ended"),
            (self.owner_deleted(token), "the client of its session was deleted"),
            (self.family_of(token).map_or(Fact::No, |family| family.ended), "its family was ended"),
            (self.key_fact(token), "its key was revoked"),
        ];
        facts.into_iter().find(|(fact, _)| *fact == Fact::Yes).map(|(_, why)| why)
    }

    /// Why a token cannot be active at this time.
    pub fn expired(&self, token: &Token) -> bool {
        let session = self.session_of(token).is_some_and(|session| self.now >= session.expires_at);
        session || matches!(token.kind, Kind::Access { expires_at, .. } if self.now.seconds() >= expires_at)
    }

    /// Whether a token must be active: all that could have ended it is known not to have happened.
    pub fn certainly_active(&self, token: &Token) -> bool {
        let incarnation = &self.incarnations[token.incarnation];
        let session = self.session_of(token).is_none_or(|session| {
            session.ended == Fact::No && self.now < session.expires_at && self.now < session.idle_until
        });
        let family = self.family_of(token).is_none_or(|family| family.ended == Fact::No);
        let by_kind = match &token.kind {
            Kind::Access { issued_at, expires_at, .. } => {
                (issued_at - 60..*expires_at).contains(&self.now.seconds())
                    && self.key_fact(token) == Fact::No
            }
            Kind::Refresh { .. } => self.is_current(token),
            Kind::Session => true,
        };
        let clients = incarnation.deleted == Fact::No && self.owner_deleted(token) == Fact::No;
        clients && token.revoked == Fact::No && session && family && by_kind
    }

    fn owner_deleted(&self, token: &Token) -> Fact {
        self.session_of(token).map_or(Fact::No, |session| self.incarnations[session.incarnation].deleted)
    }

    /// Whether a refresh token is known to be the current one.
    pub fn is_current(&self, token: &Token) -> bool {
        self.family_of(token).is_some_and(|family| {
            let current = family.current.map(|index| &self.tokens[index].text);
            current == Some(&token.text) && family.in_progress == 0 && !family.unanswered
        })
    }

    pub fn session_of(&self, token: &Token) -> Option<&Session> {
        token.session.map(|index| &self.sessions[index])
    }

    pub fn family_of(&self, token: &Token) -> Option<&Family> {
        self.session_of(token)?.families.get(&token.family?)
    }

    fn key_fact(&self, token: &Token) -> Fact {
        match &token.kind {
            Kind::Access { kid, .. } => self.revoked_keys.get(kid).copied().unwrap_or_default(),
            _ => Fact::No,
        }
    }

    /// Whether a broad end that concerns this may have come after something that was requested at `from`.
    pub fn may_be_ended_since(&self, from: u64, subject: Option<usize>) -> bool {
        let mut broad = self.broad.iter();
        broad.any(|end| {
            end.until.is_none_or(|until| until > from) && (end.subject.is_none() || end.subject == subject)
        })
    }

    /// A move of the clock can make sessions expire, and a later one does not undo that where it was seen.
    pub fn move_clock(&mut self, now: Timestamp) {
        (self.now, self.clock_moves) = (now, self.clock_moves + 1);
        for session in self.sessions.iter_mut().filter(|session| session.idle_until <= now) {
            session.ended.doubt();
        }
    }
}

/// Family and generation of an opaque token.
pub fn link(text: &str) -> (u16, u32) {
    let bytes = Base64UrlUnpadded::decode_vec(&text[4..]).unwrap();
    let family = u16::from_be_bytes(bytes[18..20].try_into().unwrap());
    (family, u32::from_be_bytes(bytes[20..24].try_into().unwrap()))
}

/// What a PASETO says of itself.
pub fn access(text: &str) -> (Kind, Option<u16>) {
    let parts: Vec<&str> = text.split('.').collect();
    let payload = Base64UrlUnpadded::decode_vec(parts[2]).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let claims = json(&payload[..payload.len() - 64]);
    let footer = json(&Base64UrlUnpadded::decode_vec(parts[3]).unwrap());
    let seconds = |name: &str| claims[name].as_str().unwrap().parse::<Timestamp>().unwrap().seconds();
    let family = claims["fam"].as_u64().map(|number| u16::try_from(number).unwrap());
    let kid = footer["kid"].as_str().unwrap().to_owned();
    (Kind::Access { issued_at: seconds("iat"), expires_at: seconds("exp"), kid }, family)
}
