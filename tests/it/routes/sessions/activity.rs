//! Sliding expiry (SES-14 to SES-16, SES-23): what counts as activity, when it is written, and that no
//! session expires early.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{SignedIn, seconds, signed_in, signed_in_with};
use crate::harness::server::{Auth, text};

const IDLE_S: u64 = 1800;
/// How old the written use may get: a tenth of the idle timeout, at most 45 seconds.
const INTERVAL_S: u64 = 45;
/// By how much a use may be newer than what is written, whatever happens.
const GRACE_S: u64 = 60;

impl SignedIn {
    /// Whether the session lives; no activity.
    async fn lives(&self) -> bool {
        self.shown().await["state"] == "active"
    }
}

/// SES-14: at the very moment, and not before. The end is its own: C-14.
#[tokio::test]
async fn without_activity_a_session_expires_at_its_idle_timeout() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(IDLE_S) - std::time::Duration::from_millis(1));
    assert!(people.lives().await);
    people.server.hand.advance(std::time::Duration::from_millis(1));
    assert!(!people.lives().await && !people.is_there().await);
    assert_eq!(people.shown().await["state"], "expired");
    assert_eq!(people.shown().await["ended"], Value::Null);
    let access_token = text(&people.opened["access_token"]);
    assert!(!people.server.is_active(&people.app, &access_token).await, "SES-07, NST-04");
    let refreshed = people.server.refresh(&people.app, &text(&people.opened["refresh_token"])).await;
    assert_eq!(refreshed.error(), "invalid_grant");
}

/// SES-14: each of these is activity of the subject.
#[tokio::test]
async fn who_am_i_the_proxys_question_and_a_refresh_are_activity() {
    let people =
        signed_in_with(&[("policy.default.access_token_ttl", "2h")], json!({"subject": "alice"})).await;
    let access_token = text(&people.opened["access_token"]);
    let mut refresh_token = text(&people.opened["refresh_token"]);
    for round in 0..8 {
        people.server.hand.advance(seconds(IDLE_S - 1));
        let status = match round % 4 {
            0 => people.browse(Method::GET, "/v1/session").await.status,
            1 => people.browse(Method::GET, "/v1/forward-auth").await.status,
            // A rejected request of the subject is activity too.
            2 => people.browse(Method::GET, "/v1/forward-auth?scope=everything").await.status - 203,
            _ => {
                let answer = people.server.refresh(&people.app, &refresh_token).await;
                refresh_token = text(&answer.json()["refresh_token"]);
                answer.status
            }
        };
        assert_eq!(status, 200, "round {round}");
    }
    assert!(people.lives().await);
    let people =
        signed_in_with(&[("policy.default.access_token_ttl", "2h")], json!({"subject": "alice"})).await;
    let by_access_token = text(&people.opened["access_token"]);
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert_eq!(people.server.who_am_i(&by_access_token).await.status, 200);
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.lives().await);
    let _ = access_token;
}

/// C-11: requests of others about a subject are not its activity; neither are a client's reads and changes of
/// the session.
#[tokio::test]
async fn introspection_reading_and_changing_are_not_activity() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.server.is_active(&people.app, &people.session_token()).await);
    assert!(people.lives().await);
    assert_eq!(people.patch(json!({"device": {"label": "the den"}})).await.status, 200);
    let foreign =
        people.server.browse(Method::GET, "/v1/session", &format!("{0}; {0}", people.cookie()), &[]).await;
    assert_eq!(foreign.status, 401);
    people.server.hand.advance(seconds(1));
    assert!(!people.lives().await);
}

/// SES-15: authentication + A, whatever the activity; NST-04.
#[tokio::test]
async fn activity_never_moves_the_absolute_lifetime() {
    let people =
        signed_in_with(&[("policy.default.absolute_lifetime", "1h")], json!({"subject": "alice"})).await;
    for _ in 0..2 {
        people.server.hand.advance(seconds(IDLE_S - 1));
        assert!(people.is_there().await);
    }
    people.server.hand.advance(seconds(1));
    assert!(people.is_there().await);
    people.server.hand.advance(seconds(1));
    assert!(!people.is_there().await);
}

/// SES-23: a read waits for no write, and a thousand of them make one.
#[tokio::test]
async fn at_most_one_write_per_session_and_interval() {
    let people = signed_in().await;
    let before = people.server.commits().await;
    for _ in 0..INTERVAL_S - 1 {
        people.server.hand.advance(seconds(1));
        for _ in 0..5 {
            assert!(people.is_there().await);
        }
        people.server.tend().await;
    }
    assert_eq!(people.server.commits().await, before, "within the interval nothing is written");
    people.server.hand.advance(seconds(1));
    assert!(people.is_there().await);
    assert_eq!(people.server.commits().await, before + 1, "the first use after it is");
    for _ in 0..10 {
        people.server.tend().await;
        assert!(people.is_there().await);
    }
    assert_eq!(people.server.commits().await, before + 1);
    for _ in 0..2 * INTERVAL_S {
        people.server.hand.advance(seconds(1));
        assert!(people.is_there().await);
        people.server.tend().await;
    }
    let writes = people.server.commits().await - before - 1;
    assert!((1..=2).contains(&writes), "{writes} in two intervals");
}

/// A use that nothing follows is written when its time has come.
#[tokio::test]
async fn a_last_use_is_written_by_the_sweep() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(10));
    assert!(people.is_there().await);
    let before = people.server.commits().await;
    people.server.hand.advance(seconds(INTERVAL_S - 10));
    people.server.tend().await;
    assert_eq!(people.server.commits().await, before + 1);
    people.server.hand.advance(seconds(10 * INTERVAL_S));
    people.server.tend().await;
    assert_eq!(people.server.commits().await, before + 1, "once");
}

