//! The clients: which request comes next, and whether its answer agrees with all answers before it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::audit::Verdict;
use crate::dice::Dice;
use crate::facts::{BroadEnd, Fact, Facts, Family, Incarnation, Kind, Session, Token, access, link};
use crate::operation::{NAMES, Opening, Operation, SUBJECTS};
use crate::server::Answer;

/// What was known when a request was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub operation: Operation,
    pub from: u64,
    clock_moves: u64,
    sent_at: keyfob::domain::time::Timestamp,
    /// The client that sends it, its changes until then, and whether its secret was in doubt; `None` for the
    /// administrator.
    incarnation: Option<(usize, u64, bool)>,
    /// Why the token or session is certainly not active.
    ended: Option<&'static str>,
    expired: bool,
    /// Whether it is certainly active.
    active: bool,
    /// For a refresh: how many were requested of its family, and whether it is certainly reuse.
    requested: u64,
    reuse: bool,
}

/// Whether a name is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Free,
    Busy,
    Taken(usize),
    /// A creation had no answer.
    Unknown,
}

pub struct Clients {
    pub facts: Facts,
    pub openings: Vec<Opening>,
    names: [Name; NAMES.len()],
    idle_timeout: std::time::Duration,
}

impl Clients {
    pub fn new(facts: Facts, idle_timeout: std::time::Duration) -> Self {
        Self { facts, openings: vec![], names: [Name::Free; NAMES.len()], idle_timeout }
    }

    /// The next request; `None` if chance chose one that is not possible now.
    pub fn choose(&mut self, dice: &mut Dice) -> Option<Operation> {
        let facts = &self.facts;
        let live: Vec<usize> = (0..facts.incarnations.len())
            .filter(|index| facts.incarnations[*index].deleted == Fact::No)
            .collect();
        let tokens: Vec<usize> = (0..facts.tokens.len()).collect();
        // Mostly recent ones: old ones have ended.
        let recent = |dice: &mut Dice, len: usize| {
            (len > 0)
                .then(|| if dice.one_in(4) { dice.below(len) } else { len - 1 - dice.below(len.min(12)) })
        };
        let session = |dice: &mut Dice| recent(dice, facts.sessions.len());
        Some(match dice.below(100) {
            0..18 => {
                let repeatable: Vec<u64> = (0..self.openings.len() as u64)
                    .filter(|number| self.openings[usize::try_from(*number).unwrap()].has_key)
                    .collect();
                if dice.one_in(4) && !repeatable.is_empty() {
                    let number = repeatable[repeatable.len() - 1 - dice.below(repeatable.len().min(3))];
                    return Some(Operation::Open(number));
                }
                let opening = Opening {
                    incarnation: dice.pick(&live)?,
                    subject: dice.below(SUBJECTS.len()),
                    has_key: dice.one_in(3),
                    from: facts.tick,
                    unanswered: 0,
                    session: None,
                    answer: Value::Null,
                };
                self.openings.push(opening);
                Operation::Open(self.openings.len() as u64 - 1)
            }
            18..38 => {
                let session = &facts.sessions[session(dice)?];
                let families: Vec<u16> = session.families.keys().copied().collect();
                let family = &session.families[&dice.pick(&families)?];
                let current = family.current.filter(|_| !dice.one_in(4));
                let older = || {
                    let is_older = |index: &usize| {
                        facts.family_of(&facts.tokens[*index]).is_some_and(|of| std::ptr::eq(of, family))
                            && matches!(facts.tokens[*index].kind, Kind::Refresh { .. })
                    };
                    tokens.iter().copied().filter(is_older).collect::<Vec<_>>()
                };
                let index = match current {
                    Some(index) => index,
                    None => {
                        let older = older();
                        older[older.len() - 1 - dice.below(older.len().min(3))]
                    }
                };
                Operation::Refresh(index)
            }
            38..64 => Operation::Introspect(recent(dice, tokens.len())?),
            64..69 => Operation::Revoke(recent(dice, tokens.len())?),
            69..73 => Operation::EndSession(session(dice)?),
            73..76 => {
                let index = session(dice)?;
                let families: Vec<u16> = facts.sessions[index].families.keys().copied().collect();
                Operation::EndFamily(index, dice.pick(&families)?)
            }
            76..81 => Operation::OpenFamily(session(dice)?, dice.pick(&live)?),
            81..83 => Operation::EndSubject(dice.below(SUBJECTS.len())),
            83 => Operation::EndAll,
            84..88 => {
                let name = dice.below(NAMES.len());
                match self.names[name] {
                    Name::Free => Operation::Create(name),
                    Name::Unknown => Operation::DeleteName(name),
                    Name::Taken(index) if dice.one_in(3) && facts.incarnations[index].deleted == Fact::No => {
                        Operation::Delete(index)
                    }
                    _ => return None,
                }
            }
            88..90 => {
                let incarnation = dice.pick(&live)?;
                if facts.incarnations[incarnation].rotating {
                    return None;
                }
                Operation::RotateSecret { incarnation, keep_old: dice.one_in(2) }
            }
            90..93 => Operation::OwnToken(dice.pick(&live)?),
            93 => {
                let incarnation = recent(dice, facts.incarnations.len())?;
                let dead = &facts.incarnations[incarnation].dead_secrets;
                let secret = dead.get(dice.below(dead.len().max(1)))?.clone();
                Operation::DeadSecret { incarnation, secret, token: recent(dice, tokens.len())? }
            }
            94 => Operation::RotateKey,
            95 => {
                let of = &facts.tokens[recent(dice, tokens.len())?];
                let Kind::Access { kid, .. } = &of.kind else { return None };
                Operation::RevokeKey(kid.clone())
            }
            96..98 => Operation::Events,
            _ => Operation::Sweep,
        })
    }

