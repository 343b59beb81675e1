//! The clauses about the number of those that live: exact in every state, whatever ended a session, and known
//! without counting.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::memory::Memory;
use ::redb::{Database, TableDefinition};
use keyfob::domain::event::EventKind;
use keyfob::domain::policy::WhenFull;
use keyfob::domain::session::{Cap, Decision};
use keyfob::store::redb::{Options, Redb};
use keyfob::store::{Lane, Store, StoreError};

use crate::harness::fixture::*;

every_backend! {
    those_that_live_are_known_by_client
    what_a_cut_off_ended_is_never_counted_off_again
    a_namesake_of_a_deleted_client_begins_at_nothing
    an_eviction_makes_no_difference
    a_refused_opening_counts_for_nothing
}

/// The names and numbers, as text that is easy to compare.
async fn live(store: &impl Store) -> String {
    let figures = store.figures().await.unwrap();
    let numbers = figures.active_by_client;
    assert_eq!(numbers.values().sum::<u64>(), figures.active);
    numbers
        .iter()
        .map(|(client, number)| format!("{}={number}", client.as_str()))
        .collect::<Vec<_>>()
        .join(" ")
}

async fn delete(store: &impl Store, name: &str, ms: i64) {
    let deleted = event(EventKind::ClientDeleted, ms);
    let decide = move |slot: &mut Option<_>, _: &_| {
        *slot = None;
        Decision::with_events((), vec![deleted.clone()])
    };
    store.update_client(client_id(name), decide).await.unwrap();
}

async fn create(store: &impl Store, name: &str) {
    let new = client(name);
    let decide = move |slot: &mut Option<_>, _: &_| {
        *slot = Some(new.clone());
        Decision::with_events((), vec![event(EventKind::ClientCreated, 0)])
    };
    store.update_client(client_id(name), decide).await.unwrap();
}

async fn those_that_live_are_known_by_client(store: Arc<impl Store>) {
    assert_eq!(live(&*store).await, "");
    for n in 0..3 {
        open(&*store, n, "alice", "app").await;
    }
    open(&*store, 3, "bob", "mobile").await;
    assert_eq!(live(&*store).await, "app=3 mobile=1");
    assert_eq!(close(&*store, 0, 1).await, Some(true));
    assert_eq!(close(&*store, 0, 2).await, Some(false), "what has ended ends once");
    rotate(&*store, &Token::first(1), [1; 32], moment(3)).await.unwrap();
    assert_eq!(live(&*store).await, "app=2 mobile=1");
    assert_eq!(close(&*store, 3, 4).await, Some(true));
    assert_eq!(live(&*store).await, "app=2", "a client without sessions is not listed");
    // The sweep reports the two that have expired, and later removes all.
    assert_eq!(store.sweep(sweep(4_000_000)).await.unwrap().expired, 2);
    assert_eq!(live(&*store).await, "");
    while store.sweep(sweep(30 * 86_400_000)).await.unwrap().more {}
    assert_eq!((live(&*store).await, store.figures().await.unwrap().sessions), (String::new(), 0));
}

async fn what_a_cut_off_ended_is_never_counted_off_again(store: Arc<impl Store>) {
    for n in 0..3 {
        open(&*store, n, "alice", "app").await;
    }
    store.end_everything(None, event(EventKind::AllRevoked, 1)).await.unwrap().unwrap();
    assert_eq!(live(&*store).await, "");
    for n in 10..12 {
        open(&*store, n, "alice", "app").await;
    }
    assert_eq!(close(&*store, 0, 2).await, Some(false));
    assert_eq!(live(&*store).await, "app=2");
    assert_eq!(close(&*store, 10, 3).await, Some(true));
    // The three from before are looked at only now, and go without a trace in the number.
    while store.sweep(sweep(30 * 86_400_000)).await.unwrap().more {}
    assert_eq!((live(&*store).await, store.figures().await.unwrap().sessions), (String::new(), 0));
}

