//! What every backend promises, clause by clause, held against the real one and the model.

use std::sync::Arc;
use std::time::Duration;

use crate::store::memory::Memory;
use keyfob::domain::client::{Client, Party, Permission};
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::end::EndReason;
use keyfob::domain::event::EventKind;
use keyfob::domain::id::{Hash, KeyId, Position, Salt, TokenId};
use keyfob::domain::key::{KeyRecord, KeyStatus};
use keyfob::domain::policy::{Policy, WhenFull};
use keyfob::domain::refusal::Refusal;
use keyfob::domain::session::{Cap, Decision, NotOpened, NotRefreshed, RevokedToken, Session, Standing};
use keyfob::store::{Lane, Opening, Store};

use crate::harness::fixture::*;

/// Holds every backend to each clause.
macro_rules! every_backend {
    ($($clause:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                super::$clause(std::sync::Arc::new(super::Memory::new())).await;
            })*
        }
        mod redb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                let place = crate::harness::fixture::Place::new();
                super::$clause(std::sync::Arc::new(place.open())).await;
            })*
        }
        further_backends! { $($clause)* }
    };
}

mod live;
mod people;
mod sweep;

every_backend! {
    what_is_unknown_is_none
    an_opening_is_kept_whole_and_knows_its_place_in_the_log
    an_id_is_opened_once
    a_repeated_opening_finds_the_first_and_opens_nothing
    racing_repetitions_open_one_session
    data_lies_beside_its_session
    a_change_survives_a_refusal
    an_event_is_kept_with_those_whom_it_concerns
    racing_updates_are_serial
    racing_retries_of_one_refresh_make_one_rotation
    without_a_window_one_of_racing_refreshes_wins
    a_cap_that_evicts_is_exact_under_racing_openings
    a_cap_that_refuses_is_exact_under_racing_openings
    positions_have_no_gaps_and_appear_in_order
    a_change_is_never_seen_later_than_its_event
    a_change_that_was_answered_is_in_every_later_read
    what_is_current_includes_every_change_that_was_answered
    decisions_see_the_head_that_their_events_follow
    logging_out_everywhere_ends_each_session_and_counts
    ending_everything_is_one_cut_off
    a_deleted_client_leaves_nothing_to_its_namesake
    a_client_is_created_changed_and_read_from_the_registry
    a_client_has_the_position_of_its_creation_until_it_is_deleted
    nothing_is_opened_for_a_client_that_was_deleted
    nothing_is_ended_for_a_caller_that_is_not_as_it_was_authenticated
    openings_that_race_with_a_deletion_are_refused_or_ended
    signing_keys_keep_their_order
    a_token_is_revoked_once
    sessions_are_listed_in_order_and_in_pages
    sessions_that_may_be_active_are_listed_by_subject_and_client
    a_reader_of_the_log_waits_for_an_event_after_the_one_it_knows
}

/// As a long poll does, which would otherwise be answered at once with nothing.
async fn a_reader_of_the_log_waits_for_an_event_after_the_one_it_knows(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let known = store.head();
    let mut waiting = Box::pin(store.head_after(known));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
    open(&*store, 2, "alice", "app").await;
    waiting.await;
    store.head_after(known).await;
}

async fn what_is_unknown_is_none(store: Arc<impl Store>) {
    assert_eq!(store.session(session_id(1)).await.unwrap(), None);
    assert_eq!(store.data(session_id(1)).await.unwrap(), None);
    assert_eq!(store.update(session_id(1), Lane::Ordinary, bump).await.unwrap(), None);
    assert_eq!(store.sessions(None, None, 10).await.unwrap(), []);
    assert_eq!(store.sessions(Some(subject("alice")), None, 10).await.unwrap(), []);
    assert_eq!(*store.registry().keys, []);
    assert_eq!(log(&*store).await, []);
    assert_eq!(store.head(), Position(0));
    assert!(store.ready().is_ok());
}

