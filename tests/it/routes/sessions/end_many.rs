//! `DELETE /v1/sessions`: all sessions, or all of a subject, and never the one for the other.

use http::Method;
use serde_json::json;

use crate::harness::people::path;
use crate::harness::server::{Auth, Server, text};

/// URL libraries remove `..` together with the segment before it: a log-out of the subject `..` arrived as
/// `DELETE /v1/sessions` and ended every session there was.
#[tokio::test]
async fn a_route_that_lost_a_segment_ends_nothing() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open_with(&app, json!({"subject": "alice"})).await;
    for query in [
        "",
        "?reason=signed%20out",
        "?subject=",
        "?all=",
        "?all=false",
        "?all=1",
        "?all=true&subject=alice",
        "?all=true&except=x",
        "?all=false&subject=alice",
        "?all=true&all=true",
        "?except=x",
        "?subjcet=alice",
    ] {
        let answer = server.delete(&format!("/v1/sessions{query}"), Auth::Basic(&server.admin)).await;
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 200);
    let all = server.delete("/v1/sessions?all=true", Auth::Basic(&server.admin)).await;
    assert_eq!((all.status, all.json()), (200, json!({"ended": "all"})));
    assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 401);
}

#[tokio::test]
async fn all_is_for_administrators_and_a_subject_for_every_client_with_sessions() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let keep = server.open_with(&app, json!({"subject": "a/.. ?&"})).await;
    for _ in 0..2 {
        server.open_with(&app, json!({"subject": "a/.. ?&"})).await;
    }
    server.delete("/v1/sessions?all=true", Auth::Basic(&app)).await.assert_problem(403, None);
    let query = format!("?subject=a%2F..%20%3F%26&except={}&reason=moved", text(&keep["session"]["id"]));
    let ended = server.delete(&format!("/v1/sessions{query}"), Auth::Basic(&app)).await;
    assert_eq!(ended.json(), json!({"ended": 2}));
    assert_eq!(server.get(&path(&keep), Auth::Basic(&app)).await.json()["state"], "active");
}

/// New names are not `.` or `..`; an existing subject of that name is ended by its query or its id.
#[tokio::test]
async fn a_new_subject_or_client_is_not_a_dot_segment() {
    let server = Server::start().await;
    let app = server.application("app").await;
    for dots in [".", ".."] {
        let open =
            server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), json!({"subject": dots})).await;
        open.assert_problem(400, Some("subject"));
        let client = json!({"client_id": dots});
        let create = server.json(Method::POST, "/v1/clients", Auth::Basic(&server.admin), client).await;
        create.assert_problem(400, Some("client_id"));
        let ended = server.delete(&format!("/v1/sessions?subject={dots}"), Auth::Basic(&app)).await;
        assert_eq!((ended.status, ended.json()), (200, json!({"ended": 0})));
    }
}
