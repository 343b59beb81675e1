//! Which request comes next.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Clients, Name};
use crate::dice::Dice;
use crate::facts::{Fact, Kind, Token};
use crate::operation::{
    NAMES, Opening, Operation, Route, SUBJECTS, requests_about_session, requests_of_administrators,
};
use crate::server::{Body, Request};

const FORMATS: [&str; 4] = ["paseto", "paseto", "jwt", "jwt_es256"];

/// Mostly a recent one: old ones have ended.
fn recent(dice: &mut Dice, len: usize) -> Option<usize> {
    (len > 0).then(|| if dice.one_in(4) { dice.below(len) } else { len - 1 - dice.below(len.min(12)) })
}

impl Clients {
    /// The next request, and the client that sends it; `None` if chance chose one that is not possible now.
    pub fn choose(&mut self, dice: &mut Dice) -> Option<(Operation, Option<usize>)> {
        let operation = self.operation(dice)?;
        let caller = dice.pick(&operation.callers(&self.facts, &self.openings))?;
        Some((operation, caller))
    }

    /// A token to be introspected in the middle of a commit: often one whose end may be part of it.
    pub fn token_to_ask(&self, dice: &mut Dice) -> usize {
        let tokens = &self.facts.tokens;
        let in_doubt: Vec<usize> =
            (0..tokens.len()).filter(|index| self.facts.may_be_ended(&tokens[*index])).collect();
        let chosen = if dice.one_in(2) { dice.pick(&in_doubt) } else { None };
        chosen.unwrap_or_else(|| dice.below(tokens.len()))
    }

    fn operation(&mut self, dice: &mut Dice) -> Option<Operation> {
        let facts = &self.facts;
        let live: Vec<usize> = (0..facts.incarnations.len())
            .filter(|index| facts.incarnations[*index].deleted == Fact::No)
            .collect();
        let confidential: Vec<usize> =
            live.iter().copied().filter(|index| !facts.incarnations[*index].public).collect();
        let token = |dice: &mut Dice| recent(dice, facts.tokens.len());
        let session = |dice: &mut Dice| recent(dice, facts.sessions.len());
        Some(match dice.below(100) {
            0..16 => return self.opening(dice, &live, &confidential),
            16..34 => Operation::Refresh(self.refresh_token(dice)?),
            34..50 => Operation::Introspect(token(dice)?),
            50..57 => {
                let index = token(dice)?;
                let token = &facts.tokens[index];
                if token.session.is_none() || matches!(token.kind, Kind::Refresh { .. }) {
                    return None;
                }
                let routes =
                    if matches!(token.kind, Kind::Session { .. }) { Route::ALL } else { Route::BEARER };
                Operation::Use(index, dice.pick(routes)?)
            }
            57..62 => Operation::Revoke(token(dice)?),
            62..65 => Operation::EndSession(session(dice)?),
            65..67 => {
                let index = session(dice)?;
                let families: Vec<u16> = facts.sessions[index].families.keys().copied().collect();
                Operation::EndFamily(index, dice.pick(&families)?)
            }
            67..71 => Operation::OpenFamily(session(dice)?, dice.pick(&live)?),
            71..76 => Operation::Renew(session(dice)?),
            76..78 => {
                let of = session(dice)?;
                let is_of = |index: &usize| {
                    facts.tokens[*index].session == Some(of)
                        && matches!(facts.tokens[*index].kind, Kind::Session { .. })
                };
                let tokens: Vec<usize> = (0..facts.tokens.len()).filter(is_of).collect();
                Operation::LogOut(dice.pick(&tokens)?, dice.one_in(2))
            }
            78..80 => Operation::EndSubject(dice.below(SUBJECTS.len())),
            80 => Operation::EndAll,
            81..85 => {
                let name = dice.below(NAMES.len());
                match self.names[name] {
                    Name::Free => Operation::Create { name, format: dice.pick(&FORMATS)? },
                    Name::Unknown => Operation::DeleteName(name),
                    Name::Taken(index) if facts.incarnations[index].deleted == Fact::No => {
                        let opens = |opening: &Opening| {
                            opening.incarnation == index
                                && opening.unanswered > 0
                                && opening.session.is_none()
                        };
                        if !self.openings.iter().any(opens) && !dice.one_in(3) {
                            return None;
                        }
                        Operation::Delete(index)
                    }
                    _ => return None,
                }
            }
            85..87 => {
                let incarnation = dice.pick(&confidential)?;
                if facts.incarnations[incarnation].rotating {
                    return None;
                }
                Operation::RotateSecret { incarnation, keep_old: dice.one_in(2) }
            }
            87..90 => Operation::OwnToken(dice.pick(&confidential)?),
            90 => {
                let incarnation = recent(dice, facts.incarnations.len())?;
                let dead = &facts.incarnations[incarnation].dead_secrets;
                let secret = dead.get(dice.below(dead.len().max(1)))?.clone();
                Operation::DeadSecret { incarnation, secret, token: token(dice)? }
            }
            91..94 => Operation::Denied(Box::new(self.denied(dice, &live, &confidential)?)),
            94 => Operation::RotateKey,
            95 => {
                let Kind::Access { kid, .. } = &facts.tokens[token(dice)?].kind else { return None };
                Operation::RevokeKey(kid.clone())
            }
            96..98 => Operation::Events,
            _ => Operation::Sweep,
        })
    }

