//! Links, and the sessions that they open.

use http::Method;
use keyfob::domain::client::Client;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::session::Decision;
use keyfob::store::Store;
use serde_json::json;

use crate::harness::fixture::client;
use crate::harness::people::{SAME_ORIGIN, seconds};
use crate::harness::server::{Auth, Server, text};

#[tokio::test]
async fn a_link_opens_a_session_that_is_listed_and_ended_like_any_other() {
    let server = Server::start().await;
    let opened = server.use_link(&server.link("admin").await, &[SAME_ORIGIN, ("user-agent", "Lynx")]).await;
    let state = opened.json();
    assert_eq!(opened.status, 201, "{state}");
    let set = opened.header("set-cookie");
    let (cookie, attributes) = set.split_once("; ").unwrap();
    assert!(cookie.starts_with("__Host-keyfob-console=kfs_"), "{cookie}");
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    for (member, value) in [
        ("role", json!("admin")),
        ("subject", json!("operator")),
        ("authenticated_at", json!("2027-01-15T08:00:00Z")),
        ("changes_until", json!("2027-01-15T08:05:00Z")),
        ("idle_expires_at", json!("2027-01-15T08:30:00Z")),
        ("expires_at", json!("2027-01-15T16:00:00Z")),
        ("issuer", json!("http://127.0.0.1:8080")),
    ] {
        assert_eq!(state[member], value, "{member}");
    }
    assert_eq!(server.operate(Method::GET, "/console/session", cookie, None).await.json(), state);

    let listed = server.get("/v1/sessions?client_id=console", Auth::Basic(&server.admin)).await.json();
    let session = &listed["items"][0];
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!((&session["id"], &session["state"]), (&state["session_id"], &json!("active")));
    assert_eq!((&session["opened_by"], &session["scope"]), (&json!("admin.sock"), &json!("admin")));
    assert_eq!(session["device"], json!({"user_agent": "Lynx", "label": "console"}));
    assert_eq!(session["families"], json!([]));
    let path = format!("/v1/sessions/{}", text(&session["id"]));
    assert_eq!(server.delete(&path, Auth::Basic(&server.admin)).await.status, 204);
    assert_eq!(server.console_status(cookie).await, 401);
    let types = server.event_types().await;
    assert_eq!(types[types.len() - 2..], ["session.opened", "session.ended"]);
}

#[tokio::test]
async fn signing_out_ends_the_session_and_deletes_the_cookie() {
    let server = Server::start().await;
    let cookie = server.console("console:read").await;
    let left = server.operate(Method::DELETE, "/console/session", &cookie, None).await;
    assert_eq!((left.status, left.header("set-cookie").contains("Max-Age=0")), (204, true));
    assert_eq!(server.console_status(&cookie).await, 401);
    let again = server.operate(Method::DELETE, "/console/session", &cookie, None).await;
    assert_eq!((again.status, again.header("set-cookie").contains("Max-Age=0")), (401, true));
    let listed = server.get("/v1/sessions?client_id=console", Auth::Socket).await.json();
    assert_eq!(listed["items"][0]["ended"]["reason"], "logout");
    assert_eq!(listed["items"][0]["ended"]["by"], "console");
}

#[tokio::test]
async fn a_new_link_replaces_the_session_of_the_browser() {
    let server = Server::start().await;
    let (first, other) = (server.console("admin").await, server.console("admin").await);
    let link = server.link("console:read").await;
    let opened = server.use_link(&link, &[SAME_ORIGIN, ("cookie", &first)]).await;
    assert_eq!((opened.status, &opened.json()["role"]), (201, &json!("console:read")));
    assert_eq!(server.console_status(&first).await, 401, "it was replaced");
    assert_eq!(server.console_status(&other).await, 200, "another browser's was not");
}

/// The pages poll; that must not keep a session active that no operator uses.
#[tokio::test]
async fn polling_does_not_keep_a_session_active() {
    let server = Server::start().await;
    let (used, polled) = (server.console("admin").await, server.console("admin").await);
    for _ in 0..4 {
        server.hand.advance(seconds(10 * 60));
        assert_eq!(server.operate(Method::GET, "/v1/keys", &used, None).await.status, 200);
        let last = server.operate(Method::GET, "/console/figures", &polled, None).await.status;
        let events = server.operate(Method::GET, "/v1/events?limit=1", &polled, None).await.status;
        assert_eq!(last, events);
    }
    assert_eq!((server.console_status(&used).await, server.console_status(&polled).await), (200, 401));
    // Used or not, it ends after eight hours.
    for _ in 0..24 {
        server.hand.advance(seconds(20 * 60));
        server.console_status(&used).await;
    }
    assert_eq!(server.console_status(&used).await, 401);
}

#[tokio::test]
async fn there_are_at_most_sixteen_sessions() {
    let server = Server::start().await;
    let mut cookies = vec![];
    for _ in 0..16 {
        cookies.push(server.console("admin").await);
        server.hand.advance(seconds(1));
    }
    cookies.push(server.console("admin").await);
    assert_eq!(server.console_status(&cookies[0]).await, 401, "it was used longest ago");
    for cookie in &cookies[1..] {
        assert_eq!(server.console_status(cookie).await, 200);
    }
}

#[tokio::test]
async fn ending_everything_signs_the_operator_out() {
    let server = Server::start().await;
    let cookie = server.console("admin").await;
    let ended = server.operate(Method::DELETE, "/v1/sessions?all=true", &cookie, None).await;
    assert_eq!((ended.status, ended.json()), (200, json!({"ended": "all"})));
    assert_eq!(server.console_status(&cookie).await, 401);
}

