//! `Idempotency-Key` at `POST /v1/sessions`: an opening whose answer was lost is repeated.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{SAME_ORIGIN, cookie, path, seconds};
use crate::harness::server::{Answer, Auth, Client, Server, text};

const BODY: &str = r#"{"subject":"alice","acr":"aal1","data":{"cart":[1]}}"#;

impl Server {
    async fn open_by_key(&self, client: &Client, key: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.send(Method::POST, "/v1/sessions", Auth::Basic(client), &headers, body.to_owned()).await
    }

    async fn count_of_sessions(&self) -> usize {
        let list = self.get("/v1/sessions", Auth::Basic(&self.admin)).await.json();
        list["items"].as_array().unwrap().len()
    }
}

#[track_caller]
fn assert_not_repeated(answer: &Answer) {
    answer.assert_problem(409, None);
    assert!(answer.text().contains("Idempotency-Key"), "{}", answer.text());
}

/// The answer was lost on its way: the next has the same session and the same tokens, and they work.
#[tokio::test]
async fn a_repetition_gets_the_same_answer() {
    for format in ["paseto", "jwt", "jwt_es256"] {
        let mut server = Server::start().await;
        let fields = json!({
            "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
            "scopes": ["read"], "access_token_format": format,
        });
        let app = server.client(fields).await;
        let first = server.open_by_key(&app, "a-key", BODY).await;
        assert_eq!(first.status, 201, "{}", first.text());
        server.hand.advance(seconds(59));
        let again = server.open_by_key(&app, "a-key", BODY).await;
        server.restart().await;
        let (later, opened) = (server.open_by_key(&app, "a-key", BODY).await, first.json());
        for repeated in [&again, &later] {
            assert_eq!((repeated.status, repeated.header("location")), (201, first.header("location")));
            let mut expected = opened.clone();
            expected["expires_in"] = json!(241);
            assert_eq!(repeated.json(), expected, "{format}");
        }
        assert_eq!(server.count_of_sessions().await, 1);
        for token in ["session_token", "refresh_token", "access_token"] {
            assert!(server.is_active(&app, &text(&opened[token])).await, "{token}");
        }
        let key = server.file("keyfob.redb");
        server.stop().await;
        let bytes = std::fs::read(key).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"a-key"), "the key is not stored");
    }
}

#[tokio::test]
async fn without_a_key_or_with_another_each_request_opens_a_session() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let first = server.open(&app).await;
    assert_ne!(first["session"]["id"], server.open(&app).await["session"]["id"]);
    let [one, two] = ["one", "two"].map(|key| server.open_by_key(&app, key, BODY));
    let (one, two) = (one.await.json(), two.await.json());
    for member in ["session_token", "refresh_token", "access_token"] {
        assert_ne!(one[member], two[member], "{member}");
    }
    assert_eq!(server.count_of_sessions().await, 4);
}

/// The first of two keys would count in silence.
#[tokio::test]
async fn two_keys_are_400_and_open_nothing() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let keys = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    let both = server.send(Method::POST, "/v1/sessions", Auth::Basic(&app), &keys, BODY.to_owned()).await;
    both.assert_problem(400, Some("Idempotency-Key"));
    assert_eq!(server.count_of_sessions().await, 0);
}

#[tokio::test]
async fn another_body_is_409_and_opens_nothing() {
    let server = Server::start().await;
    let app = server.application("app").await;
    server.open_by_key(&app, "key", BODY).await;
    for body in [r#"{"subject":"bob"}"#, r#"{"subject":"alice","acr":"aal1","data":{"cart":[1]} }"#] {
        assert_not_repeated(&server.open_by_key(&app, "key", body).await);
    }
    assert_eq!(server.count_of_sessions().await, 1);
}

/// Once the session was used, changed or ended, its tokens are not given out again.
#[tokio::test]
async fn a_session_that_is_not_as_it_was_opened_is_not_answered_again() {
    for what in [
        "used",
        "checked",
        "refreshed",
        "changed",
        "renewed",
        "family",
        "revoked",
        "ended",
        "all ended",
        "narrowed",
        "expired",
    ] {
        let server = Server::start().await;
        let app = server.application("app").await;
        let opened = server.open_by_key(&app, "key", BODY).await.json();
        let (auth, path) = (Auth::Basic(&app), path(&opened));
        server.hand.advance(seconds(1));
        match what {
            "used" => drop(server.browse(Method::GET, "/v1/session", &cookie(&opened), &[SAME_ORIGIN]).await),
            "checked" => {
                let body = json!({"token": opened["session_token"]});
                drop(server.json(Method::POST, "/v1/sessions/check", auth, body).await);
            }
            "refreshed" => drop(server.refresh(&app, &text(&opened["refresh_token"])).await),
            "changed" => drop(server.json(Method::PATCH, &path, auth, json!({"data": {}})).await),
            "renewed" => drop(server.json(Method::POST, &format!("{path}/renew"), auth, json!({})).await),
            "family" => drop(server.json(Method::POST, &format!("{path}/families"), auth, json!({})).await),
            "revoked" => drop(server.revoke(&app, &text(&opened["access_token"])).await),
            "ended" => drop(server.delete(&path, auth).await),
            "all ended" => drop(server.delete("/v1/sessions?all=true", Auth::Basic(&server.admin)).await),
            "narrowed" => {
                let fewer = json!({"scopes": ["read"]});
                drop(server.json(Method::PATCH, "/v1/clients/app", Auth::Basic(&server.admin), fewer).await);
            }
            _ => server.hand.advance(seconds(86_400)),
        }
        assert_not_repeated(&server.open_by_key(&app, "key", BODY).await);
        assert_eq!(server.count_of_sessions().await, 1, "{what}");
    }
}

