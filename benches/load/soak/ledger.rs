//! What the server has acknowledged: which sessions are active, and which tokens have ended.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use super::credentials::{OPERATOR, declared};
use super::dice::Dice;
use super::line::{Answer, Ask, Line};
use super::times::Times;

/// Ended tokens that are remembered; a further one replaces one of them.
const ENDED_MAX: usize = 20_000;
/// How many of each kind are checked after a restart.
const CHECKED: usize = 150;

/// A session with its tokens.
#[derive(Clone)]
pub struct Held {
    pub id: String,
    pub subject: String,
    pub session: String,
    pub refresh: String,
    /// The last two refresh tokens before it.
    pub spent: Vec<String>,
    /// Empty if it was revoked.
    pub access: String,
    pub access_issued: Instant,
    pub refreshed: Instant,
    /// Before its opening or last renewal was sent, and after it was answered.
    pub authenticated: (Instant, Instant),
    pub used: Instant,
}

impl Held {
    /// Whether neither timeout can have passed.
    pub fn is_active(&self, times: &Times) -> bool {
        self.used.elapsed() + times.margin < times.idle_timeout
            && self.authenticated.0.elapsed() + times.margin < times.absolute_lifetime
    }

    /// Whether its absolute lifetime has passed.
    fn has_expired(&self, times: &Times) -> bool {
        self.authenticated.1.elapsed() > times.absolute_lifetime + times.margin
    }

    fn into_tokens(self) -> Vec<String> {
        let mut tokens = vec![self.session, self.refresh, self.access];
        tokens.retain(|token| !token.is_empty());
        tokens.extend(self.spent);
        tokens
    }
}

pub struct Ledger {
    /// The active sessions of each worker, without those that a request in progress concerns.
    pub held: Vec<Vec<Held>>,
    /// Sessions of which it is not known whether they have expired.
    fading: Vec<Held>,
    pub ended: Vec<String>,
    pub faults: Vec<String>,
    /// Answers by kind.
    pub counts: BTreeMap<String, usize>,
    dice: Dice,
    times: Times,
}

impl Ledger {
    pub fn new(workers: usize, times: Times) -> Self {
        Self {
            held: vec![vec![]; workers],
            fading: vec![],
            ended: vec![],
            faults: vec![],
            counts: BTreeMap::new(),
            dice: Dice::new(0),
            times,
        }
    }

    /// Counts an answer; any other than the expected one is a fault, and `false`.
    pub fn expect(&mut self, kind: &str, ask: &Ask, answer: &Answer, fits: bool) -> bool {
        *self.counts.entry(kind.to_owned()).or_default() += 1;
        if !fits {
            let (body, after) = (String::from_utf8_lossy(&answer.body), answer.asked.elapsed());
            let once = answer.took.map_or("more than once", |_| "once");
            let fault = format!("{kind}, sent {once}, {after:?}: {ask} = {} {body}", answer.status);
            println!("FAULT: {fault}");
            self.faults.push(fault);
        }
        fits
    }

    pub fn end(&mut self, held: Held) {
        held.into_tokens().into_iter().for_each(|token| self.end_token(token));
    }

    pub fn end_token(&mut self, token: String) {
        if self.ended.len() < ENDED_MAX {
            self.ended.push(token);
        } else {
            self.ended[self.dice.below(ENDED_MAX)] = token;
        }
    }

    /// Puts a session aside of which it is not known whether it has expired.
    pub fn fade(&mut self, held: Held) {
        self.fading.push(held);
    }

    /// Moves the sessions that have expired for certain to the ended ones.
    pub fn tend(&mut self) {
        let times = self.times;
        for all in &mut self.held {
            self.fading.extend(all.extract_if(.., |held| !held.is_active(&times)));
        }
        let expired: Vec<_> = self.fading.extract_if(.., |held| held.has_expired(&times)).collect();
        expired.into_iter().for_each(|held| self.end(held));
    }

    fn sample(&mut self, from: impl Fn(&Self) -> Vec<String>) -> Vec<String> {
        let mut all = from(self);
        (0..CHECKED.min(all.len())).map(|_| all.swap_remove(self.dice.below(all.len()))).collect()
    }
}

/// After a restart: ended tokens are inactive, and active sessions are active.
pub async fn check(ledger: &RefCell<Ledger>, line: &mut Line) {
    let tokens = {
        let mut ledger = ledger.borrow_mut();
        ledger.tend();
        let ended = ledger.sample(|ledger| ledger.ended.clone());
        let active = ledger.sample(|ledger| {
            ledger
                .held
                .iter()
                .flatten()
                .flat_map(|held| [held.session.clone(), held.refresh.clone()])
                .collect()
        });
        let named = |tokens: Vec<String>, active| tokens.into_iter().map(move |token| (token, active));
        named(ended, false).chain(named(active, true)).collect::<Vec<_>>()
    };
    for (token, active) in tokens {
        let ask = Ask::form("/oauth2/introspect", &declared(OPERATOR), format!("token={token}"));
        let answer = line.send(&ask).await;
        let kind = if active { "active after a restart" } else { "ended before a restart" };
        ledger.borrow_mut().expect(kind, &ask, &answer, is(&answer, active));
    }
}

/// Whether an introspection answers that.
pub fn is(answer: &Answer, active: bool) -> bool {
    let inactive = answer.body.trim_ascii() == br#"{"active":false}"#;
    answer.status == 200 && if active { answer.json()["active"] == true } else { inactive }
}
