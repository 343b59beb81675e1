//! The presets of NIST SP 800-63B-4 in a running server: what the configuration says is what ends a session.

use std::time::Duration;

use serde_json::json;

use crate::harness::server::{Auth, Server, text};

/// NST-03, NST-04: inactivity ends a session at 15 minutes, and no activity carries it beyond 12 hours,
/// remembered or not.
#[tokio::test]
async fn under_aal3_either_timeout_ends_a_session_and_activity_moves_only_one() {
    let server = Server::with(&[("policy.default.preset", "aal3")]).await;
    let app = server.application("app").await;
    for remember in [false, true] {
        let idle = server.open_with(&app, json!({"subject": "alice", "remember": remember})).await;
        let used = server.open_with(&app, json!({"subject": "alice", "remember": remember})).await;
        let mut refresh_token = text(&used["refresh_token"]);
        let minute = Duration::from_secs(60);
        for _ in 0..51 {
            server.hand.advance(minute * 14);
            let refreshed = server.refresh(&app, &refresh_token).await;
            assert_eq!(refreshed.status, 200, "{}", refreshed.text());
            refresh_token = text(&refreshed.json()["refresh_token"]);
        }
        assert!(!server.is_active(&app, &text(&idle["session_token"])).await);
        server.hand.advance(minute * 6 - Duration::from_millis(1));
        assert!(server.is_active(&app, &text(&used["session_token"])).await, "12 hours are not over");
        server.hand.advance(Duration::from_millis(1));
        assert!(!server.is_active(&app, &text(&used["session_token"])).await);
        assert_eq!(server.refresh(&app, &refresh_token).await.error(), "invalid_grant");
        let path = format!("/v1/sessions/{}", text(&used["session"]["id"]));
        let session = server.get(&path, Auth::Basic(&app)).await.json();
        assert_eq!((&session["state"], &session["ended"]), (&json!("expired"), &json!(null)));
    }
    let idle = server.open(&app).await;
    server.hand.advance(Duration::from_secs(15 * 60) - Duration::from_millis(1));
    let path = format!("/v1/sessions/{}", text(&idle["session"]["id"]));
    assert_eq!(server.get(&path, Auth::Basic(&app)).await.json()["state"], "active");
    server.hand.advance(Duration::from_millis(1));
    assert_eq!(server.get(&path, Auth::Basic(&app)).await.json()["state"], "expired");
}
