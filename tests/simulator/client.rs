//! The clients: whether an answer agrees with all answers before it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::audit::Verdict;
use crate::facts::{BroadEnd, Epoch, Fact, Facts, Family, Incarnation, Kind, Session, Token, access, link};
use crate::operation::{NAMES, Opening, Operation, PUBLIC, Route};
use crate::server::{Answer, Auth};

/// What was known when a request was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub operation: Operation,
    pub from: u64,
    clock_moves: u64,
    sent_at: keyfob::domain::time::Timestamp,
    /// The client that sends it, its changes until then, and whether its secret was in doubt; `None` for the
    /// administrator and for people.
    incarnation: Option<(usize, u64, bool)>,
    /// Why the token or session is certainly not active.
    ended: Option<&'static str>,
    expired: bool,
    /// Whether it is certainly active.
    active: bool,
    /// Whether it cannot be refused, unless another change comes in between.
    granted: bool,
    /// The changes that were requested until then, this one included.
    changes: u64,
    /// For a refresh: how many were requested of its family, and whether it is certainly reuse.
    requested: u64,
    reuse: bool,
    /// For a renewal, and a log-out: the last renewal that was acknowledged.
    renewals: u32,
    /// For an opening: the sessions of its subject and client that may be active.
    peers: usize,
    /// For a page of the event log: the position that it starts after.
    cursor: u64,
}

/// The cap on the sessions of a subject and client.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub sessions_max: usize,
    pub refuses: bool,
}

/// Whether a name is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    Free,
    Busy,
    Taken(usize),
    /// A creation had no answer.
    Unknown,
}

pub struct Clients {
    pub facts: Facts,
    pub openings: Vec<Opening>,
    pub names: [Name; NAMES.len()],
    /// A client that may introspect, and nothing else.
    pub reader: Auth,
    pub limit: Option<Limit>,
    idle_timeout: std::time::Duration,
}

impl Clients {
    pub fn new(facts: Facts, limit: Option<Limit>, idle_timeout: std::time::Duration) -> Self {
        let names = [Name::Free; NAMES.len()];
        Self { facts, openings: vec![], names, reader: Auth::Socket, limit, idle_timeout }
    }

