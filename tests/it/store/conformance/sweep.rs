//! The clauses about the sweep.

use std::sync::Arc;
use std::time::Duration;

use crate::store::memory::Memory;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::EventKind;
use keyfob::domain::id::{Position, TokenId};
use keyfob::domain::policy::{LateRetry, Lifetimes, Policy, RETRY_WINDOW_MAX};
use keyfob::domain::session::{NotOpened, NotRefreshed, Renewal, RevokedToken, Session};
use keyfob::domain::time::Moment;
use keyfob::store::{Lane, Opening, Store, Sweep};

use crate::harness::fixture::*;

every_backend! {
    the_sweep_reports_an_expiry_once_and_purges_after_the_retention
    the_sweep_leaves_what_was_used_since
    the_sweep_finds_a_deadline_that_moved_forwards
    the_sweep_keeps_an_ended_session_as_long_as_it_must_explain_itself
    the_sweep_looks_at_what_a_cut_off_ended_when_its_deadline_has_come
    the_sweep_is_bounded
    a_sweep_that_touches_the_last_that_is_due_reports_no_more
    a_closed_window_is_erased_and_an_open_one_kept
    a_window_that_no_honest_clock_wrote_is_erased
    a_sweep_erases_no_window_that_was_opened_while_it_waited
    a_rotation_erases_the_window_before_it
    the_salt_of_an_opening_is_erased_after_its_window_and_its_name_with_the_session
    a_window_that_is_kept_outlives_the_sweep_and_not_its_session
    old_events_go_and_positions_go_on
    a_revocation_is_kept_beyond_its_tokens_expiry_as_long_as_its_event
    a_clock_that_was_ahead_makes_no_revoked_token_valid
}

const IDLE: i64 = 1_800_000;

/// A use that was not written may be this much later than the one that was; until then the session may be
/// active.
const GRACE: i64 = 60_000;

const DAY: i64 = 86_400_000;

async fn the_sweep_reports_an_expiry_once_and_purges_after_the_retention(store: Arc<impl Store>) {
    store
        .open(Opening { data: Some(data("{}")), ..opening(session(1, "alice", "app")) })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(store.sweep(sweep(IDLE + GRACE - 1)).await.unwrap(), Default::default());
    assert_eq!(store.sweep(sweep(IDLE + GRACE)).await.unwrap().expired, 1);
    assert_eq!(store.sweep(sweep(IDLE + GRACE + 1)).await.unwrap(), Default::default());
    assert_eq!(kinds(&*store).await, [EventKind::SessionOpened, EventKind::SessionExpired]);
    assert!(store.session(session_id(1)).await.unwrap().unwrap().expiry_reported);
    assert_eq!(store.sweep(sweep(IDLE + 7 * DAY - 1)).await.unwrap().purged, 0);
    assert_eq!(store.sweep(sweep(IDLE + 7 * DAY)).await.unwrap().purged, 1);
    assert_eq!(store.session(session_id(1)).await.unwrap(), None);
    assert_eq!(store.data(session_id(1)).await.unwrap(), None);
    assert_eq!(store.sessions(Some(subject("alice")), None, 10).await.unwrap(), []);
    assert_eq!(store.sweep(sweep(9 * DAY)).await.unwrap().purged, 0);
}

async fn the_salt_of_an_opening_is_erased_after_its_window_and_its_name_with_the_session(
    store: Arc<impl Store>,
) {
    let again = || repeatable(session(2, "alice", "app"), 7, 1);
    let window = async || match store.open(again()).await.unwrap() {
        Err(NotOpened::Repeated(repeated)) => repeated.window,
        other => panic!("{other:?}"),
    };
    store.open(repeatable(session(1, "alice", "app"), 7, 1)).await.unwrap().unwrap();
    assert_eq!(store.sweep(sweep(599_999)).await.unwrap().windows, 0);
    assert!(window().await.is_some());
    assert_eq!(store.sweep(sweep(600_000)).await.unwrap().windows, 1);
    assert_eq!(window().await, None);
    store.sweep(sweep(IDLE + GRACE)).await.unwrap();
    assert_eq!(window().await, None, "the name is kept as long as the session");
    assert_eq!(store.sweep(sweep(IDLE + 7 * DAY)).await.unwrap().purged, 1);
    assert!(store.open(again()).await.unwrap().is_ok());
}

