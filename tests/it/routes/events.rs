//! `GET /v1/events`: the log, in order and without gaps.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, Server, text};

async fn reader(server: &Server) -> Client {
    server.client(json!({"client_id": "reader", "permissions": ["events"]})).await
}

async fn read(server: &Server, reader: &Client, query: &str) -> Value {
    let answer = server.get(&format!("/v1/events{query}"), Auth::Basic(reader)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn kinds(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|event| text(&event["type"])).collect()
}

#[tokio::test]
async fn the_log_tells_what_happened_in_order_and_in_pages() {
    let server = Server::start().await;
    let (reader, app) = (reader(&server).await, server.application("app").await);
    let start = text(&read(&server, &reader, "?limit=1").await["head"]);
    let opened = server.open(&app).await;
    server.revoke(&app, &text(&opened["access_token"])).await;
    server.revoke(&app, &text(&opened["refresh_token"])).await;
    let page = read(&server, &reader, &format!("?after={start}")).await;
    assert_eq!(kinds(&page), ["session.opened", "token.revoked", "family.ended", "session.ended"]);
    assert_eq!(page["items"][3]["reason"], "token_revoked");
    assert_eq!(page["items"][0]["subject"], "alice");
    assert_eq!(page["items"][3]["cursor"], page["head"]);
    let second =
        read(&server, &reader, &format!("?after={}&limit=2", text(&page["items"][0]["cursor"]))).await;
    assert_eq!(kinds(&second), ["token.revoked", "family.ended"]);
    assert_eq!(kinds(&read(&server, &reader, &format!("?after={}", text(&page["head"]))).await), [""; 0]);
}

/// ROT-35: a reuse is recorded with family, gap, client and a hash of the address, never with the token.
#[tokio::test]
async fn a_reused_refresh_token_is_recorded_without_the_token() {
    let server = Server::with(&[("policy.default.refresh_retry_window", "0s")]).await;
    let (reader, app) = (reader(&server).await, server.application("app").await);
    let opened = server.open(&app).await;
    let spent = text(&opened["refresh_token"]);
    server.refresh(&app, &spent).await;
    assert_eq!(server.refresh(&app, &spent).await.error(), "invalid_grant");
    let page = read(&server, &reader, "").await;
    let reused =
        page["items"].as_array().unwrap().iter().find(|event| event["type"] == "refresh.reused").unwrap();
    assert_eq!(
        (&reused["family"], &reused["generations_behind"], &reused["client_id"]),
        (&json!(1), &json!(1), &json!("app"))
    );
    assert!(!page.to_string().contains(&spent[4..]));
}

/// FED-06 in the log's own terms.
#[tokio::test]
async fn a_cursor_that_is_too_old_is_gone_and_one_from_the_future_is_wrong() {
    let server = Server::with(&[("events.retention", "1h")]).await;
    let reader = reader(&server).await;
    server.hand.advance(Duration::from_secs(2 * 3600));
    let app = server.application("app").await;
    server.open(&app).await;
    while server.app().engine().sweep().await.unwrap().more {}
    assert_eq!(server.get("/v1/events?after=0", Auth::Basic(&reader)).await.status, 410);
    let kept = read(&server, &reader, "").await;
    assert_eq!(kinds(&kept), ["client.created", "session.opened"]);
    assert_eq!(server.get("/v1/events?after=99999", Auth::Basic(&reader)).await.status, 400);
    let malformed = server.get("/v1/events?after=x", Auth::Basic(&reader)).await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.text().contains("the `cursor` or `head` of an earlier answer"), "{}", malformed.text());
    assert_eq!(server.get("/v1/events?wait=61", Auth::Basic(&reader)).await.status, 400);
}

#[tokio::test]
async fn a_waiting_reader_learns_of_an_event_when_it_happens() {
    let server = Server::start().await;
    let (reader, app) = (reader(&server).await, server.application("app").await);
    let head = text(&read(&server, &reader, "").await["head"]);
    let path = format!("/v1/events?after={head}&wait=20");
    let waiting = server.get(&path, Auth::Basic(&reader));
    let opening = async {
        // Gives the reader its turn to begin waiting; correct in either order.
        tokio::task::yield_now().await;
        server.open(&app).await
    };
    let (answer, _) = tokio::join!(waiting, opening);
    assert_eq!(kinds(&answer.json()), ["session.opened"]);
}

#[tokio::test]
async fn the_log_is_for_those_who_may_read_all_of_it() {
    let server = Server::start().await;
    let app = server.application("app").await;
    assert_eq!(server.get("/v1/events", Auth::Basic(&app)).await.status, 403);
    assert_eq!(server.get("/v1/events", Auth::None).await.status, 401);
    assert_eq!(
        server.send(Method::POST, "/v1/events", Auth::Basic(&server.admin), &[], "").await.header("allow"),
        "GET, HEAD"
    );
}
