//! What is done to a store, and what it answers: the same to the real one and to the model.

use std::sync::Arc;
use std::time::Duration;

use keyfob::domain::client::Client;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::end::{End, EndReason};
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::family::Stamp;
use keyfob::domain::id::{KeyId, Position, SessionId};
use keyfob::domain::policy::{Lifetimes, Policy};
use keyfob::domain::session::{
    Changes, Data, Decision, NewFamily, NotOpened, NotRefreshed, Refresh, Renewal, RevokedToken, Session,
};
use keyfob::domain::time::{Moment, Timestamp};
use keyfob::store::{Lane, Opening, Result, Store, Sweep, Swept};

use super::{CLIENTS, RETENTION, SUBJECTS};
use crate::harness::fixture::*;

/// The next token, what its access token is made from, and whether it was a retry, and a late one.
type Granted = (Token, Stamp, [bool; 2]);

/// What a step answered, on either store.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Opened(std::result::Result<Box<Session>, NotOpened>),
    Refreshed(Option<std::result::Result<Granted, NotRefreshed>>),
    Family(Option<Option<u16>>),
    /// Inside: whether it lived, and the family that it got.
    Renewed(Option<Option<Option<u16>>>),
    Reported(Option<bool>),
    Count(usize),
    Done,
}

/// A step with all that it needs drawn, so that both stores do exactly the same.
#[derive(Clone)]
pub enum Action {
    Open(Box<Opening>, [u8; 32]),
    Refresh { token: Token, salt: [u8; 32], client: usize, policy: Policy },
    Renew { session: SessionId, secret: [u8; 32], token: [u8; 32], with_family: bool },
    AddFamily { session: SessionId, client: usize, secret: [u8; 32] },
    ChangeData { session: SessionId, text: String },
    Change { session: SessionId, changes: Changes, if_version: Option<u32> },
    Touch { session: SessionId, used: Timestamp },
    CloseSession(SessionId),
    CloseFamily(SessionId, u16),
    RevokeFamily(SessionId, u16),
    RevokeAccessToken(SessionId, RevokedToken),
    RevokeOwnToken(RevokedToken),
    EndSubject { who: usize, except: Option<SessionId>, by: Option<usize> },
    EndEverything,
    PutClient(usize),
    EndOwnTokens(usize),
    DeleteClient(usize),
    Sweep(usize),
}

