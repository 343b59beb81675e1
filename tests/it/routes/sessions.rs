//! `/v1/sessions`: open, read, list, end (contract, section 5).

mod activity;
mod caps;
mod change;
mod check;
mod end_many;
mod families;
mod free_json;
mod renew;
mod repeat;
pub(super) mod rights;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, Server, text};

const PATH: &str = "/v1/sessions";

fn path_of(opened: &Value) -> String {
    format!("{PATH}/{}", text(&opened["session"]["id"]))
}

fn ids(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(|session| text(&session["id"])).collect()
}

/// Everything that can be said at an opening, and everything that is answered.
#[tokio::test]
async fn a_session_is_opened_with_every_field() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "scopes": ["read", "write"], "audiences": ["https://a", "https://b"],
    });
    let app = server.client(fields).await;
    let device = json!({"user_agent": "Firefox/150", "ip": "2001:db8::7", "label": "Alice's laptop"});
    let body = json!({
        "subject": "Ælice@example", "client_id": "app", "scope": "write", "audience": "https://b",
        "acr": "aal2", "amr": ["pwd", "otp"],
        "auth_time": "2027-01-15T09:59:30.250+02:00", "device": device,
        "claims": {"org": {"id": 7}, "tags": ["x"]}, "data": {"cart": [1, 2]},
        "remember": true,
    });
    let answer = server.json(Method::POST, PATH, Auth::Basic(&app), body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let opened = answer.json();
    assert_eq!(answer.header("location"), path_of(&opened));
    let expected = json!({
        "id": opened["session"]["id"], "subject": "Ælice@example", "client_id": "app", "opened_by": "app",
        "state": "active",
        "created_at": "2027-01-15T08:00:00Z", "authenticated_at": "2027-01-15T07:59:30.25Z",
        "last_used_at": "2027-01-15T08:00:00Z",
        "idle_expires_at": "2027-01-29T08:00:00Z", "expires_at": "2027-02-14T07:59:30.25Z", "acr": "aal2",
        "amr": ["pwd", "otp"],
        "scope": "write", "device": device, "claims": {"org": {"id": 7}, "tags": ["x"]},
        "data": {"cart": [1, 2]}, "remember": true,
        "families": [{
            "id": 1, "state": "active", "client_id": "app", "scope": "write", "audience": "https://b",
            "generation": 0, "refreshed_at": "2027-01-15T08:00:00Z",
        }],
        "ended": null, "version": 1,
    });
    assert_eq!(opened["session"], expected);
    assert_eq!(
        (&opened["token_type"], &opened["expires_in"], &opened["scope"]),
        (&json!("Bearer"), &json!(300), &json!("write"))
    );
    for (member, prefix) in
        [("session_token", "kfs_"), ("refresh_token", "kfr_"), ("access_token", "v4.public.")]
    {
        assert!(text(&opened[member]).starts_with(prefix), "{member}");
    }
    let cookie = format!(
        "__Host-keyfob={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=2591970",
        text(&opened["session_token"])
    );
    assert_eq!(opened["set_cookie"], json!(cookie));
    assert_eq!(server.get(&path_of(&opened), Auth::Basic(&app)).await.json(), expected);
    let reported = server.introspect(&app, &text(&opened["access_token"])).await;
    assert_eq!(
        (&reported["aud"], &reported["claims"], reported.get("data")),
        (&json!("https://b"), &expected["claims"], None)
    );
}

/// Only the subject is needed; what is not there is left out or empty. Without the grant there is neither
/// refresh token nor family.
#[tokio::test]
async fn a_subject_is_enough() {
    let server = Server::start().await;
    let app = server.client(json!({"client_id": "app", "permissions": ["sessions"]})).await;
    let opened = server.open(&app).await;
    let session = &opened["session"];
    assert_eq!(
        (opened.get("refresh_token"), &session["families"], session.get("acr")),
        (None, &json!([]), None)
    );
    for (member, expected) in [
        ("amr", json!([])),
        ("scope", json!("")),
        ("device", json!({})),
        ("claims", json!({})),
        ("data", json!({})),
    ] {
        assert_eq!(session[member], expected, "{member}");
    }
    assert_eq!((&session["authenticated_at"], &session["remember"]), (&session["created_at"], &json!(false)));
    assert!(!text(&opened["set_cookie"]).contains("Max-Age"));
}

