//! What is taken from a client is taken from all that it is issued later, however long ago it was granted.

use http::Method;
use serde_json::{Value, json};

use super::change;
use crate::harness::people::{path, seconds};
use crate::harness::server::{Answer, Auth, Client, ISSUER, Server, text};

const API: &str = "https://api.example";

/// An application and a session of it with the scope `read write`.
async fn granted(settings: &[(&str, &str)]) -> (Server, Client, Value) {
    let server = Server::with(settings).await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "scopes": ["read", "write"], "audiences": [API],
    });
    let app = server.client(fields).await;
    let opened = server.open(&app).await;
    (server, app, opened)
}

async fn narrow(server: &Server, fields: Value) {
    assert_eq!(change(server, "app", fields).await.status, 200);
}

async fn renew(server: &Server, client: &Client, opened: &Value) -> Answer {
    server.json(Method::POST, &format!("{}/renew", path(opened)), Auth::Basic(client), json!({})).await
}

async fn refresh_for(server: &Server, app: &Client, token: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [&[("grant_type", "refresh_token"), ("refresh_token", token)], more].concat();
    server.form("/oauth2/token", Auth::Basic(app), &fields).await
}

/// Refresh, retry and renewal used to go on issuing what the client had lost.
#[tokio::test]
async fn a_scope_that_was_taken_away_is_in_nothing_that_is_issued_later() {
    let (server, app, opened) = granted(&[]).await;
    let (first, family) = (text(&opened["refresh_token"]), format!("{}/families", path(&opened)));
    let further = server.json(Method::POST, &family, Auth::Basic(&app), json!({})).await.json();
    let before = server.refresh(&app, &first).await.json();
    assert_eq!(before["scope"], "read write");
    narrow(&server, json!({"scopes": ["read", "more"]})).await;
    let retried = server.refresh(&app, &first).await.json();
    assert_eq!((&retried["scope"], &retried["refresh_token"]), (&json!("read"), &before["refresh_token"]));
    assert_eq!(server.introspect(&app, &text(&retried["access_token"])).await["scope"], "read");
    let next = server.refresh(&app, &text(&before["refresh_token"])).await.json();
    let of_family = server.refresh(&app, &text(&further["refresh_token"])).await.json();
    let asked =
        refresh_for(&server, &app, &text(&next["refresh_token"]), &[("scope", "read write")]).await.json();
    let is_narrow = async |tokens: &Value| {
        let reported = server.introspect(&app, &text(&tokens["access_token"])).await;
        tokens["scope"] == "read" && reported["scope"] == "read"
    };
    assert!(is_narrow(&next).await && is_narrow(&of_family).await && is_narrow(&asked).await);
    let renewed = renew(&server, &app, &opened).await.json();
    let after = server.refresh(&app, &text(&renewed["refresh_token"])).await.json();
    assert!(is_narrow(&renewed).await && is_narrow(&after).await);
    assert_eq!(renewed["session"]["scope"], "read");
    assert_eq!(server.introspect(&app, &text(&renewed["session_token"])).await["scope"], "read");
    // What was granted comes back with the client's scope, and what was issued without it does not get it.
    narrow(&server, json!({"scopes": ["read", "write"]})).await;
    assert_eq!(server.refresh(&app, &text(&of_family["refresh_token"])).await.json()["scope"], "read write");
    assert_eq!(server.refresh(&app, &text(&after["refresh_token"])).await.json()["scope"], "read");
}

/// Nothing is consumed: neither a generation, nor a retry, nor the old session token.
#[tokio::test]
async fn where_nothing_of_the_scope_or_the_audience_is_left_nothing_is_issued_or_consumed() {
    let (server, app, opened) = granted(&[]).await;
    let first = text(&opened["refresh_token"]);
    let second = text(&server.refresh(&app, &first).await.json()["refresh_token"]);
    let whole = json!({"scopes": ["read", "write"], "audiences": [API]});
    for (fields, error, field) in [
        (json!({"scopes": ["other"]}), "invalid_scope", "scope"),
        (json!({"scopes": []}), "invalid_scope", "scope"),
        (json!({"audiences": []}), "invalid_target", "audience"),
        (json!({"audiences": ["https://other.example", ISSUER]}), "invalid_target", "audience"),
    ] {
        narrow(&server, fields).await;
        for token in [&first, &second] {
            server.refresh(&app, token).await.assert_error(400, error);
        }
        let resource = refresh_for(&server, &app, &second, &[("resource", API)]).await;
        resource.assert_error(400, error);
        renew(&server, &app, &opened).await.assert_problem(400, Some(field));
        assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 200);
        narrow(&server, whole.clone()).await;
    }
    narrow(&server, json!({"scopes": ["read"]})).await;
    refresh_for(&server, &app, &second, &[("scope", "write")]).await.assert_error(400, "invalid_scope");
    let families = server.get(&path(&opened), Auth::Basic(&app)).await.json()["families"].clone();
    assert_eq!((families.as_array().unwrap().len(), &families[0]["generation"]), (1, &json!(1)));
    let retried = server.refresh(&app, &first).await.json();
    assert_eq!(retried["refresh_token"], json!(second));
    assert_eq!(server.refresh(&app, &second).await.status, 200);
}

