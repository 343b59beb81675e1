//! `grant_type=refresh_token` (RFC 6749 §6): scope, binding, lifetimes, and what a token is made of.

use std::collections::BTreeSet;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Answer, Auth, Client, NOW_S, Server, text};

const PATH: &str = "/oauth2/token";

async fn setting() -> (Server, Client, Value) {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    (server, app, opened)
}

async fn narrowed(server: &Server, app: &Client, token: &str, scope: &str) -> Answer {
    server
        .form(
            PATH,
            Auth::Basic(app),
            &[("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope)],
        )
        .await
}

/// RFR-01: a new pair, for confidential and public clients alike; the old token is spent.
#[tokio::test]
async fn a_refresh_rotates() {
    let (server, app, opened) = setting().await;
    let old = text(&opened["refresh_token"]);
    let refreshed = server.refresh(&app, &old).await.json();
    assert_ne!(refreshed["access_token"], opened["access_token"]);
    assert_ne!(text(&refreshed["refresh_token"]), old);
    assert!(
        server.is_active(&app, &text(&refreshed["access_token"])).await
            && !server.is_active(&app, &old).await
    );
    assert!(
        server.is_active(&app, &text(&opened["access_token"])).await,
        "earlier access tokens stay until their exp"
    );

    server
        .client(
            json!({"client_id": "spa", "kind": "public", "grants": ["refresh_token"], "scopes": ["read"]}),
        )
        .await;
    let opened = server.open_with(&server.admin, json!({"subject": "alice", "client_id": "spa"})).await;
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", "spa"),
        ("refresh_token", &*text(&opened["refresh_token"])),
    ];
    let refreshed = server.form(PATH, Auth::None, &fields).await;
    assert_eq!((refreshed.status, &refreshed.json()["scope"]), (200, &json!("read")));
    assert_ne!(refreshed.json()["refresh_token"], opened["refresh_token"]);
}

/// RFR-02, RFR-04: narrowing is of the one access token; the refresh token keeps its scope.
#[tokio::test]
async fn a_narrower_scope_narrows_only_the_access_token() {
    let (server, app, opened) = setting().await;
    let narrow = narrowed(&server, &app, &text(&opened["refresh_token"]), "read").await.json();
    assert_eq!(narrow["scope"], json!("read"));
    assert_eq!(server.introspect(&app, &text(&narrow["access_token"])).await["scope"], json!("read"));
    assert_eq!(server.introspect(&app, &text(&narrow["refresh_token"])).await["scope"], json!("read write"));
    let full = server.refresh(&app, &text(&narrow["refresh_token"])).await.json();
    assert_eq!(full["scope"], json!("read write"));
    assert_eq!(server.introspect(&app, &text(&full["access_token"])).await["scope"], json!("read write"));
}

/// RFR-03, RFR-05: wider, malformed or of another case is refused and spends nothing; order and repetition do
/// not matter.
#[tokio::test]
async fn a_wider_or_malformed_scope_spends_nothing() {
    let (server, app, opened) = setting().await;
    let fields = json!({"subject": "alice", "scope": "read"});
    let only_read = text(&server.open_with(&app, fields).await["refresh_token"]);
    narrowed(&server, &app, &only_read, "read write").await.assert_error(400, "invalid_scope");
    let mut token = text(&opened["refresh_token"]);
    for scope in [
        "admin",
        "read admin",
        "Read",
        "read  write",
        " read",
        "read ",
        "re\"ad",
        "re\\ad",
        "re\tad",
        "read\nwrite",
        "rëad",
    ] {
        narrowed(&server, &app, &token, scope).await.assert_error(400, "invalid_scope");
    }
    for (scope, granted) in
        [("write read", "read write"), ("write write", "write"), ("read write read", "read write")]
    {
        let answer = narrowed(&server, &app, &token, scope).await.json();
        assert_eq!(answer["scope"], json!(granted));
        token = text(&answer["refresh_token"]);
    }
    assert_eq!(server.refresh(&app, &only_read).await.status, 200, "still current");
}

/// RFR-07, RFR-08: another client, by its secret or by the name of a public one, spends nothing.
#[tokio::test]
async fn another_clients_refresh_token_is_refused_and_stays_current() {
    let (server, app, opened) = setting().await;
    let other = server.application("other").await;
    for id in ["spa", "spa2"] {
        server.client(json!({"client_id": id, "kind": "public", "grants": ["refresh_token"]})).await;
    }
    let token = text(&opened["refresh_token"]);
    server.refresh(&other, &token).await.assert_error(400, "invalid_grant");
    let public = text(
        &server
            .open_with(
                &server.admin,
                json!({
                    "subject": "alice", "client_id": "spa",
                }),
            )
            .await["refresh_token"],
    );
    let as_public = |id: &'static str, token: String| {
        let server = &server;
        async move {
            server
                .form(
                    PATH,
                    Auth::None,
                    &[("grant_type", "refresh_token"), ("refresh_token", &token), ("client_id", id)],
                )
                .await
        }
    };
    as_public("spa2", public.clone()).await.assert_error(400, "invalid_grant");
    as_public("spa", token.clone()).await.assert_error(400, "invalid_grant");
    assert_eq!(server.refresh(&app, &token).await.status, 200);
    assert_eq!(as_public("spa", public).await.status, 200);
}