    /// Notes what a request that is sent now may do.
    pub fn sent(&mut self, operation: Operation, by_root: bool) -> Sent {
        let facts = &mut self.facts;
        let mut sent = Sent {
            from: facts.tick,
            clock_moves: facts.clock_moves,
            sent_at: facts.now,
            incarnation: None,
            ended: None,
            expired: false,
            active: false,
            requested: 0,
            reuse: false,
            operation,
        };
        let mut by = None;
        match &sent.operation {
            Operation::Open(number) => {
                let opening = &mut self.openings[usize::try_from(*number).unwrap()];
                opening.unanswered += 1;
                by = Some(opening.incarnation);
                let known = opening.session.map(|index| &facts.sessions[index]);
                let ended = known.is_some_and(|session| session.ended == Fact::Yes);
                sent.ended = ended.then_some("its session was ended");
                if facts.incarnations[opening.incarnation].deleted == Fact::Yes {
                    sent.ended = Some("its client was deleted");
                }
            }
            Operation::Refresh(index) => {
                let token = facts.tokens[*index].clone();
                sent.ended = facts.certainly_ended(&token);
                sent.active = facts.certainly_active(&token);
                let known = facts.session_of(&token).is_some_and(|session| {
                    session.ended == Fact::No && facts.now < session.expires_at.min(session.idle_until)
                });
                by = Some(token.incarnation);
                let Kind::Refresh { generation } = token.kind else { unreachable!() };
                let session = &mut facts.sessions[token.session.unwrap()];
                let family = session.families.get_mut(&token.family.unwrap()).unwrap();
                sent.reuse = known && family.ended == Fact::No && generation + 2 <= family.generation;
                if !sent.active {
                    session.ended.doubt();
                }
                let family = session.families.get_mut(&token.family.unwrap()).unwrap();
                family.in_progress += 1;
                family.requested += 1;
                sent.requested = family.requested;
            }
            Operation::Introspect(index) => {
                let token = &facts.tokens[*index];
                sent.ended = facts.certainly_ended(token);
                sent.expired = facts.expired(token);
                sent.active = facts.certainly_active(token);
            }
            Operation::Revoke(index) => {
                let token = &facts.tokens[*index];
                sent.expired = matches!(token.kind, Kind::Access { .. }) && facts.expired(token);
                let token = &mut facts.tokens[*index];
                by = (!by_root).then_some(token.incarnation);
                token.revoked.doubt();
                let (session, family, kind) = (token.session, token.family, token.kind.clone());
                if let (Some(session), Kind::Refresh { .. } | Kind::Session) = (session, kind) {
                    let session = &mut facts.sessions[session];
                    session.ended.doubt();
                    if let Some(family) = family.and_then(|number| session.families.get_mut(&number)) {
                        family.ended.doubt();
                    }
                }
            }
            Operation::EndSession(index) => {
                let session = &mut facts.sessions[*index];
                session.ended.doubt();
                by = (!by_root).then_some(session.incarnation);
            }
            Operation::EndFamily(index, number) => {
                let session = &mut facts.sessions[*index];
                session.families.get_mut(number).unwrap().ended.doubt();
                by = (!by_root).then_some(session.incarnation);
            }
            Operation::EndSubject(_) | Operation::EndAll => {
                let subject =
                    if let Operation::EndSubject(subject) = sent.operation { Some(subject) } else { None };
                facts.broad.push(BroadEnd { from: sent.from, until: None, subject });
                for session in &mut facts.sessions {
                    if subject.is_none_or(|subject| subject == session.subject) {
                        session.ended.doubt();
                    }
                }
                for token in facts.tokens.iter_mut().filter(|token| token.session.is_none()) {
                    if subject.is_none() {
                        token.revoked.doubt();
                    }
                }
            }
            Operation::Create(name) | Operation::DeleteName(name) => self.names[*name] = Name::Busy,
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
            Operation::OwnToken(index) => by = Some(*index),
            Operation::RevokeKey(kid) => facts.revoked_keys.entry(kid.clone()).or_default().doubt(),
            Operation::OpenFamily(index, _) => {
                let session = &mut facts.sessions[*index];
                session.families_unanswered += 1;
                sent.ended = (session.ended == Fact::Yes).then_some("its session was ended");
            }
            Operation::DeadSecret { .. } | Operation::RotateKey | Operation::Events | Operation::Sweep => {}
        }
        sent.incarnation = by.map(|index| {
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
            Operation::Create(name) | Operation::DeleteName(name) => self.names[*name] = Name::Unknown,
            Operation::RotateSecret { incarnation, .. } => {
                self.facts.incarnations[*incarnation].rotating = false;
            }
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
        if rejected && !matches!(sent.operation, Operation::DeadSecret { .. }) {
            return self.rejected(sent);
        }
        let unexpected = || Err(format!("answered {status}: {}", answer.body));
        match &sent.operation {
            Operation::Open(number) => match status {
                201 => self.opened(sent, *number, &answer.body)?,
                409 => self.openings[usize::try_from(*number).unwrap()].unanswered -= 1,
                _ => return unexpected(),
            },
            Operation::Refresh(index) => match status {
                200 => self.refreshed(sent, *index, &answer.body)?,
                400 if answer.body["error"] == json!("invalid_grant") => self.not_refreshed(sent, *index)?,
                _ => return unexpected(),
            },
            Operation::Introspect(index) => {
                let active = match &answer.body["active"] {
                    _ if status != 200 => return unexpected(),
                    Value::Bool(true) => true,
                    _ if answer.body == json!({"active": false}) => false,
                    _ => return unexpected(),
                };
                let token = &self.facts.tokens[*index];
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
            }
            Operation::Revoke(index) => {
                if status != 200 {
                    return unexpected();
                }
                let token = &mut self.facts.tokens[*index];
                // Of a token that had expired nothing is revoked.
                if !sent.expired && sent.clock_moves == self.facts.clock_moves {
                    token.revoked = Fact::Yes;
                }
                let (session, family) = (token.session, token.family);
                match (&token.kind, session, family) {
                    (Kind::Session, Some(session), _) => self.facts.sessions[session].ended = Fact::Yes,
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
                404 if self.owner_may_be_gone(*index) => {}
                _ => return unexpected(),
            },
            Operation::EndFamily(index, number) => match status {
                204 => {
                    let families = &mut self.facts.sessions[*index].families;
                    families.get_mut(number).unwrap().ended = Fact::Yes;
                }
                404 if self.owner_may_be_gone(*index) => {}
                _ => return unexpected(),
            },
            Operation::OpenFamily(index, incarnation) => match status {
                201 => self.family_opened(sent, *index, *incarnation, &answer.body)?,
                403 | 404 | 409 => self.facts.sessions[*index].families_unanswered -= 1,
                _ => return unexpected(),
            },
            Operation::EndSubject(_) | Operation::EndAll => {
                if status != 200 {
                    return unexpected();
                }
                self.ended_broadly(sent);
            }
            Operation::Create(name) => {
                if status != 201 {
                    return unexpected();
                }
                self.names[*name] = Name::Taken(self.facts.incarnations.len());
                self.facts.incarnations.push(Incarnation {
                    name: NAMES[*name].into(),
                    secret: text(&answer.body, "client_secret"),
                    dead_secrets: vec![],
                    deleted: Fact::No,
                    secret_doubt: false,
                    changes: 0,
                    rotating: false,
                    position: None,
                });
            }
            Operation::Delete(index) => {
                if status != 204 {
                    return unexpected();
                }
                let incarnation = &mut self.facts.incarnations[*index];
                incarnation.deleted = Fact::Yes;
                incarnation.dead_secrets.push(incarnation.secret.clone());
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
            Operation::RotateKey => {
                if status != 200 {
                    return unexpected();
                }
            }
            Operation::RevokeKey(kid) => match status {
                204 | 404 => _ = self.facts.revoked_keys.insert(kid.clone(), Fact::Yes),
                _ => return unexpected(),
            },
            Operation::Events => self.events(answer)?,
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
            _ => {}
        }
        Ok(())
    }

    fn opened(&mut self, sent: &Sent, number: u64, body: &Value) -> Verdict {
        let opening = &mut self.openings[usize::try_from(number).unwrap()];
        if let Some(why) = sent.ended {
            return Err(format!("an opening was answered, and {why}"));
        }
        opening.unanswered -= 1;
        let (incarnation, subject) = (opening.incarnation, opening.subject);
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
        let doubt = self.facts.may_be_ended_since(opening.from, Some(subject));
        let index = self.facts.sessions.len();
        (opening.session, opening.answer) = (Some(index), body.clone());
        let session = Session {
            id: text(&body["session"], "id").parse().unwrap(),
            incarnation,
            subject,
            ended: if doubt { Fact::Maybe } else { Fact::No },
            acknowledged: self.facts.tick,
            expires_at: instant("expires_at"),
            idle_until: instant("idle_expires_at"),
            families: BTreeMap::new(),
            families_unanswered: 0,
        };
        let expired = session.idle_until <= self.facts.now;
        self.facts.sessions.push(session);
        if expired {
            self.facts.sessions[index].ended.doubt();
        }
        self.add_family(index, incarnation, body);
        let token = text(body, "session_token");
        self.add_token(&token, Kind::Session, Some(index), None, incarnation);
        Ok(())
    }

    fn family_opened(&mut self, sent: &Sent, index: usize, incarnation: usize, body: &Value) -> Verdict {
        if let Some(why) = sent.ended {
            return Err(format!("a family was opened, and {why}"));
        }
        // If the client is deleted meanwhile, the family may be for the next one of its name.
        if self.facts.incarnations[incarnation].deleted == Fact::No {
            self.facts.sessions[index].families_unanswered -= 1;
            self.add_family(index, incarnation, body);
        }
        Ok(())
    }

    fn add_family(&mut self, session: usize, incarnation: usize, body: &Value) {
        let (refresh_token, access_token) = (text(body, "refresh_token"), text(body, "access_token"));
        let (number, generation) = link(&refresh_token);
        let kind = Kind::Refresh { generation };
        let current = self.add_token(&refresh_token, kind, Some(session), Some(number), incarnation);
        let family = Family {
            incarnation,
            ended: Fact::No,
            generation,
            current: Some(current),
            in_progress: 0,
            unanswered: false,
            requested: 0,
            texts: BTreeMap::from([(generation, refresh_token)]),
        };
        self.facts.sessions[session].families.insert(number, family);
        let (kind, of) = access(&access_token);
        self.add_token(&access_token, kind, Some(session), of, incarnation);
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
        if sent.active && alone && same_time && self.facts.certainly_active(&token) {
            return Err("a valid refresh token was refused".into());
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
        let subject = broad.subject;
        for session in &mut facts.sessions {
            if session.acknowledged < sent.from && subject.is_none_or(|subject| subject == session.subject) {
                session.ended = Fact::Yes;
            }
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

    fn events(&mut self, answer: &Answer) -> Verdict {
        let position = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
        let items = answer.body["items"].as_array().ok_or("no events")?;
        let cursors: Vec<u64> = items.iter().filter_map(|item| position(&item["cursor"])).collect();
        if let Some(gap) = cursors.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            return Err(format!("events {} and {} are neighbours", gap[0], gap[1]));
        }
        let seen = self.facts.head_seen;
        self.facts.head_seen = seen.max(position(&answer.body["head"]).ok_or("no head")?);
        Ok(())
    }

    fn owner_may_be_gone(&self, session: usize) -> bool {
        let owner = self.facts.sessions[session].incarnation;
        self.facts.incarnations[owner].deleted != Fact::No
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
        let revoked = Fact::No;
        self.facts.tokens.push(Token { text, kind, session, family, incarnation, acknowledged, revoked });
        self.facts.tokens.len() - 1
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}