    /// Notes what a request that is sent now may do.
    pub fn sent(&mut self, operation: Operation, caller: Option<usize>) -> Sent {
        let peers = self.peers_of(&operation);
        let facts = &mut self.facts;
        facts.changes += u64::from(operation.is_change());
        let mut sent = Sent {
            from: facts.tick,
            clock_moves: facts.clock_moves,
            sent_at: facts.now,
            incarnation: None,
            ended: None,
            expired: false,
            active: false,
            granted: false,
            changes: facts.changes,
            requested: 0,
            reuse: false,
            renewals: 0,
            peers,
            cursor: facts.cursor(),
            operation,
        };
        match &sent.operation {
            Operation::Open(number) => {
                let opening = &mut self.openings[usize::try_from(*number).unwrap()];
                opening.unanswered += 1;
                opening.requests += 1;
                if let Some(session) = opening.session.map(|index| &facts.sessions[index]) {
                    let used = session.renewals > 0
                        || session.families.len() > 1
                        || session.families.values().any(|family| family.generation > 0);
                    sent.ended = used.then_some("its session was used");
                    if session.ended == Fact::Yes {
                        sent.ended = Some("its session was ended");
                    }
                }
                // Of an opening for another client, the next one of its name gets the session.
                let of_client = opening.session.is_some() || opening.opener == Some(opening.incarnation);
                if of_client && facts.incarnations[opening.incarnation].deleted == Fact::Yes {
                    sent.ended = Some("its client was deleted");
                }
                let evicts = |limit: &Limit| !limit.refuses && peers >= limit.sessions_max;
                if opening.session.is_none() && self.limit.as_ref().is_some_and(evicts) {
                    let Facts { sessions, incarnations, .. } = &mut *facts;
                    let name = &incarnations[opening.incarnation].name;
                    for session in sessions {
                        if session.subject == opening.subject
                            && incarnations[session.incarnation].name == *name
                        {
                            session.ended.doubt();
                        }
                    }
                }
            }
            Operation::Refresh(index) => {
                let token = facts.tokens[*index].clone();
                sent.ended = facts.certainly_ended(&token);
                sent.active = facts.certainly_active(&token);
                sent.granted = sent.active || facts.is_retry(&token);
                let known = facts.session_of(&token).is_some_and(|session| {
                    session.ended == Fact::No && facts.now < session.expires_at.min(session.idle_until)
                });
                let Kind::Refresh { generation } = token.kind else { unreachable!() };
                let session = &mut facts.sessions[token.session.unwrap()];
                let family = session.families.get_mut(&token.family.unwrap()).unwrap();
                sent.reuse = known && family.ended == Fact::No && generation + 2 <= family.generation;
                if !sent.granted {
                    session.ended.doubt();
                }
                let family = session.families.get_mut(&token.family.unwrap()).unwrap();
                family.in_progress += 1;
                family.requested += 1;
                sent.requested = family.requested;
            }
            Operation::Introspect(index) | Operation::Use(index, _) => {
                let token = &facts.tokens[*index];
                let shown = token.shown_ended.then_some("a read has shown it as ended");
                sent.ended = facts.certainly_ended(token).or(shown);
                sent.expired = facts.expired(token);
                sent.active = facts.certainly_active(token);
            }
            Operation::Revoke(index) => {
                let token = &mut facts.tokens[*index];
                token.revoked.doubt();
                let (session, family, kind) = (token.session, token.family, token.kind.clone());
                if let (Some(session), Kind::Refresh { .. } | Kind::Session { .. }) = (session, kind) {
                    let session = &mut facts.sessions[session];
                    session.ended.doubt();
                    if let Some(family) = family.and_then(|number| session.families.get_mut(&number)) {
                        family.ended.doubt();
                    }
                }
            }
            Operation::LogOut(index, _) => {
                let token = &facts.tokens[*index];
                sent.granted = facts.certainly_active(token);
                let Kind::Session { generation } = token.kind else { unreachable!() };
                let session = &mut facts.sessions[token.session.unwrap()];
                sent.renewals = session.renewals;
                // A token that was replaced ends nothing.
                if generation >= session.renewals {
                    session.ended.doubt();
                }
            }
            Operation::EndSession(index) => facts.sessions[*index].ended.doubt(),
            Operation::EndFamily(index, number) => {
                let family = &facts.sessions[*index].families[number];
                let deleted = facts.incarnations[family.incarnation].deleted;
                sent.granted =
                    (family.ended, deleted) == (Fact::No, Fact::No) && facts.can_be_changed(*index);
                facts.sessions[*index].families.get_mut(number).unwrap().ended.doubt();
            }
            Operation::Renew(index) => {
                sent.granted = facts.can_be_changed(*index);
                let session = &mut facts.sessions[*index];
                sent.renewals = session.renewals;
                sent.ended = (session.ended == Fact::Yes).then_some("its session was ended");
                session.renewals_in_progress += 1;
                session.families_unanswered += 1;
                facts.doubt_own_tokens(*index);
            }
            Operation::EndSubject(_) | Operation::EndAll => {
                let subject =
                    if let Operation::EndSubject(subject) = sent.operation { Some(subject) } else { None };
                let broad = BroadEnd { from: sent.from, until: None, subject, by: caller };
                for session in &mut facts.sessions {
                    broad.each(session, |ended, _| ended.doubt());
                }
                facts.broad.push(broad);
                for token in facts.tokens.iter_mut().filter(|token| token.session.is_none()) {
                    if subject.is_none() {
                        token.revoked.doubt();
                    }
                }
            }
            Operation::Create { name, .. } | Operation::DeleteName(name) => self.names[*name] = Name::Busy,
            Operation::Delete(index) => {
                let incarnation = &mut facts.incarnations[*index];
                incarnation.deleted.doubt();
                incarnation.changes += 1;
            }
            Operation::RotateSecret { incarnation: index, keep_old } => {
                let incarnation = &mut facts.incarnations[*index];
                (incarnation.rotating, incarnation.secret_doubt) = (true, true);
                incarnation.changes += 1;
                let own = |token: &&mut Token| token.session.is_none() && token.incarnation == *index;
                if !keep_old {
                    facts.tokens.iter_mut().filter(own).for_each(|token| token.revoked.doubt());
                }
            }
            Operation::RevokeKey(kid) => facts.revoked_keys.entry(kid.clone()).or_default().doubt(),
            Operation::OpenFamily(index, incarnation) => {
                let registered = facts.incarnations[*incarnation].deleted == Fact::No;
                sent.granted = registered && facts.can_be_changed(*index);
                let session = &mut facts.sessions[*index];
                session.families_unanswered += 1;
                sent.ended = (session.ended == Fact::Yes).then_some("its session was ended");
            }
            Operation::RotateKey => {
                sent.granted = facts.key_rotations_in_progress == 0;
                facts.key_rotations_in_progress += 1;
            }
            Operation::OwnToken(_)
            | Operation::DeadSecret { .. }
            | Operation::Denied(_)
            | Operation::Events
            | Operation::Sweep => {}
        }
        sent.incarnation = caller.map(|index| {
            let incarnation = &facts.incarnations[index];
            (index, incarnation.changes, incarnation.secret_doubt)
        });
        sent
    }