/// The JSON library gives a meaning of its own to this key; `data` and `claims` that contained it were once
/// answered as `{}`, while introspection answered the stored claims.
#[tokio::test]
async fn the_private_key_of_the_json_library_is_a_key_like_any_other() {
    let server = Server::start().await;
    for inner in [r#""not json""#, "1", r#""{\"role\":\"admin\"}""#] {
        let object = format!(r#"{{"flag":true,"prefs":{{"$serde_json::private::RawValue":{inner}}}}}"#);
        let body = format!(r#"{{"subject":"m","claims":{object},"data":{object}}}"#);
        let json = [("content-type", "application/json")];
        let opened = server.send(Method::POST, PATH, Auth::Basic(&server.admin), &json, body).await;
        assert_eq!(opened.status, 201, "{}", opened.text());
        let read = server.get(opened.header("location"), Auth::Basic(&server.admin)).await;
        let tokens = opened.text();
        let token = tokens.split(r#""access_token":""#).nth(1).unwrap().split('"').next().unwrap();
        let introspected =
            server.form("/oauth2/introspect", Auth::Basic(&server.admin), &[("token", token)]).await;
        for (answer, times) in [(&opened, 2), (&read, 2), (&introspected, 1)] {
            assert_eq!(answer.text().matches(&object).count(), times, "{}", answer.text());
        }
    }
}

/// Each field has its bounds, and the answer names the one that is beyond them.
#[tokio::test]
async fn a_field_beyond_its_bounds_is_named() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let long = |bytes: usize| "x".repeat(bytes);
    let object = |bytes: usize| json!({"k": long(bytes - r#"{"k":""}"#.len())});
    for (field, bad, good) in [
        ("subject", json!(""), json!("a")),
        ("subject", json!(long(257)), json!(long(256))),
        ("subject", json!("a\nb"), json!("a b")),
        ("acr", json!(long(257)), json!(long(256))),
        ("acr", json!(""), json!("0")),
        ("amr", json!(vec!["pwd"; 17]), json!(vec!["pwd"; 16])),
        ("amr", json!([""]), json!([])),
        ("auth_time", json!("2027-01-15T08:01:00.001Z"), json!("2027-01-15T08:01:00Z")),
        ("auth_time", json!("2027-01-14T08:00:00Z"), json!("2027-01-14T08:00:01Z")),
        ("auth_time", json!("yesterday"), json!("2027-01-15T07:00:00.5-00:30")),
        ("auth_time", json!(1_800_000_000), json!(null)),
        ("claims", object(4097), object(4096)),
        ("claims", json!([]), json!({})),
        ("data", object(16 * 1024 + 1), object(16 * 1024)),
        ("data", json!("x"), json!({})),
        ("remember", json!("yes"), json!(true)),
        ("device", json!("phone"), json!({})),
        ("device.label", json!({"label": long(257)}), json!({"label": long(256)})),
        ("device.user_agent", json!({"user_agent": long(1025)}), json!({"user_agent": long(1024)})),
        ("device.ip", json!({"ip": "a\u{0}"}), json!({"ip": "::1"})),
    ] {
        let member = field.split('.').next().unwrap();
        for (value, status) in [(bad, 400), (good, 201)] {
            let mut body = json!({"subject": "alice"});
            body[member] = value;
            let answer = server.json(Method::POST, PATH, Auth::Basic(&app), body.clone()).await;
            assert_eq!(answer.status, status, "{field}: {:.200}", answer.text());
            if status == 400 {
                answer.assert_problem(400, Some(field));
            }
        }
    }
    for (body, what) in [
        (json!({"subject": "a", "scope": "admin"}), "scope"),
        (json!({"subject": "a", "audience": "https://x"}), "audience"),
    ] {
        let answer = server.json(Method::POST, PATH, Auth::Basic(&app), body).await;
        assert!(answer.status == 400 && answer.text().contains(what), "{}", answer.text());
    }
}

/// For another client: an administrator, or a client that names it in its `opens_for`, to which unknown and
/// not named look the same.
#[tokio::test]
async fn a_session_is_opened_for_a_client_that_is_named() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "spa", "kind": "public", "grants": ["refresh_token"], "scopes": ["s"],
        "audiences": ["https://spa"],
    });
    server.client(fields).await;
    server.client(json!({"client_id": "off", "kind": "public", "disabled": true})).await;
    let backend = server
        .client(json!({
            "client_id": "backend", "permissions": ["sessions"], "opens_for": ["spa", "off"], "scopes": ["b"],
        }))
        .await;
    let other = server.client(json!({"client_id": "other", "permissions": ["sessions"]})).await;
    for opener in [&backend, &server.admin] {
        let opened = server.open_with(opener, json!({"subject": "alice", "client_id": "spa"})).await;
        let session = &opened["session"];
        assert_eq!((&session["client_id"], &session["opened_by"]), (&json!("spa"), &json!(opener.id)));
        assert_eq!(
            (&session["scope"], &session["families"][0]["audience"]),
            (&json!("s"), &json!("https://spa")),
            "those of the client"
        );
    }
    let refused = server
        .json(Method::POST, PATH, Auth::Basic(&other), json!({"subject": "alice", "client_id": "spa"}))
        .await;
    refused.assert_problem(403, None);
    for (caller, client) in [(&other, "unknown"), (&other, "a b"), (&backend, "other")] {
        let answer = server
            .json(Method::POST, PATH, Auth::Basic(caller), json!({"subject": "alice", "client_id": client}))
            .await;
        assert_eq!((answer.status, answer.body), (refused.status, refused.body.clone()), "{client}");
    }
    for administrator in [Auth::Basic(&server.admin), Auth::Socket] {
        let unknown = server
            .json(Method::POST, PATH, administrator, json!({"subject": "alice", "client_id": "unknown"}))
            .await;
        assert!(
            unknown.status == 403 && unknown.text().contains("there is no such client"),
            "{}",
            unknown.text()
        );
    }
    let off = server
        .json(Method::POST, PATH, Auth::Basic(&backend), json!({"subject": "alice", "client_id": "off"}))
        .await;
    assert!(off.status == 403 && off.text().contains("is disabled"), "{}", off.text());
    let through_socket = server
        .json(Method::POST, PATH, Auth::Socket, json!({"subject": "alice", "client_id": "spa"}))
        .await
        .json();
    assert_eq!(through_socket["session"]["opened_by"], json!("admin.sock"));
    server
        .json(Method::POST, PATH, Auth::Socket, json!({"subject": "alice"}))
        .await
        .assert_problem(400, Some("client_id"));
}

/// Every session once, in the order of opening, however small the pages, and whatever is opened or ended in
/// between.
#[tokio::test]
async fn a_list_is_walked_page_by_page() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let mut expected = vec![];
    for _ in 0..7 {
        server.hand.advance(Duration::from_millis(1));
        expected.push(text(&server.open(&app).await["session"]["id"]));
    }
    for limit in [1, 2, 3, 7, 200] {
        let (mut found, mut cursor) = (vec![], String::new());
        loop {
            let page = server.get(&format!("{PATH}?limit={limit}{cursor}"), Auth::Basic(&app)).await.json();
            assert!(ids(&page).len() <= limit);
            found.extend(ids(&page));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected, "limit {limit}");
    }
    let first = server.get(&format!("{PATH}?limit=3"), Auth::Basic(&app)).await.json();
    let cursor = text(&first["next_cursor"]);
    server.delete(&format!("{PATH}/{}", expected[2]), Auth::Basic(&app)).await;
    server.hand.advance(Duration::from_millis(1));
    expected.push(text(&server.open(&app).await["session"]["id"]));
    let rest = server.get(&format!("{PATH}?cursor={cursor}"), Auth::Basic(&app)).await.json();
    assert_eq!(ids(&rest), expected[3..]);
}

/// A client without sessions got the id of a session of another client as its cursor.
#[tokio::test]
async fn a_cursor_names_no_session_and_is_only_for_the_client_that_got_it() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let first = server.open(&app).await;
    server.open(&app).await;
    let page = server.get(&format!("{PATH}?limit=1"), Auth::Basic(&app)).await.json();
    let cursor = text(&page["next_cursor"]);
    let id = text(&first["session"]["id"]);
    assert!(!cursor.contains(&id[..8]), "{cursor}");
    for (cursor, client) in [(&cursor, &other), (&cursor, &server.admin), (&id, &app)] {
        let answer = server.get(&format!("{PATH}?cursor={cursor}"), Auth::Basic(client)).await;
        answer.assert_problem(400, Some("cursor"));
    }
    assert_eq!(server.get(&format!("{PATH}?cursor={cursor}"), Auth::Basic(&app)).await.status, 200);
}

