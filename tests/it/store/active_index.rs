//! The index of active sessions: what goes over a subject does not read its history, whatever made the
//! database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::end::EndReason;
use keyfob::domain::event::EventKind;
use keyfob::domain::policy::WhenFull;
use keyfob::domain::session::{Cap, Decision, Session};
use keyfob::store::check::Note;
use keyfob::store::redb::{Redb, check_file};
use keyfob::store::{Lane, Store};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use crate::harness::fixture::*;

const SESSIONS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("sessions");
const ACTIVE: TableDefinition<&[u8; 48], ()> = TableDefinition::new("active");
const SUBJECTS: TableDefinition<&[u8; 32], ()> = TableDefinition::new("subjects");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const FORMAT_1: &[u8] = b"keyfob/\0\0\0\x01";
const FORMAT_2: &[u8] = b"keyfob/\0\0\0\x02";

fn change(place: &Place, change: impl Fn(&WriteTransaction)) {
    let db = Database::open(place.file()).unwrap();
    let mut transaction = db.begin_write().unwrap();
    transaction.set_quick_repair(true);
    change(&transaction);
    transaction.commit().unwrap();
}

fn finds(place: &Place) -> Vec<String> {
    let mut finds = vec![];
    check_file(&place.file(), &keys(), 4 << 20, at(2), &mut |note| {
        if let Note::Find(find) = note {
            finds.push(format!("{} {}", find.table, find.cause));
        }
        Ok(())
    })
    .unwrap();
    finds
}

async fn active(store: &impl Store, who: &str) -> Vec<u64> {
    let sessions = store.active_sessions(subject(who), None, None, usize::MAX).await.unwrap();
    (0..10_000).filter(|n| sessions.iter().any(|session| session.id == session_id(*n))).collect()
}

/// Each sign-in of a script account used to read every session that it ever had, for as long as they were
/// kept. The ended ones are made unreadable here, so that reading one would fail.
#[tokio::test]
async fn a_cap_a_list_and_a_log_out_everywhere_read_no_ended_session() {
    let place = Place::new();
    let store = place.open();
    for n in 0..20 {
        open(&store, n, "alice", "app").await;
        close(&store, n, 1).await;
    }
    open(&store, 20, "alice", "app").await;
    drop(store);
    change(&place, |transaction| {
        let mut sessions = transaction.open_table(SESSIONS).unwrap();
        for n in 0..20 {
            sessions.insert(&session_id(n).0, &b"damaged"[..]).unwrap();
        }
    });
    let store = place.open();
    assert_eq!(active(&store, "alice").await, [20]);
    let cap = Cap { sessions_max: 1, when_full: WhenFull::EvictOldest };
    store.open(capped(session(21, "alice", "app"), cap)).await.unwrap().unwrap();
    assert_eq!(active(&store, "alice").await, [21], "the other was evicted");
    assert_eq!(end_all(&store, "alice").await.unwrap(), 1);
    assert_eq!(active(&store, "alice").await, [0; 0]);
}

async fn end_all(store: &impl Store, who: &str) -> keyfob::store::Result<usize> {
    let decide = |session: &mut Session, cuts: &CutOffs| {
        let events = session.close(end(EndReason::SubjectRevoked, 2), at(2), cuts);
        Decision::with_events(!events.is_empty(), events)
    };
    let ended = store.update_subject(subject(who), None, event(EventKind::SubjectRevoked, 2), decide).await;
    ended.map(|ended| ended.expect("without a caller nothing is refused"))
}