/// Does the same to any store, by the domain's own verbs.
pub async fn act(store: &impl Store, action: Action, now: Moment) -> Result<Answer> {
    let wall = now.wall;
    let by_root = move |reason| End { at: wall, reason, by: "root".into() };
    Ok(match action {
        Action::Open(opening, _) => Answer::Opened(store.open(*opening).await?.map(Box::new)),
        Action::Refresh { token, salt, client, policy } => {
            let successor = token.clone();
            let answer = store
                .update(token.session, Lane::Ordinary, refresh_at(token, salt, client, policy, now))
                .await?;
            Answer::Refreshed(answer.map(|granted| {
                granted.map(|granted| {
                    assert!(granted.stamp.expires_at <= granted.session.expires_at.seconds());
                    (successor.successor(&granted.salt.0), granted.stamp, [granted.retried, granted.late])
                })
            }))
        }
        Action::Renew { session, secret, token, with_family } => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                let family = with_family.then(|| new_family(session.client_id.as_str(), &secret));
                let renewal = Renewal {
                    token: hash(&token),
                    scope: session.scope.clone(),
                    audience: session.audience.clone(),
                    authentication: keyfob::domain::access::Authentication {
                        at: wall,
                        acr: Some("aal2".into()),
                        amr: vec![],
                    },
                    reports_time: false,
                    lifetimes: lifetimes(session.remember, session.renewals + 1),
                    family,
                    by: "root".into(),
                };
                match session.renew(renewal, wall, cuts) {
                    Ok(renewed) => Decision::with_events(Some(renewed.answer), renewed.events),
                    Err(_) => Decision::answer(None),
                }
            };
            Answer::Renewed(store.update(session, Lane::Ordinary, decide).await?)
        }
        Action::AddFamily { session, client, secret } => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                if !session.is_active(wall, cuts) {
                    return Decision::answer(None);
                }
                let added =
                    session.add_family(new_family(CLIENTS[client], &secret), cuts.head.next(), wall, cuts);
                Decision::with_events(added, vec![session.event(EventKind::FamilyOpened, wall, "root")])
            };
            Answer::Family(store.update(session, Lane::Ordinary, decide).await?)
        }
        Action::ChangeData { session, text } => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                let active = session.is_active(wall, cuts);
                session.version += u32::from(active);
                Decision { answer: active, events: vec![], data: active.then(|| Data(text.as_str().into())) }
            };
            Answer::Reported(store.update(session, Lane::Ordinary, decide).await?)
        }
        Action::Change { session, changes, if_version } => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                if if_version.is_some_and(|version| version != session.version) {
                    return Decision::answer(false);
                }
                let before = (session.version, session.claims_version, session.claims.clone());
                let Ok(events) = session.change(&changes, "root", wall, cuts) else {
                    return Decision::answer(false);
                };
                assert_eq!(
                    session.version,
                    before.0 + u32::try_from(events.len()).unwrap(),
                    "a version for each change that differs"
                );
                assert_eq!(
                    session.claims != before.2,
                    session.claims_version != before.1,
                    "retries know of every change of claims"
                );
                reported(events)
            };
            Answer::Reported(store.update(session, Lane::Ordinary, decide).await?)
        }
        Action::Touch { session, used } => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                let (before, ended) = (session.last_used_at, session.end.is_some());
                session.use_at(used, cuts);
                assert!(session.last_used_at >= before, "a use never goes back");
                assert!(!ended || session.last_used_at == before, "what has ended is not used any more");
                Decision::answer(session.last_used_at > before)
            };
            Answer::Reported(store.update(session, Lane::Ordinary, decide).await?)
        }
        Action::CloseSession(session) => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                reported(session.close(by_root(EndReason::Admin), wall, cuts))
            };
            Answer::Reported(store.update(session, Lane::Revocation, decide).await?)
        }
        Action::CloseFamily(session, family) => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                reported(session.close_family(family, by_root(EndReason::TokenRevoked), wall, cuts))
            };
            Answer::Reported(store.update(session, Lane::Revocation, decide).await?)
        }
        Action::RevokeFamily(session, family) => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                reported(session.revoke_family(family, "root", wall, cuts))
            };
            Answer::Reported(store.update(session, Lane::Revocation, decide).await?)
        }
        Action::RevokeAccessToken(session, token) => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                reported(session.revoke_token(token, Some(1), "root", wall, cuts))
            };
            Answer::Reported(store.update(session, Lane::Revocation, decide).await?)
        }
        Action::RevokeOwnToken(token) => Answer::Reported(Some(
            store
                .revoke_token(None, token, Event::new(EventKind::TokenRevoked, wall, "root"))
                .await?
                .expect("without a caller nothing is refused"),
        )),
        Action::EndSubject { who, except, by } => {
            let decide = move |session: &mut Session, cuts: &CutOffs| {
                if Some(session.id) == except {
                    return Decision::answer(false);
                }
                let end = by_root(EndReason::SubjectRevoked);
                let client = by.map(|client| client_id(CLIENTS[client]));
                if client.as_ref().is_none_or(|client| *client == session.client_id) {
                    return reported(session.close(end, wall, cuts));
                }
                let own = session.families.iter().filter(|family| client.as_ref() == Some(&family.client_id));
                let own: Vec<u16> = own.map(|family| family.number).collect();
                let events = own
                    .into_iter()
                    .flat_map(|number| session.close_family(number, end.clone(), wall, cuts))
                    .collect();
                Decision::with_events(false, events)
            };
            let closing = Event::new(EventKind::SubjectRevoked, wall, "root");
            let ended = store.update_subject(subject(SUBJECTS[who]), None, closing, decide).await?;
            Answer::Count(ended.expect("without a caller nothing is refused"))
        }
        Action::EndEverything => {
            let ended = store.end_everything(None, Event::new(EventKind::AllRevoked, wall, "root")).await?;
            ended.expect("without a caller nothing is refused");
            Answer::Done
        }
        Action::PutClient(n) => {
            let decide = move |slot: &mut Option<_>, _: &CutOffs| {
                let tokens_from = slot.as_ref().map_or(Position(0), |old: &Client| old.tokens_from);
                let old = slot.replace(Client { tokens_from, ..client(CLIENTS[n]) });
                let events = if old.is_some() {
                    vec![]
                } else {
                    vec![Event::new(EventKind::ClientCreated, wall, "root")]
                };
                Decision::with_events(old.is_some(), events)
            };
            Answer::Reported(Some(store.update_client(client_id(CLIENTS[n]), decide).await?))
        }
        Action::EndOwnTokens(n) => {
            let decide = move |slot: &mut Option<Client>, cuts: &CutOffs| {
                let Some(client) = slot else { return Decision::answer(false) };
                client.tokens_from = cuts.head.next();
                reported(vec![Event::new(EventKind::ClientTokensRevoked, wall, "root")])
            };
            Answer::Reported(Some(store.update_client(client_id(CLIENTS[n]), decide).await?))
        }
        Action::DeleteClient(n) => {
            let decide = move |slot: &mut Option<_>, _: &CutOffs| match slot.take() {
                Some(_) => {
                    Decision::with_events(true, vec![Event::new(EventKind::ClientDeleted, wall, "root")])
                }
                None => Decision::answer(false),
            };
            Answer::Reported(Some(store.update_client(client_id(CLIENTS[n]), decide).await?))
        }
        Action::Sweep(entries_max) => {
            // Which entries come first is each backend's own business, so both go on until there is nothing
            // more.
            let sweep = Sweep { now, retention: RETENTION, entries_max };
            while store.sweep(sweep).await?.more {}
            let again = store.sweep(sweep).await?;
            assert_eq!(again, Swept::default(), "what is swept is swept");
            Answer::Done
        }
    })
}

