//! `GET /v1/feed`: what makes kept answers invalid, for the callers that can have them.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{path, seconds};
use crate::harness::server::{Auth, Client, Server, text};

impl Server {
    async fn feed(&self, client: &Client, query: &str) -> Value {
        let answer = self.get(&format!("/v1/feed{query}"), Auth::Basic(client)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The end of the log.
    async fn end_of_feed(&self, client: &Client) -> String {
        text(&self.feed(client, "").await["next"])
    }

    async fn resource_server(&self, id: &str, serves: &str) -> Client {
        self.client(json!({"client_id": id, "permissions": ["introspect"], "serves": [serves]})).await
    }
}

fn kinds(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| text(&item["type"])).collect()
}

#[tokio::test]
async fn without_a_start_the_answer_is_the_end_of_the_log_at_once() {
    let server = Server::start().await;
    let app = server.application("app").await;
    server.open(&app).await;
    let head = server.app().engine().head().to_string();
    for query in ["", "?wait=20"] {
        assert_eq!(server.feed(&app, query).await, json!({"items": [], "next": head, "head": head}));
    }
}

/// Everything that changes an answer of introspection or a check, and nothing personal in it.
#[tokio::test]
async fn an_item_says_what_became_invalid_and_nothing_personal() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened =
        server.open_with(&app, json!({"subject": "alice@example", "device": {"label": "the den"}})).await;
    let start = server.end_of_feed(&app).await;
    let (session, app_auth) = (text(&opened["session"]["id"]), Auth::Basic(&app));
    server.json(Method::PATCH, &path(&opened), app_auth, json!({"claims": {"a": "opal"}})).await;
    server.revoke(&app, &text(&opened["access_token"])).await;
    server.json(Method::POST, &format!("{}/renew", path(&opened)), app_auth, json!({})).await;
    server.json(Method::POST, &format!("{}/families", path(&opened)), app_auth, json!({})).await;
    server.delete("/v1/sessions?subject=alice@example&reason=lost", app_auth).await;
    let page = server.feed(&app, &format!("?after={start}")).await;
    let expected = [
        "session.updated",
        "token.revoked",
        "family.ended",
        "session.renewed",
        "family.opened",
        "session.ended",
    ];
    assert_eq!(kinds(&page), expected);
    let items = page["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["session_id"] == *session && item.get("client_id").is_none()));
    assert_eq!((&items[1]["family"], items[1]["jti"].is_string()), (&json!(1), true));
    assert_eq!((&items[2]["family"], items[5].get("family")), (&json!(1), None));
    for personal in ["alice", "den", "opal", "lost", "\"by\"", "subject"] {
        assert!(!page.to_string().contains(personal), "{personal}: {page}");
    }
    assert_eq!(
        (&page["next"], &page["head"]),
        (&page["head"], &json!(server.app().engine().head().to_string()))
    );
}

/// Callers see what concerns tokens that they may introspect, as their rights were at the event; the rest of
/// the log is passed over.
#[tokio::test]
async fn each_caller_sees_the_sessions_whose_tokens_it_may_introspect() {
    let server = Server::start().await;
    let fields = json!({"client_id": "app", "permissions": ["introspect"], "audiences": ["https://api"]});
    let app = server.client(fields).await;
    let fields = json!({
        "client_id": "phone", "grants": ["refresh_token"], "permissions": ["introspect"],
        "audiences": ["https://phone"],
    });
    let phone = server.client(fields).await;
    let fields =
        json!({"client_id": "bff", "permissions": ["sessions", "introspect"], "opens_for": ["app", "phone"]});
    let bff = server.client(fields).await;
    let api = server.resource_server("api", "https://api").await;
    let phone_api = server.resource_server("phone-api", "https://phone").await;
    let (stranger, other_api) =
        (server.application("other").await, server.resource_server("o", "https://o").await);
    let every = server.client(json!({"client_id": "every", "permissions": ["introspect:any"]})).await;

    let opened = server.open_with(&bff, json!({"subject": "alice", "client_id": "app"})).await;
    let family = json!({"client_id": "phone"});
    server.json(Method::POST, &format!("{}/families", path(&opened)), Auth::Basic(&bff), family).await;
    let start = server.end_of_feed(&app).await;
    server.delete(&format!("{}/families/1", path(&opened)), Auth::Basic(&bff)).await;
    server.delete(&path(&opened), Auth::Basic(&bff)).await;
    let head = server.app().engine().head().to_string();
    let of_family = vec!["family.ended", "session.ended"];
    for (caller, expected) in [
        (&app, of_family.clone()),
        (&bff, of_family.clone()),
        (&every, of_family),
        // All its tokens ended with the family.
        (&phone, vec!["family.ended"]),
        (&phone_api, vec!["family.ended"]),
        // No token of that family was for it.
        (&api, vec!["session.ended"]),
        (&stranger, vec![]),
        (&other_api, vec![]),
    ] {
        let page = server.feed(caller, &format!("?after={start}")).await;
        assert_eq!(kinds(&page), expected, "{}", caller.id);
        assert_eq!((&page["next"], &page["head"]), (&json!(head), &json!(head)), "{}", caller.id);
    }
}

#[tokio::test]
async fn what_concerns_all_is_shown_to_all() {
    let server = Server::start().await;
    let stranger = server.resource_server("stranger", "https://stranger").await;
    let start = server.end_of_feed(&stranger).await;
    let admin = Auth::Basic(&server.admin);
    server.delete("/v1/sessions?all=true", admin).await;
    server.json(Method::POST, "/v1/keys/rotate?force=true", admin, json!(null)).await;
    let keys = server.get("/v1/keys", admin).await.json();
    let retired = keys["items"].as_array().unwrap().iter().find(|key| key["status"] == "retired").unwrap();
    server.delete(&format!("/v1/keys/{}", text(&retired["kid"])), admin).await;
    let page = server.feed(&stranger, &format!("?after={start}")).await;
    assert_eq!(kinds(&page), ["all.revoked", "key.revoked"]);
    assert_eq!(page["items"][1]["kid"], retired["kid"]);
}

/// Disabling and deleting a client makes its tokens inactive without an event of each session.
#[tokio::test]
async fn changes_of_a_client_are_shown_to_those_who_can_have_answers_about_its_tokens() {
    let server = Server::start().await;
    let app = json!({
        "client_id": "app", "permissions": ["introspect"], "audiences": ["https://api"],
        "grants": ["client_credentials"],
    });
    let app = server.client(app).await;
    let api = server.resource_server("api", "https://api").await;
    let bff = json!({"client_id": "bff", "permissions": ["sessions", "introspect"], "opens_for": ["app"]});
    let bff = server.client(bff).await;
    let stranger = server.application("stranger").await;
    let start = server.end_of_feed(&api).await;
    let own = server.own_token(&app).await;
    server.revoke(&app, &own).await;
    let admin = Auth::Basic(&server.admin);
    server.json(Method::PATCH, "/v1/clients/app", admin, json!({"audiences": ["https://new"]})).await;
    let page = server.feed(&app, &format!("?after={start}")).await;
    assert_eq!(kinds(&page), ["token.revoked", "client.updated"]);
    assert!(page["items"][0]["jti"].is_string() && page["items"][0]["client_id"] == "app");
    server.delete("/v1/clients/app", admin).await;
    let after = format!("?after={start}");
    assert_eq!(kinds(&server.feed(&bff, &after).await), ["client.updated", "client.deleted"]);
    assert_eq!(kinds(&server.feed(&stranger, &after).await), [""; 0]);
    let seen = server.feed(&api, &after).await;
    assert_eq!(kinds(&seen)[..2], ["token.revoked", "client.updated"], "an audience that it had before");
}

/// Whatever is later than an answer is behind its `feed_seq`.
#[tokio::test]
async fn the_feed_continues_behind_the_position_of_an_answer() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let introspected = server.introspect(&app, &text(&opened["access_token"])).await;
    let body = json!({"token": opened["session_token"]});
    let checked = server.json(Method::POST, "/v1/sessions/check", Auth::Basic(&app), body).await.json();
    server.delete(&path(&opened), Auth::Basic(&app)).await;
    for position in [&introspected["feed_seq"], &checked["feed_seq"]] {
        let page = server.feed(&app, &format!("?after={}", text(position))).await;
        assert_eq!(kinds(&page), ["session.ended"]);
    }
}

