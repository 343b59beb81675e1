//! What a changed policy would have done.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::seconds;
use crate::harness::server::{Auth, Client, Server, text};

async fn simulate(server: &Server, query: &str) -> Value {
    let answer = server.get(&format!("/v1/policies/simulate?{query}"), Auth::Socket).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn open(server: &Server, app: &Client, subject: &str, remember: bool) -> String {
    let opened = server.open_with(app, json!({"subject": subject, "remember": remember})).await;
    text(&opened["session"]["id"])
}

#[tokio::test]
async fn a_shorter_absolute_lifetime_names_the_sessions_that_it_would_have_ended() {
    let server = Server::with(&[("policy.default.idle_timeout", "24h")]).await;
    let app = server.application("app").await;
    let active = open(&server, &app, "alice", false).await;
    server.hand.advance(seconds(1));
    let logged_out = open(&server, &app, "bob", false).await;
    open(&server, &app, "remembered", true).await;
    server.hand.advance(seconds(3599));
    let young = open(&server, &app, "carol", false).await;
    let path = format!("/v1/sessions/{logged_out}");
    server.delete(&path, Auth::Basic(&app)).await;
    server.hand.advance(seconds(3600));
    server.console("admin").await;

    let answer = simulate(&server, "absolute_lifetime=90m").await;
    assert_eq!(
        (&answer["policy"], &answer["sessions"]),
        (&json!("default"), &json!(4)),
        "the console has no policy"
    );
    assert_eq!((&answer["examined"], &answer["complete"]), (&json!(5), &json!(true)));
    assert_eq!(
        answer["lifetime"],
        json!({
            "ended_earlier": 1, "active_among_them": 1, "could_live_longer": 0,
            "items": [{
                "session_id": active, "subject": "alice", "client_id": "app",
                "would_end_at": "2027-01-15T09:30:00Z", "state": "active",
            }],
        })
    );
    let answer = simulate(&server, "absolute_lifetime=50m").await;
    let items = answer["lifetime"]["items"].as_array().unwrap();
    let named: Vec<_> =
        items.iter().map(|item| (text(&item["session_id"]), item["ended_at"].clone())).collect();
    assert_eq!(
        named,
        [(active, json!(null)), (logged_out, json!("2027-01-15T09:00:00Z")), (young, json!(null))]
    );
    let remembered = simulate(&server, "remember_absolute_lifetime=1h").await;
    assert_eq!(remembered["lifetime"]["ended_earlier"], json!(1));
    assert_eq!(answer.get("cap"), None);

    server.hand.advance(seconds(23 * 3600));
    server.tend().await;
    let longer = simulate(&server, "absolute_lifetime=48h").await;
    assert_eq!(
        (&longer["lifetime"]["ended_earlier"], &longer["lifetime"]["could_live_longer"]),
        (&json!(0), &json!(2))
    );
    assert!(longer["unknown"].to_string().contains("would have been used longer is not known"));
}

#[tokio::test]
async fn a_cap_names_the_sessions_that_it_would_have_evicted_and_says_what_it_assumes() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let mut ids = vec![];
    for _ in 0..3 {
        ids.push(open(&server, &app, "alice", false).await);
        server.hand.advance(seconds(60));
    }
    open(&server, &app, "bob", false).await;
    let answer = simulate(&server, "max_sessions_per_subject=2").await;
    assert_eq!(
        answer["cap"],
        json!({
            "evicted": 1, "refused": 0,
            "items": [{
                "session_id": ids[0], "subject": "alice", "client_id": "app",
                "would_end_at": "2027-01-15T08:02:00Z", "certain": true,
            }],
        })
    );
    let refused = simulate(&server, "max_sessions_per_subject=2&when_full=refuse").await;
    assert_eq!((&refused["cap"]["refused"], &refused["cap"]["evicted"]), (&json!(1), &json!(0)));
    assert_eq!(refused["cap"]["items"][0]["session_id"], json!(ids[2]));
    assert_eq!(simulate(&server, "max_sessions_per_subject=3").await["cap"]["evicted"], json!(0));

    // Of a session that was used later it is not kept when it was used before.
    let fourth = server.open_with(&app, json!({"subject": "alice"})).await;
    server.hand.advance(seconds(60));
    for id in [&ids[0], &ids[1]] {
        let opened = server.get(&format!("/v1/sessions/{id}"), Auth::Basic(&app)).await;
        assert_eq!(opened.status, 200);
    }
    assert_eq!(server.who_am_i(&text(&fourth["session_token"])).await.status, 200);
    server.open_with(&app, json!({"subject": "alice"})).await;
    let one = simulate(&server, "max_sessions_per_subject=1").await;
    assert_eq!(one["cap"]["evicted"], json!(4));
}

