//! What a session of the console may do: read, and change things with a young link.

use http::Method;
use serde_json::json;

use crate::harness::people::seconds;
use crate::harness::server::{Auth, Server, text};

#[tokio::test]
async fn an_operator_does_what_the_pages_do_and_is_named_in_the_log() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let (first, second) = (server.open(&app).await, server.open(&app).await);
    let cookie = server.console("admin").await;
    let id = |opened: &serde_json::Value| text(&opened["session"]["id"]);
    let one = format!("/v1/sessions/{}", id(&first));
    let seen = server.operate(Method::GET, &one, &cookie, None).await.json();
    assert_eq!((&seen["subject"], &seen["data"]), (&json!("alice"), &json!(null)), "data is private");
    assert_eq!(server.operate(Method::DELETE, &one, &cookie, None).await.status, 204);
    let rest = format!("/v1/sessions?subject=alice&except={}&reason=lost", id(&second));
    assert_eq!(server.operate(Method::DELETE, &rest, &cookie, None).await.json(), json!({"ended": 0}));
    let made = json!({"client_id": "shop", "permissions": ["sessions"]});
    let made = server.operate(Method::POST, "/v1/clients", &cookie, Some(made)).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let disabled = json!({"disabled": true});
    assert_eq!(server.operate(Method::PATCH, "/v1/clients/shop", &cookie, Some(disabled)).await.status, 200);
    for (path, body) in [
        ("/v1/clients/shop/secret", Some(json!({}))),
        ("/v1/clients/shop/tokens/revoke", None),
        ("/v1/keys/rotate?force=true", None),
    ] {
        let answer = server.operate(Method::POST, path, &cookie, body).await;
        assert!(answer.status < 300, "{path}: {}", answer.text());
    }
    assert_eq!(server.operate(Method::DELETE, "/v1/clients/shop", &cookie, None).await.status, 204);
    let events = server.operate(Method::GET, "/v1/events?limit=200", &cookie, None).await.json();
    let by_console: Vec<_> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["by"] == "console")
        .map(|event| text(&event["type"]))
        .collect();
    assert_eq!(
        by_console,
        [
            "session.ended",
            "client.created",
            "client.updated",
            "client.tokens_revoked",
            "client.updated",
            "client.tokens_revoked",
            "key.rotated",
            "client.deleted"
        ]
    );
    let ended = server.get(&one, Auth::Basic(&server.admin)).await.json();
    assert_eq!((&ended["ended"]["by"], &ended["ended"]["reason"]), (&json!("console"), &json!("admin")));
}

#[tokio::test]
async fn after_five_minutes_a_change_needs_a_new_link_and_reading_does_not() {
    let server = Server::start().await;
    let cookie = server.console("admin").await;
    server.hand.advance(seconds(299));
    let rotate =
        async |cookie: &str| server.operate(Method::POST, "/v1/keys/rotate?force=true", cookie, None).await;
    assert_eq!(rotate(&cookie).await.status, 200);
    server.hand.advance(seconds(1));
    let refused = rotate(&cookie).await;
    refused.assert_problem(403, None);
    assert_eq!(
        refused.challenges(),
        [r#"Bearer realm="keyfob", error="insufficient_user_authentication", max_age="300""#]
    );
    assert!(text(&refused.json()["detail"]).contains("keyfob console"));
    assert_eq!(server.operate(Method::GET, "/v1/keys", &cookie, None).await.status, 200);
    let renewed = server.console("admin").await;
    assert_eq!(rotate(&renewed).await.status, 200);
}

/// The age of the link counts, not the time at which it was used.
#[tokio::test]
async fn the_five_minutes_begin_when_the_link_is_made() {
    let server = Server::start().await;
    let link = server.link("admin").await;
    server.hand.advance(seconds(59));
    let opened = server.use_link(&link, &[crate::harness::people::SAME_ORIGIN]).await;
    assert_eq!(opened.json()["changes_until"], "2027-01-15T08:05:00Z");
}