/// RFR-09, RFR-17: a session that was ended, by itself or with all of its subject's, gives nothing more.
#[tokio::test]
async fn an_ended_session_gives_nothing_more() {
    let (server, app, opened) = setting().await;
    let second = server.open(&app).await;
    server.delete(&format!("/v1/sessions/{}", text(&opened["session"]["id"])), Auth::Basic(&app)).await;
    server.refresh(&app, &text(&opened["refresh_token"])).await.assert_error(400, "invalid_grant");
    assert!(server.is_active(&app, &text(&second["refresh_token"])).await);
    server.delete("/v1/subjects/alice/sessions", Auth::Basic(&app)).await;
    server.refresh(&app, &text(&second["refresh_token"])).await.assert_error(400, "invalid_grant");
}

/// RFR-10.
#[tokio::test]
async fn a_refresh_without_a_token_is_an_invalid_request() {
    let (server, app, _) = setting().await;
    let answer = server.form(PATH, Auth::Basic(&app), &[("grant_type", "refresh_token")]).await;
    answer.assert_error(400, "invalid_request");
    assert!(answer.text().contains("refresh_token"), "{}", answer.text());
}

/// RFR-11: the layout of the contract, with 256 bits that are new each time, also from one rotation to the
/// next.
#[tokio::test]
async fn a_refresh_token_holds_256_secret_bits() {
    let (server, app, opened) = setting().await;
    let mut token = text(&opened["refresh_token"]);
    let mut secrets = BTreeSet::new();
    for number in 0..40 {
        let bytes = Base64UrlUnpadded::decode_vec(token.strip_prefix("kfr_").unwrap()).unwrap();
        assert_eq!(bytes.len(), 72);
        assert!(
            secrets.insert(bytes[24..56].to_vec()) && secrets.insert(bytes[56..72].to_vec()),
            "secret and MAC are new"
        );
        let next =
            if number % 2 == 0 { server.refresh(&app, &token).await.json() } else { server.open(&app).await };
        token = text(&next["refresh_token"]);
    }
}

/// RFR-12, CLI-14: neither the secret bytes nor the text of anything issued is in the file or beside it, but
/// for what is for the administrator.
#[tokio::test]
async fn nothing_issued_can_be_read_from_the_store() {
    let (mut server, app, opened) = setting().await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    server.restart().await;
    let file = std::fs::read(server.file("keyfob.redb")).unwrap();
    let holds = |bytes: &[u8]| file.windows(bytes.len()).any(|window| window == bytes);
    for token in [&opened["refresh_token"], &opened["session_token"], &refreshed["refresh_token"]].map(text) {
        let bytes = Base64UrlUnpadded::decode_vec(&token[4..]).unwrap();
        assert!(!holds(&bytes[24..56]) && !holds(&token.as_bytes()[4..]));
    }
    for secret in [&app.secret, &server.admin.secret] {
        assert!(
            !holds(&secret.as_bytes()[4..]) && !holds(&Base64UrlUnpadded::decode_vec(&secret[4..]).unwrap())
        );
    }
    assert!(!holds(b"alice"), "and nothing personal");
    assert!(holds(b"sessions"), "the search finds what is there");
}