    /// Nothing is known of the outcome: the answer was lost.
    pub fn lost(&mut self, sent: &Sent) {
        match &sent.operation {
            Operation::Refresh(index) => {
                let family = self.family_of(*index);
                family.in_progress -= 1;
                family.unanswered = true;
            }
            Operation::Renew(index) => {
                let session = &mut self.facts.sessions[*index];
                session.renewals_in_progress -= 1;
                session.renewal_unanswered = true;
            }
            Operation::Create { name, .. } | Operation::DeleteName(name) => {
                self.names[*name] = Name::Unknown;
            }
            Operation::RotateSecret { incarnation, .. } => {
                self.facts.incarnations[*incarnation].rotating = false;
            }
            Operation::RotateKey => self.facts.key_rotations_in_progress -= 1,
            _ => {}
        }
    }

    /// After an audit: names of clients whose deletion had no answer.
    pub fn audited(&mut self) {
        for name in &mut self.names {
            if let Name::Taken(index) = *name
                && self.facts.incarnations[index].deleted == Fact::Yes
            {
                *name = Name::Free;
            }
        }
    }

    /// Compares an answer with what is known.
    ///
    /// # Errors
    /// What contradicts it.
    pub fn answered(&mut self, sent: &Sent, answer: &Answer, troubled: bool) -> Verdict {
        let status = answer.status;
        if status == 503 && troubled {
            self.lost(sent);
            return Ok(());
        }
        if status >= 500 {
            return Err(format!("answered {status} without a fault: {}", answer.body));
        }
        let rejected = status == 401 || answer.body["error"] == json!("invalid_client");
        let is_of_client = match sent.operation {
            Operation::DeadSecret { .. } | Operation::Denied(_) | Operation::LogOut(..) => false,
            Operation::Use(_, route) => route == Route::Check,
            _ => true,
        };
        if rejected && is_of_client {
            return self.rejected(sent);
        }
        let unexpected = || Err(format!("answered {status}: {}", answer.body));
        match &sent.operation {
            Operation::Open(number) => match status {
                201 => self.opened(sent, *number, &answer.body)?,
                403 | 409 => self.not_opened(sent, *number, answer)?,
                _ => return unexpected(),
            },
            Operation::Refresh(index) => match status {
                200 => self.refreshed(sent, *index, &answer.body)?,
                400 if answer.body["error"] == json!("invalid_grant") => self.not_refreshed(sent, *index)?,
                _ => return unexpected(),
            },
            Operation::Introspect(index) | Operation::Use(index, Route::Check) => {
                let active = match &answer.body["active"] {
                    _ if status != 200 => return unexpected(),
                    Value::Bool(true) => true,
                    _ if answer.body == json!({"active": false}) => false,
                    _ => return unexpected(),
                };
                self.shown(sent, *index, active)?;
            }
            Operation::Use(index, _) => match status {
                200 => self.shown(sent, *index, true)?,
                401 => self.shown(sent, *index, false)?,
                _ => return unexpected(),
            },
            Operation::LogOut(index, _) => match status {
                204 => self.logged_out(sent, *index),
                401 if !self.must_be_granted(sent) => {}
                _ => return unexpected(),
            },
            Operation::Renew(index) => match status {
                200 => self.renewed(sent, *index, &answer.body)?,
                403 | 404 | 409 if !self.must_be_granted(sent) => self.not_renewed(*index),
                _ => return unexpected(),
            },
            Operation::Revoke(index) => {
                if status != 200 {
                    return unexpected();
                }
                let token = &mut self.facts.tokens[*index];
                token.revoked = Fact::Yes;
                let (session, family) = (token.session, token.family);
                match (&token.kind, session, family) {
                    (Kind::Session { .. }, Some(session), _) => {
                        self.facts.sessions[session].ended = Fact::Yes
                    }
                    (Kind::Refresh { .. }, Some(session), Some(number)) => {
                        let families = &mut self.facts.sessions[session].families;
                        families.get_mut(&number).unwrap().ended = Fact::Yes;
                    }
                    _ => {}
                }
            }
            Operation::EndSession(index) => match status {
                204 => self.facts.sessions[*index].ended = Fact::Yes,
                // Not the present client's any more.
                404 if self.opener_may_be_gone(*index) => {}
                _ => return unexpected(),
            },
            Operation::EndFamily(index, number) => match status {
                204 => {
                    let families = &mut self.facts.sessions[*index].families;
                    families.get_mut(number).unwrap().ended = Fact::Yes;
                }
                // Or it ended so long ago that it is not kept.
                404 if !self.must_be_granted(sent) => {}
                _ => return unexpected(),
            },
            Operation::OpenFamily(index, incarnation) => match status {
                201 => self.family_opened(sent, *index, *incarnation, &answer.body)?,
                403 | 404 | 409 if !self.must_be_granted(sent) => {
                    self.facts.sessions[*index].families_unanswered -= 1;
                }
                _ => return unexpected(),
            },
            Operation::EndSubject(_) | Operation::EndAll => {
                if status != 200 {
                    return unexpected();
                }
                self.ended_broadly(sent);
            }
            Operation::Create { name, .. } => {
                if status != 201 {
                    return unexpected();
                }
                let secret = answer.body["client_secret"].as_str().unwrap_or_default();
                self.register(*name, secret);
            }
            Operation::Delete(index) => {
                if status != 204 {
                    return unexpected();
                }
                let incarnation = &mut self.facts.incarnations[*index];
                incarnation.deleted = Fact::Yes;
                if !incarnation.public {
                    incarnation.dead_secrets.push(incarnation.secret.clone());
                }
                let name = self.names.iter_mut().find(|name| **name == Name::Taken(*index));
                *name.ok_or("a client was deleted twice")? = Name::Free;
            }
            Operation::DeleteName(name) => match status {
                204 | 404 => self.names[*name] = Name::Free,
                _ => return unexpected(),
            },
            Operation::RotateSecret { incarnation, keep_old } => match status {
                200 => self.rotated(sent, *incarnation, *keep_old, text(&answer.body, "client_secret")),
                404 if self.facts.incarnations[*incarnation].deleted != Fact::No => self.lost(sent),
                _ => return unexpected(),
            },
            Operation::OwnToken(index) => {
                if status != 200 {
                    return unexpected();
                }
                let token = text(&answer.body, "access_token");
                let incarnation = &self.facts.incarnations[*index];
                let changed = sent
                    .incarnation
                    .is_some_and(|(_, changes, doubt)| doubt || changes != incarnation.changes);
                let doubt =
                    changed || incarnation.secret_doubt || self.facts.may_be_ended_since(sent.from, None);
                self.check_key(sent, &token)?;
                let at = self.add_token(&token, access(&token).0, None, None, *index);
                if doubt {
                    self.facts.tokens[at].revoked.doubt();
                }
            }
            Operation::DeadSecret { .. } => {
                if !rejected {
                    return Err(format!("a secret that was replaced is accepted: {status}"));
                }
            }
            // The token may have ended before: then nothing is revoked.
            Operation::Denied(request) if request.path == "/oauth2/revoke" && status == 200 => {}
            Operation::Denied(_) => {
                if !matches!(status, 400..=404) {
                    return unexpected();
                }
            }
            Operation::RotateKey => {
                if status != 200 {
                    return unexpected();
                }
                self.key_rotated(sent, &answer.body);
            }
            Operation::RevokeKey(kid) => match status {
                204 | 404 => _ = self.facts.revoked_keys.insert(kid.clone(), Fact::Yes),
                _ => return unexpected(),
            },
            Operation::Events => self.events(sent, answer)?,
            Operation::Sweep => {}
        }
        Ok(())
    }