async fn a_namesake_of_a_deleted_client_begins_at_nothing(store: Arc<impl Store>) {
    create(&*store, "app").await;
    open(&*store, 1, "alice", "app").await;
    open(&*store, 2, "alice", "mobile").await;
    delete(&*store, "app", 1).await;
    assert_eq!(live(&*store).await, "mobile=1");
    create(&*store, "app").await;
    open(&*store, 3, "alice", "app").await;
    assert_eq!(store.sweep(sweep(4_000_000)).await.unwrap().expired, 2, "the dead one does not expire");
    assert_eq!(live(&*store).await, "");
}

async fn an_eviction_makes_no_difference(store: Arc<impl Store>) {
    let cap = Cap { sessions_max: 2, when_full: WhenFull::EvictOldest };
    for n in 0..5 {
        assert!(store.open(capped(session(n, "alice", "app"), cap)).await.unwrap().is_ok());
    }
    assert_eq!(live(&*store).await, "app=2");
}

async fn a_refused_opening_counts_for_nothing(store: Arc<impl Store>) {
    let cap = Cap { sessions_max: 1, when_full: WhenFull::Refuse };
    open(&*store, 1, "alice", "app").await;
    assert!(store.open(capped(session(2, "alice", "app"), cap)).await.unwrap().is_err());
    assert!(store.open(opening(session(1, "alice", "app"))).await.is_err());
    assert_eq!(live(&*store).await, "app=1");
}

/// A database that was made before the numbers were kept: the first opening counts, the next ones need not.
#[tokio::test]
async fn a_database_without_the_numbers_is_counted_once() {
    let place = Place::new();
    let store = place.open();
    for n in 0..5 {
        open(&store, n, "alice", if n < 2 { "app" } else { "mobile" }).await;
    }
    close(&store, 4, 1).await;
    drop(store);
    let table = TableDefinition::<&str, &[u8]>::new("live");
    let db = Database::open(place.file()).unwrap();
    let transaction = db.begin_write().unwrap();
    assert!(transaction.delete_table(table).unwrap());
    transaction.commit().unwrap();
    drop(db);
    for _ in 0..2 {
        assert_eq!(live(&place.open()).await, "app=2 mobile=2");
    }
}

/// What was counted while the store runs, and what it holds.
#[tokio::test]
async fn the_figures_tell_what_was_done_and_what_is_there() {
    let place = Place::new();
    let store = Redb::open(&place.file(), &keys(), Options { write_queue_max: 7, ..OPTIONS }).unwrap();
    open(&store, 1, "alice", "app").await;
    open(&store, 2, "alice", "app").await;
    close(&store, 1, 1).await;
    store.end_everything(None, event(EventKind::AllRevoked, 2)).await.unwrap().unwrap();
    assert_eq!(store.update(session_id(2), Lane::Ordinary, nothing).await.unwrap(), Some(()));
    store.measure().unwrap();
    let figures = store.figures().await.unwrap();
    let reported: BTreeMap<_, _> =
        figures.events_written.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(
        (
            reported["session.opened"],
            reported["session.ended"],
            reported["all.revoked"],
            reported["session.expired"]
        ),
        (2, 1, 1, 0)
    );
    let ended: BTreeMap<_, _> =
        figures.sessions_ended.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(
        (ended["logout"], ended["all_revoked"], ended["admin"]),
        (1, 1, 0),
        "one by itself, one by the cut-off"
    );
    assert_eq!((figures.sessions, figures.events, figures.places, figures.waiting), (2, 4, 7, 0));
    assert_eq!(
        (figures.commits, figures.decisions, figures.failures),
        (4, 5, 0),
        "what changed nothing is decided and not committed"
    );
    assert_eq!((figures.batches.count, figures.batches.sum, figures.commit_nanos.count), (4, 4, 4));
    assert_eq!(figures.due, Some(at(1)), "the ended one is looked at first");
    assert_eq!(figures.file_bytes, Some(place.file().metadata().unwrap().len()));
    assert!(figures.free_bytes.unwrap() > 0 && figures.table_bytes["sessions"] > 0);
    store.close();
    assert!(matches!(
        store.update(session_id(2), Lane::Ordinary, nothing).await,
        Err(StoreError::Unavailable(_))
    ));
}
