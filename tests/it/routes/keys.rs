//! `/v1/keys`: rotation, which keeps sessions and tokens valid, and revocation, which ends tokens at once.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::harness::server::{Auth, Server, text};

async fn kids(server: &Server) -> Vec<(String, String)> {
    let keys = server.get("/v1/keys", Auth::Basic(&server.admin)).await.json();
    keys["items"].as_array().unwrap().iter().map(|key| (text(&key["kid"]), text(&key["status"]))).collect()
}

async fn rotate(server: &Server) -> String {
    let path = "/v1/keys/rotate?force=true";
    let answer = server.send(Method::POST, path, Auth::Basic(&server.admin), &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    text(&answer.json()["kid"])
}

fn statuses(keys: &[(String, String)]) -> Vec<&str> {
    keys.iter().map(|(_, status)| &**status).collect()
}

/// PAS-49, ROT-31: tokens of the old key stay valid, and a retry within the window gets the same token.
#[tokio::test]
async fn a_rotation_keeps_tokens_valid_and_survives_a_restart() {
    let mut server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    let before = kids(&server).await;
    assert_eq!(statuses(&before), ["active", "next"]);
    assert_eq!(rotate(&server).await, before[1].0, "the published key signs");
    let retried = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    assert_eq!(retried["access_token"], refreshed["access_token"]);
    assert_eq!(retried["refresh_token"], refreshed["refresh_token"]);
    server.restart().await;
    assert_eq!(statuses(&kids(&server).await), ["retired", "active", "next"]);
    assert!(server.is_active(&app, &text(&opened["access_token"])).await);
    let jwks = server.get("/.well-known/jwks.json", Auth::None).await.json();
    assert_eq!(jwks["keys"].as_array().unwrap().len(), 3);
}

/// INT-53, INT-55.
#[tokio::test]
async fn the_tokens_of_a_revoked_key_are_invalid_at_once_and_sessions_stay_active() {
    let mut server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let (access, refresh) = (text(&opened["access_token"]), text(&opened["refresh_token"]));
    assert!(server.is_active(&app, &access).await, "seen, and so cached");
    let signing = kids(&server).await[0].0.clone();
    assert_eq!(server.delete(&format!("/v1/keys/{signing}"), Auth::Basic(&server.admin)).await.status, 204);
    assert!(!server.is_active(&app, &access).await);
    assert!(server.is_active(&app, &refresh).await);
    let refreshed = server.refresh(&app, &refresh).await.json();
    assert!(server.is_active(&app, &text(&refreshed["access_token"])).await);
    server.restart().await;
    assert!(!server.is_active(&app, &access).await);
    assert_eq!(statuses(&kids(&server).await), ["active", "next"]);
    assert_eq!(server.delete(&format!("/v1/keys/{signing}"), Auth::Basic(&server.admin)).await.status, 404);
}

/// The keys changed in the store, and stayed in memory until the next change: the event log said revoked, a
/// repetition said that there is no such key, and its tokens were active.
#[tokio::test]
async fn a_key_is_revoked_even_if_the_caller_leaves_before_the_answer() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let access = text(&server.open(&app).await["access_token"]);
    let path = format!("/v1/keys/{}", kids(&server).await[0].0);
    let mut revocation = Box::pin(server.delete(&path, Auth::Basic(&server.admin)));
    let begun = poll_fn(|context| Poll::Ready(revocation.as_mut().poll(context).is_pending())).await;
    assert!(begun, "it waits for the commit");
    drop(revocation);
    server.settle().await;
    assert_eq!(server.delete(&path, Auth::Basic(&server.admin)).await.status, 404, "it was committed");
    assert!(!server.is_active(&app, &access).await);
    let opened = server.open(&app).await;
    assert!(server.is_active(&app, &text(&opened["access_token"])).await, "another key signs");
}

/// ROT-31: the same refresh token, and a new access token signed by another key.
#[tokio::test]
async fn a_retry_after_its_key_was_revoked_gets_a_fresh_access_token() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    let signing = kids(&server).await[0].0.clone();
    server.delete(&format!("/v1/keys/{signing}"), Auth::Basic(&server.admin)).await;
    let retried = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    assert_eq!(retried["refresh_token"], refreshed["refresh_token"]);
    assert_ne!(retried["access_token"], refreshed["access_token"]);
    assert!(server.is_active(&app, &text(&retried["access_token"])).await);
}

#[tokio::test]
async fn keys_rotate_automatically_and_old_ones_are_removed() {
    let server = Server::with(&[("keys.rotate_every", "30d")]).await;
    let first = kids(&server).await;
    server.hand.advance(Duration::from_secs(30 * 86_400));
    server.app().engine().tend_keys().await.unwrap();
    let second = kids(&server).await;
    assert_eq!(
        (second[1].0.clone(), statuses(&second)),
        (first[1].0.clone(), vec!["retired", "active", "next"])
    );
    server.hand.advance(Duration::from_secs(86_400));
    server.app().engine().tend_keys().await.unwrap();
    assert_eq!(statuses(&kids(&server).await), ["active", "next"]);
}

/// A resource server with a cached JWKS must know the key that signs; a compromised key is revoked at once.
#[tokio::test]
async fn a_rotation_waits_for_the_max_age_of_the_jwks_unless_forced() {
    let server = Server::start().await;
    let rotate = async |query: &str| {
        let path = format!("/v1/keys/rotate{query}");
        server.send(Method::POST, &path, Auth::Basic(&server.admin), &[], "").await
    };
    let cached = server.get("/.well-known/jwks.json", Auth::None).await;
    assert_eq!(cached.header("cache-control"), "public, max-age=300");
    server.hand.advance(Duration::from_millis(299_001));
    for query in ["", "?force=false"] {
        let refused = rotate(query).await;
        refused.assert_problem(409, None);
        assert!(refused.text().contains("rotate in 1 seconds"), "{}", refused.text());
    }
    assert_eq!(statuses(&kids(&server).await), ["active", "next"], "nothing was changed");
    server.hand.advance(Duration::from_millis(999));
    assert_eq!(rotate("").await.status, 200);
    assert_eq!(rotate("").await.status, 409, "the new next key was published just now");
    assert_eq!(rotate("?force=true").await.status, 200);
    let signing = kids(&server).await.into_iter().find(|(_, status)| status == "active").unwrap().0;
    assert_eq!(server.delete(&format!("/v1/keys/{signing}"), Auth::Basic(&server.admin)).await.status, 204);
}

#[tokio::test]
async fn keys_are_for_administrators() {
    let server = Server::start().await;
    let app = server.application("app").await;
    assert_eq!(server.get("/v1/keys", Auth::Basic(&app)).await.status, 403);
    assert_eq!(server.send(Method::POST, "/v1/keys/rotate", Auth::Basic(&app), &[], "").await.status, 403);
    assert_eq!(server.delete("/v1/keys/k4.pid.x", Auth::Basic(&app)).await.status, 403);
    let keys: Value = server.get("/v1/keys", Auth::Socket).await.json();
    assert!(!keys.to_string().contains("seed"));
}