    /// A client that was changed, or is in doubt, may be rejected.
    fn rejected(&mut self, sent: &Sent) -> Verdict {
        let Some((index, changes, doubt)) = sent.incarnation else {
            return Err("the administrator was rejected".into());
        };
        let incarnation = &self.facts.incarnations[index];
        let doubt = doubt || incarnation.secret_doubt || incarnation.changes != changes;
        if !doubt && incarnation.deleted == Fact::No {
            return Err(format!("client {} was rejected", incarnation.name));
        }
        match &sent.operation {
            Operation::Refresh(index) => self.family_of(*index).in_progress -= 1,
            Operation::Open(number) => {
                self.openings[usize::try_from(*number).unwrap()].unanswered -= 1;
            }
            Operation::Renew(index) => self.not_renewed(*index),
            Operation::OpenFamily(index, _) => self.facts.sessions[*index].families_unanswered -= 1,
            Operation::RotateKey => self.facts.key_rotations_in_progress -= 1,
            _ => {}
        }
        Ok(())
    }

    /// Whether a refusal contradicts what was known when the request was sent: nothing that could cause it
    /// has come since.
    fn must_be_granted(&self, sent: &Sent) -> bool {
        sent.granted && sent.changes == self.facts.changes && sent.clock_moves == self.facts.clock_moves
    }