/// More sessions than one transaction takes, while others are opened and changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_everywhere_in_slices_leaves_nothing_that_was_there_before_its_event() {
    const BEFORE: u64 = 1_000;
    let place = Place::new();
    let store = Arc::new(place.open());
    let open_many = |range: std::ops::Range<u64>| {
        let tasks: Vec<_> = range
            .map(|n| {
                let store = store.clone();
                let client = if n % 2 == 0 { "app" } else { "mobile" };
                tokio::spawn(async move { open(&*store, n, "alice", client).await.issued })
            })
            .collect();
        async move {
            let mut positions = vec![];
            for task in tasks {
                positions.push(task.await.unwrap());
            }
            positions
        }
    };
    open_many(0..BEFORE).await;
    let commits = store.counters().commits;
    let ending = tokio::spawn({
        let store = store.clone();
        async move { end_all(&*store, "alice").await.unwrap() }
    });
    let later = open_many(BEFORE..2 * BEFORE).await;
    let ended = ending.await.unwrap();
    assert!(store.counters().commits > commits + 3, "in several transactions");
    let closing = log(&*store).await.into_iter().find(|(_, event)| event.kind == EventKind::SubjectRevoked);
    let (closing, _) = closing.expect("the event of the log-out");
    let after = later.iter().filter(|position| **position > closing).count();
    assert_eq!(active(&*store, "alice").await.len(), after, "exactly those that came after the event");
    assert_eq!(ended, 2 * usize::try_from(BEFORE).unwrap() - after);
    let store = Arc::into_inner(store).unwrap();
    drop(store);
    assert_eq!(finds(&place), [""; 0]);
}

/// The last transaction decided again on all that the ones before it had ended.
#[tokio::test]
async fn a_log_out_everywhere_in_slices_decides_once_on_each_session() {
    let place = Place::new();
    let store = place.open();
    for n in 0..600 {
        open(&store, n, "alice", "app").await;
    }
    let decisions = Arc::new(AtomicUsize::new(0));
    let counted = decisions.clone();
    let decide = move |session: &mut Session, cuts: &CutOffs| {
        counted.fetch_add(1, Ordering::Relaxed);
        let events = session.close(end(EndReason::SubjectRevoked, 2), at(2), cuts);
        Decision::with_events(!events.is_empty(), events)
    };
    let closing = event(EventKind::SubjectRevoked, 2);
    assert_eq!(store.update_subject(subject("alice"), None, closing, decide).await.unwrap(), Ok(600));
    assert_eq!(decisions.load(Ordering::Relaxed), 600);
}

/// A store that closes in between finishes what it has started.
#[tokio::test]
async fn a_log_out_everywhere_is_finished_when_the_store_closes() {
    let place = Place::new();
    let store = Arc::new(place.open());
    for n in 0..600 {
        open(&*store, n, "alice", "app").await;
    }
    let (handle, other) = (store.clone(), store.clone());
    let ending = tokio::spawn(async move { end_all(&*handle, "alice").await });
    while other.counters().waiting == 0 && other.counters().decisions < 601 {
        tokio::task::yield_now().await;
    }
    tokio::task::spawn_blocking(move || other.close()).await.unwrap();
    assert_eq!(ending.await.unwrap().unwrap(), 600);
}

async fn opened_ended_and_expired() -> Place {
    let place = Place::new();
    let store = place.open();
    for n in 0..6 {
        open(&store, n, if n < 4 { "alice" } else { "bob" }, "app").await;
    }
    close(&store, 0, 1).await;
    store
        .update(session_id(1), Lane::Ordinary, |session, _| {
            session.idle_timeout = std::time::Duration::from_secs(1);
            Decision::answer(())
        })
        .await
        .unwrap();
    assert_eq!(store.sweep(sweep(600_000)).await.unwrap().expired, 1);
    place
}

/// A database of format 1 has no index; one that an older keyfob has used after an interrupted upgrade may
/// have an outdated one.
#[tokio::test]
async fn a_database_of_format_1_gets_the_index_when_it_is_opened() {
    for leave in [false, true] {
        let place = opened_ended_and_expired().await;
        change(&place, |transaction| {
            transaction.open_table(META).unwrap().insert("format", FORMAT_1).unwrap();
            if leave {
                let mut active = transaction.open_table(ACTIVE).unwrap();
                active.pop_first().unwrap();
                active.insert(&[7; 48], ()).unwrap();
            } else {
                transaction.delete_table(ACTIVE).unwrap();
            }
        });
        assert_eq!(finds(&place), [""; 0], "format 1 makes no promise of an index");
        let store = place.open();
        assert_eq!((active(&store, "alice").await, active(&store, "bob").await), (vec![2, 3], vec![4, 5]));
        drop(store);
        assert_eq!(finds(&place), [""; 0]);
    }
}