    /// An opening, or the repetition of one.
    fn opening(&mut self, dice: &mut Dice, live: &[usize], confidential: &[usize]) -> Option<Operation> {
        let repeatable: Vec<usize> =
            (0..self.openings.len()).filter(|number| self.openings[*number].is_repeatable()).collect();
        if dice.one_in(4) && !repeatable.is_empty() {
            let number = repeatable[repeatable.len() - 1 - dice.below(repeatable.len().min(3))];
            return Some(Operation::Open(number as u64));
        }
        let incarnation = dice.pick(live)?;
        let opener = if self.facts.incarnations[incarnation].public {
            dice.pick(confidential).filter(|_| !dice.one_in(4))
        } else {
            Some(incarnation)
        };
        let opening = Opening {
            incarnation,
            opener,
            subject: dice.below(SUBJECTS.len()),
            has_key: dice.one_in(3),
            from: self.facts.tick,
            until: 0,
            requests: 0,
            unanswered: 0,
            adopted: false,
            session: None,
            answer: Value::Null,
            before_restore: false,
        };
        self.openings.push(opening);
        Some(Operation::Open(self.openings.len() as u64 - 1))
    }

    /// Mostly the current one of a family, else one that is retried within its window, or one that was spent.
    fn refresh_token(&self, dice: &mut Dice) -> Option<usize> {
        let facts = &self.facts;
        if dice.one_in(3) {
            let is_retry = |index: &usize| facts.is_retry(&facts.tokens[*index]);
            let retries: Vec<usize> = (0..facts.tokens.len()).filter(is_retry).collect();
            if let Some(retry) = dice.pick(&retries) {
                return Some(retry);
            }
        }
        let session = &facts.sessions[recent(dice, facts.sessions.len())?];
        let families: Vec<u16> = session.families.keys().copied().collect();
        let family = &session.families[&dice.pick(&families)?];
        if let Some(current) = family.current.filter(|_| !dice.one_in(4)) {
            return Some(current);
        }
        let is_older = |index: &usize| {
            facts.family_of(&facts.tokens[*index]).is_some_and(|of| std::ptr::eq(of, family))
                && matches!(facts.tokens[*index].kind, Kind::Refresh { .. })
        };
        let older: Vec<usize> = (0..facts.tokens.len()).filter(is_older).collect();
        Some(older[older.len() - 1 - dice.below(older.len().min(3))])
    }

    /// A request by a client that only introspects, by one that the session does not belong to, or by a
    /// public one.
    fn denied(&self, dice: &mut Dice, live: &[usize], confidential: &[usize]) -> Option<Request> {
        let facts = &self.facts;
        let session = &facts.sessions[recent(dice, facts.sessions.len())?];
        let id = session.id.to_string();
        let kids = facts.tokens.iter().rev().find_map(|token| match &token.kind {
            Kind::Access { kid, .. } => Some(kid),
            _ => None,
        });
        let post = |path, auth, body| Request::new(Method::POST, path, auth, body);
        let subject = SUBJECTS[session.subject];
        let mut requests = match dice.below(3) {
            0 => {
                let reader = self.reader.clone();
                let path = format!("/v1/subjects/{subject}/sessions");
                let mut requests = requests_about_session(&id, &reader);
                requests.push(Request::new(Method::DELETE, &path, reader.clone(), Body::None));
                requests.push(post("/v1/sessions", reader, Body::Json(json!({"subject": subject}))));
                requests
            }
            1 => {
                let name = |index: usize| &facts.incarnations[index].name;
                let is_foreign = |index: &usize| {
                    let mut parties = session.families.values().map(|family| family.incarnation);
                    let owners = [Some(session.incarnation), session.opener];
                    !owners.into_iter().flatten().any(|owner| name(owner) == name(*index))
                        && !parties.any(|party| name(party) == name(*index))
                };
                let foreign: Vec<usize> = confidential.iter().copied().filter(is_foreign).collect();
                let stranger = facts.basic(dice.pick(&foreign)?);
                let is_of = |token: &&Token| facts.session_of(token).is_some_and(|of| of.id == session.id);
                let tokens: Vec<&Token> = facts.tokens.iter().filter(is_of).collect();
                let token = dice.pick(&tokens)?;
                let mut requests = requests_about_session(&id, &stranger);
                let fields = vec![("token", token.text.clone())];
                requests.push(post("/oauth2/revoke", stranger.clone(), Body::Form(fields)));
                if let Kind::Refresh { .. } = token.kind {
                    let grant = ("grant_type", "refresh_token".to_owned());
                    let fields = vec![grant, ("refresh_token", token.text.clone())];
                    requests.push(post("/oauth2/token", stranger, Body::Form(fields)));
                }
                requests
            }
            _ => {
                let of_public = |index: &usize| facts.incarnations[*index].public;
                let public = facts.basic(live.iter().copied().find(of_public)?);
                let fields = vec![("token", facts.tokens.last()?.text.clone())];
                let mut requests = requests_about_session(&id, &public);
                requests.push(post("/oauth2/introspect", public, Body::Form(fields)));
                requests
            }
        };
        let auth = requests[0].auth.clone();
        requests.extend(requests_of_administrators(kids?, &auth));
        Some(requests.swap_remove(dice.below(requests.len())))
    }
}