/// `keyfob dev` has another port at each start, and is another issuer then. Clients without audiences are
/// granted the issuer: their refresh tokens were `invalid_target` after each restart.
#[tokio::test]
async fn a_grant_for_the_issuer_follows_a_development_server_to_another_port() {
    const MOVED: &str = "http://localhost:9999";
    let mut server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let first = text(&opened["refresh_token"]);
    server.set("server.issuer", MOVED);
    server.restart().await;
    let next = server.refresh(&app, &first).await.json();
    let retried = refresh_for(&server, &app, &first, &[("resource", MOVED)]).await.json();
    assert_eq!(retried["refresh_token"], next["refresh_token"]);
    refresh_for(&server, &app, &first, &[("resource", ISSUER)]).await.assert_error(400, "invalid_target");
    let renewed = renew(&server, &app, &opened).await.json();
    for tokens in [&next, &retried, &renewed] {
        let answer = server.introspect(&server.admin, &text(&tokens["access_token"])).await;
        let is_active = tokens == &renewed;
        assert_eq!(answer["active"], json!(is_active), "the renewal replaced the family of the others");
        assert!(!is_active || answer["aud"] == MOVED, "{answer}");
    }
    let last = server.refresh(&app, &text(&renewed["refresh_token"])).await.json();
    assert_eq!(server.introspect(&app, &text(&last["access_token"])).await["aud"], MOVED);
    server.set("server.issuer", "https://id.example");
    server.restart().await;
    server.refresh(&app, &text(&last["refresh_token"])).await.assert_error(400, "invalid_target");
}

/// A narrowed client's spent token is still reuse: the answer about the scope must not hide it.
#[tokio::test]
async fn reuse_is_found_whatever_the_client_may_still_request() {
    let (server, app, opened) = granted(&[]).await;
    let first = text(&opened["refresh_token"]);
    assert_eq!(server.refresh(&app, &first).await.status, 200);
    server.hand.advance(seconds(60));
    narrow(&server, json!({"scopes": []})).await;
    server.refresh(&app, &first).await.assert_error(400, "invalid_grant");
    let shown = server.get(&path(&opened), Auth::Basic(&app)).await.json();
    assert_eq!(shown["ended"]["reason"], "refresh_reuse");
}

/// A session whose client never had a scope is not narrowed.
#[tokio::test]
async fn an_empty_scope_stays_empty() {
    let server = Server::start().await;
    let fields = json!({"client_id": "app", "permissions": ["sessions"], "grants": ["refresh_token"]});
    let app = server.client(fields).await;
    let opened = server.open(&app).await;
    narrow(&server, json!({"scopes": ["read"]})).await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await;
    assert_eq!((refreshed.status, refreshed.json().get("scope")), (200, None));
    assert_eq!(renew(&server, &app, &opened).await.status, 200);
}

/// The opener keeps the session, to read and end it; what it may not do any more is issue to the client.
#[tokio::test]
async fn without_the_name_in_opens_for_the_opener_renews_for_that_client_no_more() {
    let server = Server::start().await;
    let mobile =
        json!({"client_id": "mobile", "kind": "public", "grants": ["refresh_token"], "scopes": ["read"]});
    server.client(mobile).await;
    let fields = json!({"client_id": "app", "permissions": ["sessions"], "grants": ["refresh_token"],
                        "opens_for": ["mobile"]});
    let app = server.client(fields).await;
    let opened = server.open_with(&app, json!({"subject": "alice", "client_id": "mobile"})).await;
    let families = format!("{}/families", path(&opened));
    let family = async || {
        server.json(Method::POST, &families, Auth::Basic(&app), json!({"client_id": "mobile"})).await
    };
    assert_eq!((renew(&server, &app, &opened).await.status, family().await.status), (200, 201));
    narrow(&server, json!({"opens_for": []})).await;
    renew(&server, &app, &opened).await.assert_problem(403, None);
    family().await.assert_problem(403, None);
    assert_eq!(
        renew(&server, &server.admin, &opened).await.status,
        200,
        "an administrator opens for every client"
    );
    let own = server.open(&app).await;
    assert_eq!(renew(&server, &app, &own).await.status, 200);
    assert_eq!(server.get(&path(&opened), Auth::Basic(&app)).await.status, 200);
    assert_eq!(server.delete(&path(&opened), Auth::Basic(&app)).await.status, 204);
}