#[tokio::test]
async fn a_check_finds_a_session_that_is_not_in_the_index_and_an_entry_of_none() {
    let place = opened_ended_and_expired().await;
    assert_eq!(finds(&place), [""; 0]);
    change(&place, |transaction| {
        let mut active = transaction.open_table(ACTIVE).unwrap();
        let first = *active.first().unwrap().unwrap().0.value();
        active.remove(&first).unwrap();
    });
    assert_eq!(finds(&place), ["active missing: its session is not found as an active one"]);
    let place = opened_ended_and_expired().await;
    change(&place, |transaction| {
        let mut active = transaction.open_table(ACTIVE).unwrap();
        let mut ended = *active.first().unwrap().unwrap().0.value();
        ended[32..].copy_from_slice(&session_id(0).0);
        active.insert(&ended, ()).unwrap();
    });
    assert_eq!(finds(&place), ["active it belongs to no active session"]);
}

#[tokio::test]
async fn a_check_finds_an_ended_session_that_is_not_found_by_its_subject() {
    let place = opened_ended_and_expired().await;
    change(&place, |transaction| _ = transaction.open_table(SUBJECTS).unwrap().pop_first().unwrap().unwrap());
    assert_eq!(finds(&place), ["subjects missing: its session is not found by its subject"]);
}

/// Before format 3 the index of subjects had the active sessions too.
#[tokio::test]
async fn a_database_of_format_2_lists_each_session_once() {
    let place = opened_ended_and_expired().await;
    change(&place, |transaction| {
        transaction.open_table(META).unwrap().insert("format", FORMAT_2).unwrap();
        let active = transaction.open_table(ACTIVE).unwrap();
        let mut subjects = transaction.open_table(SUBJECTS).unwrap();
        for entry in active.iter().unwrap() {
            let key = *entry.unwrap().0.value();
            let of_subject: [u8; 32] = [&key[..16], &key[32..]].concat().try_into().unwrap();
            subjects.insert(&of_subject, ()).unwrap();
        }
    });
    assert_eq!(finds(&place), [""; 0]);
    let store = place.open();
    let ids = |listed: Vec<Session>| listed.iter().map(|session| session.id).collect::<Vec<_>>();
    let all = store.sessions(Some(subject("alice")), None, 9).await.unwrap();
    assert_eq!(ids(all), [0, 1, 2, 3].map(session_id));
    let page = store.sessions(Some(subject("alice")), Some(session_id(0)), 2).await.unwrap();
    assert_eq!(ids(page), [1, 2].map(session_id));
    drop(store);
    change(&place, |t| {
        assert_ne!(t.open_table(META).unwrap().get("format").unwrap().unwrap().value(), FORMAT_2)
    });
    assert_eq!(finds(&place), [""; 0]);
}

/// What a purge and a restart leave.
#[tokio::test]
async fn the_index_follows_the_sweep_and_a_restart() {
    let place = opened_ended_and_expired().await;
    let store: Redb = place.open();
    while store.sweep(sweep(30 * 86_400_000)).await.unwrap().more {}
    while store.sweep(sweep(60 * 86_400_000)).await.unwrap().more {}
    assert_eq!(store.figures().await.unwrap().sessions, 0);
    drop(store);
    let db = Database::open(place.file()).unwrap();
    let transaction = db.begin_write().unwrap();
    assert_eq!(transaction.open_table(ACTIVE).unwrap().iter().unwrap().count(), 0);
    assert_eq!(transaction.open_table(SUBJECTS).unwrap().iter().unwrap().count(), 0);
}
