//! What a changed policy would have done to the sessions that are kept. It decides about the past, so it says
//! what is known and nothing else.

use std::collections::HashMap;
use std::time::Duration;

use super::id::{ClientId, SessionId, Subject};
use super::policy::WhenFull;
use super::session::{Cap, Session, Standing, State};
use super::time::Timestamp;

/// The most sessions that an outcome names; the numbers count all.
pub const NAMED_MAX: usize = 100;

/// The changes that are judged by the sessions themselves. What is absent stays as it was.
#[derive(Clone, Copy, Debug, Default)]
pub struct LifetimeChange {
    pub absolute_lifetime: Option<Duration>,
    /// Of remembered sessions.
    pub remember_absolute_lifetime: Option<Duration>,
}

/// A session that would have ended earlier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedEarlier {
    pub session: SessionId,
    pub subject: Subject,
    pub client: ClientId,
    pub would_end_at: Timestamp,
    /// When it did end or expire; `None` if it is active.
    pub ended_at: Option<Timestamp>,
    pub state: State,
}

/// What a changed absolute lifetime would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifetimeOutcome {
    pub ended_earlier: u64,
    /// Those of them that are active now.
    pub active_among_them: u64,
    /// Sessions that expired by their absolute lifetime and would not have done so then.
    pub could_live_longer: u64,
    /// The first [`NAMED_MAX`] that would have ended earlier.
    pub named: Vec<EndedEarlier>,
}

/// A session that a cap would have evicted, or not let open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    pub session: SessionId,
    pub subject: Subject,
    pub client: ClientId,
    pub would_end_at: Timestamp,
    /// Whether it is known that it was this one, and not another of the subject: of a session that was used
    /// later only the last use is kept.
    pub certain: bool,
}

/// What a changed cap would have done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapOutcome {
    pub evicted: u64,
    pub refused: u64,
    /// The first [`NAMED_MAX`].
    pub named: Vec<Evicted>,
}

/// Collects sessions, in the order in which they were opened.
pub struct Simulation {
    change: LifetimeChange,
    cap: Option<Cap>,
    now: Timestamp,
    lifetime: LifetimeOutcome,
    by_subject: HashMap<(Subject, ClientId), Vec<Lived>>,
}

/// When a session was there.
struct Lived {
    session: SessionId,
    opened_at: Timestamp,
    last_used_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl Simulation {
    /// A simulation at `now`.
    pub fn new(change: LifetimeChange, cap: Option<Cap>, now: Timestamp) -> Self {
        Self { change, cap, now, lifetime: LifetimeOutcome::default(), by_subject: HashMap::new() }
    }

    /// Adds a session in its state now.
    pub fn add(&mut self, session: &Session, standing: &Standing) {
        let ended_at = match standing {
            Standing::Active => None,
            Standing::Expired => Some(session.deadline()),
            Standing::Ended(end) => Some(end.at),
        };
        self.add_lifetime(session, standing, ended_at);
        if self.cap.is_some() {
            let lived = Lived {
                session: session.id,
                opened_at: session.created_at,
                last_used_at: session.last_used_at,
                ended_at,
            };
            let key = (session.subject.clone(), session.client_id.clone());
            self.by_subject.entry(key).or_default().push(lived);
        }
    }

    fn add_lifetime(&mut self, session: &Session, standing: &Standing, ended_at: Option<Timestamp>) {
        let LifetimeChange { absolute_lifetime, remember_absolute_lifetime } = self.change;
        let changed = if session.remember { remember_absolute_lifetime } else { absolute_lifetime };
        let Some(lifetime) = changed else { return };
        let would_end_at = session.authentication.at.plus(lifetime);
        let outcome = &mut self.lifetime;
        if would_end_at < ended_at.unwrap_or(self.now) {
            outcome.ended_earlier += 1;
            outcome.active_among_them += u64::from(ended_at.is_none());
            if outcome.named.len() < NAMED_MAX {
                outcome.named.push(EndedEarlier {
                    session: session.id,
                    subject: session.subject.clone(),
                    client: session.client_id.clone(),
                    would_end_at,
                    ended_at,
                    state: State::from(standing),
                });
            }
        }
        let expired_by_age =
            *standing == Standing::Expired && session.expires_at <= session.idle_expires_at();
        outcome.could_live_longer += u64::from(expired_by_age && would_end_at > session.expires_at);
    }

    /// The outcomes: of the lifetimes, and of the cap if there is one.
    pub fn finish(self) -> (LifetimeOutcome, Option<CapOutcome>) {
        let Some(cap) = self.cap else { return (self.lifetime, None) };
        let mut outcome = CapOutcome::default();
        let mut groups: Vec<_> = self.by_subject.into_iter().collect();
        groups.sort_by_key(|(_, sessions)| sessions.first().map(|lived| lived.session));
        for ((subject, client), sessions) in groups {
            let named = |lived: &Lived, would_end_at, certain| Evicted {
                session: lived.session,
                subject: subject.clone(),
                client: client.clone(),
                would_end_at,
                certain,
            };
            apply_cap(cap, sessions, &mut outcome, named);
        }
        (self.lifetime, Some(outcome))
    }
}

/// Opens the sessions of one subject and client again, one after the other, under the cap.
fn apply_cap(
    cap: Cap,
    mut sessions: Vec<Lived>,
    outcome: &mut CapOutcome,
    named: impl Fn(&Lived, Timestamp, bool) -> Evicted,
) {
    sessions.sort_by_key(|lived| (lived.opened_at, lived.session));
    let mut active: Vec<Lived> = vec![];
    for lived in sessions {
        let at = lived.opened_at;
        active.retain(|other| other.ended_at.is_none_or(|ended_at| ended_at > at));
        let mut name = |lived: &Lived, certain| {
            if outcome.named.len() < NAMED_MAX {
                outcome.named.push(named(lived, at, certain));
            }
        };
        if active.len() >= cap.sessions_max as usize && cap.when_full == WhenFull::Refuse {
            outcome.refused += 1;
            name(&lived, true);
            continue;
        }
        while active.len() >= cap.sessions_max as usize {
            let place = least_recently_used(&active, at);
            let evicted = active.swap_remove(place);
            let certain = evicted.last_used_at <= at
                && active.iter().all(|other| other.earliest_last_use(at) >= evicted.last_used_at);
            outcome.evicted += 1;
            name(&evicted, certain);
        }
        active.push(lived);
    }
}

fn least_recently_used(active: &[Lived], at: Timestamp) -> usize {
    let by_use =
        active.iter().enumerate().min_by_key(|(_, lived)| (lived.earliest_last_use(at), lived.session));
    by_use.map_or(0, |(place, _)| place)
}

impl Lived {
    /// The earliest time that can have been its last use at `at`. Of later uses only the last one is kept.
    fn earliest_last_use(&self, at: Timestamp) -> Timestamp {
        if self.last_used_at <= at { self.last_used_at } else { self.opened_at }
    }
}