#[tokio::test]
async fn without_the_console_there_is_no_route_and_no_cookie_counts() {
    let mut server = Server::start().await;
    let cookie = server.console("admin").await;
    server.set("server.console", "false");
    server.restart().await;
    for path in ["/console", "/console/", "/console/session", "/console/figures", "/console/index.html"] {
        assert_eq!(server.operate(Method::GET, path, &cookie, None).await.status, 404, "{path}");
    }
    let made = server.json(Method::POST, "/console/links", Auth::Socket, json!({"role": "admin"})).await;
    assert_eq!(made.status, 404);
    assert_eq!(server.operate(Method::GET, "/v1/keys", &cookie, None).await.status, 401);
    assert!(!server.get("/", Auth::None).await.text().contains("/console"));
    server.set("server.console", "true");
    server.restart().await;
    assert_eq!(server.console_status(&cookie).await, 200, "sessions are kept, unlike links");
}

/// A browser that gets a `Basic` challenge asks the operator for a password.
#[tokio::test]
async fn a_page_without_a_session_gets_no_challenge_that_asks_for_a_password() {
    let server = Server::start().await;
    let gone = format!("__Host-keyfob-console=kfs_{}", "A".repeat(100));
    for cookie in ["other=1", &gone] {
        for path in ["/v1/sessions", "/v1/events", "/v1/clients", "/v1/keys", "/console/session"] {
            let answer = server.operate(Method::GET, path, cookie, None).await;
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.challenges().iter().all(|challenge| challenge.starts_with("Bearer")), "{path}");
        }
    }
    let client = server.get("/v1/sessions", Auth::None).await;
    assert!(client.challenges()[0].starts_with("Basic"), "clients learn both schemes");
}

/// A database from before the name was reserved can have such a client.
#[tokio::test]
async fn the_name_of_the_console_is_reserved() {
    let server = Server::start().await;
    let fields = json!({"client_id": "console"});
    let created = server.json(Method::POST, "/v1/clients", Auth::Basic(&server.admin), fields).await;
    created.assert_problem(400, Some("client_id"));
    let cookie = server.console("admin").await;
    for (method, path) in [
        (Method::GET, "/v1/clients/console"),
        (Method::PATCH, "/v1/clients/console"),
        (Method::DELETE, "/v1/clients/console"),
        (Method::POST, "/v1/clients/console/secret"),
        (Method::POST, "/v1/clients/console/tokens/revoke"),
    ] {
        for auth in [Auth::Basic(&server.admin), Auth::Socket] {
            let answer = server.json(method.clone(), path, auth, json!({})).await;
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    for fields in [
        json!({"subject": "operator", "client_id": "console"}),
        json!({"subject": "operator", "client_id": "console", "scope": "admin"}),
    ] {
        for auth in [Auth::Basic(&server.admin), Auth::Socket] {
            let opened = server.json(Method::POST, "/v1/sessions", auth, fields.clone()).await;
            assert_eq!(opened.status, 403, "{}", opened.text());
        }
    }
    assert_eq!(server.console_status(&cookie).await, 200);
}

/// The sessions of such a client belong to its users, whatever scope they have: they must not open the
/// console.
#[tokio::test]
async fn a_client_that_had_the_name_before_gets_no_operators_rights() {
    let server = Server::start().await;
    let cookie = server.console("admin").await;
    let old = Client { scopes: "admin console:read".parse().unwrap(), ..client("console") };
    let id = old.id.clone();
    let register = move |stored: &mut Option<Client>, _: &CutOffs| {
        *stored = Some(old.clone());
        Decision::with_events((), vec![Event::new(EventKind::ClientCreated, old.created_at, "keyfob")])
    };
    server.app().store().update_client(id, register).await.unwrap();
    let fields = json!({"subject": "mallory", "client_id": "console", "scope": "admin"});
    let opened = server.json(Method::POST, "/v1/sessions", Auth::Socket, fields).await.json();
    let theirs = format!("__Host-keyfob-console={}", text(&opened["session_token"]));
    assert_eq!(server.console_status(&theirs).await, 401);
    assert_eq!(server.console_status(&cookie).await, 401, "the console is closed while the name is taken");
    let link = json!({"role": "admin"});
    let made = server.json(Method::POST, "/console/links", Auth::Socket, link).await;
    assert!(made.status == 409 && made.text().contains("register the client under another name"), "{made:?}");
    assert_eq!(server.delete("/v1/clients/console", Auth::Socket).await.status, 204);
    assert_eq!(server.console_status(&server.console("admin").await).await, 200);
    assert_eq!(server.console_status(&theirs).await, 401);
}

/// An administrator can read and end a session of the console, and nothing else: no tokens come from it.
#[tokio::test]
async fn a_session_of_the_console_can_only_be_read_and_ended() {
    let server = Server::start().await;
    let cookie = server.console("admin").await;
    let state = server.operate(Method::GET, "/console/session", &cookie, None).await.json();
    let path = format!("/v1/sessions/{}", text(&state["session_id"]));
    let admin = Auth::Basic(&server.admin);
    assert_eq!(server.get(&path, admin).await.status, 200);
    for (method, path, body) in [
        (Method::PATCH, path.clone(), json!({"claims": {"a": 1}})),
        (Method::POST, format!("{path}/renew"), json!({})),
        (Method::POST, format!("{path}/families"), json!({"client_id": "admin"})),
    ] {
        let answer = server.json(method, &path, admin, body).await;
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
    }
    assert_eq!(server.console_status(&cookie).await, 200);
}