    /// A client of this name is registered now.
    pub fn register(&mut self, name: usize, secret: &str) {
        self.names[name] = Name::Taken(self.facts.incarnations.len());
        self.facts.incarnations.push(Incarnation {
            name: NAMES[name].into(),
            public: name == PUBLIC,
            secret: secret.into(),
            dead_secrets: vec![],
            deleted: Fact::No,
            secret_doubt: false,
            changes: 0,
            rotating: false,
            position: None,
        });
    }

    /// A backup was restored: see [`Facts::restored`].
    pub fn restored(&mut self, epoch: Epoch, earlier: &[Epoch]) {
        self.facts.restored(epoch, earlier);
        self.names = [Name::Unknown; NAMES.len()];
        for opening in &mut self.openings {
            (opening.before_restore, opening.unanswered, opening.adopted) = (true, 0, false);
        }
    }

    /// Compares whether a token was shown as active with what is known.
    fn shown(&mut self, sent: &Sent, index: usize, active: bool) -> Verdict {
        let token = &self.facts.tokens[index];
        let same_time = sent.clock_moves == self.facts.clock_moves;
        if let Some(why) = sent.ended.filter(|_| active) {
            return Err(format!("a token is active, and {why}"));
        }
        if active && sent.expired && same_time {
            return Err("an expired token is active".into());
        }
        if !active && sent.active && same_time && self.facts.certainly_active(token) {
            return Err("a valid token is inactive".into());
        }
        // What a read shows as ended was durable: it is ended, although no answer has acknowledged the end.
        if !active && same_time && self.facts.is_in_time(token) {
            self.facts.tokens[index].shown_ended = true;
        }
        Ok(())
    }

    fn logged_out(&mut self, sent: &Sent, index: usize) {
        let token = &self.facts.tokens[index];
        let Kind::Session { generation } = token.kind else { unreachable!() };
        let session = &mut self.facts.sessions[token.session.unwrap()];
        let current = sent.renewals == generation && session.renewals == generation;
        if current && session.renewals_in_progress == 0 && !session.renewal_unanswered {
            session.ended = Fact::Yes;
        }
    }

    /// The sessions of an opening's subject and client that may be active, those without an answer included.
    fn peers_of(&self, operation: &Operation) -> usize {
        let Operation::Open(number) = operation else { return 0 };
        let number = usize::try_from(*number).unwrap();
        let of = &self.openings[number];
        let peers = self.facts.sessions.iter().filter(|session| {
            session.ended != Fact::Yes
                && session.subject == of.subject
                && self.name_of(session.incarnation) == self.name_of(of.incarnation)
        });
        peers.count() + self.peers_in_doubt(number, |_| false)
    }

    /// Other openings for the same subject and client that may have opened a session without an answer. An
    /// opening for another client may have opened it for the next one of its name.
    fn peers_in_doubt(&self, number: usize, also: impl Fn(&Opening) -> bool) -> usize {
        let of = &self.openings[number];
        let others = self.openings.iter().enumerate().filter(|(index, _)| *index != number);
        let peers = others.filter(|(_, other)| {
            let in_doubt = other.session.is_none() && (other.unanswered > 0 || other.adopted);
            other.subject == of.subject
                && self.name_of(other.incarnation) == self.name_of(of.incarnation)
                && (in_doubt || also(other))
        });
        peers.count()
    }

    fn name_of(&self, incarnation: usize) -> &str {
        &self.facts.incarnations[incarnation].name
    }

    fn not_opened(&mut self, sent: &Sent, number: u64, answer: &Answer) -> Verdict {
        let number = usize::try_from(number).unwrap();
        let peers = sent.peers + self.peers_in_doubt(number, |other| other.until > sent.from);
        let opening = &mut self.openings[number];
        opening.unanswered -= 1;
        let full = self.limit.is_some_and(|limit| limit.refuses && peers >= limit.sessions_max);
        let repeated = opening.has_key && opening.requests > 1;
        let client_changed = self.facts.incarnations[opening.incarnation].deleted != Fact::No;
        if client_changed || answer.status == 409 && (full || repeated) {
            return Ok(());
        }
        Err(format!("an opening was refused without a cause: {} {}", answer.status, answer.body))
    }