/// A token that is not good buys no write, whatever is known of its session besides.
#[tokio::test]
async fn what_is_refused_writes_nothing() {
    let people = signed_in().await;
    let old = people.session_token();
    let renewed = people.renew(json!({})).await.json();
    people.server.hand.advance(seconds(10));
    assert_eq!(people.server.who_am_i(&text(&renewed["session_token"])).await.status, 200);
    let before = people.server.commits().await;
    for _ in 0..5 {
        assert_eq!(people.server.delete("/v1/session", Auth::Bearer(&old)).await.status, 401);
        assert_eq!(
            people.server.refresh(&people.app, &text(&people.opened["refresh_token"])).await.status,
            400
        );
        let except = format!("/v1/subjects/alice/sessions?except={}", text(&people.opened["session"]["id"]));
        assert_eq!(people.server.delete(&except, Auth::Basic(&people.app)).await.json()["ended"], 0);
    }
    assert_eq!(people.server.commits().await, before);
}

/// SES-23 in one run: exact, though the use was never written.
#[tokio::test]
async fn in_one_run_the_idle_timeout_is_exact() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(7));
    assert!(people.is_there().await);
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.lives().await);
    people.server.hand.advance(seconds(1));
    assert!(!people.lives().await);
}

/// SES-23 across kill -9: a use that was not written extends the session, by at most a minute.
#[tokio::test]
async fn a_crash_expires_no_session_early_and_none_much_later() {
    let mut people = signed_in().await;
    people.server.hand.advance(seconds(INTERVAL_S - 1));
    assert!(people.is_there().await);
    people.server.crash().await;
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.lives().await, "I after the last use, which was not written");
    people.server.hand.advance(seconds(2));
    assert!(!people.lives().await);
}

#[tokio::test]
async fn an_unused_session_is_extended_by_a_minute_at_most() {
    let mut people = signed_in().await;
    people.server.hand.advance(seconds(IDLE_S - 1));
    people.server.crash().await;
    people.server.hand.advance(seconds(GRACE_S));
    assert!(people.lives().await);
    people.server.hand.advance(seconds(1));
    assert!(!people.lives().await);
}

/// Once each restart gave another minute, because what was only supposed had been written by whatever came
/// along.
#[tokio::test]
async fn restarts_do_not_add_up() {
    let mut people = signed_in().await;
    for _ in 0..5 {
        people.server.hand.advance(seconds(GRACE_S));
        people.server.crash().await;
        assert_eq!(people.patch(json!({"data": {"n": 1}})).await.status, 200);
        people.server.restart().await;
    }
    people.server.hand.advance(seconds(IDLE_S + GRACE_S - 5 * GRACE_S));
    assert!(!people.lives().await);
}

/// Once the first use after a restart was judged by what was written, found too late, and forgotten.
#[tokio::test]
async fn a_use_in_the_time_of_favour_counts_like_any_other() {
    let mut people = signed_in().await;
    people.server.hand.advance(seconds(IDLE_S - 1));
    people.server.crash().await;
    people.server.hand.advance(seconds(10));
    assert!(people.is_there().await, "in its favour");
    people.server.settle().await;
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.is_there().await);
    people.server.crash().await;
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.lives().await);
}

/// Once the interval began at what was only supposed, so that two crashes lost more than a minute.
#[tokio::test]
async fn two_crashes_in_a_row_expire_no_session_early() {
    let mut people = signed_in().await;
    for _ in 0..6 {
        people.server.hand.advance(seconds(INTERVAL_S - 1));
        assert!(people.is_there().await);
        people.server.tend().await;
        people.server.crash().await;
    }
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.lives().await);
}

/// A clean stop writes what is known.
#[tokio::test]
async fn a_clean_restart_knows_every_use() {
    let mut people = signed_in().await;
    people.server.hand.advance(seconds(30));
    assert!(people.is_there().await);
    people.server.restart().await;
    assert_eq!(people.shown().await["last_used_at"], "2027-01-15T08:00:30Z");
}

/// The sweep reports an expiry only when no unwritten use can say otherwise.
#[tokio::test]
async fn an_expiry_is_reported_when_it_is_beyond_doubt() {
    let people = signed_in().await;
    let reported = async || people.server.event_types().await.contains(&"session.expired".to_owned());
    people.server.hand.advance(seconds(IDLE_S - 1));
    assert!(people.is_there().await);
    people.server.hand.advance(seconds(IDLE_S / 2));
    people.server.tend().await;
    assert!(!reported().await);
    people.server.hand.advance(seconds(IDLE_S / 2 + GRACE_S));
    people.server.tend().await;
    assert!(reported().await);
}

/// The clock is set back: no session ends, and no session lasts longer.
#[tokio::test]
async fn a_clock_that_goes_back_moves_no_deadline() {
    use keyfob::domain::time::Timestamp;
    let people = signed_in().await;
    people.server.hand.set_wall(Timestamp::from_seconds(crate::harness::server::NOW_S - 600));
    assert!(people.is_there().await);
    assert_eq!(people.shown().await["last_used_at"], "2027-01-15T08:00:00Z");
    people.server.hand.set_wall(Timestamp::from_seconds(crate::harness::server::NOW_S + 1800));
    assert!(!people.lives().await);
}
