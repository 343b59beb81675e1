//! `late_retry = "answer"`: an answer that was lost, found again hours later; and what it takes for reuse.

use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::*;

const HOUR: u64 = 3600;

async fn answering() -> Opened {
    opened_with(&[("policy.default.late_retry", "answer"), ("policy.default.idle_timeout", "12h")]).await
}

impl Opened {
    async fn late(&self, token: &str) -> Value {
        self.server.hand.advance(seconds(HOUR));
        self.refresh(token).await
    }
}

/// A phone loses the answer, sleeps, and asks again: the same refresh token, and an access token that can be
/// used, after a restart too. It is as if the phone had been active then.
#[tokio::test]
async fn a_late_retry_gets_the_same_refresh_token_and_a_fresh_access_token() {
    let mut case = answering().await;
    let lost = case.refresh(&case.first()).await;
    let reported = case.reported().await;
    case.server.hand.advance(seconds(11));
    for _ in 0..3 {
        let found = case.refresh(&case.first()).await;
        assert_eq!(found["refresh_token"], lost["refresh_token"]);
        assert_ne!(found["access_token"], lost["access_token"]);
        assert_eq!(found["expires_in"], 300);
        assert!(case.server.is_active(&case.app, &text(&found["access_token"])).await);
        case.server.tend().await;
        case.server.restart().await;
        case.server.hand.advance(seconds(7 * HOUR));
    }
    let shown = case.shown().await;
    assert_eq!((&shown["families"][0]["generation"], &shown["state"]), (&json!(1), &json!("active")));
    let next = case.next(&text(&lost["refresh_token"])).await;
    case.next(&next).await;
    assert_eq!(case.reported().await, reported, "nothing is written as an event");
}

/// From the first use of the successor on, its predecessor is reuse, however soon.
#[tokio::test]
async fn once_the_successor_was_used_its_predecessor_is_reuse() {
    for late_first in [false, true] {
        let case = answering().await;
        let second = case.next(&case.first()).await;
        if late_first {
            case.late(&case.first()).await;
        }
        case.next(&second).await;
        case.is_refused(&case.first()).await;
        assert_eq!(case.ended().await, "refresh_reuse");
    }
}

/// A thief who follows in the owner's steps needs a late answer in each generation, and gets one.
#[tokio::test]
async fn late_answers_in_two_successive_generations_are_reuse() {
    let case = answering().await;
    let second = case.next(&case.first()).await;
    case.late(&case.first()).await;
    let third = case.next(&second).await;
    assert_eq!(case.next(&second).await, third, "within the window it is an ordinary retry");
    case.server.hand.advance(seconds(HOUR));
    case.is_refused(&second).await;
    assert_eq!(case.ended().await, "refresh_reuse");
    case.is_refused(&third).await;

    let case = answering().await;
    let mut token = case.first();
    for generation in 0..6 {
        let next = case.next(&token).await;
        if generation % 2 == 0 {
            assert_eq!(text(&case.late(&token).await["refresh_token"]), next);
        }
        token = next;
    }
    assert_eq!(case.ended().await, "", "not in successive generations");
}

/// 64 answers for one token, within the window and after it together.
#[tokio::test]
async fn late_retries_have_the_limit_of_all_retries() {
    let case = answering().await;
    let second = case.next(&case.first()).await;
    for _ in 0..32 {
        case.next(&case.first()).await;
    }
    case.server.hand.advance(seconds(HOUR));
    for _ in 0..32 {
        case.next(&case.first()).await;
    }
    let answer = case.server.refresh(&case.app, &case.first()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
    case.next(&second).await;
}

/// A late retry is judged like any other: what cannot be granted consumes nothing, and what has ended stays
/// ended.
#[tokio::test]
async fn a_late_retry_is_refused_for_what_any_retry_is_refused_for() {
    let case = answering().await;
    let second = case.next(&case.first()).await;
    case.server.hand.advance(seconds(HOUR));
    let before = case.stored().await;
    let answer = case.refresh_with(&case.first(), "scope", "admin").await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_scope".into()));
    assert_eq!(case.stored().await, before);
    let narrow = case.refresh_with(&case.first(), "scope", "read").await.json();
    assert_eq!((&narrow["scope"], text(&narrow["refresh_token"])), (&json!("read"), second));
    case.server.hand.advance(seconds(13 * HOUR));
    case.is_refused(&case.first()).await;
    assert_eq!((case.ended().await, case.shown().await["state"].clone()), ("".into(), json!("expired")));
}

/// Under the policy of that moment and of the rotation: without a salt there is nothing to answer from.
#[tokio::test]
async fn a_policy_that_changes_answers_only_what_it_kept() {
    for (before, after, ended) in [
        ("end_session", "answer", "refresh_reuse"),
        ("answer", "end_session", "refresh_reuse"),
        ("answer", "refuse", ""),
    ] {
        let mut case =
            opened_with(&[("policy.default.late_retry", before), ("policy.default.idle_timeout", "12h")])
                .await;
        let second = case.next(&case.first()).await;
        case.server.set("policy.default.late_retry", after);
        case.server.restart().await;
        case.server.hand.advance(seconds(HOUR));
        case.server.tend().await;
        case.is_refused(&case.first()).await;
        assert_eq!(case.ended().await, ended, "{before} {after}");
        assert_eq!(case.server.refresh(&case.app, &second).await.status == 200, ended.is_empty());
    }
}

/// ROT-21: the salt is erased by the first use of the successor. One row is all that a family ever has.
#[tokio::test]
async fn one_salt_is_kept_for_each_family_until_its_session_ends() {
    let rows = |case: &Opened| {
        let db = Database::open(case.server.file("keyfob.redb")).unwrap();
        let windows = TableDefinition::<&[u8; 26], &[u8]>::new("windows");
        db.begin_read().unwrap().open_table(windows).unwrap().len().unwrap()
    };
    let mut case = answering().await;
    let mut token = case.first();
    for _ in 0..20 {
        token = case.next(&token).await;
        case.server.hand.advance(seconds(60));
        case.server.tend().await;
    }
    case.server.stop().await;
    assert_eq!(rows(&case), 1);
    case.server.resume().await;
    let salt = case.stored().await.families[0].window.clone().unwrap().salt;
    case.next(&token).await;
    assert_ne!(case.stored().await.families[0].window.clone().unwrap().salt, salt);
    let all = case.server.delete("/v1/sessions?all=true", Auth::Basic(&case.server.admin)).await;
    assert_eq!(all.status, 200, "{}", all.text());
    case.server.hand.advance(seconds(25 * HOUR));
    case.server.tend().await;
    case.server.stop().await;
    assert_eq!(rows(&case), 0, "a cut-off erases it at the latest when the session would have expired");
}