async fn the_sweep_leaves_what_was_used_since(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    rotate(&*store, &Token::first(1), [1; 32], moment(IDLE - 1)).await.unwrap();
    assert_eq!(store.sweep(sweep(IDLE + GRACE)).await.unwrap().expired, 0);
    assert_eq!(store.sweep(sweep(2 * IDLE + GRACE - 2)).await.unwrap().expired, 0);
    assert_eq!(store.sweep(sweep(2 * IDLE + GRACE - 1)).await.unwrap().expired, 1);
}

/// A renewal under a policy that has become stricter brings the deadline forward.
async fn the_sweep_finds_a_deadline_that_moved_forwards(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let decide = |session: &mut Session, cuts: &CutOffs| {
        let renewal = Renewal {
            token: hash(&[8; 32]),
            scope: session.scope.clone(),
            audience: session.audience.clone(),
            authentication: session.authentication.clone(),
            reports_time: true,
            lifetimes: Lifetimes {
                idle_timeout: Duration::from_secs(600),
                absolute_lifetime: Duration::from_secs(3600),
            },
            family: None,
            by: "app".into(),
        };
        session.renew(renewal, at(1000), cuts).expect("it lives")
    };
    store.update(session_id(1), Lane::Ordinary, decide).await.unwrap();
    assert_eq!(store.sweep(sweep(GRACE + 600_999)).await.unwrap().expired, 0);
    assert_eq!(store.sweep(sweep(GRACE + 601_000)).await.unwrap().expired, 1);
}

async fn the_sweep_keeps_an_ended_session_as_long_as_it_must_explain_itself(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    assert_eq!(close(&*store, 1, 1_000).await, Some(true));
    let sweep = |ms| store.sweep(Sweep { retention: Duration::from_secs(700), ..sweep(ms) });
    assert_eq!(sweep(1_000).await.unwrap(), Default::default());
    assert_eq!(sweep(700_999).await.unwrap().purged, 0);
    assert!(store.session(session_id(1)).await.unwrap().unwrap().end.is_some());
    assert_eq!(sweep(701_000).await.unwrap().purged, 1, "long before the deadline it once had");
    assert_eq!(store.session(session_id(1)).await.unwrap(), None);
}

/// A cut-off costs the same however many sessions there are, so it moves none of them in any index.
async fn the_sweep_looks_at_what_a_cut_off_ended_when_its_deadline_has_come(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    rotate(&*store, &Token::first(1), [1; 32], moment(1_000_000)).await.unwrap();
    store.end_everything(None, event(EventKind::AllRevoked, 1_000_000)).await.unwrap().unwrap();
    let sweep = |ms| store.sweep(Sweep { retention: Duration::from_secs(60), ..sweep(ms) });
    for (ms, purged) in [(IDLE + GRACE, 0), (1_000_000 + IDLE + GRACE - 1, 0), (1_000_000 + IDLE + GRACE, 1)]
    {
        let swept = sweep(ms).await.unwrap();
        assert_eq!((swept.expired, swept.purged), (0, purged), "{ms}");
    }
}

async fn the_sweep_is_bounded(store: Arc<impl Store>) {
    for n in 0..25 {
        open(&*store, n, "alice", "app").await;
        rotate(&*store, &Token::first(n), [1; 32], moment(1)).await.unwrap();
        let token = RevokedToken { id: TokenId([n as u8; 16]), expires_at: at(0).seconds() };
        store.revoke_token(None, token, event(EventKind::TokenRevoked, 0)).await.unwrap().unwrap();
    }
    let sweep = Sweep { now: moment(30 * DAY), retention: Duration::ZERO, entries_max: 10 };
    let mut total = (0, 0, 0, 0);
    let mut runs = 0;
    loop {
        let swept = store.sweep(sweep).await.unwrap();
        assert!(
            [swept.purged, swept.expired, swept.windows, swept.tokens, swept.events]
                .iter()
                .all(|count| *count <= 10),
            "{swept:?}"
        );
        total =
            (total.0 + swept.purged, total.1 + swept.expired, total.2 + swept.tokens, total.3 + swept.events);
        runs += 1;
        if !swept.more {
            break;
        }
    }
    // 25 openings, 25 revocations and the 25 expiries that the sweep recorded.
    assert_eq!((total, runs), ((25, 25, 25, 75), 8));
    assert_eq!(store.head(), Position(75));
}

