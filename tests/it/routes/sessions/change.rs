//! `PATCH /v1/sessions/{id}`, the lists, and signing out everywhere else: what "my devices" is made of.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{path, seconds, signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, Client, Server, text};

#[tokio::test]
async fn what_is_left_out_stays_and_null_takes_away() {
    let fields = json!({"subject": "alice", "claims": {"role": "editor"}, "data": {"cart": 7},
        "device": {"user_agent": "Lynx", "ip": "192.0.2.7", "label": "the den"}});
    let people = signed_in_with(&[], fields).await;
    let shown = people.patch(json!({"device": {"label": "the attic"}})).await.json();
    assert_eq!(shown["device"], json!({"user_agent": "Lynx", "ip": "192.0.2.7", "label": "the attic"}));
    assert_eq!(
        (&shown["claims"], &shown["data"], &shown["version"]),
        (&json!({"role": "editor"}), &json!({"cart": 7}), &json!(2))
    );
    let shown = people.patch(json!({"claims": {"role": "owner"}, "data": {"cart": 8}})).await.json();
    assert_eq!(
        (&shown["claims"], &shown["data"], &shown["version"]),
        (&json!({"role": "owner"}), &json!({"cart": 8}), &json!(3))
    );
    let shown = people.patch(json!({"claims": null, "data": null, "device": {"label": null}})).await.json();
    assert_eq!(
        (&shown["claims"], &shown["data"], &shown["device"].get("label")),
        (&json!({}), &json!({}), &None)
    );
    assert_eq!(shown, people.shown().await);
    let updates =
        people.server.event_types().await.into_iter().filter(|kind| kind == "session.updated").count();
    assert_eq!(updates, 3);
}

/// `version` counts changes and renewals, not refreshes.
#[tokio::test]
async fn the_version_counts_what_differs() {
    let people = signed_in().await;
    assert_eq!(people.patch(json!({})).await.json()["version"], 1);
    assert_eq!(people.patch(json!({"claims": {"a": 1}})).await.json()["version"], 2);
    assert_eq!(people.patch(json!({"claims": {"a": 1}})).await.json()["version"], 2, "nothing differs");
    assert_eq!(people.server.refresh(&people.app, &text(&people.opened["refresh_token"])).await.status, 200);
    assert!(people.is_there().await);
    assert_eq!(people.shown().await["version"], 2);
    assert_eq!(people.renew(json!({})).await.json()["session"]["version"], 3);
}