/// RFR-13: after the idle timeout without a refresh; a refresh in time sets it back.
#[tokio::test]
async fn an_idle_family_expires() {
    let (server, app, opened) = setting().await;
    server.hand.advance(Duration::from_secs(30 * 60 - 1));
    let next = text(&server.refresh(&app, &text(&opened["refresh_token"])).await.json()["refresh_token"]);
    server.hand.advance(Duration::from_secs(30 * 60 - 1));
    let next = text(&server.refresh(&app, &next).await.json()["refresh_token"]);
    server.hand.advance(Duration::from_secs(30 * 60));
    server.refresh(&app, &next).await.assert_error(400, "invalid_grant");
}

/// RFR-14, RFR-15, RFR-18, RFR-20: no activity moves the end that the authentication set; no token outlives
/// it; `acr` and `auth_time` stay.
#[tokio::test]
async fn nothing_outlives_the_absolute_lifetime() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server
        .open_with(&app, json!({"subject": "alice", "acr": "aal2", "auth_time": "2027-01-15T07:00:00Z"}))
        .await;
    let end_s = NOW_S - 3600 + 24 * 3600;
    let mut token = text(&opened["refresh_token"]);
    for quarter in 1..23 * 4 {
        server.hand.advance(Duration::from_secs(15 * 60));
        let refreshed = server.refresh(&app, &token).await.json();
        token = text(&refreshed["refresh_token"]);
        for name in ["access_token", "refresh_token"] {
            let reported = server.introspect(&app, &text(&refreshed[name])).await;
            assert!(reported["exp"].as_i64().unwrap() <= end_s, "{quarter}: {reported}");
            assert_eq!((&reported["acr"], &reported["auth_time"]), (&json!("aal2"), &json!(NOW_S - 3600)));
        }
    }
    server.hand.advance(Duration::from_secs(15 * 60 - 60));
    let refreshed = server.refresh(&app, &token).await.json();
    assert_eq!(refreshed["expires_in"], json!(60), "shorter than the policy's 300");
    server.hand.advance(Duration::from_secs(60));
    assert!(!server.is_active(&app, &text(&refreshed["access_token"])).await);
    server.refresh(&app, &text(&refreshed["refresh_token"])).await.assert_error(400, "invalid_grant");
}

/// RFR-16: another resource than the one granted is refused, and spends nothing.
#[tokio::test]
async fn another_resource_than_the_one_granted_is_refused() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "audiences": ["https://a", "https://b"],
    });
    let app = server.client(fields).await;
    let opened = server.open_with(&app, json!({"subject": "alice", "audience": "https://a"})).await;
    let token = text(&opened["refresh_token"]);
    let with = |resource: &'static str| {
        let (server, app, token) = (&server, &app, &token);
        async move {
            let fields =
                [("grant_type", "refresh_token"), ("refresh_token", &**token), ("resource", resource)];
            server.form(PATH, Auth::Basic(app), &fields).await
        }
    };
    for other in ["https://b", "https://c", "https://a/", "HTTPS://A"] {
        with(other).await.assert_error(400, "invalid_target");
    }
    let refreshed = with("https://a").await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    assert_eq!(
        server.introspect(&app, &text(&refreshed.json()["access_token"])).await["aud"],
        json!("https://a")
    );
}

/// A disabled client is no client, and its families wait for it (contract, section 4).
#[tokio::test]
async fn a_disabled_clients_families_wait_for_it() {
    let (server, app, opened) = setting().await;
    let token = text(&opened["refresh_token"]);
    let set = |disabled: bool| {
        server.json(
            Method::PATCH,
            "/v1/clients/app",
            Auth::Basic(&server.admin),
            json!({"disabled": disabled}),
        )
    };
    set(true).await;
    server.refresh(&app, &token).await.assert_error(401, "invalid_client");
    set(false).await;
    assert_eq!(server.refresh(&app, &token).await.status, 200);
}