    fn renewed(&mut self, sent: &Sent, index: usize, body: &Value) -> Verdict {
        if let Some(why) = sent.ended {
            return Err(format!("a session was renewed, and {why}"));
        }
        self.not_renewed(index);
        let incarnation = self.facts.sessions[index].incarnation;
        let token = text(body, "session_token");
        let (_, generation) = link(&token);
        if generation <= sent.renewals || self.facts.sessions[index].own.contains_key(&generation) {
            return Err(format!("renewal {generation} after renewal {}", sent.renewals));
        }
        self.add_token(&token, Kind::Session { generation }, Some(index), None, incarnation);
        self.check_key(sent, &text(body, "access_token"))?;
        let family = self.add_family(index, incarnation, body);
        let expires_at = text(&body["session"], "expires_at").parse().unwrap();
        // The answer may show a later time: a use before a start counts as later by a minute, in that run.
        let idle_until = sent.sent_at.plus(self.idle_timeout);
        let session = &mut self.facts.sessions[index];
        session.own.insert(generation, family);
        session.renewals = session.renewals.max(generation);
        session.expires_at = session.expires_at.max(expires_at);
        if sent.clock_moves == self.facts.clock_moves {
            session.idle_until = session.idle_until.max(idle_until);
        }
        self.facts.end_replaced_tokens(index);
        if self.facts.sessions[index].renewals_in_progress > 0
            || self.facts.sessions[index].renewal_unanswered
        {
            self.facts.doubt_own_tokens(index);
        }
        Ok(())
    }

    fn not_renewed(&mut self, index: usize) {
        let session = &mut self.facts.sessions[index];
        session.renewals_in_progress -= 1;
        session.families_unanswered -= 1;
    }

    fn opened(&mut self, sent: &Sent, number: u64, body: &Value) -> Verdict {
        let opening = &mut self.openings[usize::try_from(number).unwrap()];
        if let Some(why) = sent.ended {
            return Err(format!("an opening was answered, and {why}"));
        }
        let client_changed = self.facts.incarnations[opening.incarnation].deleted != Fact::No;
        if client_changed && opening.session.is_none() && opening.opener != Some(opening.incarnation) {
            return Ok(());
        }
        opening.unanswered -= 1;
        let since = opening.from;
        opening.until = self.facts.tick;
        let (incarnation, opener, subject) = (opening.incarnation, opening.opener, opening.subject);
        if let Some(index) = opening.session {
            let same =
                ["session_token", "refresh_token"].iter().all(|name| body[name] == opening.answer[name]);
            if !same || body["session"]["id"] != opening.answer["session"]["id"] {
                return Err("a repetition of an opening got another session or other tokens".into());
            }
            let access_token = text(body, "access_token");
            self.add_token(&access_token, access(&access_token).0, Some(index), Some(1), incarnation);
            return Ok(());
        }
        let instant = |name: &str| text(&body["session"], name).parse().unwrap();
        let index = self.facts.sessions.len();
        (opening.session, opening.answer) = (Some(index), body.clone());
        self.check_limit(sent, incarnation, subject)?;
        let number = usize::try_from(number).unwrap();
        let evicted = self.limit.is_some_and(|limit| !limit.refuses)
            && self.peers_in_doubt(number, |other| other.until > since) > 0;
        let doubt = evicted || self.facts.may_be_ended_since(since, Some(subject));
        let session = Session {
            id: text(&body["session"], "id").parse().unwrap(),
            incarnation,
            opener,
            subject,
            ended: if doubt { Fact::Maybe } else { Fact::No },
            acknowledged: self.facts.tick,
            expires_at: instant("expires_at"),
            idle_until: instant("idle_expires_at"),
            families: BTreeMap::new(),
            families_unanswered: 0,
            renewals: 0,
            renewals_in_progress: 0,
            renewal_unanswered: false,
            own: BTreeMap::new(),
            before_restore: false,
        };
        // The sweep may have run at a time between the request and its answer.
        let expired = session.idle_until <= self.facts.now || sent.clock_moves != self.facts.clock_moves;
        self.facts.sessions.push(session);
        if expired {
            self.facts.sessions[index].ended.doubt();
        }
        let own = self.add_family(index, incarnation, body);
        self.facts.sessions[index].own.insert(0, own);
        let token = text(body, "session_token");
        self.add_token(&token, Kind::Session { generation: 0 }, Some(index), None, incarnation);
        Ok(())
    }