/// By subject, client and state, alone and together.
#[tokio::test]
async fn a_list_is_filtered() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let open = |client: &'static str, subject: &'static str| {
        let fields = json!({"subject": subject, "client_id": client});
        let server = &server;
        async move {
            server.hand.advance(Duration::from_millis(1));
            text(&server.open_with(&server.admin, fields).await["session"]["id"])
        }
    };
    let expired = open("app", "alice").await;
    server.hand.advance(Duration::from_secs(31 * 60));
    let (one, two, three) =
        (open("app", "alice").await, open("app", "bob & co").await, open("other", "alice").await);
    let ended = open("app", "alice").await;
    server.delete(&format!("{PATH}/{ended}"), Auth::Basic(&app)).await;
    for (query, expected) in [
        ("", vec![&expired, &one, &two, &three, &ended]),
        ("?subject=alice", vec![&expired, &one, &three, &ended]),
        ("?subject=bob%20%26%20co", vec![&two]),
        ("?subject=unknown", vec![]),
        ("?client_id=other", vec![&three]),
        ("?state=active", vec![&one, &two, &three]),
        ("?state=expired", vec![&expired]),
        ("?state=ended", vec![&ended]),
        ("?subject=alice&client_id=app&state=active", vec![&one]),
    ] {
        let list = server.get(&format!("{PATH}{query}"), Auth::Basic(&server.admin)).await.json();
        assert_eq!(ids(&list).iter().collect::<Vec<_>>(), expected, "{query}");
    }
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("state=dead", "state"),
        ("cursor=x", "cursor"),
        ("subject=", "subject"),
        ("client_id=a%20b", "client_id"),
    ] {
        server.get(&format!("{PATH}?{query}"), Auth::Basic(&other)).await.assert_problem(400, Some(field));
    }
}

