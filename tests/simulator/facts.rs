//! What the clients know: what was acknowledged, and what may have happened without an answer.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyfob::domain::id::{Position, SessionId};
use keyfob::domain::time::Timestamp;
use serde_json::Value;

use crate::server::Auth;

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
    /// A public client has no secret and no permissions; it refreshes and revokes.
    pub public: bool,
    /// Empty for a public client.
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
    /// The tick of its acknowledgement.
    pub acknowledged: u64,
    /// The last generation of an acknowledged refresh.
    pub generation: u32,
    /// The refresh token of that generation; `None` if the store is ahead of what was answered.
    pub current: Option<usize>,
    /// Refreshes in progress, and whether one has had no answer.
    pub in_progress: usize,
    pub unanswered: bool,
    /// Refreshes requested so far.
    pub requested: u64,
    /// The moves of the clock before the retry window of the current generation opened, if that is known.
    pub window: Option<u64>,
    /// The refresh token of each generation.
    pub texts: BTreeMap<u32, String>,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    /// The client that it is for.
    pub incarnation: usize,
    /// The client that opened it; `None` for the administrator.
    pub opener: Option<usize>,
    pub subject: usize,
    pub ended: Fact,
    /// The tick of its acknowledgement.
    pub acknowledged: u64,
    pub expires_at: Timestamp,
    /// It is active until then at least, unless it is ended.
    pub idle_until: Timestamp,
    pub families: BTreeMap<u16, Family>,
    /// Openings of families, and renewals, without an answer.
    pub families_unanswered: usize,
    /// The last renewal that was acknowledged.
    pub renewals: u32,
    /// Renewals in progress, and whether one has had no answer.
    pub renewals_in_progress: usize,
    pub renewal_unanswered: bool,
    /// The family that the opening and each renewal issued.
    pub own: BTreeMap<u32, u16>,
    /// Whether a restore came after it: it has ended, and may be missing.
    pub before_restore: bool,
}

#[derive(Clone, Debug)]
pub enum Kind {
    Access {
        issued_at: i64,
        expires_at: i64,
        kid: String,
    },
    Refresh {
        generation: u32,
    },
    /// The generation is the number of renewals.
    Session {
        generation: u32,
    },
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
    /// Whether a read has shown it as ended. A refresh token that was spent can still be retried.
    pub shown_ended: bool,
}

/// A request that ends many at once, in ticks of request and acknowledgement.
#[derive(Clone, Debug)]
pub struct BroadEnd {
    pub from: u64,
    pub until: Option<u64>,
    pub subject: Option<usize>,
    /// The client that sent it; `None` for the administrator.
    pub by: Option<usize>,
}

impl BroadEnd {
    /// Ends, or may end, a session that it concerns. A client ends its own sessions, and its families in
    /// those of others.
    pub fn each(&self, session: &mut Session, mut end: impl FnMut(&mut Fact, u64)) {
        if self.subject.is_some_and(|subject| subject != session.subject) {
            return;
        }
        let owns = |by| session.incarnation == by || session.opener == Some(by);
        match self.by {
            Some(by) if !owns(by) => {
                let families = session.families.values_mut().filter(|family| family.incarnation == by);
                families.for_each(|family| end(&mut family.ended, family.acknowledged));
            }
            _ => end(&mut session.ended, session.acknowledged),
        }
    }
}

/// A restore: the last position of the backup, and the first of the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Epoch {
    pub after: u64,
    pub began: u64,
}

#[derive(Clone, Debug)]
pub struct Facts {
    pub tick: u64,
    /// How often the wall clock was moved, and whether it ever was set back.
    pub clock_moves: u64,
    pub set_back: bool,
    pub now: Timestamp,
    pub incarnations: Vec<Incarnation>,
    pub sessions: Vec<Session>,
    pub tokens: Vec<Token>,
    pub broad: Vec<BroadEnd>,
    pub revoked_keys: BTreeMap<String, Fact>,
    /// When a rotation was acknowledged after which a key signs nothing.
    pub retired_keys: BTreeMap<String, u64>,
    pub key_rotations_in_progress: usize,
    /// Changes that were requested so far.
    pub changes: u64,
    /// The highest position of an event that an answer has shown.
    pub head_seen: u64,
    pub epochs: Vec<Epoch>,
}

impl Facts {
    pub fn new(now: Timestamp) -> Self {
        Self {
            tick: 0,
            clock_moves: 0,
            set_back: false,
            now,
            incarnations: vec![],
            sessions: vec![],
            tokens: vec![],
            broad: vec![],
            revoked_keys: BTreeMap::new(),
            retired_keys: BTreeMap::new(),
            key_rotations_in_progress: 0,
            changes: 0,
            head_seen: 0,
            epochs: vec![],
        }
    }