#[tokio::test]
async fn if_match_lets_only_the_first_of_two_writers_change_it() {
    let people = signed_in().await;
    let patch = async |version: &str, label: &str| {
        let headers = [("content-type", "application/json"), ("if-match", version)];
        let body = json!({"device": {"label": label}}).to_string();
        people.server.send(Method::PATCH, &people.path(), Auth::Basic(&people.app), &headers, body).await
    };
    assert_eq!(patch("\"1\"", "first").await.json()["version"], 2);
    patch("\"1\"", "second").await.assert_problem(412, None);
    patch("1", "second").await.assert_problem(412, None);
    assert_eq!(people.shown().await["device"]["label"], "first");
    assert_eq!(patch("2", "second").await.json()["version"], 3);
    for garbage in ["x", "\"3", "99999999999", "\"3\" \"4\"", "*, \"3\"", ",", "w/\"3\"", "W/3"] {
        patch(garbage, "third").await.assert_problem(400, Some("If-Match"));
    }
    // What is no version of ours is another one; a weak tag is never strongly equal (RFC 9110 §8.8.3.2).
    for other in
        ["W/\"3\"", "\"1\", \"2\"", "\"4\",W/\"3\"", "\"\"", "\"99999999999\"", "\"-3\"", "\"+3\"", "\"abc\""]
    {
        patch(other, "third").await.assert_problem(412, None);
    }
    assert_eq!(people.shown().await["device"]["label"], "second");
    assert_eq!(patch("\"1\" , W/\"2\",\"3\"", "third").await.json()["version"], 4, "one of them");
    assert_eq!(patch("*", "fourth").await.json()["version"], 5, "whatever is there");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_by_its_name() {
    let people = signed_in().await;
    people.patch(json!({"claims": {"c": "x".repeat(4096)}})).await.assert_problem(400, Some("claims"));
    people.patch(json!({"data": {"d": "x".repeat(16384)}})).await.assert_problem(400, Some("data"));
    people
        .patch(json!({"device": {"label": "x".repeat(257)}}))
        .await
        .assert_problem(400, Some("device.label"));
    people.patch(json!({"device": {"label": "a\u{7}b"}})).await.assert_problem(400, Some("device.label"));
    people.patch(json!({"subject": "bob"})).await.assert_problem(400, Some("subject"));
    people.patch(json!({"device": {"ip": "192.0.2.1"}})).await.assert_problem(400, Some("device.ip"));
    assert_eq!(people.shown().await["version"], 1);
    people.server.hand.advance(seconds(1800));
    people.patch(json!({"claims": {}})).await.assert_problem(409, None);
}

/// Contract, section 6: the retry of a refresh gets the same access token only while that one could still be
/// issued.
#[tokio::test]
async fn after_a_change_of_claims_a_retry_gets_a_fresh_access_token() {
    let people = signed_in_with(&[], json!({"subject": "alice", "claims": {"role": "editor"}})).await;
    let first = text(&people.opened["refresh_token"]);
    let refreshed = people.server.refresh(&people.app, &first).await.json();
    assert_eq!(people.patch(json!({"device": {"label": "the den"}})).await.status, 200);
    let retried = people.server.refresh(&people.app, &first).await.json();
    assert_eq!(retried["access_token"], refreshed["access_token"], "a label is not in it");
    assert_eq!(people.patch(json!({"claims": {"role": "owner"}})).await.status, 200);
    let retried = people.server.refresh(&people.app, &first).await.json();
    assert_eq!(retried["refresh_token"], refreshed["refresh_token"]);
    assert_ne!(retried["access_token"], refreshed["access_token"]);
    let reported =
        async |token: &Value| people.server.introspect(&people.app, &text(token)).await["claims"].clone();
    assert_eq!(reported(&retried["access_token"]).await, json!({"role": "owner"}));
    assert_eq!(
        reported(&refreshed["access_token"]).await,
        json!({"role": "editor"}),
        "what was issued says what it said"
    );
}

async fn list(server: &Server, client: &Client, query: &str) -> (Vec<String>, Option<String>) {
    let answer = server.get(&format!("/v1/sessions{query}"), Auth::Basic(client)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let page = answer.json();
    let ids = page["items"].as_array().unwrap().iter().map(|item| text(&item["id"])).collect();
    (ids, page["next_cursor"].as_str().map(Into::into))
}

fn id(opened: &Value) -> String {
    text(&opened["session"]["id"])
}

/// Opens sessions a second apart.
async fn open_each(server: &Server, client: &Client, subjects: &[&str]) -> Vec<Value> {
    let mut opened = vec![];
    for subject in subjects {
        opened.push(server.open_with(client, json!({"subject": subject})).await);
        server.hand.advance(seconds(1));
    }
    opened
}

#[tokio::test]
async fn sessions_are_listed_by_subject_client_and_state() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let opened = open_each(&server, &app, &["alice", "bob", "alice"]).await;
    let foreign = open_each(&server, &other, &["alice"]).await;
    let ids: Vec<String> = opened.iter().map(id).collect();
    server.delete(&path(&opened[0]), Auth::Basic(&app)).await;
    server.hand.advance(seconds(1790));
    assert_eq!(server.who_am_i(&text(&opened[2]["session_token"])).await.status, 200);
    server.hand.advance(seconds(20));
    let listed = async |client: &Client, query: &str| list(&server, client, query).await.0;
    assert_eq!(listed(&app, "").await, ids, "its own, in the order of their opening");
    assert_eq!(listed(&app, "?subject=alice").await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(listed(&app, "?state=ended").await, ids[..1]);
    assert_eq!(listed(&app, "?state=expired").await, ids[1..2]);
    assert_eq!(listed(&app, "?state=active").await, ids[2..], "its use is in memory only, and counts");
    assert_eq!(listed(&app, "?subject=alice&client_id=other").await, [""; 0]);
    assert_eq!(listed(&server.admin, "?client_id=other").await, [id(&foreign[0])]);
    assert_eq!(listed(&server.admin, "?subject=alice&state=expired").await, [id(&foreign[0])]);
    for (query, field) in
        [("?state=asleep", "state"), ("?limit=0", "limit"), ("?limit=201", "limit"), ("?cursor=x", "cursor")]
    {
        server.get(&format!("/v1/sessions{query}"), Auth::Basic(&app)).await.assert_problem(400, Some(field));
    }
}

#[tokio::test]
async fn a_cursor_is_a_place_that_openings_and_endings_do_not_move() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = open_each(&server, &app, &["alice"; 7]).await;
    let mut expected: Vec<String> = opened.iter().map(id).collect();
    let (mut seen, mut cursor) = list(&server, &app, "?limit=2").await;
    let mut round = 0;
    while let Some(next) = cursor {
        // In between one that was seen ends, one that comes is ended, and a new one is opened.
        server.delete(&path(&opened[round]), Auth::Basic(&app)).await;
        if round == 0 {
            expected.push(id(&open_each(&server, &app, &["alice"]).await[0]));
        }
        round += 1;
        let (more, after) = list(&server, &app, &format!("?limit=2&cursor={next}")).await;
        seen.extend(more);
        cursor = after;
    }
    assert_eq!(seen, expected, "each once, and none left out");
}

/// SES-09, SES-11: all in one call, and the one that asks stays.
#[tokio::test]
async fn sign_out_everywhere_else_leaves_this_device_signed_in() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let opened = open_each(&server, &app, &["alice", "alice", "alice", "bob"]).await;
    let foreign = open_each(&server, &other, &["alice"]).await;
    let here = &opened[1];
    let there = async |opened: &Value| server.who_am_i(&text(&opened["session_token"])).await.status == 200;
    let everywhere_else =
        format!("/v1/subjects/alice/sessions?except={}&reason=password%20changed", id(here));
    let answer: Answer = server.delete(&everywhere_else, Auth::Basic(&app)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ended": 2})));
    assert!(there(here).await && there(&opened[3]).await && there(&foreign[0]).await);
    assert!(!there(&opened[0]).await && !there(&opened[2]).await);
    assert_eq!(server.delete(&everywhere_else, Auth::Basic(&app)).await.json(), json!({"ended": 0}));
    let shown = server.get(&path(&opened[0]), Auth::Basic(&app)).await.json();
    assert_eq!(shown["ended"]["reason"], "subject_revoked");
    // SES-08: an administrator ends them all.
    assert_eq!(
        server.delete("/v1/subjects/alice/sessions", Auth::Basic(&server.admin)).await.json(),
        json!({"ended": 2})
    );
    assert!(!there(here).await && !there(&foreign[0]).await && there(&opened[3]).await);
}

/// SES-10: one user, or everyone, at once; and the log records both.
#[tokio::test]
async fn an_administrator_ends_one_subject_or_all_and_the_log_records_it() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = open_each(&server, &app, &["alice", "alice", "bob", "carol"]).await;
    let end = async |path: &str| server.delete(path, Auth::Basic(&server.admin)).await.json();
    assert_eq!(end("/v1/subjects/alice/sessions?reason=fired").await, json!({"ended": 2}));
    let before = server.commits().await;
    assert_eq!(end("/v1/sessions?all=true&reason=a%20leak").await, json!({"ended": "all"}));
    assert_eq!(server.commits().await, before + 1, "one write, however many there are");
    for (opened, reason) in
        opened.iter().zip(["subject_revoked", "subject_revoked", "all_revoked", "all_revoked"])
    {
        let shown = server.get(&path(opened), Auth::Basic(&app)).await.json();
        assert_eq!(
            (&shown["state"], &shown["ended"]["reason"], &shown["ended"]["by"]),
            (&json!("ended"), &json!(reason), &json!("admin"))
        );
        assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 401);
    }
    let log = server.get("/v1/events?limit=200", Auth::Basic(&server.admin)).await.json();
    let reported: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| (text(&event["type"]), event["note"].clone()))
        .collect();
    let (fired, leak) = (("subject.revoked".into(), json!("fired")), ("all.revoked".into(), json!("a leak")));
    assert!(reported.contains(&fired) && reported.last() == Some(&leak), "{reported:?}");
    let later = server.open(&app).await;
    assert_eq!(server.who_am_i(&text(&later["session_token"])).await.status, 200);
}
