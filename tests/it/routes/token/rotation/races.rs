//! Many at once: one rotation, and nothing that survives a revocation.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;

/// Presents one token `count` times at once.
async fn at_once(case: &Arc<Opened>, token: &str, count: usize) -> Vec<Answer> {
    let mut racing = JoinSet::new();
    for _ in 0..count {
        let (case, token) = (case.clone(), token.to_owned());
        racing.spawn(async move { case.server.refresh(&case.app, &token).await });
    }
    racing.join_all().await
}

/// ROT-03: all requests get the same next pair.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_at_once_get_one_pair() {
    let case = Arc::new(opened().await);
    let answers = at_once(&case, &case.first(), 64).await;
    let first = answers[0].json();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let pair = answer.json();
        assert_eq!(
            (&pair["refresh_token"], &pair["access_token"]),
            (&first["refresh_token"], &first["access_token"])
        );
    }
    let family = case.stored().await.families[0].clone();
    assert_eq!((family.generation, family.window.unwrap().retries), (1, 63), "one rotation and 63 retries");
}

/// ROT-13: without a window exactly one of them is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_a_window_exactly_one_of_many_is_answered() {
    let case = Arc::new(opened_with(&[("policy.default.refresh_retry_window", "0s")]).await);
    for _ in 0..10 {
        let token = text(&case.server.open(&case.app).await["refresh_token"]);
        let answers = at_once(&case, &token, 16).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(
            answers
                .iter()
                .filter(|answer| answer.status != 200)
                .all(|answer| answer.error() == "invalid_grant")
        );
    }
}

/// How a session is ended while it is refreshed.
#[derive(Clone, Copy)]
enum Revocation {
    Token,
    Session,
    Subject,
}

/// One round: a refresh and a revocation at once. What the refresh issued must be dead when the revocation is
/// answered.
async fn race(case: Arc<Opened>, round: usize) -> bool {
    let (server, app) = (&case.server, &case.app);
    let subject = format!("subject-{round}");
    let opened = server.open_with(app, json!({"subject": subject})).await;
    let token = text(&opened["refresh_token"]);
    let id = text(&opened["session"]["id"]);
    let refreshing = server.refresh(app, &token);
    let revoking = async {
        match [Revocation::Token, Revocation::Session, Revocation::Subject][round % 3] {
            Revocation::Token => server.revoke(app, &token).await,
            Revocation::Session => server.delete(&format!("/v1/sessions/{id}"), Auth::Basic(app)).await,
            Revocation::Subject => {
                server.delete(&format!("/v1/subjects/{subject}/sessions"), Auth::Basic(app)).await
            }
        }
    };
    // Either may be the first to ask; the store puts them in an order.
    let (refreshed, revoked) = if round.is_multiple_of(2) {
        tokio::join!(biased; refreshing, revoking)
    } else {
        let (revoked, refreshed) = tokio::join!(biased; revoking, refreshing);
        (refreshed, revoked)
    };
    assert!(revoked.status < 300, "{}", revoked.text());
    if refreshed.status != 200 {
        assert_eq!(refreshed.error(), "invalid_grant");
        return false;
    }
    let pair = refreshed.json();
    for token in
        [&pair["access_token"], &pair["refresh_token"], &opened["access_token"], &opened["session_token"]]
    {
        assert!(!server.is_active(app, &text(token)).await, "round {round}");
    }
    assert_eq!(server.refresh(app, &text(&pair["refresh_token"])).await.status, 400);
    true
}

/// ROT-14, REV-29: a thousand refreshes race a revocation of their family, their session or their subject.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_a_racing_refresh_issued_survives_the_revocation() {
    let case = Arc::new(opened().await);
    let mut answered = 0;
    for wave in 0..20 {
        let mut rounds = JoinSet::new();
        for round in 0..50 {
            rounds.spawn(race(case.clone(), wave * 50 + round));
        }
        answered += rounds.join_all().await.into_iter().filter(|answered| *answered).count();
    }
    assert!((1..1_000).contains(&answered), "both won at times: {answered}");
}

/// INT-111: the very next introspection, on whatever connection, knows of the revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_answer_of_a_revocation_is_known_everywhere_at_once() {
    let case = Arc::new(opened().await);
    for _ in 0..20 {
        let token = text(&case.server.open(&case.app).await["access_token"]);
        assert_eq!(case.server.revoke(&case.app, &token).await.status, 200);
        let mut readers = JoinSet::new();
        for _ in 0..8 {
            let (case, token) = (case.clone(), token.clone());
            readers.spawn(async move { case.server.is_active(&case.app, &token).await });
        }
        assert!(readers.join_all().await.iter().all(|active| !active));
    }
}
