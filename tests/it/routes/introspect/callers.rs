//! `POST /oauth2/introspect`: who may ask (RFC 7662 §2.1, §2.3, §4).

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::harness::server::{Auth, Client, Server, basic, text};

const PATH: &str = "/oauth2/introspect";
const BASIC: &str = r#"Basic realm="keyfob", charset="UTF-8""#;
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn named(id: &str, secret: &str) -> Client {
    Client { id: id.into(), secret: secret.into() }
}

/// A secret of the right form that no client has.
fn wrong_secret() -> String {
    format!("kfc_{}", "A".repeat(43))
}

/// INT-30 (C-03): no credentials: every accepted scheme is named, and nothing is said of the token.
#[tokio::test]
async fn no_credentials_are_rejected() {
    let server = Server::start().await;
    let answer = server.form(PATH, Auth::None, &[("token", "x")]).await;
    answer.assert_error(401, "invalid_client");
    assert_eq!(answer.challenges(), [BASIC, r#"Bearer realm="keyfob""#]);
    assert!(answer.json().get("active").is_none());
}

/// INT-31, INT-32, INT-33 (C-06), CLI-07: a wrong secret, an unknown client, a disabled one and a secret of
/// another form look the same, in the header and in the form.
#[tokio::test]
async fn no_failure_tells_which_clients_there_are() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let off =
        server.client(json!({"client_id": "off", "permissions": ["introspect"], "disabled": true})).await;
    let first = server.form(PATH, Auth::Basic(&named("app", &wrong_secret())), &[("token", "x")]).await;
    first.assert_error(401, "invalid_client");
    assert!(first.challenges().contains(&BASIC));
    for (id, secret) in [
        ("unknown", wrong_secret()),
        ("unknown", app.secret),
        ("app", "short".into()),
        ("off", off.secret),
        ("a b", "".into()),
    ] {
        let by_header = server.form(PATH, Auth::Basic(&named(id, &secret)), &[("token", "x")]).await;
        assert_eq!(
            (by_header.status, &by_header.headers, &by_header.body),
            (first.status, &first.headers, &first.body),
            "{id}"
        );
        if !secret.is_empty() {
            let by_form = server
                .form(PATH, Auth::None, &[("token", "x"), ("client_id", id), ("client_secret", &secret)])
                .await;
            assert_eq!(
                (by_form.status, &by_form.headers, &by_form.body),
                (first.status, &first.headers, &first.body),
                "{id}"
            );
        }
    }
}

/// INT-34: a bearer token that is garbage, expired, a person's, or for another audience.
#[tokio::test]
async fn an_invalid_bearer_gets_invalid_token() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "rs", "permissions": ["introspect", "sessions"], "grants": ["client_credentials"],
        "audiences": ["https://api"],
    });
    let rs = server.client(fields).await;
    let app = server.application("app").await;
    let persons = text(&server.open(&app).await["access_token"]);
    let elsewhere = server.own_token(&rs).await;
    let grant = [("grant_type", "client_credentials"), ("resource", crate::harness::server::ISSUER)];
    let own = text(&server.form("/oauth2/token", Auth::Basic(&rs), &grant).await.json()["access_token"]);
    assert_eq!(
        server.form(PATH, Auth::Bearer(&own), &[("token", "x")]).await.status,
        200,
        "the good one works"
    );
    for (seconds, bad) in [
        (0, "garbage"),
        (0, ""),
        (0, "v4.public.AAAA"),
        (0, &*persons),
        (0, &*elsewhere),
        (299, "x"),
        (1, &*own),
    ] {
        server.hand.advance(Duration::from_secs(seconds));
        let answer = server.form(PATH, Auth::Bearer(bad), &[("token", "x")]).await;
        answer.assert_error(401, "invalid_token");
        assert_eq!(answer.challenges(), [r#"Bearer realm="keyfob", error="invalid_token""#]);
    }
}

/// INT-35, INT-42: without the privilege a good bearer token is 401, not 403, and may not even introspect
/// itself.
#[tokio::test]
async fn a_bearer_without_the_privilege_is_401() {
    let server = Server::start().await;
    let plain = server.client(json!({"client_id": "plain", "grants": ["client_credentials"]})).await;
    let own = server.own_token(&plain).await;
    let answer = server.form(PATH, Auth::Bearer(&own), &[("token", &own)]).await;
    answer.assert_error(401, "insufficient_scope");
    assert_eq!(answer.challenges(), [r#"Bearer realm="keyfob", error="insufficient_scope""#]);

    let rs = server
        .client(json!({"client_id": "rs", "grants": ["client_credentials"], "permissions": ["introspect"]}))
        .await;
    let own = server.own_token(&rs).await;
    assert_eq!(server.form(PATH, Auth::Bearer(&own), &[("token", &own)]).await.json()["active"], json!(true));
}

/// INT-36: a public client has nothing to authenticate with.
#[tokio::test]
async fn a_public_client_does_not_introspect() {
    let server = Server::start().await;
    server.client(json!({"client_id": "spa", "kind": "public", "grants": ["refresh_token"]})).await;
    server
        .form(PATH, Auth::None, &[("token", "x"), ("client_id", "spa")])
        .await
        .assert_error(401, "invalid_client");
    server
        .form(PATH, Auth::Basic(&named("spa", "")), &[("token", "x")])
        .await
        .assert_error(401, "invalid_client");
}

/// INT-37 (C-04): the same 403 for a live token and for none.
#[tokio::test]
async fn a_client_without_the_permission_is_403() {
    let server = Server::start().await;
    let plain = server
        .client(json!({"client_id": "plain", "permissions": ["sessions"], "grants": ["refresh_token"]}))
        .await;
    let live = text(&server.open(&plain).await["access_token"]);
    let about_live = server.form(PATH, Auth::Basic(&plain), &[("token", &live)]).await;
    about_live.assert_error(403, "unauthorized_client");
    let about_none = server.form(PATH, Auth::Basic(&plain), &[("token", "x")]).await;
    assert_eq!(
        (about_live.status, about_live.headers, about_live.body),
        (about_none.status, about_none.headers, about_none.body)
    );
}

/// INT-38, INT-39, INT-40.
#[tokio::test]
async fn a_caller_authenticates_once() {
    let server = Server::start().await;
    let app = server
        .client(json!({"client_id": "app", "permissions": ["introspect"], "grants": ["client_credentials"]}))
        .await;
    let own = server.own_token(&app).await;
    let (basic, bearer, secret) = (
        basic(&app.id, &app.secret),
        format!("Bearer {own}"),
        format!("token=x&client_secret={}", app.secret),
    );
    for (headers, body) in [
        (vec![&*basic], &*secret),
        (vec![&*basic, &*basic], "token=x"),
        (vec![&*basic, &*bearer], "token=x"),
        (vec![&*bearer, &*bearer], "token=x"),
        (vec![&*bearer], &*secret),
        (
            vec![&*bearer],
            "token=x&client_assertion=a.b.c&\
             client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        (vec![&*basic], "token=x&client_assertion=a.b.c"),
    ] {
        let mut all = vec![FORM];
        all.extend(headers.iter().map(|value| ("authorization", *value)));
        server
            .send(Method::POST, PATH, Auth::None, &all, body.to_owned())
            .await
            .assert_error(400, "invalid_request");
    }
}

/// INT-41, CLI-13: after too many failures further wrong secrets wait, known and unknown clients alike, at
/// every endpoint; a right one never does.
#[tokio::test]
async fn too_many_wrong_secrets_are_429_and_a_right_one_is_not() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "5")]).await;
    let app = server.application("app").await;
    for number in 0..5 {
        let id = if number % 2 == 0 { "app" } else { "unknown" };
        server
            .form(PATH, Auth::Basic(&named(id, &wrong_secret())), &[("token", "x")])
            .await
            .assert_error(401, "invalid_client");
    }
    for path in [PATH, "/oauth2/token", "/oauth2/revoke", "/v1/clients"] {
        for id in ["app", "unknown"] {
            let wrong = named(id, &wrong_secret());
            let answer = match path {
                "/v1/clients" => server.get(path, Auth::Basic(&wrong)).await,
                _ => {
                    server
                        .form(path, Auth::Basic(&wrong), &[("token", "x"), ("grant_type", "refresh_token")])
                        .await
                }
            };
            assert_eq!((answer.status, answer.header("retry-after")), (429, "12"), "{path} {id}");
        }
    }
    assert_eq!(
        server.form(PATH, Auth::Basic(&app), &[("token", "x")]).await.status,
        200,
        "failures of others do not lock a client out"
    );
    server.hand.advance(Duration::from_secs(12));
    server
        .form(PATH, Auth::Basic(&named("app", &wrong_secret())), &[("token", "x")])
        .await
        .assert_error(401, "invalid_client");
    server
        .form(PATH, Auth::Basic(&named("app", &wrong_secret())), &[("token", "x")])
        .await
        .assert_error(429, "temporarily_unavailable");
}