/// For a service that verifies tokens locally: all that was revoked while the tokens that it can meet were
/// issued.
#[tokio::test]
async fn since_starts_at_the_items_of_the_last_seconds() {
    let server = Server::with(&[("events.retention", "1h")]).await;
    let app = server.application("app").await;
    for _ in 0..5 {
        let opened = server.open(&app).await;
        server.delete(&path(&opened), Auth::Basic(&app)).await;
        server.hand.advance(seconds(100));
    }
    for (since, count) in [(0, 0), (99, 0), (100, 1), (299, 2), (300, 3), (3600, 5)] {
        let page = server.feed(&app, &format!("?since={since}")).await;
        assert_eq!(kinds(&page).len(), count, "{since}");
        assert_eq!(page["next"], page["head"]);
    }
    server.get("/v1/feed?since=3601", Auth::Basic(&app)).await.assert_problem(400, Some("since"));
    server.get("/v1/feed?since=5&after=0", Auth::Basic(&app)).await.assert_problem(400, Some("since"));
    // The oldest events are swept: those of the retention are all there.
    server.hand.advance(seconds(3350));
    while server.app().engine().sweep().await.unwrap().more {}
    let kept = server.feed(&app, "?since=3600").await;
    assert_eq!(kinds(&kept).len(), 2);
}