    /// A policy that refuses opens no session beyond its cap.
    fn check_limit(&self, sent: &Sent, incarnation: usize, subject: usize) -> Verdict {
        let Some(limit) = self.limit.filter(|limit| limit.refuses) else { return Ok(()) };
        let facts = &self.facts;
        let active = facts.sessions.iter().filter(|session| {
            (session.subject, session.incarnation) == (subject, incarnation)
                && session.ended == Fact::No
                && session.acknowledged < sent.from
                && facts.now < session.expires_at.min(session.idle_until)
        });
        let (active, registered) = (active.count(), facts.incarnations[incarnation].deleted == Fact::No);
        if sent.clock_moves == facts.clock_moves && registered && active >= limit.sessions_max {
            return Err(format!("a session was opened beside {active}, and the cap is {limit:?}"));
        }
        Ok(())
    }

    fn family_opened(&mut self, sent: &Sent, index: usize, incarnation: usize, body: &Value) -> Verdict {
        if let Some(why) = sent.ended {
            return Err(format!("a family was opened, and {why}"));
        }
        // If the client is deleted meanwhile, the family may be for the next one of its name.
        if self.facts.incarnations[incarnation].deleted == Fact::No {
            self.facts.sessions[index].families_unanswered -= 1;
            self.check_key(sent, &text(body, "access_token"))?;
            let number = self.add_family(index, incarnation, body);
            let subject = self.facts.sessions[index].subject;
            if self.facts.may_be_ended_since(sent.from, Some(subject)) {
                self.facts.sessions[index].families.get_mut(&number).unwrap().ended.doubt();
            }
        }
        Ok(())
    }

    /// Returns its number.
    fn add_family(&mut self, session: usize, incarnation: usize, body: &Value) -> u16 {
        let (refresh_token, access_token) = (text(body, "refresh_token"), text(body, "access_token"));
        let (number, generation) = link(&refresh_token);
        let kind = Kind::Refresh { generation };
        let current = self.add_token(&refresh_token, kind, Some(session), Some(number), incarnation);
        let family = Family {
            incarnation,
            ended: Fact::No,
            acknowledged: self.facts.tick,
            generation,
            current: Some(current),
            in_progress: 0,
            unanswered: false,
            requested: 0,
            window: None,
            texts: BTreeMap::from([(generation, refresh_token)]),
        };
        self.facts.sessions[session].families.insert(number, family);
        let (kind, of) = access(&access_token);
        self.add_token(&access_token, kind, Some(session), of, incarnation);
        number
    }

    fn refreshed(&mut self, sent: &Sent, index: usize, body: &Value) -> Verdict {
        if let Some(why) = sent.ended {
            return Err(format!("a refresh was answered, and {why}"));
        }
        let token = self.facts.tokens[index].clone();
        let (session, number) = (token.session.unwrap(), token.family.unwrap());
        let next = text(body, "refresh_token");
        let (family_number, generation) = link(&next);
        let Kind::Refresh { generation: presented } = token.kind else { unreachable!() };
        if (family_number, generation) != (number, presented + 1) {
            return Err(format!("generation {presented} was refreshed to {family_number}/{generation}"));
        }
        if sent.reuse {
            return Err("a spent refresh token was answered".into());
        }
        let known = self.family_of(index).texts.insert(generation, next.clone());
        if known.is_some_and(|known| known != next) {
            return Err(format!("generation {generation} has two refresh tokens"));
        }
        let (kind, of) = access(&text(body, "access_token"));
        self.add_token(&text(body, "access_token"), kind, Some(session), of, token.incarnation);
        let kind = Kind::Refresh { generation };
        let at = self.add_token(&next, kind, Some(session), Some(number), token.incarnation);
        let idle_until = sent.sent_at.plus(self.idle_timeout);
        let family = self.family_of(index);
        family.in_progress -= 1;
        if generation > family.generation {
            family.window = sent.active.then_some(sent.clock_moves);
        }
        if generation >= family.generation {
            (family.generation, family.current) = (generation, Some(at));
        }
        if sent.active && sent.clock_moves == self.facts.clock_moves {
            let session = &mut self.facts.sessions[session];
            session.idle_until = session.idle_until.max(idle_until);
        }
        Ok(())
    }

    fn not_refreshed(&mut self, sent: &Sent, index: usize) -> Verdict {
        let family = self.family_of(index);
        family.in_progress -= 1;
        let alone = family.requested == sent.requested;
        let token = self.facts.tokens[index].clone();
        let same_time = sent.clock_moves == self.facts.clock_moves;
        let still = self.facts.certainly_active(&token) || self.facts.is_retry(&token);
        if sent.granted && alone && same_time && still {
            return Err("a valid refresh token, or a retry within its window, was refused".into());
        }
        // Detected reuse is committed although the caller is refused. If the family was ended meanwhile, that
        // can be the reason.
        let reuse = sent.reuse && self.family_of(index).ended == Fact::No;
        if reuse && same_time && self.facts.incarnations[token.incarnation].deleted == Fact::No {
            self.facts.sessions[token.session.unwrap()].ended = Fact::Yes;
        }
        Ok(())
    }

