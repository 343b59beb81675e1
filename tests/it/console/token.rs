//! What a token is, and why it is not active.

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Server, text};

async fn explain(server: &Server, cookie: &str, body: Value) -> Value {
    let answer = server.operate(Method::POST, "/console/introspect", cookie, Some(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The operator learns to which session, client, family and generation a replayed refresh token belonged.
#[tokio::test]
async fn a_replayed_refresh_token_leads_to_its_session_and_generation() {
    let server = Server::start().await;
    let cookie = server.console("console:read").await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let first = text(&opened["refresh_token"]);
    let second = text(&server.refresh(&app, &first).await.json()["refresh_token"]);
    let third = text(&server.refresh(&app, &second).await.json()["refresh_token"]);
    let current = explain(&server, &cookie, json!({ "token": third })).await;
    assert_eq!(
        (&current["kind"], &current["active"], &current["generation"]),
        (&json!("refresh"), &json!(true), &json!(2))
    );
    assert_eq!(current["introspection"]["sub"], "alice");
    let spent = explain(&server, &cookie, json!({ "token": second })).await;
    assert_eq!(
        spent,
        json!({
            "kind": "refresh", "active": false, "reason": "replaced",
            "explanation": spent["explanation"], "session_id": opened["session"]["id"], "family": 1,
            "generation": 1, "client_id": "app",
        })
    );
    assert_eq!(server.refresh(&app, &first).await.status, 400);
    let ended = explain(&server, &cookie, json!({ "token": third })).await;
    assert_eq!((&ended["reason"], &ended["session_id"]), (&json!("session_ended"), &opened["session"]["id"]));
    assert!(text(&ended["explanation"]).contains("refresh_reuse"));
}

#[tokio::test]
async fn the_answer_for_a_client_says_why_it_is_inactive_there() {
    let server = Server::start().await;
    let cookie = server.console("console:read").await;
    let app = server.application("app").await;
    let api = server.client(json!({"client_id": "api", "permissions": ["introspect"]})).await;
    let opened = server.open(&app).await;
    let token = &opened["access_token"];
    let all = explain(&server, &cookie, json!({ "token": token })).await;
    assert_eq!((&all["kind"], &all["active"], &all["family"]), (&json!("access"), &json!(true), &json!(1)));
    let own = explain(&server, &cookie, json!({ "token": token, "as": "app" })).await;
    assert_eq!(own["introspection"], server.introspect(&app, &text(token)).await);
    let other = explain(&server, &cookie, json!({ "token": token, "as": api.id })).await;
    assert_eq!((&other["active"], &other["reason"]), (&json!(false), &json!("audience")));
    let session = explain(&server, &cookie, json!({ "token": opened["session_token"], "as": "app" })).await;
    assert_eq!((&session["kind"], &session["active"]), (&json!("session"), &json!(true)));
    for foreign in ["", "x", "kfr_x", "v4.public.x", "\u{202e}<img src=x onerror=alert(1)>"] {
        let answer = explain(&server, &cookie, json!({ "token": foreign })).await;
        assert_eq!((&answer["kind"], &answer["reason"]), (&json!("unknown"), &json!("unknown")), "{foreign}");
    }
    for (client, status) in [("unknown", 404), ("<img>", 404)] {
        let body = json!({ "token": token, "as": client });
        let answer = server.operate(Method::POST, "/console/introspect", &cookie, Some(body)).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    server.client(json!({"client_id": "mobile", "kind": "public"})).await;
    let body = json!({ "token": token, "as": "mobile" });
    let answer = server.operate(Method::POST, "/console/introspect", &cookie, Some(body)).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
}