async fn an_opening_is_kept_whole_and_knows_its_place_in_the_log(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let mut second = session(2, "żółw 🐢", "app");
    second.opened_by = "bff".into();
    second.remember = true;
    let kept = store.open(opening(second.clone())).await.unwrap().unwrap();
    second.issued = Position(2);
    second.families[0].issued = Position(2);
    assert_eq!(kept, second);
    assert_eq!(store.session(second.id).await.unwrap(), Some(Arc::new(second)));
    assert_eq!(store.head(), Position(2));
    assert_eq!(kinds(&*store).await, [EventKind::SessionOpened; 2]);
}

async fn an_id_is_opened_once(store: Arc<impl Store>) {
    let first = open(&*store, 1, "alice", "app").await;
    assert!(is_corrupt(
        &store.open(opening(session(1, "mallory", "app"))).await,
        "sessions",
        &first.id.to_string()
    ));
    assert_eq!(store.session(first.id).await.unwrap(), Some(Arc::new(first)));
    assert_eq!(store.head(), Position(1));
}

async fn a_repeated_opening_finds_the_first_and_opens_nothing(store: Arc<impl Store>) {
    let first = store.open(repeatable(session(1, "alice", "app"), 7, 1)).await.unwrap().unwrap();
    let again = repeatable(session(2, "alice", "app"), 7, 2);
    let Err(NotOpened::Repeated(repeated)) = store.open(again.clone()).await.unwrap() else { panic!() };
    assert_eq!((&repeated.session, repeated.request.0), (&first, [1; 32]));
    assert_eq!(repeated.window.as_ref().unwrap().salt, Salt([7; 32]));
    assert!(repeated.window_for(&Hash([1; 32]), moment(599_999), &CutOffs::default()).is_some());
    for (request, now) in [([2; 32], 0), ([1; 32], 600_000)] {
        assert!(repeated.window_for(&Hash(request), moment(now), &CutOffs::default()).is_none());
    }
    assert!(store.open(repeatable(session(3, "alice", "app"), 8, 1)).await.unwrap().is_ok(), "another name");
    let once = |id| {
        let mut opening = repeatable(session(id, "alice", "app"), 9, 1);
        opening.repeat.as_mut().unwrap().window = None;
        opening
    };
    assert!(store.open(once(4)).await.unwrap().is_ok());
    let Err(NotOpened::Repeated(refused)) = store.open(once(5)).await.unwrap() else { panic!() };
    assert_eq!((refused.session.id, refused.window), (session_id(4), None), "recognised and never repeated");
    assert_eq!(kinds(&*store).await, [EventKind::SessionOpened; 3]);
    store.update(session_id(1), Lane::Ordinary, bump).await.unwrap();
    let Err(NotOpened::Repeated(changed)) = store.open(again).await.unwrap() else { panic!() };
    assert_eq!((changed.session.version, changed.window), (2, None), "a change erases the salt");
}