    fn ended_broadly(&mut self, sent: &Sent) {
        let (tick, facts) = (self.facts.tick, &mut self.facts);
        let Some(broad) = facts.broad.iter_mut().find(|broad| broad.from == sent.from) else { return };
        broad.until = Some(tick);
        let (broad, subject) = (broad.clone(), broad.subject);
        for session in &mut facts.sessions {
            broad.each(session, |ended, acknowledged| {
                if acknowledged < sent.from {
                    *ended = Fact::Yes;
                }
            });
        }
        for token in &mut facts.tokens {
            if subject.is_none() && token.session.is_none() && token.acknowledged < sent.from {
                token.revoked = Fact::Yes;
            }
        }
    }

    fn rotated(&mut self, sent: &Sent, index: usize, keep_old: bool, secret: String) {
        let incarnation = &mut self.facts.incarnations[index];
        let old = std::mem::replace(&mut incarnation.secret, secret);
        (incarnation.rotating, incarnation.secret_doubt) = (false, false);
        if keep_old {
            return;
        }
        incarnation.dead_secrets.push(old);
        for token in &mut self.facts.tokens {
            if token.session.is_none() && token.incarnation == index && token.acknowledged < sent.from {
                token.revoked = Fact::Yes;
            }
        }
    }

    /// Keys that have signed until now sign nothing that is requested from now on, but for the one that is
    /// active now.
    fn key_rotated(&mut self, sent: &Sent, body: &Value) {
        let facts = &mut self.facts;
        facts.key_rotations_in_progress -= 1;
        if !sent.granted || sent.changes != facts.changes {
            return;
        }
        let active = [&body["kid"], &body["es256_kid"]];
        for token in &facts.tokens {
            if let Kind::Access { kid, .. } = &token.kind
                && !active.contains(&&json!(kid))
            {
                facts.retired_keys.entry(kid.clone()).or_insert(facts.tick);
            }
        }
    }

    /// A fresh access token is signed by the key of the last rotation.
    fn check_key(&self, sent: &Sent, token: &str) -> Verdict {
        let Kind::Access { kid, .. } = access(token).0 else { unreachable!() };
        match self.facts.retired_keys.get(&kid) {
            Some(retired) if *retired < sent.from => Err(format!("{kid} signs, and was rotated")),
            _ => Ok(()),
        }
    }

    fn events(&mut self, sent: &Sent, answer: &Answer) -> Verdict {
        let position = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
        let items = answer.body["items"].as_array().ok_or("no events")?;
        let cursors: Vec<u64> = items.iter().filter_map(|item| position(&item["cursor"])).collect();
        if let Some(gap) = cursors.windows(2).find(|pair| self.facts.next_position(pair[0]) != pair[1]) {
            return Err(format!("events {} and {} are neighbours", gap[0], gap[1]));
        }
        let head = position(&answer.body["head"]).ok_or("no head")?;
        let next = self.facts.next_position(sent.cursor);
        if cursors.first().map_or(head >= next, |first| *first != next) {
            return Err(format!("the page after event {} begins with {:?}", sent.cursor, cursors.first()));
        }
        self.facts.head_seen = self.facts.head_seen.max(head);
        Ok(())
    }

    fn opener_may_be_gone(&self, session: usize) -> bool {
        let session = &self.facts.sessions[session];
        let deleted = |index: usize| self.facts.incarnations[index].deleted != Fact::No;
        session.before_restore || session.opener.is_some_and(deleted)
    }

    fn family_of(&mut self, token: usize) -> &mut Family {
        let token = &self.facts.tokens[token];
        let session = &mut self.facts.sessions[token.session.unwrap()];
        session.families.get_mut(&token.family.unwrap()).unwrap()
    }

    fn add_token(
        &mut self,
        text: &str,
        kind: Kind,
        session: Option<usize>,
        family: Option<u16>,
        incarnation: usize,
    ) -> usize {
        // A retry can get the same access token again.
        if let Some(known) = self.facts.tokens.iter().position(|token| token.text == text) {
            return known;
        }
        let (acknowledged, text) = (self.facts.tick, text.to_owned());
        self.facts.tokens.push(Token {
            text,
            kind,
            session,
            family,
            incarnation,
            acknowledged,
            revoked: Fact::No,
            shown_ended: false,
        });
        self.facts.tokens.len() - 1
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}
