//! The main job, from end to end: open, introspect, refresh, revoke.

use crate::harness::server::{Server, text};

#[tokio::test]
async fn a_session_is_opened_introspected_refreshed_and_revoked() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    assert!(server.is_active(&app, &text(&opened["access_token"])).await);
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    assert!(server.is_active(&app, &text(&refreshed["access_token"])).await);
    assert_eq!(server.revoke(&app, &text(&refreshed["refresh_token"])).await.status, 200);
    for token in [
        &opened["access_token"],
        &refreshed["access_token"],
        &refreshed["refresh_token"],
        &opened["session_token"],
    ] {
        assert_eq!(server.introspect(&app, &text(token)).await, serde_json::json!({"active": false}));
    }
}

/// TOK-19: the documents state how long an issued value can be.
#[tokio::test]
async fn issued_values_are_as_long_as_the_documents_say() {
    let limits = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/edge.md")).unwrap();
    assert!(limits.contains("| refresh token, session token, client secret | 100, 100 and 47 characters |"));
    assert!(limits.contains("| access token | at most 8 KiB"));
    let server = Server::start().await;
    let app = server.application("app").await;
    let claims = serde_json::json!({"padding": "x".repeat(4_000)});
    let opened =
        server.open_with(&app, serde_json::json!({"subject": "s".repeat(256), "claims": claims})).await;
    assert_eq!(text(&opened["refresh_token"]).len(), 100);
    assert_eq!(text(&opened["session_token"]).len(), 100);
    assert_eq!(app.secret.len(), 47);
    assert!((5_000..=8_192).contains(&text(&opened["access_token"]).len()));
}