async fn a_sweep_that_touches_the_last_that_is_due_reports_no_more(store: Arc<impl Store>) {
    for n in 0..3 {
        let token = RevokedToken { id: TokenId([n; 16]), expires_at: at(0).seconds() };
        store.revoke_token(None, token, event(EventKind::TokenRevoked, 0)).await.unwrap().unwrap();
    }
    for (entries_max, more) in [(2, true), (1, false)] {
        let swept = store.sweep(Sweep { entries_max, ..sweep(90 * DAY) }).await.unwrap();
        assert_eq!((swept.events, swept.tokens, swept.more), (entries_max, entries_max, more));
    }
    for n in 0..3 {
        open(&*store, n, "alice", "app").await;
    }
    for (entries_max, more) in [(2, true), (1, false)] {
        let swept = store.sweep(Sweep { entries_max, ..sweep(IDLE + GRACE) }).await.unwrap();
        assert_eq!((swept.expired, swept.more), (entries_max, more));
    }
}

/// ROT-21: after the window the salt is in no record, and a replay is impossible.
async fn a_closed_window_is_erased_and_an_open_one_kept(store: Arc<impl Store>) {
    for n in [1, 2] {
        open(&*store, n, "alice", "app").await;
    }
    rotate(&*store, &Token::first(1), [1; 32], moment(0)).await.unwrap();
    rotate(&*store, &Token::first(2), [2; 32], moment(1)).await.unwrap();
    assert_eq!(store.sweep(sweep(9_999)).await.unwrap().windows, 0);
    assert_eq!(store.sweep(sweep(10_000)).await.unwrap().windows, 1);
    let window = async |n| store.session(session_id(n)).await.unwrap().unwrap().families[0].window.clone();
    assert_eq!(window(1).await, None);
    assert!(window(2).await.is_some());
    assert!(rotate(&*store, &Token::first(2), [3; 32], moment(10_000)).await.is_ok());
    // Even by a clock that says that the window is still open: there is nothing to answer from.
    assert_eq!(rotate(&*store, &Token::first(1), [4; 32], moment(5)).await, Err(NotRefreshed::Reused));
}

/// ROT-28: the clock was set back by an hour; nothing that it wrote before stays replayable until it has
/// caught up.
async fn a_window_that_no_honest_clock_wrote_is_erased(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    rotate(&*store, &Token::first(1), [1; 32], moment(1_000_000)).await.unwrap();
    assert_eq!(store.sweep(sweep(1_010_000 - 360_000)).await.unwrap().windows, 0);
    assert_eq!(store.sweep(sweep(1_010_000 - 360_001)).await.unwrap().windows, 1);
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().families[0].window, None);
}

/// A sweep takes its time before it waits in the queue. What was decided meanwhile at a later time, with the
/// longest window, is still there for a retry.
async fn a_sweep_erases_no_window_that_was_opened_while_it_waited(store: Arc<impl Store>) {
    store.open(repeatable(session(1, "alice", "app"), 7, 1)).await.unwrap().unwrap();
    let early = Sweep { now: Moment { wall: at(-5), ..moment(0) }, ..sweep(0) };
    assert_eq!(store.sweep(early).await.unwrap().windows, 0);
    let again = store.open(repeatable(session(2, "alice", "app"), 7, 1)).await.unwrap();
    assert!(matches!(again, Err(NotOpened::Repeated(repeated)) if repeated.window.is_some()));
    let policy = Policy { refresh_retry_window: RETRY_WINDOW_MAX, ..Policy::default() };
    let decide = refresh(&Token::first(1), "app", &policy, [1; 32], moment(5));
    store.update(session_id(1), Lane::Ordinary, decide).await.unwrap().unwrap().unwrap();
    assert_eq!(store.sweep(sweep(0)).await.unwrap().windows, 0);
    let retry = refresh(&Token::first(1), "app", &policy, [2; 32], moment(6));
    assert!(store.update(session_id(1), Lane::Ordinary, retry).await.unwrap().unwrap().unwrap().retried);
}

async fn a_rotation_erases_the_window_before_it(store: Arc<impl Store>) {
    open(&*store, 1, "alice", "app").await;
    let second = rotate(&*store, &Token::first(1), [1; 32], moment(1)).await.unwrap();
    rotate(&*store, &second, [2; 32], moment(2)).await.unwrap();
    assert_eq!(store.sweep(sweep(60_000)).await.unwrap().windows, 1);
    assert_eq!(close(&*store, 1, 60_001).await, Some(true));
    assert_eq!(store.sweep(sweep(60_002)).await.unwrap().windows, 0);
}