/// INT-45: two secrets overlap until the old one's end, and then only the new one counts.
#[tokio::test]
async fn secrets_overlap_during_a_rotation() {
    let server = Server::start().await;
    let old = server.application("app").await;
    let path = "/v1/clients/app/secret";
    let rotated =
        server.json(Method::POST, path, Auth::Basic(&server.admin), json!({"keep_old_for": "1h"})).await;
    assert_eq!(rotated.status, 200, "{}", rotated.text());
    let new = named("app", &text(&rotated.json()["client_secret"]));
    server.hand.advance(Duration::from_secs(3599));
    for client in [&old, &new] {
        assert_eq!(server.form(PATH, Auth::Basic(client), &[("token", "x")]).await.status, 200);
    }
    server.hand.advance(Duration::from_secs(1));
    assert_eq!(server.form(PATH, Auth::Basic(&new), &[("token", "x")]).await.status, 200);
    server.form(PATH, Auth::Basic(&old), &[("token", "x")]).await.assert_error(401, "invalid_client");
}

/// Registering `web` and `phone` without `serves` gave `{"active":false}` and no trace of why.
#[tokio::test]
async fn a_token_that_is_inactive_for_want_of_an_audience_is_logged_once_a_minute_and_client() {
    let server = Server::start().await;
    let fields = json!({"client_id": "phone", "permissions": ["sessions"], "audiences": ["https://api"]});
    let phone = server.client(fields).await;
    let [web, api] = ["web", "api"].map(|id| json!({"client_id": id, "permissions": ["introspect"]}));
    let (web, api) = (server.client(web).await, server.client(api).await);
    let opened = server.open(&phone).await;
    let token = text(&opened["access_token"]);
    let (logged, _guard) = crate::routes::introspect::Logged::listen();
    let lines = || logged.text().lines().filter(|line| line.contains("does not serve the audience")).count();
    for _ in 0..3 {
        assert!(!server.is_active(&web, &token).await);
    }
    let body = json!({"token": token});
    server.json(Method::POST, "/v1/sessions/check", Auth::Basic(&api), body).await;
    assert_eq!(lines(), 2, "{}", logged.text());
    let line = logged.text();
    assert!(line.contains("INFO") && line.contains("client=\"web\" aud=\"https://api\" tokens=1"), "{line}");
    assert!(!line.contains(&token[20..60]));
    server.hand.advance(Duration::from_secs(60));
    assert!(!server.is_active(&web, &token).await);
    assert_eq!(lines(), 3);
    // What is not valid, or is for another reason not the caller's to see, leaves no line.
    server.hand.advance(Duration::from_secs(60));
    server.is_active(&web, &text(&opened["session_token"])).await;
    server.revoke(&phone, &token).await;
    server.is_active(&web, &token).await;
    assert_eq!(lines(), 3);
}
