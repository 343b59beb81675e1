//! `DELETE /v1/subjects/{subject}/sessions`: logging out everywhere (contract, sections 4 and 5).

use serde_json::json;

use super::sessions::rights::House;
use crate::harness::server::{Auth, text};

/// An administrator ends all of a subject's sessions, and no others; the count is exact, and
/// the next session is active.
#[tokio::test]
async fn a_subject_is_logged_out_everywhere() {
    let house = House::build().await;
    let server = &house.server;
    let path = "/v1/subjects/alice/sessions";
    let alices =
        [house.open(&house.app, "app", "alice").await, house.open(&house.other, "other", "alice").await];
    let gone = house.open(&house.app, "app", "alice").await;
    server.delete(&format!("/v1/sessions/{}", text(&gone["session"]["id"])), Auth::Basic(&house.app)).await;
    let bobs = house.open(&house.app, "app", "bob").await;
    let answer = server.delete(&format!("{path}?reason=lost%20phone"), Auth::Basic(&server.admin)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ended": 2})));
    for opened in &alices {
        assert_eq!(house.state(opened).await, ("ended".into(), "subject_revoked".into()));
        for token in ["access_token", "refresh_token", "session_token"] {
            assert!(!server.is_active(&server.admin, &text(&opened[token])).await);
        }
    }
    assert_eq!((house.state(&bobs).await.0, house.state(&gone).await.1), ("active".into(), "logout".into()));
    let next = house.open(&house.app, "app", "alice").await;
    assert!(server.is_active(&house.app, &text(&next["access_token"])).await);
    let answer = server.delete("/v1/subjects/unknown/sessions", Auth::Basic(&server.admin)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"ended": 0})));
}

/// "Everywhere else": the named session stays. One that is malformed is refused, before anything ends.
#[tokio::test]
async fn all_but_one_session_are_ended() {
    let house = House::build().await;
    let server = &house.server;
    let (here, there) =
        (house.open(&house.app, "app", "alice").await, house.open(&house.app, "app", "alice").await);
    let path = |except: &str| format!("/v1/subjects/alice/sessions?except={except}");
    server.delete(&path("x"), Auth::Basic(&house.app)).await.assert_problem(400, Some("except"));
    assert_eq!(house.state(&there).await.0, "active");
    let answer = server.delete(&path(&text(&here["session"]["id"])), Auth::Basic(&house.app)).await;
    assert_eq!(answer.json(), json!({"ended": 1}));
    assert_eq!((house.state(&here).await.0, house.state(&there).await.0), ("active".into(), "ended".into()));
}

/// A client ends only the sessions that it opened or that are its own.
#[tokio::test]
async fn a_client_logs_a_subject_out_of_its_own_sessions() {
    let house = House::build().await;
    let server = &house.server;
    let (by_backend, own, others) = (
        house.open(&house.backend, "app", "alice").await,
        house.open(&house.app, "app", "alice").await,
        house.open(&house.other, "other", "alice").await,
    );
    let path = "/v1/subjects/alice/sessions";
    assert_eq!(server.delete(path, Auth::Basic(&house.backend)).await.json(), json!({"ended": 1}));
    let states = [house.state(&by_backend).await.0, house.state(&own).await.0, house.state(&others).await.0];
    assert_eq!(states, ["ended", "active", "active"]);
    assert_eq!(server.delete(path, Auth::Basic(&house.app)).await.json(), json!({"ended": 1}));
    assert_eq!(house.state(&others).await.0, "active");
    let plain = server.client(json!({"client_id": "plain", "permissions": ["introspect"]})).await;
    server.delete(path, Auth::Basic(&plain)).await.assert_problem(403, None);
}

/// A subject is any text that the path can carry, and one that no subject can be is 400.
#[tokio::test]
async fn a_subject_is_percent_encoded_in_the_path() {
    let house = House::build().await;
    let server = &house.server;
    for subject in ["a b", "ä/ö?x=1&y#z", "auth0|5f", "%41", "...", "a+b"] {
        let opened = house.open(&house.app, "app", subject).await;
        let encoded = percent_encoding::utf8_percent_encode(subject, percent_encoding::NON_ALPHANUMERIC);
        let answer =
            server.delete(&format!("/v1/subjects/{encoded}/sessions"), Auth::Basic(&house.app)).await;
        assert_eq!((answer.status, answer.text()), (200, r#"{"ended":1}"#.into()), "{subject}");
        assert_eq!(house.state(&opened).await.0, "ended", "{subject}");
    }
    let long = format!("/v1/subjects/{}/sessions", "x".repeat(257));
    server.delete(&long, Auth::Basic(&house.app)).await.assert_problem(400, Some("subject"));
    server
        .delete("/v1/subjects/a%0Ab/sessions", Auth::Basic(&house.app))
        .await
        .assert_problem(400, Some("subject"));
}