    /// The credentials of a client.
    pub fn basic(&self, incarnation: usize) -> Auth {
        let of = &self.incarnations[incarnation];
        Auth::Basic(of.name.clone(), of.secret.clone())
    }

    /// Whether a client is registered and has permissions, as far as is known.
    pub fn can_call(&self, incarnation: usize) -> bool {
        let of = &self.incarnations[incarnation];
        of.deleted == Fact::No && !of.public
    }

    /// Why a token certainly cannot be active; for ever, whatever the clock.
    pub fn certainly_ended(&self, token: &Token) -> Option<&'static str> {
        self.ends(token).into_iter().find(|(fact, _)| *fact == Fact::Yes).map(|(_, why)| why)
    }

    /// Whether an end of a token was requested, and not answered.
    pub fn may_be_ended(&self, token: &Token) -> bool {
        self.certainly_ended(token).is_none() && self.ends(token).iter().any(|(fact, _)| *fact == Fact::Maybe)
    }

    fn ends(&self, token: &Token) -> [(Fact, &'static str); 6] {
        [
            (self.incarnations[token.incarnation].deleted, "its client was deleted"),
            (token.revoked, "it was revoked"),
            (self.session_of(token).map_or(Fact::No, |session| session.ended), "its session was ended"),
            (self.owner_deleted(token), "the client of its session was deleted"),
            (self.family_of(token).map_or(Fact::No, |family| family.ended), "its family was ended"),
            (self.key_fact(token), "its key was revoked"),
        ]
    }

    /// Why a token cannot be active at this time.
    pub fn expired(&self, token: &Token) -> bool {
        let session = self.session_of(token).is_some_and(|session| {
            let renewed = session.renewals_in_progress > 0 || session.renewal_unanswered;
            self.now >= session.expires_at && !renewed
        });
        session || matches!(token.kind, Kind::Access { expires_at, .. } if self.now.seconds() >= expires_at)
    }

    /// Whether a token is within all its time limits, as far as is known.
    pub fn is_in_time(&self, token: &Token) -> bool {
        let session = self.session_of(token);
        let by_kind = match &token.kind {
            Kind::Access { issued_at, expires_at, .. } => {
                (issued_at - 60..*expires_at).contains(&self.now.seconds())
            }
            Kind::Refresh { .. } | Kind::Session { .. } => true,
        };
        by_kind && session.is_none_or(|session| self.now < session.expires_at.min(session.idle_until))
    }

    /// Whether a token must be active: all that could have ended it is known not to have happened.
    pub fn certainly_active(&self, token: &Token) -> bool {
        let by_kind = match &token.kind {
            Kind::Access { .. } => self.key_fact(token) == Fact::No,
            Kind::Refresh { .. } => self.is_current(token),
            Kind::Session { .. } => true,
        };
        by_kind && !token.shown_ended && self.has_no_end(token)
    }

    /// Whether a refresh token was spent so shortly before that it must be answered again.
    pub fn is_retry(&self, token: &Token) -> bool {
        let Kind::Refresh { generation } = token.kind else { return false };
        let within = self.family_of(token).is_some_and(|family| {
            let alone = family.in_progress == 0 && !family.unanswered;
            alone && generation + 1 == family.generation && family.window == Some(self.clock_moves)
        });
        within && self.has_no_end(token)
    }

    /// Whether all that ends a token, its family or its session is known not to have happened.
    fn has_no_end(&self, token: &Token) -> bool {
        let session = self.session_of(token).is_none_or(|session| session.ended == Fact::No);
        let family = self.family_of(token).is_none_or(|family| family.ended == Fact::No);
        let registered = self.incarnations[token.incarnation].deleted == Fact::No;
        let clients = registered && self.owner_deleted(token) == Fact::No;
        clients && token.revoked == Fact::No && session && family && self.is_in_time(token)
    }

    /// Whether a session is certainly active, and so are the clients that it is for and of.
    pub fn can_be_changed(&self, session: usize) -> bool {
        let session = &self.sessions[session];
        let registered = |index: usize| self.incarnations[index].deleted == Fact::No;
        session.ended == Fact::No
            && registered(session.incarnation)
            && session.opener.is_none_or(registered)
            && self.now < session.expires_at.min(session.idle_until)
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

    /// The session token and the family of the last renewal may be replaced.
    pub fn doubt_own_tokens(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        for number in session.own.values() {
            session.families.get_mut(number).unwrap().ended.doubt();
        }
        for token in self.tokens.iter_mut().filter(|token| token.session == Some(index)) {
            if matches!(token.kind, Kind::Session { .. }) {
                token.revoked.doubt();
            }
        }
    }

    /// What the renewals before the last one issued has ended: session tokens, and the families with them.
    pub fn end_replaced_tokens(&mut self, index: usize) {
        let session = &mut self.sessions[index];
        for (_, number) in session.own.range(..session.renewals) {
            session.families.get_mut(number).unwrap().ended = Fact::Yes;
        }
        for token in self.tokens.iter_mut().filter(|token| token.session == Some(index)) {
            if matches!(token.kind, Kind::Session { generation } if generation < session.renewals) {
                token.revoked = Fact::Yes;
            }
        }
    }

    /// After an audit the session token of the last renewal is known to be valid.
    pub fn settle_session_tokens(&mut self, index: usize) {
        let renewals = self.sessions[index].renewals;
        for token in self.tokens.iter_mut().filter(|token| token.session == Some(index)) {
            let current = matches!(token.kind, Kind::Session { generation } if generation == renewals);
            if current && token.revoked == Fact::Maybe {
                token.revoked = Fact::No;
            }
        }
    }

    /// The position that must follow this one in the log.
    pub fn next_position(&self, position: u64) -> u64 {
        let epoch = self.epochs.iter().find(|epoch| epoch.after == position);
        epoch.map_or(position + 1, |epoch| epoch.began)
    }

    /// A cursor some events before the last one that was seen.
    pub fn cursor(&self) -> u64 {
        let cursor = self.head_seen.saturating_sub(50);
        let lost = self.epochs.iter().find(|epoch| (epoch.after..epoch.began).contains(&cursor));
        lost.map_or(cursor, |epoch| epoch.after)
    }

    /// A backup that ends at `epoch.after` was restored: everything issued before has ended, and a client is
    /// another one now.
    pub fn restored(&mut self, epoch: Epoch, earlier: &[Epoch]) {
        self.epochs = [earlier, &[epoch]].concat();
        self.head_seen = epoch.began;
        self.broad.clear();
        self.retired_keys.clear();
        for session in &mut self.sessions {
            (session.ended, session.before_restore) = (Fact::Yes, true);
        }
        for token in &mut self.tokens {
            token.revoked = Fact::Yes;
        }
        for incarnation in &mut self.incarnations {
            (incarnation.deleted, incarnation.position) = (Fact::Yes, None);
        }
    }

    /// A move of the clock can make sessions expire, and a later one does not undo that where it was seen.
    pub fn move_clock(&mut self, now: Timestamp) {
        self.set_back |= now < self.now;
        (self.now, self.clock_moves) = (now, self.clock_moves + 1);
        for session in &mut self.sessions {
            // What was sent as a retry can be late now, which ends the session.
            let refreshes = session.families.values().any(|family| family.in_progress > 0);
            if session.idle_until <= now || refreshes {
                session.ended.doubt();
            }
        }
    }
}

/// Family and generation of an opaque token.
pub fn link(text: &str) -> (u16, u32) {
    let bytes = Base64UrlUnpadded::decode_vec(&text[4..]).unwrap();
    let family = u16::from_be_bytes(bytes[18..20].try_into().unwrap());
    (family, u32::from_be_bytes(bytes[20..24].try_into().unwrap()))
}

/// What an access token, a PASETO or a JWT, says of itself.
pub fn access(text: &str) -> (Kind, Option<u16>) {
    let decoded = |part: &str| Base64UrlUnpadded::decode_vec(part).unwrap();
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    let parts: Vec<&str> = text.split('.').collect();
    let (claims, named) = match parts[..] {
        ["v4", "public", payload, footer] => {
            let payload = decoded(payload);
            (json(&payload[..payload.len() - 64]), json(&decoded(footer)))
        }
        [header, payload, _] => (json(&decoded(payload)), json(&decoded(header))),
        _ => panic!("no access token: {text}"),
    };
    let seconds = |name: &str| match &claims[name] {
        Value::String(time) => time.parse::<Timestamp>().unwrap().seconds(),
        number => number.as_i64().unwrap(),
    };
    let family = claims["fam"].as_u64().map(|number| u16::try_from(number).unwrap());
    let kid = named["kid"].as_str().unwrap().to_owned();
    (Kind::Access { issued_at: seconds("iat"), expires_at: seconds("exp"), kid }, family)
}
