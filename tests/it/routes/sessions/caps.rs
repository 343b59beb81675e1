//! `max_sessions_per_subject` over HTTP (SES-13): how many at once, which goes, and that no race makes one
//! too many.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{path, seconds};
use crate::harness::server::{Answer, Auth, Client, Server, text};

async fn capped(max: &str, when_full: &str) -> (Server, Client) {
    let settings =
        [("policy.default.max_sessions_per_subject", max), ("policy.default.when_full", when_full)];
    let server = Server::with(&settings).await;
    let app = server.application("app").await;
    (server, app)
}

async fn try_open(server: &Server, client: &Client, subject: &str) -> Answer {
    server.json(Method::POST, "/v1/sessions", Auth::Basic(client), json!({"subject": subject})).await
}

async fn live(server: &Server, subject: &str) -> usize {
    let listed = server
        .get(&format!("/v1/sessions?state=active&limit=200&subject={subject}"), Auth::Basic(&server.admin))
        .await;
    listed.json()["items"].as_array().unwrap().len()
}

async fn is_there(server: &Server, opened: &Value) -> bool {
    server.who_am_i(&text(&opened["session_token"])).await.status == 200
}

/// The one used least recently goes, by what is known and not by what is written.
#[tokio::test]
async fn the_session_used_least_recently_makes_room() {
    let (server, app) = capped("2", "evict_oldest").await;
    let first = server.open(&app).await;
    server.hand.advance(seconds(1));
    let second = server.open(&app).await;
    server.hand.advance(seconds(1));
    assert!(is_there(&server, &first).await, "a use that is in memory only");
    server.hand.advance(seconds(1));
    let third = server.open(&app).await;
    assert!(!is_there(&server, &second).await);
    assert!(is_there(&server, &first).await && is_there(&server, &third).await);
    let shown = server.get(&path(&second), Auth::Basic(&app)).await.json();
    assert_eq!((&shown["ended"]["reason"], &shown["ended"]["by"]), (&json!("evicted"), &json!("keyfob")));
    assert!(!server.is_active(&app, &text(&second["access_token"])).await);
}

#[tokio::test]
async fn a_policy_that_refuses_says_so_until_there_is_room() {
    let (server, app) = capped("1", "refuse").await;
    let first = try_open(&server, &app, "alice").await.json();
    try_open(&server, &app, "alice").await.assert_problem(409, None);
    assert_eq!(try_open(&server, &app, "bob").await.status, 201, "the cap is each subject's");
    let other = server.application("other").await;
    assert_eq!(try_open(&server, &other, "alice").await.status, 201, "and each client's");
    assert_eq!(server.delete(&path(&first), Auth::Basic(&app)).await.status, 204);
    assert_eq!(try_open(&server, &app, "alice").await.status, 201);
    server.hand.advance(seconds(1800));
    assert_eq!(try_open(&server, &app, "alice").await.status, 201, "what has expired takes no room");
}

/// Once a session that lived by a use not yet written counted as expired, and there was one too many.
#[tokio::test]
async fn a_session_that_is_active_by_an_unwritten_use_takes_room() {
    let (mut server, app) = capped("1", "refuse").await;
    let first = try_open(&server, &app, "alice").await.json();
    server.hand.advance(seconds(40));
    assert!(is_there(&server, &first).await);
    server.hand.advance(seconds(1770));
    try_open(&server, &app, "alice").await.assert_problem(409, None);
    server.crash().await;
    assert!(live(&server, "alice").await == 1, "by favour");
    try_open(&server, &app, "alice").await.assert_problem(409, None);
    server.hand.advance(seconds(60));
    assert_eq!(try_open(&server, &app, "alice").await.status, 201);
}

/// SES-13: deterministic under concurrency.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_race_makes_one_too_many() {
    for when_full in ["refuse", "evict_oldest"] {
        let (server, app) = capped("3", when_full).await;
        let (server, app) = (Arc::new(server), Arc::new(app));
        let openings: Vec<_> = (0..24)
            .map(|_| {
                let (server, app) = (server.clone(), app.clone());
                tokio::spawn(async move { try_open(&server, &app, "alice").await.status })
            })
            .collect();
        let mut opened = 0;
        for opening in openings {
            opened += usize::from(opening.await.unwrap() == 201);
        }
        assert_eq!(live(&server, "alice").await, 3, "{when_full}");
        assert_eq!(opened, if when_full == "refuse" { 3 } else { 24 });
    }
}

/// A renewal is no opening: it evicts no session.
#[tokio::test]
async fn a_renewal_evicts_no_session() {
    let (server, app) = capped("2", "evict_oldest").await;
    let (first, second) = (server.open(&app).await, server.open(&app).await);
    let renewed =
        server.json(Method::POST, &format!("{}/renew", path(&first)), Auth::Basic(&app), json!({})).await;
    assert_eq!(renewed.status, 200);
    assert!(is_there(&server, &second).await);
    assert_eq!(live(&server, "alice").await, 2);
}
