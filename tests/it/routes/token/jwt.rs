//! Clients whose access tokens are JWTs (RFC 9068): the same behaviour as with PASETO, and a second
//! implementation that verifies them.

mod es256;
mod second_implementation;

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, ISSUER, NOW_S, Server, text};

/// A client like [`Server::application`] with this access token format.
async fn application(server: &Server, id: &str, format: &str) -> Client {
    let fields = json!({
        "client_id": id, "permissions": ["sessions", "introspect"],
        "grants": ["refresh_token", "client_credentials"],
        "scopes": ["read", "write"], "access_token_format": format,
    });
    server.client(fields).await
}

async fn set_format(server: &Server, client: &Client, format: &str) {
    let path = format!("/v1/clients/{}", client.id);
    let answer = server
        .json(Method::PATCH, &path, Auth::Basic(&server.admin), json!({"access_token_format": format}))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn is_jwt(token: &str) -> bool {
    token.starts_with("eyJ") && token.split('.').count() == 3
}

fn is_paseto(token: &str) -> bool {
    token.starts_with("v4.public.")
}

fn part(token: &str, number: usize) -> Value {
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(token.split('.').nth(number).unwrap()).unwrap())
        .unwrap()
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

/// JWP-01.
#[tokio::test]
async fn sessions_with_jwts_behave_as_with_paseto() {
    let mut server = Server::start().await;
    let app = application(&server, "app", "jwt").await;
    let opening =
        json!({"subject": "alice", "acr": "aal2", "amr": ["pwd", "otp"], "claims": {"team": "blue"}});
    let opened = server.open_with(&app, opening).await;
    let first = text(&opened["access_token"]);
    assert_eq!(part(&first, 0).as_object().unwrap().keys().collect::<Vec<_>>(), ["alg", "kid", "typ"]);
    assert_eq!((&part(&first, 0)["typ"], &part(&first, 0)["alg"]), (&json!("at+jwt"), &json!("EdDSA")));
    let claims = part(&first, 1);
    let answer = server.introspect(&app, &first).await;
    for name in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "jti",
        "sid",
        "client_id",
        "scope",
        "auth_time",
        "acr",
        "amr",
        "claims",
    ] {
        assert_eq!((&answer[name], answer[name].is_null()), (&claims[name], false), "{name}");
    }
    assert_eq!(
        (&answer["active"], &answer["token_type"], &claims["fam"]),
        (&json!(true), &json!("Bearer"), &json!(1))
    );

    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    let second = text(&refreshed["access_token"]);
    assert!(is_jwt(&second) && part(&second, 1)["jti"] != claims["jti"]);
    server.hand.advance(Duration::from_secs(3));
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let again = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
        assert_eq!(
            again["access_token"], refreshed["access_token"],
            "the same bytes (ROT-02), restarted: {restarted}"
        );
        assert_eq!(again["refresh_token"], refreshed["refresh_token"]);
    }

    assert_eq!(server.revoke(&app, &second).await.status, 200);
    assert!(server.is_active(&app, &first).await && !server.is_active(&app, &second).await, "only that one");
    let again = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    assert_ne!(again["access_token"], refreshed["access_token"], "a retry does not return a revoked token");
    assert!(is_jwt(&text(&again["access_token"])));
    assert_eq!(server.revoke(&app, &text(&refreshed["refresh_token"])).await.status, 200);
    for token in [&first, &second, &text(&again["access_token"])] {
        assert_eq!(server.introspect(&app, token).await, json!({"active": false}));
    }
}

#[tokio::test]
async fn a_jwt_expires_in_the_second_of_its_exp() {
    let server = Server::start().await;
    let app = application(&server, "app", "jwt").await;
    let token = text(&server.open(&app).await["access_token"]);
    assert_eq!(part(&token, 1)["exp"], NOW_S + 300);
    server.hand.advance(Duration::from_millis(299_999));
    assert!(server.is_active(&app, &token).await);
    server.hand.advance(Duration::from_millis(1));
    assert!(!server.is_active(&app, &token).await);
}

/// The format is the client's own, also in a session that another client opened for it.
#[tokio::test]
async fn each_client_gets_its_own_format() {
    let server = Server::start().await;
    let (jwt, paseto) =
        (application(&server, "jwt", "jwt").await, application(&server, "paseto", "paseto").await);
    let (with_jwt, with_paseto) = (server.open(&jwt).await, server.open(&paseto).await);
    assert!(is_jwt(&text(&with_jwt["access_token"])) && is_paseto(&text(&with_paseto["access_token"])));
    assert!(is_jwt(&server.own_token(&jwt).await) && is_paseto(&server.own_token(&paseto).await));
    let refreshed = server.refresh(&paseto, &text(&with_paseto["refresh_token"])).await.json();
    assert!(is_paseto(&text(&refreshed["access_token"])));
    let opened_for = server.open_with(&server.admin, json!({"subject": "alice", "client_id": "jwt"})).await;
    assert!(is_jwt(&text(&opened_for["access_token"])));
}

/// A retry gets the same access token only while that one could still be issued.
#[tokio::test]
async fn a_retry_after_the_format_was_changed_gets_a_new_token_in_the_new_format() {
    let server = Server::start().await;
    let app = application(&server, "app", "paseto").await;
    let opened = server.open(&app).await;
    let refresh_token = text(&opened["refresh_token"]);
    let before = server.refresh(&app, &refresh_token).await.json();
    set_format(&server, &app, "jwt").await;
    let after = server.refresh(&app, &refresh_token).await.json();
    assert_eq!(after["refresh_token"], before["refresh_token"]);
    let (old, new) = (text(&before["access_token"]), text(&after["access_token"]));
    assert!(is_paseto(&old) && is_jwt(&new));
    assert_ne!(part(&new, 1)["jti"], server.introspect(&app, &old).await["jti"], "two tokens have two ids");
    assert!(
        server.is_active(&app, &old).await && server.is_active(&app, &new).await,
        "issued tokens stay valid"
    );
    assert_eq!(server.revoke(&app, &new).await.status, 200);
    assert!(server.is_active(&app, &old).await && !server.is_active(&app, &new).await);
    set_format(&server, &app, "paseto").await;
    let back = server.refresh(&app, &refresh_token).await.json();
    assert_eq!(back["access_token"], before["access_token"], "the issued token could be issued again");
}

/// A client's own JWT authenticates it as its PASETO does; a person's authenticates no client.
#[tokio::test]
async fn a_jwt_as_bearer_is_checked_like_a_paseto() {
    let server = Server::start().await;
    let app = application(&server, "app", "jwt").await;
    let opened = server.open(&app).await;
    let (own, of_alice) = (server.own_token(&app).await, text(&opened["access_token"]));
    assert_eq!((&part(&own, 1)["sub"], &part(&own, 1)["aud"]), (&json!("app"), &json!(ISSUER)));
    assert!(part(&own, 1)["sid"].is_null() && part(&own, 1)["rh"].is_string());
    let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    let introspection = [("token", of_alice.as_str())];
    assert_eq!(server.get(&path, Auth::Bearer(&own)).await.status, 200);
    let answer = server.form("/oauth2/introspect", Auth::Bearer(&own), &introspection).await.json();
    assert_eq!(answer["active"], true);
    assert_eq!(server.get(&path, Auth::Bearer(&of_alice)).await.status, 401);
    server
        .form("/oauth2/introspect", Auth::Bearer(&of_alice), &introspection)
        .await
        .assert_error(401, "invalid_token");

    assert_eq!(server.revoke(&app, &own).await.status, 200);
    assert_eq!(server.get(&path, Auth::Bearer(&own)).await.status, 401, "revoked");
}
