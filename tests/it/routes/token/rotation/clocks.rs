//! Windows, timeouts and clocks that jump.

use keyfob::domain::time::Timestamp;

use super::*;
use crate::harness::server::NOW_S;

/// ROT-08: retries do not move the end of the window.
#[tokio::test]
async fn retries_do_not_lengthen_the_window() {
    let case = opened().await;
    let second = case.next(&case.first()).await;
    case.server.hand.advance(seconds(9));
    for _ in 0..3 {
        assert_eq!(case.next(&case.first()).await, second);
    }
    case.server.hand.advance(Duration::from_millis(999));
    assert_eq!(case.next(&case.first()).await, second);
    case.server.hand.advance(Duration::from_millis(1));
    case.is_refused(&case.first()).await;
}

/// ROT-09: a retry is no activity.
#[tokio::test]
async fn retries_do_not_keep_a_session_alive() {
    let case = opened_with(&[("policy.default.idle_timeout", "20s")]).await;
    case.refresh(&case.first()).await;
    let before = case.shown().await;
    case.server.hand.advance(seconds(9));
    case.refresh(&case.first()).await;
    let after = case.shown().await;
    assert_eq!(
        (&after["idle_expires_at"], &after["last_used_at"]),
        (&before["idle_expires_at"], &before["last_used_at"])
    );
    case.server.hand.advance(seconds(11));
    assert_eq!(case.shown().await["state"], "expired");
}

/// RFR-13, RFR-14, RFR-15: refreshing keeps a session alive up to its absolute end, and no token outlives it.
#[tokio::test]
async fn refreshing_slides_the_idle_timeout_and_never_the_absolute_one() {
    let case =
        opened_with(&[("policy.default.idle_timeout", "10m"), ("policy.default.absolute_lifetime", "30m")])
            .await;
    let mut token = case.first();
    for _ in 0..3 {
        case.server.hand.advance(seconds(599));
        token = case.next(&token).await;
    }
    let last = case.refresh(&token).await;
    assert_eq!(last["expires_in"], 3, "the access token ends with the session");
    case.server.hand.advance(seconds(3));
    case.is_refused(&text(&last["refresh_token"])).await;
    assert!(!case.server.is_active(&case.app, &text(&last["access_token"])).await);
    assert_eq!(case.shown().await["state"], "expired");
}

/// ROT-27: the absolute end in the middle of a window is an end, not a theft.
#[tokio::test]
async fn an_absolute_end_inside_the_window_is_no_reuse() {
    let case =
        opened_with(&[("policy.default.idle_timeout", "60s"), ("policy.default.absolute_lifetime", "60s")])
            .await;
    case.server.hand.advance(seconds(50));
    let second = case.next(&case.first()).await;
    case.next(&second).await;
    case.server.hand.advance(seconds(10));
    for token in [&second, &case.first()] {
        case.is_refused(token).await;
    }
    assert_eq!(case.shown().await["state"], "expired");
    assert!(!case.reported().await.contains(&"refresh.reused"));
}

/// ROT-28: a wall clock that was set back closes the window after a restart; in the same run the monotonic
/// clock still proves it open.
#[tokio::test]
async fn a_clock_set_back_does_not_open_a_window_again() {
    let mut case = opened_with(&[("policy.default.late_retry", "refuse")]).await;
    let second = case.next(&case.first()).await;
    case.server.hand.set_wall(Timestamp::from_seconds(NOW_S - 3_600));
    assert_eq!(case.next(&case.first()).await, second);
    case.server.restart().await;
    case.is_refused(&case.first()).await;
    case.next(&second).await;
}

/// A restart alone does not close it: whose answer was lost in a crash may ask again.
#[tokio::test]
async fn a_window_outlives_a_restart_and_is_not_extended_by_it() {
    let mut case = opened_with(&[("policy.default.late_retry", "refuse")]).await;
    let second = case.next(&case.first()).await;
    case.server.hand.advance(seconds(6));
    case.server.restart().await;
    case.server.hand.advance(Duration::from_millis(3_999));
    assert_eq!(case.next(&case.first()).await, second);
    case.server.hand.advance(Duration::from_millis(1));
    case.is_refused(&case.first()).await;
}

/// ROT-29: a jump forwards takes the length of the jump and nothing more, and the far future ends no session.
#[tokio::test]
async fn a_clock_that_jumps_forwards_takes_no_more_than_the_jump() {
    let case = opened().await;
    case.server.hand.set_wall(Timestamp::from_seconds(NOW_S + 1_799));
    assert_eq!(case.shown().await["state"], "active");
    case.server.hand.set_wall(Timestamp::from_seconds(NOW_S + 1_800));
    assert_eq!(case.shown().await["state"], "expired");
    case.server.hand.set_wall(Timestamp::from_seconds(i64::MAX));
    case.is_refused(&case.first()).await;
    assert!(!case.server.is_active(&case.app, &text(&case.session["access_token"])).await);
    case.server.hand.set_wall(Timestamp::from_seconds(NOW_S + 1));
    let opened = case.server.open(&case.app).await;
    case.refresh(&text(&opened["refresh_token"])).await;
}

/// ROT-21: what could answer a retry is erased when the window closes, or earlier by the next rotation or the
/// end.
#[tokio::test]
async fn no_salt_outlives_its_window() {
    let case = opened_with(&[("policy.default.late_retry", "refuse")]).await;
    let second = case.next(&case.first()).await;
    let salt = case.stored().await.families[0].window.clone().expect("the window is open").salt;
    case.next(&second).await;
    assert!(
        case.stored().await.families[0].window.clone().unwrap().salt != salt,
        "the next rotation replaced it"
    );
    case.server.hand.advance(seconds(10));
    let swept = case.server.app().engine().sweep().await.unwrap();
    assert_eq!((swept.windows, case.stored().await.families[0].window.is_none()), (1, true));
    case.server.hand.set_wall(Timestamp::from_seconds(NOW_S));
    case.is_refused(&second).await;
    assert_eq!(case.server.app().engine().sweep().await.unwrap().windows, 0);
}
