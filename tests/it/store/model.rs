//! ROT-36: random histories, applied to the real backend and to the model at once, with clocks that jump and
//! power that fails.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::store::memory::Memory;
use keyfob::domain::access::Claims;
use keyfob::domain::client::{Client, Party};
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::family::{ChainPosition, RETRIES_MAX};
use keyfob::domain::id::{ClientId, Position, SessionId, TokenId};
use keyfob::domain::policy::LateRetry;
use keyfob::domain::session::{Changes, NotRefreshed, RevokedToken};
use keyfob::domain::time::Moment;
use keyfob::store::redb::Redb;
use keyfob::store::{Opening, StoreError};
use proptest::prelude::*;

use self::action::{Action, Answer, act, lifetimes};
use self::history::{Step, Which, step};
use self::state::{Everything, read};
use crate::harness::dice::Dice;
use crate::harness::disk::{Disk, Fault};
use crate::harness::fixture::*;

pub mod action;
pub mod history;
pub mod state;

const CLIENTS: [&str; 2] = ["app", "mobile"];
const SUBJECTS: [&str; 2] = ["alice", "bob"];
const RETENTION: Duration = Duration::from_secs(600);

/// What the tests know besides the stores: every token ever given out, and what must be dead.
#[derive(Default)]
pub struct World {
    pub wall: i64,
    pub elapsed_ms: u64,
    pub boot: u64,
    drawn: u64,
    sessions: Vec<SessionId>,
    /// Of each family, every token from the first on.
    chains: HashMap<(SessionId, u16), Vec<Token>>,
    owners: HashMap<(SessionId, u16), usize>,
    /// The family that each session's opening or last renewal issued.
    own: HashMap<SessionId, u16>,
    dead_sessions: HashSet<SessionId>,
    dead_families: HashSet<(SessionId, u16)>,
    generations: HashMap<(SessionId, u16), u32>,
    /// The positions at which a client's own tokens were issued, and of those the ones that must be dead.
    own_tokens: [BTreeSet<Position>; 2],
    dead_own_tokens: [BTreeSet<Position>; 2],
    /// How often a family's generation was answered late.
    late: HashMap<((SessionId, u16), u32), u8>,
    registered: HashMap<ClientId, Arc<Client>>,
    /// Every incarnation of each client with each `tokens_from` that it had, in order.
    incarnations: HashMap<usize, Vec<Arc<Client>>>,
}

impl World {
    pub fn now(&self) -> Moment {
        Moment { wall: at(self.wall), boot: self.boot, elapsed_ms: self.elapsed_ms }
    }

    fn draw(&mut self) -> [u8; 32] {
        self.drawn += 1;
        digest(&[b"drawn", &self.drawn.to_be_bytes()])
    }

    fn session(&self, n: usize) -> Option<SessionId> {
        // Mostly the latest: those that live.
        self.sessions.iter().rev().cycle().take(self.sessions.len() * 8).nth(n).copied()
    }

    fn family_begins(&mut self, session: SessionId, family: u16, secret: [u8; 32], owner: usize) {
        let first = Token { session, family, generation: 0, secret };
        assert!(
            self.chains.insert((session, family), vec![first]).is_none(),
            "family numbers are never used again"
        );
        self.owners.insert((session, family), owner);
    }

    fn family(&self, n: usize, family: usize) -> Option<(SessionId, u16)> {
        let session = self.session(n)?;
        let mut families: Vec<u16> =
            self.chains.keys().filter(|(id, _)| *id == session).map(|(_, family)| *family).collect();
        families.sort_unstable();
        (!families.is_empty()).then(|| (session, families[family % families.len()]))
    }
}