/// Reading and introspecting are not use.
#[tokio::test]
async fn a_session_that_was_only_read_is_answered_again() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open_by_key(&app, "key", BODY).await.json();
    server.get(&path(&opened), Auth::Basic(&app)).await;
    server.introspect(&app, &text(&opened["session_token"])).await;
    assert_eq!(server.open_by_key(&app, "key", BODY).await.json(), opened);
}

#[tokio::test]
async fn the_window_is_ten_minutes_and_an_expired_access_token_is_issued_anew() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let first = server.open_by_key(&app, "key", BODY).await.json();
    server.hand.advance(seconds(599));
    server.tend().await;
    let again = server.open_by_key(&app, "key", BODY).await.json();
    assert_eq!(
        (&again["session_token"], &again["refresh_token"]),
        (&first["session_token"], &first["refresh_token"])
    );
    assert_ne!(again["access_token"], first["access_token"]);
    assert_eq!(again["expires_in"], 300);
    assert!(server.is_active(&app, &text(&again["access_token"])).await);
    server.hand.advance(seconds(1));
    assert_not_repeated(&server.open_by_key(&app, "key", BODY).await);
    server.tend().await;
    let removed = server.get("/metrics", Auth::Socket).await.text();
    assert!(removed.contains("keyfob_sweep_removed_total{what=\"retry_windows\"} 1"), "the salt is erased");
    assert_not_repeated(&server.open_by_key(&app, "key", BODY).await);
}

#[tokio::test]
async fn requests_at_the_same_time_open_one_session() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let open = || server.open_by_key(&app, "key", BODY);
    let (a, b, c) = tokio::join!(open(), open(), open());
    assert_eq!([a.status, b.status, c.status], [201; 3]);
    assert_eq!((a.json(), b.json()), (b.json(), c.json()));
    assert_eq!(server.count_of_sessions().await, 1);
}

/// A key is the caller's own, and ends with its registration.
#[tokio::test]
async fn a_key_belongs_to_one_registration_of_one_client() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let id = |opened: &Answer| opened.json()["session"]["id"].clone();
    let first = server.open_by_key(&app, "key", BODY).await;
    assert_ne!(id(&first), id(&server.open_by_key(&other, "key", BODY).await));
    server.delete("/v1/clients/app", Auth::Basic(&server.admin)).await;
    let later = server.application("app").await;
    let opened = server.open_by_key(&later, "key", BODY).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    assert_ne!(id(&first), id(&opened));
}

/// A cap is not asked twice.
#[tokio::test]
async fn a_repetition_is_answered_where_the_cap_is_reached() {
    let settings = [("policy.default.max_sessions_per_subject", "1"), ("policy.default.when_full", "refuse")];
    let server = Server::with(&settings).await;
    let app = server.application("app").await;
    let first = server.open_by_key(&app, "key", BODY).await.json();
    assert_eq!(server.open_by_key(&app, "key", BODY).await.json(), first);
    assert_eq!(server.open_by_key(&app, "new", BODY).await.status, 409);
}

#[tokio::test]
async fn a_key_is_1_to_64_visible_ascii_characters() {
    let server = Server::start().await;
    let app = server.application("app").await;
    for key in ["", "a b", &"k".repeat(65)] {
        let answer = server.open_by_key(&app, key, BODY).await;
        answer.assert_problem(400, Some("Idempotency-Key"));
    }
    assert_eq!(server.open_by_key(&app, &"~".repeat(64), BODY).await.status, 201);
    assert_eq!(server.open_by_key(&app, "fails", "{}").await.status, 400);
    let now_right: Value = server.open_by_key(&app, "fails", BODY).await.json();
    assert!(now_right["session"].is_object(), "a request that opened nothing does not use its key");
}

/// A client that had lost the grant used to get the refresh token of its opening again.
#[tokio::test]
async fn without_the_grant_an_opening_with_a_refresh_token_is_not_repeated() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let first = server.open_by_key(&app, "a-key", BODY).await;
    assert!(first.json()["refresh_token"].is_string(), "{}", first.text());
    let set_grants = async |grants: Value| {
        let body = json!({"grants": grants});
        let changed = server.json(Method::PATCH, "/v1/clients/app", Auth::Basic(&server.admin), body).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
    };
    set_grants(json!([])).await;
    assert_not_repeated(&server.open_by_key(&app, "a-key", BODY).await);
    set_grants(json!(["refresh_token"])).await;
    assert_eq!(server.open_by_key(&app, "a-key", BODY).await.json(), first.json());
}