/// 204 and again 204; everything of it is dead; and it says when, why and by whom.
#[tokio::test]
async fn a_session_is_ended_once_and_for_all() {
    let server = Server::start().await;
    let app = server.application("app").await;
    for (caller, reason) in [(&app, "logout"), (&server.admin, "admin")] {
        let opened = server.open(&app).await;
        server.hand.advance(Duration::from_secs(1));
        let before = server.get(&path_of(&opened), Auth::Basic(&app)).await.json();
        for _ in 0..2 {
            let answer = server.delete(&path_of(&opened), Auth::Basic(caller)).await;
            assert_eq!((answer.status, answer.text()), (204, String::new()));
        }
        let session = server.get(&path_of(&opened), Auth::Basic(&app)).await.json();
        assert_eq!((&session["state"], &session["families"][0]["state"]), (&json!("ended"), &json!("ended")));
        assert_eq!(session["ended"]["reason"], json!(reason));
        assert_eq!(session["ended"]["by"], json!(caller.id));
        assert!(text(&session["ended"]["at"]) > text(&before["created_at"]));
        for token in ["access_token", "refresh_token", "session_token"] {
            assert!(!server.is_active(&app, &text(&opened[token])).await);
        }
        server.hand.advance(Duration::from_secs(5));
        server.delete(&path_of(&opened), Auth::Basic(&server.admin)).await;
        assert_eq!(
            server.get(&path_of(&opened), Auth::Basic(&app)).await.json()["ended"],
            session["ended"],
            "the first end counts"
        );
    }
}

/// Everything there is, and what is opened after the answer lives; a client's own tokens end too.
#[tokio::test]
async fn everything_is_ended_at_once() {
    let mut server = Server::start().await;
    let app = server.application("app").await;
    let before = [server.open(&app).await, server.open_with(&app, json!({"subject": "bob"})).await];
    let own = server.own_token(&server.admin).await;
    let answer = server.delete(&format!("{PATH}?all=true&reason=a%20leak"), Auth::Bearer(&own)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ended": "all"})));
    let after = server.open(&app).await;
    server.get("/v1/clients", Auth::Bearer(&own)).await.assert_problem(401, None);
    for _ in 0..2 {
        for opened in &before {
            let session = server.get(&path_of(opened), Auth::Basic(&app)).await.json();
            assert_eq!(
                (&session["state"], &session["ended"]["reason"]),
                (&json!("ended"), &json!("all_revoked"))
            );
            server.refresh(&app, &text(&opened["refresh_token"])).await.assert_error(400, "invalid_grant");
        }
        assert!(server.is_active(&app, &text(&after["access_token"])).await);
        server.restart().await;
    }
    let long = format!("{PATH}?all=true&reason={}", "x".repeat(257));
    server.delete(&long, Auth::Basic(&server.admin)).await.assert_problem(400, Some("reason"));
    assert!(server.is_active(&app, &text(&after["access_token"])).await, "a refused request ends nothing");
}

/// A policy's cap: the oldest makes room, or the next is refused; other clients and subjects do not count.
#[tokio::test]
async fn a_cap_evicts_or_refuses() {
    for (when_full, status) in [("evict_oldest", 201), ("refuse", 409)] {
        let server = Server::with(&[
            ("policy.default.max_sessions_per_subject", "2"),
            ("policy.default.when_full", when_full),
        ])
        .await;
        let (app, other): (Client, Client) =
            (server.application("app").await, server.application("other").await);
        let first = server.open(&app).await;
        server.hand.advance(Duration::from_secs(1));
        server.open(&app).await;
        server.open(&other).await;
        server.open_with(&app, json!({"subject": "bob"})).await;
        let third = server.json(Method::POST, PATH, Auth::Basic(&app), json!({"subject": "alice"})).await;
        assert_eq!(third.status, status, "{}", third.text());
        let session = server.get(&path_of(&first), Auth::Basic(&app)).await.json();
        let expected = if status == 201 { json!("evicted") } else { json!(null) };
        assert_eq!(session["ended"]["reason"], expected);
    }
}
