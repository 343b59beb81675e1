//! The clauses about people: uses, changes, further families, and caps that know of uses not yet written.

use std::sync::Arc;
use std::time::Duration;

use crate::store::memory::Memory;
use keyfob::domain::access::{Authentication, Claims};
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::end::{End, EndReason};
use keyfob::domain::event::EventKind;
use keyfob::domain::policy::{Lifetimes, WhenFull};
use keyfob::domain::session::{Cap, Changes, Decision, NewFamily, Renewal, Session};
use keyfob::store::{Lane, Opening, Store};

use super::{live, together};
use crate::harness::fixture::*;

every_backend! {
    a_use_is_written_without_a_word
    racing_changes_each_have_a_version
    changed_claims_and_labels_are_those_that_are_read
    racing_families_each_have_a_number
    a_cap_goes_by_uses_that_are_not_written
    a_renewal_is_one_commit_and_one_of_racing_ones_has_the_last_word
    a_family_ends_without_its_session_and_the_last_one_revoked_with_it
    logging_out_everywhere_as_a_client_ends_its_families_elsewhere
}

const IDLE: i64 = 1_800_000;

/// A use that was good when it happened is written even if what was written before has expired meanwhile.
async fn a_use_is_written_without_a_word(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let use_at = |ms: i64| {
        store.update(session_id(1), Lane::Ordinary, move |session: &mut Session, cuts: &CutOffs| {
            session.use_at(at(ms), cuts);
            Decision::answer(session.last_used_at)
        })
    };
    assert_eq!(use_at(IDLE + 1_000).await.unwrap(), Some(at(IDLE + 1_000)));
    assert_eq!(use_at(1_000).await.unwrap(), Some(at(IDLE + 1_000)), "a use never goes back");
    assert!(
        store.session(session_id(1)).await.unwrap().unwrap().is_active(at(2 * IDLE), &store.registry().cuts)
    );
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
                Decision::with_events(session.version, events)
            };
            store.update(session_id(1), Lane::Ordinary, change).await.unwrap().unwrap()
        }
    }));
    let mut versions = versions.await;
    versions.sort_unstable();
    assert_eq!(versions, (2..18).collect::<Vec<_>>());
}

