//! A decision on all sessions of a subject that takes several transactions: what is written between them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::EventKind;
use keyfob::domain::session::{Decision, Session};
use keyfob::store::redb::{Redb, Writer};
use keyfob::store::{Lane, Store};

use crate::harness::disk::Disk;
use crate::harness::fixture::*;

/// More than two transactions decide on: one decides on 256.
const SESSIONS: u64 = 600;

/// Awaits a future, and runs the batches of the writer meanwhile.
fn drive<F: Future>(writer: &mut Writer, future: F) -> F::Output {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        writer.step();
    }
}

fn bump(session: &mut Session, _: &CutOffs) -> Decision<()> {
    session.version += 1;
    Decision::with_events((), vec![session.event(EventKind::SessionUpdated, at(1), "app")])
}

#[test]
fn what_is_opened_or_changed_between_two_transactions_is_decided_on_once() {
    let (store, mut writer) = Redb::open_stepped(Disk::default(), &keys(), OPTIONS).unwrap();
    drive(&mut writer, async {
        for n in 101..=100 + SESSIONS {
            open(&store, n, "alice", "app").await;
        }
    });
    let changed = |session: &mut Session, _: &CutOffs| Decision::answer(session.version > 1);
    let closing = || event(EventKind::SubjectRevoked, 7);
    let mut updating = pin!(store.update_subject(subject("alice"), None, closing(), changed));
    let mut context = Context::from_waker(Waker::noop());
    assert!(updating.as_mut().poll(&mut context).is_pending());
    assert!(writer.step());

    // Before and after the place that the update has reached, and of another subject; all in the next batch.
    let late = |n, who| opening(Session { version: 2, ..session(n, who, "app") });
    let openings =
        [late(1, "alice"), late(2, "bob"), late(9_999, "alice")].map(|opening| store.open(opening));
    let changes = [101, 100 + SESSIONS].map(|n| store.update(session_id(n), Lane::Ordinary, bump));
    let (mut openings, mut changes) = (openings.map(Box::pin), changes.map(Box::pin));
    assert!(openings.iter_mut().all(|opening| opening.as_mut().poll(&mut context).is_pending()));
    assert!(changes.iter_mut().all(|change| change.as_mut().poll(&mut context).is_pending()));
    writer.step();
    assert!(updating.as_mut().poll(&mut context).is_pending(), "a third transaction is to come");
    assert!(openings.iter_mut().all(|opening| opening.as_mut().poll(&mut context).is_ready()));
    assert!(changes.iter_mut().all(|change| change.as_mut().poll(&mut context).is_ready()));

    let count = drive(&mut writer, updating).unwrap();
    assert_eq!(count, Ok(4), "two were opened, and two changed");

    let again = drive(&mut writer, store.update_subject(subject("alice"), None, closing(), changed));
    assert_eq!(again.unwrap(), Ok(4));
    assert!(!writer.step(), "nothing is left to be done");
}

#[test]
fn two_subjects_that_are_decided_on_at_the_same_time_are_kept_apart() {
    let (store, mut writer) = Redb::open_stepped(Disk::default(), &keys(), OPTIONS).unwrap();
    drive(&mut writer, async {
        for n in 1..=900 {
            open(&store, n, "alice", "app").await;
        }
        for n in 1_001..=1_300 {
            open(&store, n, "bob", "app").await;
        }
    });
    let changed = |session: &mut Session, _: &CutOffs| Decision::answer(session.version > 1);
    let update = |who| store.update_subject(subject(who), None, event(EventKind::SubjectRevoked, 7), changed);
    let mut context = Context::from_waker(Waker::noop());
    let mut of_alice = pin!(update("alice"));
    assert!(of_alice.as_mut().poll(&mut context).is_pending());
    assert!(writer.step());
    // Of bob, who has fewer sessions, the decisions start later and end earlier.
    let mut of_bob = pin!(update("bob"));
    assert!(of_bob.as_mut().poll(&mut context).is_pending());
    let mut change = pin!(store.update(session_id(1), Lane::Ordinary, bump));
    assert!(change.as_mut().poll(&mut context).is_pending());
    assert_eq!(drive(&mut writer, of_bob).unwrap(), Ok(0));
    assert!(change.as_mut().poll(&mut context).is_ready());
    assert!(of_alice.as_mut().poll(&mut context).is_pending());
    assert_eq!(drive(&mut writer, of_alice).unwrap(), Ok(1));
}
