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
            let latest_use = evicted.last_used_at.min(at);
            let certain = active.iter().all(|other| other.earliest_last_use(at) >= latest_use);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::end::{End, EndReason};
    use crate::domain::session::tests::session;

    /// So many seconds after the sessions of these tests were opened.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(session().created_at.millis() + seconds * 1000)
    }

    fn ended(seconds: i64) -> Standing {
        Standing::Ended(End { at: at(seconds), reason: EndReason::Logout, by: "app".into() })
    }

    fn hours(hours: u64) -> Option<Duration> {
        Some(Duration::from_secs(hours * 3600))
    }

    /// A session that authenticated at a time, and would expire by age and by its last use at others.
    fn aged(n: u8, authenticated: i64, expires: i64, used: i64) -> Session {
        let mut session = Session { id: SessionId([n; 16]), last_used_at: at(used), ..session() };
        (session.authentication.at, session.expires_at) = (at(authenticated), at(expires));
        session
    }

    #[test]
    fn a_shorter_lifetime_ends_what_was_older_and_a_longer_one_is_reported_for_what_expired_by_age() {
        let remembered = |session: Session| Session { remember: true, ..session };
        let sessions = [
            (aged(1, 0, 86_400, 4_900), Standing::Active, Some(3_600)),
            // Its changed lifetime ends now, not earlier.
            (aged(2, 1_400, 86_400, 4_900), Standing::Active, None),
            (aged(3, 0, 86_400, 2_900), ended(3_000), None),
            (aged(4, 0, 86_400, 3_900), ended(4_000), Some(3_600)),
            (remembered(aged(5, 0, 86_400, 4_900)), Standing::Active, None),
            (remembered(aged(6, -2_300, 86_400, 4_900)), Standing::Active, Some(4_900)),
            // It expired by age, and could have lived longer; so could the next one, which was idle as long.
            (aged(7, 0, 1_000, 500), Standing::Expired, None),
            (aged(8, 0, 1_800, 0), Standing::Expired, None),
            // By its idle timeout; by age, but no earlier than by the changed lifetime; not at all.
            (aged(9, 0, 86_400, 0), Standing::Expired, None),
            (aged(10, 0, 3_600, 3_000), Standing::Expired, None),
            (aged(11, 0, 1_000, 500), ended(700), None),
        ];
        let change = LifetimeChange { absolute_lifetime: hours(1), remember_absolute_lifetime: hours(2) };
        let mut simulation = Simulation::new(change, None, at(5_000));
        let mut expected = vec![];
        for (session, standing, would_end) in &sessions {
            simulation.add(session, standing);
            let Some(would_end) = would_end else { continue };
            let ended_at = if let Standing::Ended(end) = standing { Some(end.at) } else { None };
            expected.push(EndedEarlier {
                session: session.id,
                subject: session.subject.clone(),
                client: session.client_id.clone(),
                would_end_at: at(*would_end),
                ended_at,
                state: State::from(standing),
            });
        }
        let (outcome, cap) = simulation.finish();
        assert_eq!(outcome.named, expected);
        assert_eq!((outcome.ended_earlier, outcome.active_among_them, outcome.could_live_longer), (3, 2, 2));
        assert_eq!(cap, None);

        let mut unchanged = Simulation::new(LifetimeChange::default(), None, at(5_000));
        sessions.iter().for_each(|(session, standing, _)| unchanged.add(session, standing));
        assert_eq!(unchanged.finish(), (LifetimeOutcome::default(), None));
    }

    /// What a cap does to sessions that were opened, last used and ended at these times: how many it evicts
    /// and refuses, and which ones, when, and whether that is certain.
    fn capped(cap: (u32, WhenFull), lives: &[(i64, i64, Option<i64>)]) -> (u64, u64, Vec<(u8, i64, bool)>) {
        let (sessions_max, when_full) = cap;
        let cap = Some(Cap { sessions_max, when_full });
        let mut simulation = Simulation::new(LifetimeChange::default(), cap, at(5_000));
        for (n, (opened, used, end)) in (1..).zip(lives) {
            let session = Session { created_at: at(*opened), ..aged(n, *opened, 86_400, *used) };
            simulation.add(&session, &end.map_or(Standing::Active, ended));
        }
        let outcome = simulation.finish().1.unwrap();
        let seconds = |time: Timestamp| (time.millis() - at(0).millis()) / 1000;
        let named =
            outcome.named.iter().map(|one| (one.session.0[0], seconds(one.would_end_at), one.certain));
        (outcome.evicted, outcome.refused, named.collect())
    }

    #[test]
    fn a_cap_evicts_what_was_used_longest_ago_among_the_sessions_that_were_active() {
        const EVICT: WhenFull = WhenFull::EvictOldest;
        // The second one has ended when the third one opens, and the third one ends as the fourth one opens.
        let lives = [(0, 100, None), (200, 300, Some(350)), (400, 450, Some(500)), (500, 600, None)];
        assert_eq!(capped((1, EVICT), &lives), (1, 0, vec![(1, 200, true)]));
        assert_eq!(capped((2, EVICT), &lives), (0, 0, vec![]));
        // The simulation gets them by id here, and must sort them by their opening.
        let lives = [(10, 20, None), (100, 110, None), (0, 15, None)];
        assert_eq!(capped((2, EVICT), &lives), (1, 0, vec![(3, 100, true)]));
        let lives = [(0, 30, None), (10, 20, None), (100, 110, None), (200, 210, None)];
        assert_eq!(capped((2, EVICT), &lives), (2, 0, vec![(2, 100, true), (1, 200, true)]));
    }

    #[test]
    fn an_eviction_is_certain_only_if_no_other_session_can_have_been_used_earlier() {
        const EVICT: WhenFull = WhenFull::EvictOldest;
        // The first one was used later, so its last use before the third one opened is not known.
        let lives = [(0, 1_000, None), (10, 20, None), (100, 2_000, None)];
        assert_eq!(capped((2, EVICT), &lives), (1, 0, vec![(1, 100, false)]));
        // At the same time; and where there is no other one.
        let lives = [(0, 10, None), (10, 10, None), (100, 110, None)];
        assert_eq!(capped((2, EVICT), &lives), (1, 0, vec![(1, 100, true)]));
        assert_eq!(capped((1, EVICT), &[(0, 1_000, None), (100, 110, None)]), (1, 0, vec![(1, 100, true)]));
    }

    #[test]
    fn a_cap_that_refuses_counts_what_could_not_have_opened() {
        let lives = [(0, 100, None), (200, 300, Some(350)), (400, 450, None)];
        let refused = vec![(2, 200, true), (3, 400, true)];
        assert_eq!(capped((1, WhenFull::Refuse), &lives), (0, 2, refused));
        assert_eq!(capped((2, WhenFull::Refuse), &lives), (0, 0, vec![]));
    }

    #[test]
    fn no_more_than_a_hundred_are_named() {
        let lives = [(0, 0, None); 102];
        let (_, refused, named) = capped((1, WhenFull::Refuse), &lives);
        assert_eq!((refused, named.len()), (101, NAMED_MAX));
        let change = LifetimeChange { absolute_lifetime: hours(1), ..LifetimeChange::default() };
        let mut simulation = Simulation::new(change, None, at(5_000));
        (1..=101).for_each(|n| simulation.add(&aged(n, 0, 86_400, 4_900), &Standing::Active));
        let outcome = simulation.finish().0;
        assert_eq!((outcome.ended_earlier, outcome.named.len()), (101, NAMED_MAX));
    }
}