#[tokio::test]
async fn a_page_ends_at_its_limit_and_the_next_continues() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let start = server.end_of_feed(&app).await;
    for _ in 0..3 {
        let opened = server.open(&app).await;
        server.delete(&path(&opened), Auth::Basic(&app)).await;
    }
    let first = server.feed(&app, &format!("?after={start}&limit=2")).await;
    assert_eq!((kinds(&first).len(), &first["next"]), (2, &first["items"][1]["cursor"]));
    assert_ne!(first["next"], first["head"]);
    let second = server.feed(&app, &format!("?after={}&limit=2", text(&first["next"]))).await;
    assert_eq!((kinds(&second).len(), &second["next"]), (1, &second["head"]));
}

/// What concerns others is passed over in bounded parts, and `next` says how far the answer goes.
#[tokio::test]
async fn a_long_part_of_the_log_that_concerns_others_is_passed_over() {
    let server = Server::start().await;
    let (busy, idle) = (server.application("busy").await, server.application("idle").await);
    let start: u64 = server.end_of_feed(&idle).await.parse().unwrap();
    let opened = server.open(&busy).await;
    for number in 0..2100 {
        let body = json!({"claims": {"n": number}});
        server.json(Method::PATCH, &path(&opened), Auth::Basic(&busy), body).await;
    }
    let page = server.feed(&idle, &format!("?after={start}&wait=20")).await;
    assert_eq!((kinds(&page).len(), &page["next"]), (0, &json!((start + 2000).to_string())));
    let rest = server.feed(&idle, &format!("?after={}", text(&page["next"]))).await;
    assert_eq!(rest["next"], page["head"]);
}

/// An event of another caller neither answers the waiting request nor is lost.
#[tokio::test]
async fn a_waiting_reader_is_answered_by_the_first_item_that_concerns_it() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let (ours, theirs) = (server.open(&app).await, server.open(&other).await);
    let query = format!("?after={}&wait=20", server.end_of_feed(&app).await);
    let ending = async {
        tokio::task::yield_now().await;
        server.delete(&path(&theirs), Auth::Basic(&other)).await;
        tokio::task::yield_now().await;
        server.delete(&path(&ours), Auth::Basic(&app)).await
    };
    let (page, _) = tokio::join!(server.feed(&app, &query), ending);
    assert_eq!(kinds(&page), ["session.ended"]);
    assert_eq!(page["items"][0]["session_id"], ours["session"]["id"]);
}

/// FED-06 in the terms of the feed.
#[tokio::test]
async fn a_cursor_that_is_too_old_is_gone_and_one_from_the_future_is_wrong() {
    let server = Server::with(&[("events.retention", "1h")]).await;
    let app = server.application("app").await;
    server.hand.advance(Duration::from_secs(2 * 3600));
    server.open(&app).await;
    while server.app().engine().sweep().await.unwrap().more {}
    server.get("/v1/feed?after=0", Auth::Basic(&app)).await.assert_problem(410, None);
    server.get("/v1/feed?after=99999", Auth::Basic(&app)).await.assert_problem(400, Some("after"));
    let last = format!("/v1/feed?after={}", u64::MAX);
    server.get(&last, Auth::Basic(&app)).await.assert_problem(400, Some("after"));
    server.get("/v1/feed?after=x", Auth::Basic(&app)).await.assert_problem(400, Some("after"));
    assert_eq!(server.feed(&app, "?since=3600").await["next"], server.app().engine().head().to_string());
}
