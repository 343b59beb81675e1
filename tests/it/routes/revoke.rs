//! `POST /oauth2/revoke` (RFC 7009): who may, what it ends, and what it says.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::Method;
use keyfob::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, ISSUER, NOW_S, Server, text};

const PATH: &str = "/oauth2/revoke";
const ALL: [&str; 3] = ["access_token", "refresh_token", "session_token"];

/// A server, an application, and a session of it.
async fn setting() -> (Server, Client, Value) {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    (server, app, opened)
}

/// The state of a session and why it ended.
async fn state(server: &Server, opened: &Value) -> (String, String) {
    let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    let session = server.get(&path, Auth::Basic(&server.admin)).await.json();
    (text(&session["state"]), session["ended"]["reason"].as_str().unwrap_or_default().to_owned())
}

fn wrong_secret(client: &Client) -> Client {
    Client { id: client.id.clone(), secret: format!("kfc_{}", "A".repeat(43)) }
}

/// REV-01, REV-22, REV-23, REV-24: a refresh token: the family, its access tokens, and the session that has
/// no other family.
#[tokio::test]
async fn a_refresh_token_takes_its_family_and_the_session_along() {
    let (server, app, opened) = setting().await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    let answer = server.revoke(&app, &text(&refreshed["refresh_token"])).await;
    assert_eq!(
        (answer.status, answer.text(), answer.header("cache-control")),
        (200, String::new(), "no-store")
    );
    for token in ALL
        .map(|name| &opened[name])
        .into_iter()
        .chain(["access_token", "refresh_token"].map(|name| &refreshed[name]))
    {
        assert!(!server.is_active(&app, &text(token)).await);
    }
    server.refresh(&app, &text(&refreshed["refresh_token"])).await.assert_error(400, "invalid_grant");
    assert_eq!(state(&server, &opened).await, ("ended".into(), "token_revoked".into()));
}

/// The clock was ahead when the tokens were revoked, and they were active again when it was set back.
#[tokio::test]
async fn a_revocation_of_an_expired_token_is_kept_for_a_clock_that_is_set_back() {
    let server = Server::start().await;
    let grants = ["refresh_token", "client_credentials"];
    let app = server.client(json!({"permissions": ["sessions", "introspect"], "grants": grants})).await;
    let opened = server.open(&app).await;
    let tokens = [text(&opened["access_token"]), server.own_token(&app).await];
    server.hand.advance(Duration::from_secs(301));
    for token in &tokens {
        assert_eq!(server.revoke(&app, token).await.status, 200);
    }
    server.hand.set_wall(Timestamp::from_seconds(NOW_S));
    for token in &tokens {
        assert!(!server.is_active(&app, token).await);
    }
    assert!(server.is_active(&app, &text(&opened["session_token"])).await, "the session goes on");
}

/// REV-02, REV-25: an access token dies alone.
#[tokio::test]
async fn an_access_token_is_revoked_alone() {
    let (server, app, opened) = setting().await;
    assert_eq!(server.revoke(&app, &text(&opened["access_token"])).await.status, 200);
    assert!(!server.is_active(&app, &text(&opened["access_token"])).await);
    assert!(server.is_active(&app, &text(&opened["session_token"])).await);
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    assert!(server.is_active(&app, &text(&refreshed["access_token"])).await);
    assert_eq!(state(&server, &opened).await.0, "active");
}

/// A session token is a logout (contract, section 5).
#[tokio::test]
async fn a_session_token_is_a_logout() {
    let (server, app, opened) = setting().await;
    assert_eq!(server.revoke(&app, &text(&opened["session_token"])).await.status, 200);
    for token in ALL {
        assert!(!server.is_active(&app, &text(&opened[token])).await);
    }
    assert_eq!(state(&server, &opened).await, ("ended".into(), "logout".into()));
}

/// A client's own token is revoked by its `jti`, and stays so across a restart.
#[tokio::test]
async fn a_clients_own_token_is_revoked_by_its_name() {
    let mut server = Server::start().await;
    let fields = json!({"client_id": "rs", "permissions": ["introspect"], "grants": ["client_credentials"]});
    let rs = server.client(fields).await;
    let (one, other) = (server.own_token(&rs).await, server.own_token(&rs).await);
    assert_eq!(server.revoke(&rs, &one).await.status, 200);
    server.restart().await;
    assert!(!server.is_active(&rs, &one).await && server.is_active(&rs, &other).await);
    server
        .form("/oauth2/introspect", Auth::Bearer(&one), &[("token", &other)])
        .await
        .assert_error(401, "invalid_token");
}

/// REV-03 (C-13): POST alone, and no JSONP.
#[tokio::test]
async fn every_other_method_is_405() {
    let (server, app, opened) = setting().await;
    let query = format!("{PATH}?token={}&callback=f", text(&opened["refresh_token"]));
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
        let answer = server.send(method.clone(), &query, Auth::Basic(&app), &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
    }
    assert!(server.is_active(&app, &text(&opened["refresh_token"])).await);
    let answer =
        server.raw_form(&format!("{PATH}?callback=f"), Auth::Basic(&app), "token=x&callback=f").await;
    assert_eq!((answer.status, answer.text()), (200, String::new()));
}