async fn changed_claims_and_labels_are_those_that_are_read(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    for (claims, label) in [(Some(r#"{"tier":"jade"}"#), Some("tablet")), (None, None)] {
        let claims = claims.map(|text| Claims(text.into()));
        let label = label.map(Into::into);
        let changes =
            Changes { claims: Some(claims.clone()), label: Some(label.clone()), ..Changes::default() };
        let change = move |session: &mut Session, cuts: &CutOffs| {
            Decision::with_events((), session.change(&changes, "app", at(1), cuts).unwrap())
        };
        store.update(session_id(1), Lane::Ordinary, change).await.unwrap().unwrap();
        let read = store.session(session_id(1)).await.unwrap().unwrap();
        assert_eq!((&read.claims, &read.device.label), (&claims, &label));
    }
}

async fn racing_families_each_have_a_number(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let numbers = together((0..16_u8).map(|n| {
        let store = store.clone();
        async move {
            let new = new_family("mobile", n);
            let add = move |session: &mut Session, cuts: &CutOffs| {
                let number = session.add_family(new.clone(), cuts.head.next(), at(1), cuts).unwrap();
                Decision::with_events(number, vec![session.event(EventKind::FamilyOpened, at(1), "app")])
            };
            store.update(session_id(1), Lane::Ordinary, add).await.unwrap().unwrap()
        }
    }));
    let mut numbers = numbers.await;
    numbers.sort_unstable();
    assert_eq!(numbers, (2..18).collect::<Vec<_>>());
    let session = store.session(session_id(1)).await.unwrap().unwrap();
    assert!(
        session.families.windows(2).all(|pair| pair[0].issued < pair[1].issued),
        "each has its own place in the log"
    );
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
    assert!(
        store.open(opening(7, 1, WhenFull::Refuse)).await.unwrap().is_err(),
        "by its written use it would have expired"
    );
    assert!(store.open(opening(8, 2, WhenFull::EvictOldest)).await.unwrap().is_ok());
    let first = store.session(session_id(0)).await.unwrap().unwrap();
    assert_eq!((&first.end, first.last_used_at), (&None, at(0)));
    assert!(store.open(opening(9, 1, WhenFull::EvictOldest)).await.unwrap().is_ok());
    let evicted = store.session(session_id(0)).await.unwrap().unwrap().end.clone().unwrap();
    assert_eq!(evicted.reason, EndReason::Evicted);
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().end, None, "it has expired by itself");
}

fn new_family(client: &str, n: u8) -> NewFamily {
    NewFamily {
        client_id: client_id(client),
        scope: "read".parse().unwrap(),
        audience: "https://api.example".into(),
        secret: hash(&[n; 32]),
    }
}

/// The replaced family, the new one and both events are there together; a remembered session keeps the longer
/// lifetimes.
async fn a_renewal_is_one_commit_and_one_of_racing_ones_has_the_last_word(store: Arc<impl Store>) {
    store.open(opening(Session { remember: true, ..session(1, "alice", "app") })).await.unwrap().unwrap();
    let renewed = together((0..16_u8).map(|n| {
        let store = store.clone();
        async move {
            let renew = move |session: &mut Session, cuts: &CutOffs| {
                let lifetimes = Lifetimes {
                    idle_timeout: Duration::from_secs(600),
                    absolute_lifetime: Duration::from_secs(7200),
                };
                let authentication = Authentication { at: at(1), acr: Some("aal2".into()), amr: vec![] };
                let (token, family) = (hash(&[n; 32]), Some(new_family("app", n)));
                session
                    .renew(
                        Renewal {
                            token,
                            scope: session.scope.clone(),
                            audience: session.audience.clone(),
                            authentication,
                            reports_time: true,
                            lifetimes,
                            family,
                            by: "app".into(),
                        },
                        at(1),
                        cuts,
                    )
                    .expect("it lives")
            };
            store
                .update(session_id(1), Lane::Ordinary, renew)
                .await
                .unwrap()
                .unwrap()
                .map(|family| (family, n))
        }
    }));
    let mut renewed: Vec<_> =
        renewed.await.into_iter().map(|family| family.expect("a family each")).collect();
    renewed.sort_unstable();
    assert_eq!(renewed.iter().map(|(family, _)| *family).collect::<Vec<_>>(), (2..18).collect::<Vec<_>>());
    let session = store.session(session_id(1)).await.unwrap().unwrap();
    let (last, by) = renewed[15];
    assert_eq!((session.renewals, session.version, session.own_family), (16, 17, Some(last)));
    assert_eq!((session.token, session.remember, session.expires_at), (hash(&[by; 32]), true, at(7_200_001)));
    let cuts = &store.registry().cuts;
    let live: Vec<u16> = session
        .families
        .iter()
        .map(|family| family.number)
        .filter(|number| session.family_is_active(*number, cuts))
        .collect();
    assert_eq!(live, [last]);
    let log = log(&*store).await;
    for (pair, replaced) in log[1..].chunks(2).zip(1_u16..) {
        let [(_, ended), (_, renewed)] = pair else { panic!("{pair:?}") };
        assert_eq!(
            (ended.kind, ended.family, ended.reason),
            (EventKind::FamilyEnded, Some(replaced), Some(EndReason::TokenRevoked))
        );
        assert_eq!((renewed.kind, renewed.family), (EventKind::SessionRenewed, Some(replaced + 1)));
    }
    assert_eq!(log.len(), 33);
}

async fn a_family_ends_without_its_session_and_the_last_one_revoked_with_it(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let add = |session: &mut Session, cuts: &CutOffs| {
        Decision::answer(session.add_family(new_family("mobile", 7), cuts.head.next(), at(1), cuts))
    };
    assert_eq!(store.update(session_id(1), Lane::Ordinary, add).await.unwrap(), Some(Some(2)));
    let close = |session: &mut Session, cuts: &CutOffs| {
        let events = session.close_family(2, end(EndReason::TokenRevoked, 2), at(2), cuts);
        Decision::with_events(!events.is_empty(), events)
    };
    assert_eq!(store.update(session_id(1), Lane::Revocation, close).await.unwrap(), Some(true));
    assert_eq!(store.update(session_id(1), Lane::Revocation, close).await.unwrap(), Some(false), "again");
    assert!(store.session(session_id(1)).await.unwrap().unwrap().is_active(at(2), &store.registry().cuts));
    let revoke = |session: &mut Session, cuts: &CutOffs| {
        Decision::with_events((), session.revoke_family(1, "app", at(3), cuts))
    };
    store.update(session_id(1), Lane::Revocation, revoke).await.unwrap();
    assert_eq!(
        store.session(session_id(1)).await.unwrap().unwrap().end,
        Some(End { by: "app".into(), ..end(EndReason::TokenRevoked, 3) })
    );
    assert_eq!(
        kinds(&*store).await[1..],
        [EventKind::FamilyEnded, EventKind::FamilyEnded, EventKind::SessionEnded]
    );
}

/// Changes that are not counted are written and recorded too.
async fn logging_out_everywhere_as_a_client_ends_its_families_elsewhere(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    open(&*store, 2, "alice", "mobile").await;
    let add = |session: &mut Session, cuts: &CutOffs| {
        Decision::answer(session.add_family(new_family("mobile", 7), cuts.head.next(), at(1), cuts))
    };
    store.update(session_id(1), Lane::Ordinary, add).await.unwrap();
    let decide = |session: &mut Session, cuts: &CutOffs| {
        let end = end(EndReason::SubjectRevoked, 5);
        match session.client_id == client_id("mobile") {
            true => Decision::with_events(true, session.close(end, at(5), cuts)),
            false => Decision::with_events(false, session.close_family(2, end, at(5), cuts)),
        }
    };
    assert_eq!(
        store
            .update_subject(subject("alice"), None, event(EventKind::SubjectRevoked, 5), decide)
            .await
            .unwrap(),
        Ok(1)
    );
    let session = store.session(session_id(1)).await.unwrap().unwrap();
    let cuts = &store.registry().cuts;
    assert!(
        session.is_active(at(5), cuts)
            && session.family_is_active(1, cuts)
            && !session.family_is_active(2, cuts)
    );
    assert_eq!(live(&*store, "alice", "mobile").await, 0);
    let mut reported = kinds(&*store).await.split_off(2);
    assert_eq!(reported.pop(), Some(EventKind::SubjectRevoked));
    reported.sort_unstable_by_key(|kind| kind.as_str());
    assert_eq!(reported, [EventKind::FamilyEnded, EventKind::SessionEnded]);
}