/// `late_retry = "answer"`: no clock erases the salt; the next rotation does, and the end of the session, by
/// a cut-off at the latest when it would have expired.
async fn a_window_that_is_kept_outlives_the_sweep_and_not_its_session(store: Arc<impl Store>) {
    let policy = Policy { late_retry: LateRetry::Answer, ..Policy::default() };
    let ask = async |n, token: &Token, ms| {
        let decide = refresh(token, "app", &policy, [9; 32], moment(ms));
        store.update(session_id(n), Lane::Ordinary, decide).await.unwrap().unwrap().unwrap()
    };
    let window = async |n| store.session(session_id(n)).await.unwrap().unwrap().families[0].window.clone();
    for n in [1, 2] {
        open(&*store, n, "alice", "app").await;
        ask(n, &Token::first(n), 1_000).await;
    }
    for ms in [0, 11_000, 1_500_000] {
        assert_eq!(store.sweep(sweep(ms)).await.unwrap().windows, 0);
    }
    let late = ask(1, &Token::first(1), 1_500_000).await;
    assert!(late.late && window(1).await.is_some_and(|window| window.late && window.retries == 1));
    ask(1, &Token::first(1).successor(&late.salt.0), 1_500_001).await;
    assert!(window(1).await.is_some_and(|window| !window.late && window.after_late && window.retries == 0));
    assert_eq!(close(&*store, 1, 1_500_002).await, Some(true));
    assert_eq!(window(1).await, None);
    store.end_everything(None, event(EventKind::AllRevoked, 1_500_003)).await.unwrap().unwrap();
    let expired = 1_000 + IDLE + GRACE;
    store.sweep(sweep(expired - 1)).await.unwrap();
    assert!(window(2).await.is_some());
    store.sweep(sweep(expired)).await.unwrap();
    assert_eq!(window(2).await, None);
}

async fn old_events_go_and_positions_go_on(store: Arc<impl Store>) {
    for n in 0..3 {
        store.end_everything(None, event(EventKind::AllRevoked, n * 1_000)).await.unwrap().unwrap();
    }
    assert_eq!(store.sweep(sweep(7 * DAY + 1_000)).await.unwrap().events, 2);
    assert_eq!(log(&*store).await.iter().map(|(position, _)| position.0).collect::<Vec<_>>(), [3]);
    assert_eq!(store.sweep(sweep(8 * DAY)).await.unwrap().events, 1);
    assert_eq!(store.head(), Position(3));
    store.end_everything(None, event(EventKind::AllRevoked, 8 * DAY)).await.unwrap().unwrap();
    assert_eq!(log(&*store).await[0].0, Position(4));
}

/// The clock was ahead for a moment: the token is unexpired again, and as revoked as it was.
async fn a_revocation_is_kept_beyond_its_tokens_expiry_as_long_as_its_event(store: Arc<impl Store>) {
    let token = RevokedToken { id: TokenId([1; 16]), expires_at: at(300_000).seconds() };
    store.revoke_token(None, token, event(EventKind::TokenRevoked, 0)).await.unwrap().unwrap();
    let kept = 300_000 + 7 * DAY;
    for (ms, tokens) in [(300_000, 0), (kept - 1_000, 0), (kept, 1)] {
        assert_eq!(store.sweep(sweep(ms)).await.unwrap().tokens, tokens, "{ms}");
        assert!(store.is_revoked(token).await.unwrap(), "{ms}");
    }
}

/// The clock was 40 days ahead for a minute: the sweep removed the revocation, and the token has not expired
/// by the clock that went back.
async fn a_clock_that_was_ahead_makes_no_revoked_token_valid(store: Arc<impl Store>) {
    let token =
        |n, seconds: i64| RevokedToken { id: TokenId([n; 16]), expires_at: at(seconds * 1_000).seconds() };
    store.revoke_token(None, token(1, 300), event(EventKind::TokenRevoked, 0)).await.unwrap().unwrap();
    store.revoke_token(None, token(2, 200), event(EventKind::TokenRevoked, 0)).await.unwrap().unwrap();
    assert_eq!(store.sweep(sweep(40 * DAY)).await.unwrap().tokens, 2);
    store.sweep(sweep(1_000)).await.unwrap();
    assert!(store.is_revoked(token(1, 300)).await.unwrap());
    assert!(store.is_revoked(token(2, 200)).await.unwrap());
    assert!(!store.is_revoked(token(3, 301)).await.unwrap(), "one that was issued later");
    let again = store.revoke_token(None, token(1, 300), event(EventKind::TokenRevoked, 2)).await.unwrap();
    assert_eq!(again, Ok(false), "it is revoked already");
    let third = store.revoke_token(None, token(3, 301), event(EventKind::TokenRevoked, 2)).await;
    assert_eq!(third.unwrap(), Ok(true));
    assert!(store.is_revoked(token(3, 301)).await.unwrap());
}