#[tokio::test]
async fn gaps_and_retries_are_counted_while_the_server_runs() {
    let mut server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    server.hand.advance(seconds(240));
    let first = text(&opened["refresh_token"]);
    assert_eq!(server.refresh(&app, &first).await.status, 200);
    server.hand.advance(seconds(3));
    assert_eq!(server.refresh(&app, &first).await.status, 200, "a retry");
    server.hand.advance(seconds(17 * 60));
    assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 200);
    let answer = simulate(&server, "idle_timeout=10m&refresh_retry_window=1s").await;
    let idle = &answer["idle"];
    assert_eq!((&idle["gaps"], &idle["longer"], &idle["longer_at_most"]), (&json!(2), &json!(1), &json!(1)));
    let full: Vec<_> =
        idle["histogram"].as_array().unwrap().iter().filter(|bucket| bucket["count"] != json!(0)).collect();
    assert_eq!(full, [&json!({"up_to_s": 300, "count": 1}), &json!({"up_to_s": 1200, "count": 1})]);
    let retry = &answer["retry"];
    assert_eq!((&retry["retries"], &retry["later"]), (&json!(1), &json!(1)));
    let between = simulate(&server, "idle_timeout=18m").await;
    assert_eq!(
        (&between["idle"]["longer"], &between["idle"]["longer_at_most"]),
        (&json!(0), &json!(1)),
        "the limit is within a range"
    );
    // A reuse of the previous token is a retry that came too late.
    assert_eq!(server.refresh(&app, &first).await.status, 400);
    let late = simulate(&server, "refresh_retry_window=20s").await;
    assert_eq!((&late["retry"]["retries"], &late["retry"]["later"]), (&json!(2), &json!(1)));
    server.restart().await;
    assert_eq!(simulate(&server, "idle_timeout=10m").await["idle"]["gaps"], json!(0));
}

#[tokio::test]
async fn an_invalid_change_names_its_field() {
    let server = Server::start().await;
    for (query, field) in [
        ("", "absolute_lifetime"),
        ("policy=default", "absolute_lifetime"),
        ("absolute_lifetime=24h", "absolute_lifetime"),
        ("policy=none&absolute_lifetime=1h", "policy"),
        ("policy=%3Cimg%3E&absolute_lifetime=1h", "policy"),
        ("absolute_lifetime=soon", "absolute_lifetime"),
        ("absolute_lifetime=500d", "absolute_lifetime"),
        ("idle_timeout=25h", "idle_timeout"),
        ("refresh_retry_window=10m", "refresh_retry_window"),
        ("remember_idle_timeout=31d", "remember_idle_timeout"),
        ("max_sessions_per_subject=-1", "max_sessions_per_subject"),
        ("when_full=never", "when_full"),
        ("absolut_lifetime=1h", "absolut_lifetime"),
    ] {
        let answer = server.get(&format!("/v1/policies/simulate?{query}"), Auth::Socket).await;
        answer.assert_problem(400, Some(field));
    }
    let cookie = server.console("console:read").await;
    let read = server.operate(Method::GET, "/v1/policies/simulate?idle_timeout=10m", &cookie, None).await;
    assert_eq!(read.status, 200);
}
