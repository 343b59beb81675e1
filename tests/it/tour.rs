//! The main job, from end to end: open, introspect, refresh, revoke.

use crate::server::{Server, text};

#[tokio::test]
async fn a_session_is_opened_introspected_refreshed_and_revoked() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    assert!(server.is_active(&app, &text(&opened["access_token"])).await);
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    assert!(server.is_active(&app, &text(&refreshed["access_token"])).await);
    assert_eq!(server.revoke(&app, &text(&refreshed["refresh_token"])).await.status, 200);
    for token in [&opened["access_token"], &refreshed["access_token"], &refreshed["refresh_token"], &opened["session_token"]] {
        assert_eq!(server.introspect(&app, &text(token)).await, serde_json::json!({"active": false}));
    }
}