/// How long a session lives, as its policy says when it is opened; the policy is another when it is renewed.
pub fn lifetimes(remember: bool, renewals: u32) -> Lifetimes {
    let (idle_s, absolute_s) = match (remember, renewals) {
        (true, _) => (10_800, 432_000),
        (false, 0) => (1_800, 86_400),
        (false, _) => (600, 7_200),
    };
    Lifetimes {
        idle_timeout: Duration::from_secs(idle_s),
        absolute_lifetime: Duration::from_secs(absolute_s),
    }
}

fn reported(events: Vec<Event>) -> Decision<bool> {
    Decision::with_events(events.iter().any(|event| event.kind != EventKind::SessionExpired), events)
}

fn new_family(client: &str, secret: &[u8; 32]) -> NewFamily {
    NewFamily {
        client_id: client_id(client),
        scope: "read".parse().unwrap(),
        audience: "https://api.example".into(),
        secret: hash(secret),
    }
}

fn refresh_at(
    token: Token,
    salt: [u8; 32],
    client: usize,
    policy: Policy,
    now: Moment,
) -> impl Fn(
    &mut Session,
    &CutOffs,
) -> Decision<std::result::Result<keyfob::domain::session::Refreshed, NotRefreshed>>
+ Send
+ 'static {
    let presented = token.presented(salt);
    let client = Arc::new(self::client(CLIENTS[client]));
    let refresh = Refresh {
        client,
        issuer: "https://id.example".into(),
        family: token.family,
        presented,
        scope: None,
        resource: None,
        policy,
        key: KeyId::Ed25519([3; 33]),
        address: None,
    };
    move |session, cuts| session.refresh(&refresh, &refresh.client, now, cuts)
}