async fn racing_repetitions_open_one_session(store: Arc<impl Store>) {
    let open = |n| {
        let store = store.clone();
        tokio::spawn(async move { store.open(repeatable(session(n, "alice", "app"), 7, 1)).await.unwrap() })
    };
    let mut ids = vec![];
    for racer in (1..=8).map(open).collect::<Vec<_>>() {
        ids.push(match racer.await.unwrap() {
            Ok(session) => session.id,
            Err(NotOpened::Repeated(repeated)) => repeated.session.id,
            Err(other) => panic!("{other:?}"),
        });
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(kinds(&*store).await, [EventKind::SessionOpened]);
}

async fn data_lies_beside_its_session(store: Arc<impl Store>) {
    store
        .open(Opening { data: Some(data("{}")), ..opening(session(1, "alice", "app")) })
        .await
        .unwrap()
        .unwrap();
    open(&*store, 2, "alice", "app").await;
    assert_eq!(store.data(session_id(1)).await.unwrap(), Some(data("{}")));
    assert_eq!(store.data(session_id(2)).await.unwrap(), None);
    let decide =
        |_: &mut Session, _: &CutOffs| Decision { data: Some(data(r#"{"a":1}"#)), ..Decision::answer(()) };
    store.update(session_id(1), Lane::Ordinary, decide).await.unwrap();
    assert_eq!(store.data(session_id(1)).await.unwrap(), Some(data(r#"{"a":1}"#)));
}

/// ROT-05, ROT-10: the caller is refused, and the theft is on record all the same.
async fn a_change_survives_a_refusal(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let first = Token::first(1);
    let second = rotate(&*store, &first, [1; 32], moment(1)).await.unwrap();
    let third = rotate(&*store, &second, [2; 32], moment(2)).await.unwrap();
    assert_eq!(rotate(&*store, &first, [3; 32], moment(3)).await, Err(NotRefreshed::Reused));
    let session = store.session(first.session).await.unwrap().unwrap();
    assert_eq!(session.end.as_ref().map(|end| end.reason), Some(EndReason::RefreshReuse));
    assert_eq!(rotate(&*store, &third, [4; 32], moment(4)).await, Err(NotRefreshed::Inactive));
    assert_eq!(
        kinds(&*store).await,
        [EventKind::SessionOpened, EventKind::RefreshReused, EventKind::SessionEnded]
    );
}

/// The feed decides by what was so when the event was written, whatever changes or is removed since.
async fn an_event_is_kept_with_those_whom_it_concerns(store: Arc<impl Store>) {
    let mut second = session(1, "alice", "app");
    second.opened_by = "bff".into();
    second.families[0].audience = "https://other.example".into();
    store.open(opening(second)).await.unwrap().unwrap();
    close(&*store, 1, 5).await;
    let (position, ended) = log(&*store).await.pop().unwrap();
    let at = |name: &str| (name.into(), Position(1));
    let reach = ended.reach.unwrap();
    assert_eq!((position, reach.parties), (Position(2), vec![at("bff"), at("app")]));
    assert_eq!(reach.audiences, ["https://api.example".into(), "https://other.example".into()]);
}

async fn racing_updates_are_serial(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let update = |_| {
        let store = store.clone();
        async move { store.update(session_id(1), Lane::Ordinary, bump).await.unwrap().unwrap() }
    };
    let mut versions = together((0..64).map(update)).await;
    versions.sort_unstable();
    assert_eq!(versions, (2..=65).collect::<Vec<u32>>());
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().version, 65);
}

/// Many readers keep the session in every memory there may be; none finds it older than an answer that was
/// there before it asked.
async fn a_change_that_was_answered_is_in_every_later_read(store: Arc<impl Store>) {
    const CHANGES: u32 = 300;
    open(&*store, 1, "alice", "app").await;
    let answered = Arc::new(std::sync::atomic::AtomicU32::new(1));
    let read = |_| {
        let (store, answered) = (store.clone(), answered.clone());
        async move {
            let mut seen = 0;
            while seen <= CHANGES {
                let least = answered.load(std::sync::atomic::Ordering::SeqCst).max(seen);
                seen = store.session(session_id(1)).await.unwrap().unwrap().version;
                assert!(seen >= least, "{seen} after {least}");
                tokio::task::yield_now().await;
            }
        }
    };
    let readers: Vec<_> = (0..4).map(read).map(tokio::spawn).collect();
    for _ in 0..CHANGES {
        let version = store.update(session_id(1), Lane::Ordinary, bump).await.unwrap().unwrap();
        answered.store(version, std::sync::atomic::Ordering::SeqCst);
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

/// ROT-02, ROT-03: all requests get the same successor, whichever was first.
async fn racing_retries_of_one_refresh_make_one_rotation(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let retry = |n| {
        let store = store.clone();
        async move { rotate(&*store, &Token::first(1), [n; 32], moment(5)).await.unwrap() }
    };
    let tokens = together((0..64).map(retry)).await;
    assert!(tokens.iter().all(|token| *token == tokens[0]));
    let family = store.session(session_id(1)).await.unwrap().unwrap().families[0].clone();
    assert_eq!(family.generation, 1);
    assert_eq!(family.current, hash(&tokens[0].secret));
    assert_eq!(family.window.unwrap().retries, 63);
}

/// ROT-04, ROT-13.
async fn without_a_window_one_of_racing_refreshes_wins(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let strict = Policy { refresh_retry_window: Duration::ZERO, ..Policy::default() };
    let attempt = |n| {
        let store = store.clone();
        let decide = refresh(&Token::first(1), "app", &strict, [n; 32], moment(5));
        async move {
            store
                .update(session_id(1), Lane::Ordinary, decide)
                .await
                .unwrap()
                .unwrap()
                .map(|granted| granted.retried)
        }
    };
    let answers = together((0..32).map(attempt)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(NotRefreshed::Reused)).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Err(NotRefreshed::Inactive)).count(), 30);
}

async fn a_cap_that_evicts_is_exact_under_racing_openings(store: Arc<impl Store>) {
    let cap = Cap { sessions_max: 3, when_full: WhenFull::EvictOldest };
    open(&*store, 100, "bob", "app").await;
    open(&*store, 101, "alice", "other").await;
    let opened = together((0..32).map(|n| {
        let store = store.clone();
        async move { store.open(capped(session(n, "alice", "app"), cap)).await.unwrap().is_ok() }
    }));
    assert!(opened.await.into_iter().all(|opened| opened));
    assert_eq!(live(&*store, "alice", "app").await, 3);
    assert_eq!(live(&*store, "alice", "other").await, 1);
    assert_eq!(live(&*store, "bob", "app").await, 1);
    assert_eq!(kinds(&*store).await.iter().filter(|kind| **kind == EventKind::SessionEnded).count(), 29);
}

async fn a_cap_that_refuses_is_exact_under_racing_openings(store: Arc<impl Store>) {
    let cap = Cap { sessions_max: 3, when_full: WhenFull::Refuse };
    let opened = together((0..32).map(|n| {
        let store = store.clone();
        async move { store.open(capped(session(n, "alice", "app"), cap)).await.unwrap().is_ok() }
    }));
    assert_eq!(opened.await.into_iter().filter(|opened| *opened).count(), 3);
    assert_eq!(live(&*store, "alice", "app").await, 3);
    assert_eq!(kinds(&*store).await, [EventKind::SessionOpened; 3]);
}

async fn positions_have_no_gaps_and_appear_in_order(store: Arc<impl Store>) {
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            let mut seen = Position(0);
            while seen.0 < 64 {
                let head = store.head();
                let events = store.events(seen, 7).await.unwrap();
                assert!(!events.is_empty() || head <= seen, "the head is not ahead of what can be read");
                for (position, _) in events {
                    assert_eq!(position, seen.next());
                    seen = position;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    together((0..64).map(|n| {
        let store = store.clone();
        async move { open(&*store, n, "alice", "app").await.issued }
    }))
    .await;
    reader.await.unwrap();
    assert_eq!(store.head(), Position(64));
    let issued: Vec<Position> = log(&*store).await.iter().map(|(position, _)| *position).collect();
    assert_eq!(issued, (1..=64).map(Position).collect::<Vec<_>>());
    for (position, event) in log(&*store).await {
        assert_eq!(store.session(event.session.unwrap()).await.unwrap().unwrap().issued, position);
    }
}

/// State and event are one commit: a reader of the event that a session ended finds it ended.
async fn a_change_is_never_seen_later_than_its_event(store: Arc<impl Store>) {
    for n in 0..32 {
        open(&*store, n, "alice", "app").await;
    }
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            let mut seen = Position(32);
            while seen.0 < 64 {
                for (position, event) in store.events(seen, 100).await.unwrap() {
                    assert!(store.session(event.session.unwrap()).await.unwrap().unwrap().end.is_some());
                    seen = position;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let ended = together((0..32).map(|n| {
        let store = store.clone();
        async move { close(&*store, n, 5).await }
    }));
    assert!(ended.await.into_iter().all(|ended| ended == Some(true)));
    reader.await.unwrap();
}

/// What a request is judged by: many ask while the registry changes.
async fn what_is_current_includes_every_change_that_was_answered(store: Arc<impl Store>) {
    use std::sync::atomic::{AtomicU64, Ordering};
    const CHANGES: u64 = 60;
    let answered = Arc::new(AtomicU64::new(0));
    let ask = |_| {
        let (store, answered) = (store.clone(), answered.clone());
        async move {
            let mut seen = 0;
            while seen < CHANGES {
                let least = answered.load(Ordering::SeqCst);
                let (registry, head) = store.current().await.unwrap();
                seen = registry.cuts.everything.as_ref().map_or(0, |cut| cut.position.0);
                assert!(seen >= least && head.0 >= least, "{seen} and {head:?} after {least}");
                assert!(store.head() >= head);
                tokio::task::yield_now().await;
            }
        }
    };
    let asking: Vec<_> = (0..4).map(ask).map(tokio::spawn).collect();
    for n in 1..=CHANGES {
        store.end_everything(None, event(EventKind::AllRevoked, 1)).await.unwrap().unwrap();
        answered.store(n, Ordering::SeqCst);
    }
    for asks in asking {
        asks.await.unwrap();
    }
}

async fn decisions_see_the_head_that_their_events_follow(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let tell = |session: &mut Session, cuts: &CutOffs| {
        let event = session.event(EventKind::SessionUpdated, at(1), "app");
        Decision::with_events(cuts.head, vec![event.clone(), event])
    };
    let heads = together((0..16).map(|_| {
        let store = store.clone();
        async move { store.update(session_id(1), Lane::Ordinary, tell).await.unwrap().unwrap() }
    }));
    let mut heads = heads.await;
    heads.sort_unstable();
    assert_eq!(heads, (0..16).map(|n| Position(1 + 2 * n)).collect::<Vec<_>>());
    assert_eq!(store.head(), Position(33));
}

/// GTR-07 in the store's terms: `except`, the count and the closing event are exact.
async fn logging_out_everywhere_ends_each_session_and_counts(store: Arc<impl Store>) {
    for n in 0..5 {
        open(&*store, n, "alice", "app").await;
    }
    open(&*store, 9, "bob", "app").await;
    let decide = |session: &mut Session, cuts: &CutOffs| {
        let events = if session.id == session_id(3) {
            vec![]
        } else {
            session.close(end(EndReason::SubjectRevoked, 7), at(7), cuts)
        };
        Decision::with_events(!events.is_empty(), events)
    };
    let run = || store.update_subject(subject("alice"), None, event(EventKind::SubjectRevoked, 7), decide);
    assert_eq!(run().await.unwrap(), Ok(4));
    assert_eq!(live(&*store, "alice", "app").await, 1);
    assert_eq!(live(&*store, "bob", "app").await, 1);
    assert_eq!(
        kinds(&*store).await[6..],
        [[EventKind::SessionEnded; 4].as_slice(), &[EventKind::SubjectRevoked]].concat()
    );
    assert_eq!(run().await.unwrap(), Ok(0));
    assert_eq!(store.head(), Position(11), "nothing ended, nothing reported");
}

/// FED-10: positions decide; the opening and the end bear the same time.
async fn ending_everything_is_one_cut_off(store: Arc<impl Store>) {
    let before = open(&*store, 1, "alice", "app").await;
    store.end_everything(None, event(EventKind::AllRevoked, 0)).await.unwrap().unwrap();
    let after = open(&*store, 2, "alice", "app").await;
    let registry = store.registry();
    assert_eq!(registry.cuts.everything.as_ref().unwrap().position, Position(2));
    let Standing::Ended(end) = before.standing(at(0), &registry.cuts) else { panic!("it lives") };
    assert_eq!(end.reason, EndReason::AllRevoked);
    assert!(after.is_active(at(0), &registry.cuts));
    assert_eq!(rotate(&*store, &Token::first(1), [1; 32], moment(1)).await, Err(NotRefreshed::Inactive));
    assert!(rotate(&*store, &Token::first(2), [1; 32], moment(1)).await.is_ok());
}

async fn a_deleted_client_leaves_nothing_to_its_namesake(store: Arc<impl Store>) {
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let before = open(&*store, 1, "alice", "app").await;
    put_client(&*store, None, EventKind::ClientDeleted).await;
    assert!(store.registry().cuts.registered.is_empty());
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let after = open(&*store, 2, "alice", "app").await;
    let cuts = store.registry().cuts.clone();
    assert_eq!(cuts.clients[&client_id("app")].position, Position(3));
    let Standing::Ended(end) = before.standing(at(1), &cuts) else { panic!("it lives") };
    assert_eq!((end.reason, &*end.by), (EndReason::ClientDeleted, "root"));
    assert!(after.is_active(at(1), &cuts));
    assert_eq!(rotate(&*store, &Token::first(1), [1; 32], moment(1)).await, Err(NotRefreshed::Inactive));
}

/// Whatever a decision leaves in the record: the store sets the incarnation.
async fn a_client_has_the_position_of_its_creation_until_it_is_deleted(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "other").await;
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let incarnation = || party(&*store).client.incarnation;
    assert_eq!(incarnation(), Position(2));
    put_client(&*store, Some(Client { disabled: true, ..client("app") }), EventKind::ClientUpdated).await;
    assert_eq!(incarnation(), Position(2));
    let registered = store.registry().cuts.registered.clone();
    assert_eq!(registered, [(client_id("app"), party(&*store).client)].into());
    assert!(registered[&client_id("app")].disabled);
    put_client(&*store, None, EventKind::ClientDeleted).await;
    assert!(store.registry().cuts.registered.is_empty());
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    assert_eq!(incarnation(), Position(5));
}

/// A thief of a client's secret keeps opening while the client is deleted and created again.
async fn nothing_is_opened_for_a_client_that_was_deleted(store: Arc<impl Store>) {
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let first = party(&*store);
    let open_as = |n, requires: &Party| {
        store.open(Opening { requires: vec![requires.clone()], ..opening(session(n, "alice", "app")) })
    };
    assert!(open_as(1, &first).await.unwrap().is_ok());
    put_client(&*store, None, EventKind::ClientDeleted).await;
    assert!(matches!(open_as(2, &first).await.unwrap(), Err(NotOpened::NotCurrent(_))));
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    assert!(matches!(open_as(3, &first).await.unwrap(), Err(NotOpened::NotCurrent(_))));
    assert!(open_as(4, &party(&*store)).await.unwrap().is_ok());
    assert_eq!(live(&*store, "alice", "app").await, 1, "that of the new client");
    assert_eq!(store.session(session_id(2)).await.unwrap(), None, "a refused opening leaves nothing");
}

/// A request with a stolen secret is in progress when the secret is rotated, or the client disabled.
async fn nothing_is_ended_for_a_caller_that_is_not_as_it_was_authenticated(store: Arc<impl Store>) {
    let token = RevokedToken { id: TokenId([1; 16]), expires_at: 300 };
    let permitted = || Client { permissions: vec![Permission::Sessions], ..client("app") };
    for (changed, why) in [
        (Client { tokens_from: Position(2), ..permitted() }, Refusal::InvalidClient),
        (Client { disabled: true, ..permitted() }, Refusal::InvalidClient),
        (client("app"), Refusal::Forbidden),
    ] {
        put_client(&*store, Some(permitted()), EventKind::ClientCreated).await;
        let caller = Some(Party { is_caller: true, ..party(&*store) });
        put_client(&*store, Some(changed), EventKind::ClientUpdated).await;
        let head = store.head();
        let ended = store.end_everything(caller.clone(), event(EventKind::AllRevoked, 1)).await.unwrap();
        assert_eq!(ended.unwrap_err().refusal, why);
        let revoked = store.revoke_token(caller.clone(), token, event(EventKind::TokenRevoked, 1)).await;
        assert_eq!(revoked.unwrap().unwrap_err().refusal, why);
        let decide = |_: &mut Session, _: &CutOffs| Decision::answer(true);
        let closing = event(EventKind::SubjectRevoked, 1);
        let ended = store.update_subject(subject("alice"), caller.clone(), closing, decide).await.unwrap();
        assert_eq!(ended.unwrap_err().refusal, why);
        let opened = Opening { requires: caller.into_iter().collect(), ..opening(session(1, "a", "app")) };
        assert!(matches!(store.open(opened).await.unwrap(), Err(NotOpened::NotCurrent(_))));
        assert_eq!((store.head(), store.is_revoked(token).await.unwrap()), (head, false));
        assert!(store.registry().cuts.everything.is_none());
    }
}

async fn openings_that_race_with_a_deletion_are_refused_or_ended(store: Arc<impl Store>) {
    const OPENINGS: u64 = 500;
    const TASKS: u64 = 16;
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let first = party(&*store);
    let opener = |task| {
        let (store, first) = (store.clone(), first.clone());
        async move {
            // Until the deletion, whenever that comes.
            for count in 0.. {
                let (n, requires) = (task + TASKS * count, vec![first.clone()]);
                let opening = Opening { requires, ..opening(session(n, "alice", "app")) };
                match store.open(opening).await.unwrap() {
                    Ok(_) => {}
                    Err(NotOpened::NotCurrent(_)) => return count,
                    Err(other) => panic!("{other:?}"),
                }
            }
            unreachable!("there is no last number")
        }
    };
    let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(opener(task))).collect();
    store.head_after(Position(OPENINGS)).await;
    put_client(&*store, None, EventKind::ClientDeleted).await;
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let mut opened = 0;
    for task in tasks {
        opened += task.await.unwrap();
    }
    assert!(opened >= OPENINGS, "{opened}");
    assert_eq!(live(&*store, "alice", "app").await, 0);
}

async fn a_client_is_created_changed_and_read_from_the_registry(store: Arc<impl Store>) {
    put_client(&*store, Some(client("app")), EventKind::ClientCreated).await;
    let created = Client { incarnation: Position(1), ..client("app") };
    assert_eq!(*store.registry().cuts.registered[&client_id("app")], created);
    let changed = Client { disabled: true, ..created };
    put_client(&*store, Some(changed.clone()), EventKind::ClientUpdated).await;
    assert_eq!(*store.registry().cuts.registered[&client_id("app")], changed);
    let seen =
        store.update_client(client_id("app"), |client, _| Decision::answer(client.clone())).await.unwrap();
    assert_eq!(seen, Some(changed));
    let deleted =
        store.update_client(client_id("unknown"), |client, _| Decision::answer(client.take())).await.unwrap();
    assert_eq!(deleted, None);
    assert!(store.registry().cuts.clients.is_empty());
    assert_eq!(store.head(), Position(2));
}

async fn signing_keys_keep_their_order(store: Arc<impl Store>) {
    let key = |n: u8| KeyRecord {
        id: KeyId::Ed25519([n; 33]),
        status: KeyStatus::Active,
        public: [n; 32].into(),
        sealed_seed: vec![n; 48],
        created_at: at(0),
        active_since: None,
        retired_at: Some(at(1)),
    };
    let add = move |keys: &mut Vec<KeyRecord>, _: &CutOffs| {
        keys.extend([key(9), key(3), key(7)]);
        Decision::with_events(keys.len(), vec![event(EventKind::KeyRotated, 1)])
    };
    assert_eq!(store.update_keys(add).await.unwrap(), 3);
    assert_eq!(*store.registry().keys, [key(9), key(3), key(7)]);
    store.update_keys(|keys, _| Decision::answer(keys.remove(0))).await.unwrap();
    assert_eq!(*store.registry().keys, [key(3), key(7)]);
    assert_eq!(kinds(&*store).await, [EventKind::KeyRotated]);
}

async fn a_token_is_revoked_once(store: Arc<impl Store>) {
    let token = RevokedToken { id: TokenId([5; 16]), expires_at: at(10_000).seconds() };
    let other = RevokedToken { id: TokenId([6; 16]), ..token };
    assert!(!store.is_revoked(token).await.unwrap());
    let revoke = |at| store.revoke_token(None, token, event(EventKind::TokenRevoked, at));
    assert_eq!(revoke(1).await.unwrap(), Ok(true));
    assert_eq!(revoke(2).await.unwrap(), Ok(false));
    assert!(store.is_revoked(token).await.unwrap());
    assert!(!store.is_revoked(other).await.unwrap());
    assert_eq!(kinds(&*store).await, [EventKind::TokenRevoked]);
}

async fn sessions_that_may_be_active_are_listed_by_subject_and_client(store: Arc<impl Store>) {
    for n in 0..12 {
        open(&*store, n, if n < 9 { "alice" } else { "bob" }, if n % 3 == 0 { "mobile" } else { "app" })
            .await;
    }
    close(&*store, 4, 1).await;
    let list = async |client: Option<&str>, after: Option<u64>, limit| {
        let found =
            store.active_sessions(subject("alice"), client.map(client_id), after.map(session_id), limit);
        let found = found.await.unwrap();
        (0..12).filter(|n| found.iter().any(|s| s.id == session_id(*n))).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 100).await, [0, 1, 2, 3, 5, 6, 7, 8]);
    assert_eq!(list(None, None, 4).await, [0, 1, 2, 3], "the first by id, whatever their clients");
    assert_eq!(list(None, Some(3), 3).await, [5, 6, 7]);
    assert_eq!(list(Some("mobile"), None, 100).await, [0, 3, 6]);
    assert_eq!(list(Some("app"), Some(2), 100).await, [5, 7, 8]);
    assert_eq!(list(Some("other"), None, 100).await, [0; 0]);
    let ordered = store.active_sessions(subject("alice"), None, None, 100).await.unwrap();
    assert!(ordered.is_sorted_by_key(|session| session.id));
    // The sweep reports what has expired.
    store.sweep(sweep(4_000_000)).await.unwrap();
    assert_eq!(list(None, None, 100).await, [0; 0]);
}

async fn sessions_are_listed_in_order_and_in_pages(store: Arc<impl Store>) {
    for n in [3, 1, 4, 0, 5, 2] {
        open(&*store, n, if n % 2 == 0 { "alice" } else { "bob" }, "app").await;
    }
    let list = async |who: Option<&str>, after: Option<u64>, limit| {
        let found = store.sessions(who.map(subject), after.map(session_id), limit).await.unwrap();
        found.iter().map(|s| (0..6).find(|n| session_id(*n) == s.id).unwrap()).collect::<Vec<u64>>()
    };
    assert_eq!(list(None, None, 100).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(list(None, Some(1), 2).await, [2, 3]);
    assert_eq!(list(Some("alice"), None, 100).await, [0, 2, 4]);
    assert_eq!(list(Some("alice"), None, 2).await, [0, 2]);
    assert_eq!(list(Some("alice"), Some(0), 1).await, [2]);
    assert_eq!(list(Some("alice"), Some(1), 100).await, [2, 4]);
    assert_eq!(list(Some("bob"), Some(5), 100).await, [0; 0]);
    assert_eq!(list(Some("bob"), None, 0).await, [0; 0]);
}

/// The model can break too: then nothing is acknowledged, and it says so.
#[tokio::test]
async fn after_a_failed_write_the_model_acknowledges_nothing() {
    let store = Memory::new();
    open(&store, 1, "alice", "app").await;
    store.fail_after(1);
    assert_eq!(store.update(session_id(1), Lane::Ordinary, bump).await.unwrap(), Some(2));
    assert!(store.update(session_id(1), Lane::Ordinary, bump).await.is_err());
    assert!(store.ready().is_err());
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().version, 2);
}

/// Runs them all at once and answers in their order.
async fn together<T: Send + 'static>(
    futures: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = futures.map(tokio::spawn).collect();
    let mut answers = vec![];
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

async fn live(store: &impl Store, who: &str, client: &str) -> usize {
    let sessions = store.sessions(Some(subject(who)), None, usize::MAX).await.unwrap();
    let cuts = store.registry().cuts.clone();
    sessions
        .iter()
        .filter(|session| session.client_id == client_id(client) && session.is_active(at(5), &cuts))
        .count()
}

fn party(store: &impl Store) -> Party {
    Party { client: store.registry().cuts.registered[&client_id("app")].clone(), is_caller: false }
}

async fn put_client(store: &impl Store, new: Option<Client>, kind: EventKind) {
    let decide = move |client: &mut Option<Client>, _: &CutOffs| {
        *client = new.clone();
        Decision::with_events((), vec![event(kind, 1)])
    };
    store.update_client(client_id("app"), decide).await.unwrap();
}
