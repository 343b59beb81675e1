//! Two servers on one database: what one has answered, the other knows at the very next question.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::database::Database;
use crate::harness::people::SAME_ORIGIN;
use crate::harness::server::{Auth, Client, NOW_S, Server, text};

/// Two servers with the same master key, each with a directory of its own.
async fn two_servers() -> [Server; 2] {
    let database = Database::new().await;
    let settings = [
        ("store.url", &*database.url),
        ("store.require_synchronous", "false"),
        ("store.max_staleness", "10s"),
    ];
    let first = Server::with(&settings).await;
    let directory = TempDir::new().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    for file in ["master.key", "admin.json"] {
        std::fs::copy(first.file(file), directory.path().join("data").join(file)).unwrap();
    }
    let second = Server::on(directory, NOW_S, &settings).await;
    [first, second]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_that_one_server_acknowledged_is_refused_by_the_other_at_the_very_next_question() {
    let [first, second] = two_servers().await;
    let app = first.application("app").await;
    for round in 0..40 {
        let [here, there] = if round % 2 == 0 { [&first, &second] } else { [&second, &first] };
        let opened = here.open(&app).await;
        let (access, refresh) = (text(&opened["access_token"]), text(&opened["refresh_token"]));
        let session = text(&opened["session_token"]);
        for token in [&access, &refresh, &session] {
            assert!(there.is_active(&app, token).await, "what one server issued, the other knows");
        }
        assert_eq!(here.revoke(&app, &refresh).await.status, 200);
        for token in [&access, &refresh, &session] {
            assert!(!there.is_active(&app, token).await);
        }
        there.refresh(&app, &refresh).await.assert_error(400, "invalid_grant");
        assert_eq!(there.get("/v1/session", Auth::Bearer(&session)).await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_one_server_changed_is_changed_at_the_other() {
    let [first, second] = two_servers().await;
    for n in 0..10 {
        let [here, there] = if n % 2 == 0 { [&first, &second] } else { [&second, &first] };
        let app = here.application(&format!("app{n}")).await;
        let access = text(&there.open(&app).await["access_token"]);
        let path = format!("/v1/clients/{}", app.id);
        let patch = async |body| {
            let answer = here.json(Method::PATCH, &path, Auth::Basic(&here.admin), body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        };
        patch(json!({"disabled": true})).await;
        let form = [("token", &*access)];
        there.form("/oauth2/introspect", Auth::Basic(&app), &form).await.assert_error(401, "invalid_client");
        patch(json!({"disabled": false})).await;
        assert!(there.is_active(&app, &access).await);
        let secret =
            here.json(Method::POST, &format!("{path}/secret"), Auth::Basic(&here.admin), json!({})).await;
        there.form("/oauth2/introspect", Auth::Basic(&app), &form).await.assert_error(401, "invalid_client");
        let app = Client { secret: text(&secret.json()["client_secret"]), ..app };
        assert!(there.is_active(&app, &access).await);
        assert_eq!(here.delete(&path, Auth::Basic(&here.admin)).await.status, 204);
        there.form("/oauth2/introspect", Auth::Basic(&app), &form).await.assert_error(401, "invalid_client");
    }
}

/// What the other server signed with a key that this one has not heard of, and a cursor beyond what it has
/// heard of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_cursor_that_only_the_other_server_knows_are_not_refused() {
    let [first, second] = two_servers().await;
    let app = first.application("app").await;
    for n in 0..10 {
        let [here, there] = if n % 2 == 0 { [&first, &second] } else { [&second, &first] };
        let admin = Auth::Basic(&here.admin);
        let rotated = here.json(Method::POST, "/v1/keys/rotate?force=true", admin, json!({})).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        let access = text(&here.open(&app).await["access_token"]);
        assert!(there.is_active(&app, &access).await);
        let head = text(&here.get("/v1/events?limit=1", admin).await.json()["head"]);
        let events = there.get(&format!("/v1/events?after={head}"), admin).await;
        assert_eq!(events.status, 200, "{}", events.text());
        let kid = text(&rotated.json()["kid"]);
        assert_eq!(here.delete(&format!("/v1/keys/{kid}"), admin).await.status, 204);
        assert!(!there.is_active(&app, &access).await, "a revoked key");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_an_event_hears_of_that_of_the_other_server() {
    let [first, second] = two_servers().await;
    let app = first.application("app").await;
    let head = text(&second.get("/v1/events?limit=1", Auth::Basic(&second.admin)).await.json()["head"]);
    let path = format!("/v1/events?after={head}&wait=30");
    let waiting = second.get(&path, Auth::Basic(&second.admin));
    let opening = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        first.open(&app).await
    };
    let (events, _) = tokio::join!(waiting, opening);
    assert_eq!(events.json()["items"][0]["type"], "session.opened");
}

/// Each server opens while the other logs out everywhere; what was opened before the answer is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_everywhere_at_one_server_ends_what_the_other_opened() {
    let [first, second] = two_servers().await;
    let app = first.application("app").await;
    for _ in 0..10 {
        let mut tokens = vec![];
        for server in [&first, &second, &first] {
            tokens.push(text(&server.open(&app).await["access_token"]));
        }
        let path = "/v1/subjects/alice/sessions";
        let ended = second.delete(path, Auth::Basic(&second.admin)).await;
        assert_eq!(ended.json()["ended"], 3);
        for token in &tokens {
            assert!(!first.is_active(&app, token).await && !second.is_active(&app, token).await);
        }
    }
}

/// A load balancer can send the button of a link to another server than the command that made the link.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_to_the_console_signs_in_once_at_any_server() {
    let [first, second] = two_servers().await;
    for [here, there] in [[&first, &second], [&second, &first]] {
        let link = here.link("admin").await;
        let mut answers = [there.use_link(&link, &[SAME_ORIGIN]).await.status, 0, 0];
        for (answer, server) in answers[1..].iter_mut().zip([here, there]) {
            *answer = server.use_link(&link, &[SAME_ORIGIN]).await.status;
        }
        assert_eq!(answers, [201, 401, 401]);
        let link = here.link("admin").await;
        let (one, other) =
            tokio::join!(here.use_link(&link, &[SAME_ORIGIN]), there.use_link(&link, &[SAME_ORIGIN]));
        assert_eq!(one.status.min(other.status), 201);
        assert_eq!(one.status.max(other.status), 401, "one of two at the same time");
    }
}

/// A session of the console is judged as any other: by what every server has acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_console_that_one_server_ended_is_refused_by_the_other() {
    let [first, second] = two_servers().await;
    for round in 0..4 {
        let [here, there] = if round % 2 == 0 { [&first, &second] } else { [&second, &first] };
        let cookie = here.console("admin").await;
        assert_eq!((here.console_status(&cookie).await, there.console_status(&cookie).await), (200, 200));
        let out = here.operate(Method::DELETE, "/console/session", &cookie, None).await;
        assert_eq!(out.status, 204, "{}", out.text());
        assert_eq!(there.console_status(&cookie).await, 401);
        let [one, other] = [here.console("admin").await, there.console("admin").await];
        let path = "/v1/sessions?all=true";
        let ended = here.delete(path, Auth::Basic(&here.admin)).await;
        assert!(ended.status < 300, "{}", ended.text());
        for cookie in [one, other] {
            assert_eq!(there.console_status(&cookie).await, 401);
        }
    }
}

/// A use at the other server may not be written yet. It is supposed only where the session would have
/// expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_use_is_shown_as_it_is_recorded_and_supposed_for_a_minute_after_the_idle_timeout() {
    let [first, second] = two_servers().await;
    let app = first.application("app").await;
    let opened = first.open(&app).await;
    let (session, token) = (&opened["session"], text(&opened["session_token"]));
    let shown = async |server: &Server| {
        let path = format!("/v1/sessions/{}", text(&session["id"]));
        server.get(&path, Auth::Basic(&app)).await.json()
    };
    for server in [&first, &second] {
        assert_eq!(shown(server).await, *session);
        server.hand.advance(Duration::from_mins(30));
        assert!(server.is_active(&app, &token).await, "the other one may have served a request");
        assert_eq!(shown(server).await["last_used_at"], "2027-01-15T08:01:00Z");
        server.hand.advance(Duration::from_mins(1));
        assert!(!server.is_active(&app, &token).await);
        let expired = shown(server).await;
        assert_eq!(
            (&expired["state"], &expired["last_used_at"]),
            (&json!("expired"), &session["last_used_at"])
        );
    }
}