/// REV-04: the form; and what is malformed revokes nothing.
#[tokio::test]
async fn a_malformed_request_revokes_nothing() {
    let (server, app, opened) = setting().await;
    let token = text(&opened["refresh_token"]);
    for body in [
        String::new(),
        "token=".into(),
        format!("token={token}&token={token}"),
        format!("token=&token={token}"),
        format!("Token={token}"),
        format!("token={token}&token_type_hint=a&token_type_hint=a"),
        format!("token={token}&client_id=app&client_id=app"),
        format!("token={token}&x=%G0"),
    ] {
        server.raw_form(PATH, Auth::Basic(&app), &body).await.assert_error(400, "invalid_request");
    }
    server
        .raw_form(&format!("{PATH}?token={token}"), Auth::Basic(&app), "")
        .await
        .assert_error(400, "invalid_request");
    server
        .json(Method::POST, PATH, Auth::Basic(&app), json!({"token": token}))
        .await
        .assert_error(400, "invalid_request");
    assert!(server.is_active(&app, &token).await);
}

/// REV-05: credentials are judged before the token, which stays.
#[tokio::test]
async fn without_its_secret_a_client_revokes_nothing() {
    let (server, app, opened) = setting().await;
    let own = server.client(json!({"client_id": "own", "grants": ["client_credentials"]})).await;
    let own = server.own_token(&own).await;
    for token in ALL.map(|name| text(&opened[name])).iter().map(String::as_str).chain(["x"]) {
        for answer in [
            server.form(PATH, Auth::None, &[("token", token)]).await,
            server.form(PATH, Auth::Basic(&wrong_secret(&app)), &[("token", token)]).await,
            server.form(PATH, Auth::None, &[("token", token), ("client_id", "app")]).await,
            server
                .form(PATH, Auth::None, &[("token", token), ("client_id", "app"), ("client_secret", "wrong")])
                .await,
            server.form(PATH, Auth::Bearer(&own), &[("token", token)]).await,
        ] {
            answer.assert_error(401, "invalid_client");
            assert_eq!(answer.challenges(), [r#"Basic realm="keyfob", charset="UTF-8""#]);
        }
    }
    for token in ALL {
        assert!(server.is_active(&app, &text(&opened[token])).await);
    }
}

/// REV-06: a public client gives its name, and revokes its own.
#[tokio::test]
async fn a_public_client_revokes_its_own_tokens() {
    let server = Server::start().await;
    server.client(json!({"client_id": "spa", "kind": "public", "grants": ["refresh_token"]})).await;
    server.client(json!({"client_id": "other", "kind": "public", "grants": ["refresh_token"]})).await;
    let open = || server.open_with(&server.admin, json!({"subject": "alice", "client_id": "spa"}));
    for name in ALL {
        let token = text(&open().await[name]);
        server
            .form(PATH, Auth::None, &[("token", &token), ("client_id", "other")])
            .await
            .assert_error(400, "invalid_grant");
        assert!(server.is_active(&server.admin, &token).await);
        let answer = server.form(PATH, Auth::None, &[("token", &token), ("client_id", "spa")]).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        assert!(!server.is_active(&server.admin, &token).await, "{name}");
    }
}

/// REV-07, REV-08 (C-05; a shipped server answered 200 and revoked nothing): another client's token is
/// refused, and lives.
#[tokio::test]
async fn another_clients_token_is_refused_and_stays_active() {
    let (server, app, opened) = setting().await;
    // Even the resource server that it is meant for.
    let rs = server
        .client(json!({"client_id": "rs", "permissions": ["introspect:any", "sessions"], "serves": [ISSUER]}))
        .await;
    for name in ALL {
        server.revoke(&rs, &text(&opened[name])).await.assert_error(400, "invalid_grant");
        assert!(server.is_active(&app, &text(&opened[name])).await, "{name}");
    }
    let own_client = server.client(json!({"client_id": "own", "grants": ["client_credentials"]})).await;
    let own = server.own_token(&own_client).await;
    server.revoke(&rs, &own).await.assert_error(400, "invalid_grant");
    assert!(server.is_active(&rs, &own).await);
}

/// The session's opener, and administrators, may (contract, section 5).
#[tokio::test]
async fn the_opener_and_administrators_revoke_what_they_opened() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let backend = server
        .client(json!({"client_id": "backend", "permissions": ["sessions"], "opens_for": ["app"]}))
        .await;
    for caller in [&backend, &server.admin] {
        for name in ALL {
            let opened = server.open_with(&backend, json!({"subject": "alice", "client_id": "app"})).await;
            assert_eq!(
                server.revoke(caller, &text(&opened[name])).await.status,
                200,
                "{name} by {}",
                caller.id
            );
            assert!(!server.is_active(&app, &text(&opened[name])).await, "{name} by {}", caller.id);
        }
    }
}

/// REV-09, REV-10, REV-11: a wrong hint extends the search, an invalid one is ignored, and
/// `unsupported_token_type` is never the answer.
#[tokio::test]
async fn a_hint_does_no_harm() {
    let (server, app, _) = setting().await;
    for name in ALL {
        for hint in ["access_token", "refresh_token", "banana", "Access_Token", "urn:x:saml", ""] {
            let token = text(&server.open(&app).await[name]);
            let answer =
                server.form(PATH, Auth::Basic(&app), &[("token", &token), ("token_type_hint", hint)]).await;
            assert_eq!((answer.status, answer.text()), (200, String::new()), "{name} as {hint}");
            assert!(!server.is_active(&app, &token).await, "{name} as {hint}");
        }
    }
}

/// REV-20: what is no token, or none any more, is answered like success; also another client's dead access
/// token.
#[tokio::test]
async fn what_has_ended_already_is_200() {
    let (server, app, opened) = setting().await;
    let token = text(&opened["access_token"]);
    let revoked = text(&server.open(&app).await["session_token"]);
    server.revoke(&app, &revoked).await;
    let gone = server.application("gone").await;
    let of_gone = server.open(&gone).await;
    server.delete("/v1/clients/gone", Auth::Basic(&server.admin)).await;
    server.hand.advance(Duration::from_secs(300));
    for token in [
        &*token,
        &*revoked,
        "x",
        "kfr_",
        "v4.public.x",
        "🔑",
        &*"a".repeat(60_000),
        &*text(&of_gone["access_token"]),
    ] {
        let answer = server.revoke(&app, token).await;
        assert_eq!((answer.status, answer.text()), (200, String::new()), "{token:.40}");
    }
}

/// The position in the event log, as introspection tells it.
async fn head(server: &Server, app: &Client, live: &str) -> u64 {
    text(&server.introspect(app, live).await["feed_seq"]).parse().unwrap()
}

/// REV-21: revoking again is 200 again, and only the first is recorded.
#[tokio::test]
async fn revoking_twice_is_recorded_once() {
    let (server, app, opened) = setting().await;
    let live = text(&opened["session_token"]);
    for (name, events) in [("access_token", 1), ("refresh_token", 2), ("session_token", 1)] {
        let token = text(&server.open(&app).await[name]);
        let before = head(&server, &app, &live).await;
        assert_eq!(server.revoke(&app, &token).await.status, 200);
        let after = head(&server, &app, &live).await;
        assert_eq!(
            after - before,
            events,
            "{name}: token.revoked; family.ended and session.ended; session.ended"
        );
        assert_eq!(server.revoke(&app, &token).await.status, 200);
        assert_eq!(head(&server, &app, &live).await, after, "{name}");
    }
}

/// REV-26 (C-10): logging out with a stale token logs out, within the retry window and after it, and is no
/// reuse.
#[tokio::test]
async fn a_rotated_refresh_token_still_logs_out() {
    for seconds in [1, 120] {
        let (server, app, opened) = setting().await;
        let current =
            text(&server.refresh(&app, &text(&opened["refresh_token"])).await.json()["refresh_token"]);
        server.hand.advance(Duration::from_secs(seconds));
        assert_eq!(server.revoke(&app, &text(&opened["refresh_token"])).await.status, 200);
        assert!(!server.is_active(&app, &current).await);
        assert_eq!(state(&server, &opened).await, ("ended".into(), "token_revoked".into()));
    }
}

/// REV-27: knowing a session's name is not enough to end it.
#[tokio::test]
async fn a_forged_token_ends_nothing() {
    let (server, app, opened) = setting().await;
    for (name, prefix) in [("refresh_token", "kfr_"), ("session_token", "kfs_")] {
        let genuine = Base64UrlUnpadded::decode_vec(&text(&opened[name])[4..]).unwrap();
        // Everything but the MAC (the last 16 bytes), the MAC of the other kind, and a MAC of nothing.
        for byte in [0, 1, 20, 40, 56, 71] {
            let mut forged = genuine.clone();
            forged[byte] ^= 1;
            let answer =
                server.revoke(&app, &format!("{prefix}{}", Base64UrlUnpadded::encode_string(&forged))).await;
            assert_eq!((answer.status, answer.text()), (200, String::new()));
        }
        let relabelled =
            format!("{}{}", if prefix == "kfr_" { "kfs_" } else { "kfr_" }, &text(&opened[name])[4..]);
        assert_eq!(server.revoke(&app, &relabelled).await.status, 200);
    }
    for name in ALL {
        assert!(server.is_active(&app, &text(&opened[name])).await, "{name}");
    }
}

/// REV-41: a request that comes in by plain HTTP behind a proxy is honoured, and REV-40: only the https
/// address is published.
#[tokio::test]
async fn only_the_https_address_is_published() {
    let server = Server::with(&[("server.issuer", "https://id.example")]).await;
    let app = server.application("app").await;
    let token = text(&server.open(&app).await["access_token"]);
    assert_eq!(server.revoke(&app, &token).await.status, 200);
    assert!(!server.is_active(&app, &token).await);
    let answer = server.get("/.well-known/oauth-authorization-server", Auth::None).await;
    assert_eq!(answer.json()["revocation_endpoint"], json!("https://id.example/oauth2/revoke"));
    assert!(!answer.text().contains("http://"), "{}", answer.text());
}