/// Draws what the step needs; nothing if there is nothing to do it to.
pub fn draw(world: &mut World, step: &Step) -> Option<Action> {
    Some(match step {
        Step::Open { who, client, known, cap, remember, used, repeat } => {
            let secret = world.draw();
            let mut new = session(world.drawn, SUBJECTS[*who], CLIENTS[*client]);
            new.created_at = at(world.wall);
            new.last_used_at = new.created_at;
            new.authentication.at = new.created_at;
            if repeat.is_some() {
                // As the engine makes them: the sweep finds them by their time.
                let mut random = [0; 10];
                random[2..].copy_from_slice(&world.drawn.to_be_bytes());
                new.id = SessionId::new(new.created_at, &random);
            }
            new.remember = *remember;
            let lifetimes = lifetimes(*remember, 0);
            (new.idle_timeout, new.expires_at) =
                (lifetimes.idle_timeout, new.created_at.plus(lifetimes.absolute_lifetime));
            new.families[0].authentication = new.authentication.clone();
            new.families[0].current = hash(&secret);
            new.families[0].refreshed_at = new.created_at;
            let used = used.and_then(|(n, ago)| {
                Some((world.session(n)?, at(world.wall).minus(Duration::from_millis(ago))))
            });
            let data = (*who == 0).then(|| data("{}"));
            // The opener may know an earlier incarnation than the present one.
            let seen = world.incarnations.get(client);
            let requires = known
                .and_then(|n| seen.and_then(|seen| seen.iter().rev().nth(n)).cloned())
                .map(|client| Party { client, is_caller: true })
                .into_iter()
                .collect();
            Action::Open(
                Box::new(Opening {
                    cap: *cap,
                    data,
                    requires,
                    uses: used.into_iter().collect(),
                    ..repeat.map_or_else(
                        || opening(new.clone()),
                        |(name, request)| repeatable(new.clone(), name, request),
                    )
                }),
                secret,
            )
        }
        Step::Refresh { session, family, which, client, policy } => {
            let salt = world.draw();
            let key = world.family(*session, *family)?;
            let chain = &world.chains[&key];
            let newest = chain.last()?.clone();
            let token = match which {
                Which::Behind(n) => chain[chain.len().saturating_sub(1 + n)].clone(),
                Which::Forked => Token { secret: salt, ..newest },
                Which::Future => Token { generation: newest.generation + 1, secret: salt, ..newest },
            };
            Action::Refresh {
                token,
                salt,
                client: client.unwrap_or(world.owners[&key]),
                policy: policy.clone(),
            }
        }
        Step::Renew { session, with_family } => {
            let (secret, token) = (world.draw(), world.draw());
            Action::Renew { session: world.session(*session)?, secret, token, with_family: *with_family }
        }
        Step::AddFamily { session, client } => {
            let secret = world.draw();
            Action::AddFamily { session: world.session(*session)?, client: *client, secret }
        }
        Step::ChangeData { session } => Action::ChangeData {
            session: world.session(*session)?,
            text: format!(r#"{{"drawn":{:?}}}"#, world.draw()),
        },
        Step::Change { session, claims, label, first } => {
            let said = |text: &Option<u8>, words: fn(u8) -> Box<str>| text.map(|n| (n > 0).then(|| words(n)));
            let claims = said(claims, |n| format!(r#"{{"n":{n}}}"#).into()).map(|claims| claims.map(Claims));
            let label = said(label, |n| format!("device {n}").into());
            let changes = Changes { claims, label, data: false };
            Action::Change { session: world.session(*session)?, changes, if_version: first.then_some(1) }
        }
        Step::Touch { session, ago } => {
            let used = at(world.wall).minus(Duration::from_millis(*ago));
            Action::Touch { session: world.session(*session)?, used }
        }
        Step::CloseSession { session } => Action::CloseSession(world.session(*session)?),
        Step::CloseFamily { session, family } => {
            let (session, family) = world.family(*session, *family)?;
            Action::CloseFamily(session, family)
        }
        Step::RevokeFamily { session, family } => {
            let (session, family) = world.family(*session, *family)?;
            Action::RevokeFamily(session, family)
        }
        Step::RevokeAccessToken { session, lives } => {
            let mut id = [0; 16];
            id.copy_from_slice(&world.draw()[..16]);
            let expires_at = at(world.wall).seconds() + i64::from(*lives);
            Action::RevokeAccessToken(world.session(*session)?, RevokedToken { id: TokenId(id), expires_at })
        }
        Step::RevokeOwnToken { token } => {
            let expires_at = at(0).seconds() + i64::from(*token) * 600;
            Action::RevokeOwnToken(RevokedToken { id: TokenId([*token; 16]), expires_at })
        }
        Step::EndSubject { who, except, by } => {
            Action::EndSubject { who: *who, except: except.and_then(|n| world.session(n)), by: *by }
        }
        Step::EndEverything => Action::EndEverything,
        Step::PutClient { client } => Action::PutClient(*client),
        Step::EndOwnTokens { client } => Action::EndOwnTokens(*client),
        Step::DeleteClient { client } => Action::DeleteClient(*client),
        Step::Sweep { entries_max } => Action::Sweep(*entries_max),
        Step::Wait(_) | Step::Jump(_) | Step::Reopen | Step::PowerCut { .. } => return None,
    })
}

/// Takes note of what was answered, and checks what must hold of it whatever the state.
pub fn note(world: &mut World, action: &Action, answer: &Answer) {
    match (action, answer) {
        (Action::Open(opening, secret), Answer::Opened(Ok(opened))) => {
            for Party { client: required, .. } in &opening.requires {
                let now = &world.registered[&required.id];
                assert_eq!((now.incarnation, now.tokens_from), (required.incarnation, required.tokens_from));
                assert!(!now.disabled);
            }
            let first = Token { session: opened.id, family: 1, generation: 0, secret: *secret };
            world.sessions.push(opened.id);
            let owner =
                CLIENTS.iter().position(|client| client_id(client) == opening.session.client_id).unwrap();
            world.owners.insert((opened.id, 1), owner);
            world.own.insert(opened.id, 1);
            world.chains.insert((opened.id, 1), vec![first]);
        }
        (Action::Refresh { token, policy, .. }, Answer::Refreshed(Some(Ok((next, _, [retried, late]))))) => {
            let key = (token.session, token.family);
            assert!(
                !world.dead_sessions.contains(&token.session),
                "a refresh succeeded after its session was ended"
            );
            assert!(!world.dead_families.contains(&key), "a refresh succeeded after its family was ended");
            if *late {
                assert_eq!(policy.late_retry, LateRetry::Answer);
                let times = world.late.entry((key, next.generation)).or_default();
                *times += 1;
                assert!(*times <= RETRIES_MAX);
                let before = world.late.get(&(key, next.generation - 1));
                assert_eq!(before, None, "late in two successive generations");
            }
            let chain = world.chains.get_mut(&key).unwrap();
            match chain.get(next.generation as usize) {
                Some(known) => assert!(*retried && known == next, "a retry has the same answer"),
                None => {
                    assert!(!retried && chain.len() == next.generation as usize);
                    chain.push(next.clone());
                }
            }
        }
        (
            Action::Refresh { token, .. },
            Answer::Refreshed(Some(Err(NotRefreshed::Reused | NotRefreshed::StoreRollback))),
        ) => {
            world.dead_sessions.insert(token.session);
        }
        (Action::Renew { session, secret, .. }, Answer::Renewed(Some(Some(number)))) => {
            world.dead_families.extend(world.own.remove(session).map(|replaced| (*session, replaced)));
            if let Some(number) = number {
                world.own.insert(*session, *number);
                world.family_begins(*session, *number, *secret, world.owners[&(*session, 1)]);
            }
        }
        (Action::AddFamily { session, client, secret }, Answer::Family(Some(Some(number)))) => {
            world.family_begins(*session, *number, *secret, *client);
        }
        (Action::CloseSession(session), Answer::Reported(Some(true))) => {
            world.dead_sessions.insert(*session);
        }
        (
            Action::CloseFamily(session, family) | Action::RevokeFamily(session, family),
            Answer::Reported(Some(true)),
        ) => {
            world.dead_families.insert((*session, *family));
        }
        (Action::EndEverything, _) => {
            world.dead_sessions.extend(world.sessions.iter().copied());
            world.dead_own_tokens = world.own_tokens.clone();
        }
        (Action::EndOwnTokens(client), Answer::Reported(Some(true))) => {
            world.dead_own_tokens[*client] = world.own_tokens[*client].clone();
        }
        (Action::DeleteClient(client), Answer::Reported(Some(true))) => {
            world.dead_own_tokens[*client] = world.own_tokens[*client].clone();
            world
                .dead_families
                .extend(world.owners.iter().filter(|(_, owner)| *owner == client).map(|(key, _)| *key));
            let of_client =
                world.owners.iter().filter(|((_, family), owner)| *family == 1 && *owner == client);
            world.dead_sessions.extend(of_client.map(|((session, _), _)| *session));
        }
        _ => {}
    }
}

/// What must hold of every state (ROT-36).
pub fn check(world: &mut World, state: &Everything) {
    world.registered = state.cuts.registered.clone();
    for (n, name) in CLIENTS.iter().enumerate() {
        let seen = world.incarnations.entry(n).or_default();
        if let Some(now) = world.registered.get(&client_id(name)) {
            let version = |client: &Client| (client.incarnation, client.tokens_from);
            if seen.last().is_none_or(|last| version(last) != version(now)) {
                assert!(seen.last().is_none_or(|last| last.incarnation <= now.incarnation));
                seen.push(now.clone());
            }
        }
        let client = state.clients.get(&client_id(name));
        let is_valid = |issued| {
            client.is_some_and(|client| client.has_own_token(name, issued))
                && state.cuts.end_of(&client_id(name), issued).is_none()
        };
        assert!(!world.dead_own_tokens[n].iter().any(|issued| is_valid(*issued)), "an ended token is valid");
        assert_eq!(is_valid(state.head), client.is_some(), "one that is issued now");
        world.own_tokens[n].extend(client.map(|_| state.head));
    }
    let now = world.now();
    let log_is_whole = state.events.first().map_or(state.head.0 == 0, |(position, _)| position.0 == 1);
    for (session, _) in &state.sessions {
        if session.end.is_some() {
            world.dead_sessions.insert(session.id);
        }
        if world.dead_sessions.contains(&session.id) {
            assert!(!session.is_active(now.wall, &state.cuts));
        }
        let lifetimes = lifetimes(session.remember, session.renewals);
        assert_eq!(session.idle_timeout, lifetimes.idle_timeout);
        assert_eq!(
            session.expires_at,
            session.authentication.at.plus(lifetimes.absolute_lifetime),
            "only authentication moves it"
        );
        for family in &session.families {
            let key = (session.id, family.number);
            if family.end.is_some() {
                world.dead_families.insert(key);
            }
            assert!(!world.dead_families.contains(&key) || family.end(&state.cuts).is_some());
            if log_is_whole {
                let ends = |event: &Event| {
                    event.kind == EventKind::FamilyEnded
                        && (event.session, event.family) == (Some(key.0), Some(key.1))
                };
                let reported: Vec<_> = state
                    .events
                    .iter()
                    .map(|(_, event)| event)
                    .filter(|event| ends(event))
                    .map(|event| event.reason)
                    .collect();
                assert_eq!(
                    reported,
                    family.end.iter().map(|end| Some(end.reason)).collect::<Vec<_>>(),
                    "reported once, and only what is so"
                );
            }
            let before = world.generations.insert(key, family.generation);
            assert!(before.is_none_or(|before| before <= family.generation), "a generation went back");
            let places: Vec<ChainPosition> = world.chains[&key]
                .iter()
                .map(|token| family.position_of(&token.presented([0; 32]), now))
                .collect();
            assert_eq!(places.iter().filter(|place| **place == ChainPosition::Current).count(), 1);
            assert!(places.iter().filter(|place| **place == ChainPosition::Retry).count() <= 1);
            assert_eq!(
                places.last(),
                Some(&ChainPosition::Current),
                "the newest that was given out is the current one"
            );
        }
    }
    let positions: Vec<u64> = state.events.iter().map(|(position, _)| position.0).collect();
    assert!(positions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a gap in the log");
    assert!(positions.last().is_none_or(|last| *last == state.head.0));
}

fn reopen(disk: &Disk) -> Redb {
    Redb::open_backend(disk.clone(), &keys(), OPTIONS).unwrap()
}

/// Runs a history. `fail` is where the power goes off in the middle of a step: the step, after how many
/// operations of the disk, and how.
async fn run(steps: Vec<Step>, fail: (usize, u64, u64)) {
    let fail = (fail.0 % steps.len(), fail.1, fail.2);
    let (mut world, model, mut disk) = (World::default(), Memory::new(), Disk::default());
    let mut real = reopen(&disk);
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Wait(ms) => {
                world.wall += i64::try_from(ms).unwrap();
                world.elapsed_ms += ms;
            }
            Step::Jump(ms) => world.wall += ms,
            Step::Reopen | Step::PowerCut { .. } => {
                let found = if let Step::PowerCut { seed } = step {
                    disk.after_power_cut(&mut Dice::new(seed))
                } else {
                    disk.clone()
                };
                drop(real);
                disk = found;
                real = reopen(&disk);
                (world.boot, world.elapsed_ms) = (world.boot + 1, 0);
            }
            _ => {}
        }
        if let Some(action) = draw(&mut world, &step) {
            let now = world.now();
            if number == fail.0 {
                disk.arm(fail.1, Fault::ReadOnly);
            }
            let answered = act(&real, action.clone(), now).await;
            let did = match answered {
                Ok(answer) => {
                    let expected = act(&model, action.clone(), now).await.unwrap();
                    assert_eq!(answer, expected, "{step:?}");
                    note(&mut world, &action, &expected);
                    true
                }
                Err(StoreError::Failed(_) | StoreError::Unavailable(_)) => false,
                Err(error) => panic!("{error}"),
            };
            if number == fail.0 {
                let found = disk.after_power_cut(&mut Dice::new(fail.2));
                drop(real);
                disk = found;
                real = reopen(&disk);
                (world.boot, world.elapsed_ms) = (world.boot + 1, 0);
            }
            if !did {
                // Not answered: it happened whole, or not at all. A sweep is many commits, and is simply done
                // again.
                if matches!(action, Action::Sweep(_)) {
                    act(&real, action.clone(), now).await.unwrap();
                }
                if read(&real).await != read(&model).await {
                    let answer = act(&model, action.clone(), now).await.unwrap();
                    note(&mut world, &action, &answer);
                }
            }
        }
        let (found, expected) = (read(&real).await, read(&model).await);
        assert_eq!(found, expected, "after {step:?}");
        check(&mut world, &expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_real_store_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..60),
        fail in (0_usize..60, 0_u64..16, any::<u64>()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps, fail));
    }
}
