//! What only the pages read: the figures of the last hour and day, and the configuration.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{SAME_ORIGIN, seconds};
use crate::harness::server::{Auth, Client, Server, text};

async fn figures(server: &Server, cookie: &str) -> Value {
    let answer = server.operate(Method::GET, "/console/figures", cookie, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn figures_are_those_of_each_interval() {
    let server = Server::start().await;
    let cookie = server.console("console:read").await;
    let app = server.application("app").await;
    let engine = server.app().engine();
    engine.record_figures().await.unwrap();
    let empty = figures(&server, &cookie).await;
    assert_eq!((&empty["hour"]["at"], &empty["hour"]["step_s"]), (&json!([]), &json!(10)));
    assert_eq!(empty["day"]["step_s"], json!(300));

    let opened = server.open(&app).await;
    let first = text(&opened["refresh_token"]);
    let second = server.refresh(&app, &first).await.json();
    server.refresh(&app, &text(&second["refresh_token"])).await;
    server.introspect(&app, &first).await;
    let wrong = Client { secret: "wrong".into(), ..app.clone() };
    server.get("/v1/sessions", Auth::Basic(&wrong)).await;
    server.hand.advance(seconds(10));
    engine.record_figures().await.unwrap();
    assert_eq!(server.refresh(&app, &first).await.status, 400, "reuse");
    server.hand.advance(seconds(10));
    engine.record_figures().await.unwrap();

    let shown = figures(&server, &cookie).await;
    let hour = &shown["hour"];
    for (column, values) in [
        ("at", json!([1_800_000_010, 1_800_000_020])),
        ("active_sessions", json!([2, 1])),
        ("openings", json!([1, 0])),
        ("refreshes", json!([2, 0])),
        ("introspections", json!([1, 0])),
        ("reuse_alarms", json!([0, 1])),
        ("failed_authentications", json!([1, 0])),
    ] {
        assert_eq!(hour[column], values, "{column}");
    }
    assert!(hour["commits"][0].as_u64().unwrap() >= 3 && hour["commit_ms_mean"][0].is_f64(), "{hour}");
    assert!(hour["file_bytes"][0].as_u64().unwrap() > 0 && hour["disk_free_bytes"][0].is_u64(), "{hour}");
    assert_eq!(shown["day"]["at"], json!([]), "a point of the day is five minutes");
    assert_eq!(shown["now"]["active_sessions"], json!(1));
    assert_eq!(
        (&shown["now"]["ready"], &shown["now"]["started_at"]),
        (&json!(true), &json!("2027-01-15T08:00:00Z"))
    );
}

#[tokio::test]
async fn the_configuration_is_shown_with_its_origins_and_without_secrets() {
    let server = Server::with(&[("policy.default.idle_timeout", "20m")]).await;
    let cookie = server.console("console:read").await;
    let answer = server.operate(Method::GET, "/console/configuration", &cookie, None).await.json();
    let items = answer["items"].as_array().unwrap();
    let find = |key: &str| items.iter().find(|item| item["key"] == key).unwrap();
    assert_eq!(
        *find("policy.default.idle_timeout"),
        json!({"key": "policy.default.idle_timeout", "value": "20m", "origin": "the command line"})
    );
    assert_eq!(find("server.console")["origin"], "default");
    assert!(!answer.to_string().contains(&server.admin.secret));
}

/// Only the cookie of the console opens them: no client, and no command.
#[tokio::test]
async fn no_client_reads_what_only_the_pages_read() {
    let server = Server::start().await;
    for (method, path, body) in [
        (Method::GET, "/console/session", ""),
        (Method::GET, "/console/figures", ""),
        (Method::GET, "/console/configuration", ""),
        (Method::POST, "/console/introspect", "{\"token\":\"x\"}"),
    ] {
        for auth in [Auth::None, Auth::Basic(&server.admin), Auth::Socket] {
            let headers = [("content-type", "application/json"), SAME_ORIGIN];
            let answer = server.send(method.clone(), path, auth, &headers, body).await;
            assert_eq!(answer.status, 401, "{method} {path} {auth:?}");
        }
    }
    for auth in [Auth::None, Auth::Basic(&server.admin)] {
        let made = server.json(Method::POST, "/console/links", auth, json!({"role": "admin"})).await;
        assert!([401, 403].contains(&made.status), "{auth:?}");
    }
}
