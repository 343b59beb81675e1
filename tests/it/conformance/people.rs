//! The clauses about people: uses, changes, further families, and caps that know of uses not yet written.

use std::sync::Arc;

use keyfob::domain::change::Changes;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::EventKind;
use keyfob::domain::policy::WhenFull;
use keyfob::domain::session::{Cap, Decision, EndReason, NewFamily, Session};
use keyfob::store::memory::Memory;
use keyfob::store::{Lane, Opening, Store};

use super::together;
use crate::fixture::*;

every_backend! {
    a_use_is_written_without_a_word
    racing_changes_each_have_a_version
    racing_families_each_have_a_number
    a_cap_goes_by_uses_that_are_not_written
}

const IDLE: i64 = 1_800_000;

/// A use that was good when it happened is written even if what was written before has expired meanwhile.
async fn a_use_is_written_without_a_word(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let use_at = |ms: i64| {
        store.update(session_id(1), Lane::Ordinary, move |session: &mut Session, cuts: &CutOffs| {
            session.use_at(at(ms), cuts);
            Decision::quiet(session.last_used_at)
        })
    };
    assert_eq!(use_at(IDLE + 1_000).await.unwrap(), Some(at(IDLE + 1_000)));
    assert_eq!(use_at(1_000).await.unwrap(), Some(at(IDLE + 1_000)), "a use never goes back");
    assert!(store.session(session_id(1)).await.unwrap().unwrap().is_active(at(2 * IDLE), &store.registry().cuts));
    assert_eq!(kinds(&*store).await, [EventKind::SessionOpened]);
    close(&*store, 1, 2 * IDLE).await;
    assert_eq!(use_at(2 * IDLE).await.unwrap(), Some(at(IDLE + 1_000)), "what has ended is not used");
}

async fn racing_changes_each_have_a_version(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let versions = together((0..16).map(|n| {
        let store = store.clone();
        async move {
            let changes = Changes { label: Some(Some(format!("device {n}").into())), ..Changes::default() };
            let change = move |session: &mut Session, cuts: &CutOffs| {
                let events = session.change(&changes, "app", at(1), cuts).unwrap();
                Decision::told(session.version, events)
            };
            store.update(session_id(1), Lane::Ordinary, change).await.unwrap().unwrap()
        }
    }));
    let mut versions = versions.await;
    versions.sort_unstable();
    assert_eq!(versions, (2..18).collect::<Vec<_>>());
}

async fn racing_families_each_have_a_number(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let numbers = together((0..16_u8).map(|n| {
        let store = store.clone();
        async move {
            let new = NewFamily {
                client_id: client_id("mobile"),
                scope: "read".parse().unwrap(),
                audience: "https://api.example".into(),
                secret: hash(&[n; 32]),
            };
            let add = move |session: &mut Session, cuts: &CutOffs| {
                let number = session.add_family(new.clone(), cuts.head.next(), at(1), cuts).unwrap();
                Decision::told(number, vec![session.event(EventKind::FamilyOpened, at(1), "app")])
            };
            store.update(session_id(1), Lane::Ordinary, add).await.unwrap().unwrap()
        }
    }));
    let mut numbers = numbers.await;
    numbers.sort_unstable();
    assert_eq!(numbers, (2..18).collect::<Vec<_>>());
    let session = store.session(session_id(1)).await.unwrap().unwrap();
    assert!(session.families.windows(2).all(|pair| pair[0].issued < pair[1].issued), "each has its own place in the log");
}

/// What is known besides decides who goes and who still lives; and is not written by that.
async fn a_cap_goes_by_uses_that_are_not_written(store: Arc<impl Store>) {
    for n in 0..2 {
        open(&*store, n, "alice", "app").await;
    }
    let late = IDLE + 1_000;
    let opening = |n, sessions_max, when_full| {
        let mut new = session(n, "alice", "app");
        (new.created_at, new.last_used_at) = (at(late), at(late));
        let uses = vec![(session_id(0), at(IDLE - 1))];
        Opening { uses, ..capped(new, Cap { sessions_max, when_full }) }
    };
    assert!(store.open(opening(7, 1, WhenFull::Refuse)).await.unwrap().is_none(), "by its written use it would have expired");
    assert!(store.open(opening(8, 2, WhenFull::EvictOldest)).await.unwrap().is_some());
    let first = store.session(session_id(0)).await.unwrap().unwrap();
    assert_eq!((&first.end, first.last_used_at), (&None, at(0)));
    assert!(store.open(opening(9, 1, WhenFull::EvictOldest)).await.unwrap().is_some());
    let evicted = store.session(session_id(0)).await.unwrap().unwrap().end.clone().unwrap();
    assert_eq!(evicted.reason, EndReason::Evicted);
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().end, None, "it has expired by itself");
}
