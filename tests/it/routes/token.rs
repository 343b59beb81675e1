//! `POST /oauth2/token`: the form, the answers and the errors (RFC 6749 §3.2, §5), and a client's own tokens
//! (§4.4).

mod jwt;
mod refresh;
mod rotation;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Answer, Auth, Client, ISSUER, Server, text};

const PATH: &str = "/oauth2/token";

/// A server, an application with both grants, and a session of it.
async fn setting() -> (Server, Client, Value) {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"],
        "grants": ["refresh_token", "client_credentials"], "scopes": ["read", "write"],
    });
    let app = server.client(fields).await;
    let opened = server.open(&app).await;
    (server, app, opened)
}

/// TOK-01 (C-13).
#[tokio::test]
async fn every_other_method_is_405() {
    let (server, app, opened) = setting().await;
    let query = format!("{PATH}?grant_type=refresh_token&refresh_token={}", text(&opened["refresh_token"]));
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
        let answer = server.send(method.clone(), &query, Auth::Basic(&app), &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
        assert!(!answer.text().contains("access_token"));
    }
}

/// TOK-02 (C-01), TOK-03, TOK-04, TOK-05, TOK-06, TOK-08, TOK-09, TOK-17: nothing of it spends the refresh
/// token.
#[tokio::test]
async fn a_malformed_request_spends_nothing() {
    let (server, app, opened) = setting().await;
    let token = text(&opened["refresh_token"]);
    let good = format!("grant_type=refresh_token&refresh_token={token}");
    let mut rows: Vec<(String, &str)> =
        ["grant_type", "refresh_token", "scope", "client_id", "client_secret", "client_assertion"]
            .map(|name| (format!("{good}&{name}=read&{name}=read"), "invalid_request"))
            .into();
    rows.extend([
        (format!("refresh_token={token}"), "invalid_request"),
        (format!("grant_type=&refresh_token={token}"), "invalid_request"),
        (format!("Grant_type=refresh_token&refresh_token={token}"), "invalid_request"),
        ("grant_type=refresh_token".into(), "invalid_request"),
        ("grant_type=refresh_token&refresh_token=".into(), "invalid_request"),
        (format!("{good}&scope=&scope=read"), "invalid_request"),
        (format!("{good}&resource={ISSUER}&resource={ISSUER}"), "invalid_target"),
        (format!("{good}&resource=&resource={ISSUER}"), "invalid_target"),
        ("grant_type=password&username=alice&password=x".into(), "unsupported_grant_type"),
        ("grant_type=authorization_code&code=x".into(), "unsupported_grant_type"),
        (
            "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange".into(),
            "unsupported_grant_type",
        ),
        (format!("grant_type=Refresh_Token&refresh_token={token}"), "unsupported_grant_type"),
    ]);
    for (body, code) in rows {
        server.raw_form(PATH, Auth::Basic(&app), &body).await.assert_error(400, code);
    }
    server
        .raw_form(&format!("{PATH}?{good}"), Auth::Basic(&app), "")
        .await
        .assert_error(400, "invalid_request");
    let multipart =
        "--b\r\nContent-Disposition: form-data; name=\"grant_type\"\r\n\r\nrefresh_token\r\n--b--\r\n"
            .to_owned();
    let json = json!({"grant_type": "refresh_token", "refresh_token": token}).to_string();
    for (media_type, body) in [("application/json", json), ("multipart/form-data; boundary=b", multipart)] {
        let answer =
            server.send(Method::POST, PATH, Auth::Basic(&app), &[("content-type", media_type)], body).await;
        answer.assert_error(400, "invalid_request");
    }
    assert!(server.is_active(&app, &token).await, "still the current one");
    assert_eq!(server.refresh(&app, &token).await.status, 200);
}

/// TOK-07: a grant that the client does not have; nothing is spent.
#[tokio::test]
async fn a_grant_that_the_client_does_not_have_is_refused() {
    let (server, app, opened) = setting().await;
    let answer = server
        .json(Method::PATCH, "/v1/clients/app", Auth::Basic(&server.admin), json!({"grants": []}))
        .await;
    assert_eq!(answer.status, 200);
    let token = text(&opened["refresh_token"]);
    server.refresh(&app, &token).await.assert_error(400, "unauthorized_client");
    server
        .form(PATH, Auth::Basic(&app), &[("grant_type", "client_credentials")])
        .await
        .assert_error(400, "unauthorized_client");
    server
        .json(
            Method::PATCH,
            "/v1/clients/app",
            Auth::Basic(&server.admin),
            json!({"grants": ["refresh_token"]}),
        )
        .await;
    assert_eq!(server.refresh(&app, &token).await.status, 200);
}

/// TOK-10, TOK-11: what is unknown is ignored, however often it is there; an empty scope is none, so
/// everything.
#[tokio::test]
async fn unknown_parameters_and_empty_ones_are_ignored() {
    let (server, app, opened) = setting().await;
    let mut token = text(&opened["refresh_token"]);
    for rest in ["&foo=bar", "&foo=1&foo=2", "&scope=", "&resource=", "&client_id=", "&audience=x"] {
        let body = format!("grant_type=refresh_token&refresh_token={token}{rest}");
        let answer = server.raw_form(PATH, Auth::Basic(&app), &body).await;
        assert_eq!(
            (answer.status, &answer.json()["scope"]),
            (200, &json!("read write")),
            "{rest}: {}",
            answer.text()
        );
        token = text(&answer.json()["refresh_token"]);
    }
}

/// TOK-12, TOK-14, TOK-15: the members of a success and their types, and the headers.
#[tokio::test]
async fn a_success_has_the_members_of_rfc_6749() {
    let (server, app, opened) = setting().await;
    let assert_tokens = |answer: &Answer, refresh: bool, scope: &str| {
        let body = answer.json();
        let headers = ["content-type", "cache-control", "pragma"].map(|name| answer.header(name));
        assert_eq!((answer.status, headers), (200, ["application/json", "no-store", "no-cache"]));
        assert!(text(&body["access_token"]).starts_with("v4.public."), "{body}");
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(300)));
        assert_eq!((&body["scope"], body["refresh_token"].is_string()), (&json!(scope), refresh));
        assert_eq!(body.as_object().unwrap().len(), 4 + usize::from(refresh));
    };
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await;
    assert_tokens(&refreshed, true, "read write");
    let next = text(&refreshed.json()["refresh_token"]);
    let narrower = [("grant_type", "refresh_token"), ("refresh_token", &next), ("scope", "write")];
    assert_tokens(&server.form(PATH, Auth::Basic(&app), &narrower).await, true, "write");
    assert_tokens(
        &server.form(PATH, Auth::Basic(&app), &[("grant_type", "client_credentials")]).await,
        false,
        "read write",
    );
}

/// TOK-13, TOK-16, TOK-17: whatever is asked, `error` and `error_description` keep to their characters, the
/// status is 400, and nothing may keep it.
#[tokio::test]
async fn an_error_keeps_to_the_permitted_characters() {
    let (server, app, opened) = setting().await;
    let token = text(&opened["refresh_token"]);
    for odd in
        ["\"", "\\", "\r\nSet-Cookie: a=b", "Żółw 🐢", "\0\u{7f}", "<script>", "a\"b\\c\nd", "\u{202e}"]
    {
        for (name, rest) in [
            ("grant_type", &[][..]),
            ("refresh_token", &[("grant_type", "refresh_token")]),
            ("scope", &[("grant_type", "refresh_token"), ("refresh_token", &*token)]),
            ("resource", &[("grant_type", "refresh_token"), ("refresh_token", &*token)]),
            ("resource", &[("grant_type", "client_credentials")]),
            ("scope", &[("grant_type", "client_credentials")]),
            ("client_id", &[("grant_type", "client_credentials")]),
        ] {
            let fields: Vec<_> = [(name, odd)].into_iter().chain(rest.iter().copied()).collect();
            let answer = server.form(PATH, Auth::Basic(&app), &fields).await;
            answer.assert_error(400, &answer.error());
            for member in ["error", "error_description"] {
                let permitted = |c| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
                assert!(text(&answer.json()[member]).chars().all(permitted), "{name}: {}", answer.text());
            }
            assert_eq!(answer.json().as_object().unwrap().len(), 2);
        }
    }
    assert_eq!(server.refresh(&app, &token).await.status, 200, "nothing of it spent the token");
}

/// TOK-18, RFR-06: unknown, malformed, forged, expired, ended, reused, another client's, of another kind: the
/// same bytes.
#[tokio::test]
async fn no_refusal_tells_what_became_of_a_refresh_token() {
    let (server, app, opened) = setting().await;
    let other = server
        .client(json!({"client_id": "other", "permissions": ["sessions"], "grants": ["refresh_token"]}))
        .await;
    let fresh = || async { text(&server.open(&app).await["refresh_token"]) };
    let expired = fresh().await;
    server.hand.advance(Duration::from_secs(31 * 60));
    let (revoked, ended, reused, late) =
        (fresh().await, server.open(&app).await, fresh().await, fresh().await);
    server.revoke(&app, &revoked).await;
    server.delete(&format!("/v1/sessions/{}", text(&ended["session"]["id"])), Auth::Basic(&app)).await;
    for token in [&reused, &late] {
        let next = text(&server.refresh(&app, token).await.json()["refresh_token"]);
        if token == &reused {
            server.refresh(&app, &next).await;
        }
    }
    server.hand.advance(Duration::from_secs(11));
    let (others, live) = (text(&server.open(&other).await["refresh_token"]), server.open(&app).await);
    let mut forged = text(&live["refresh_token"]);
    forged.replace_range(90..91, if &forged[90..91] == "A" { "B" } else { "A" });
    let first = server.refresh(&app, "x").await;
    first.assert_error(400, "invalid_grant");
    for (why, token) in [
        ("unknown", format!("kfr_{}", "A".repeat(96))),
        ("expired", expired),
        ("revoked", revoked),
        ("ended", text(&ended["refresh_token"])),
        ("reused", reused.clone()),
        ("reused again", reused),
        ("late", late),
        ("another client's", others),
        ("forged", forged),
        ("a session token", text(&live["session_token"])),
        ("an access token", text(&live["access_token"])),
        ("a secret", app.secret.clone()),
        ("of the first session, which expired", text(&opened["refresh_token"])),
    ] {
        let answer = server.refresh(&app, &token).await;
        assert_eq!(
            (answer.status, &answer.headers, &answer.body),
            (first.status, &first.headers, &first.body),
            "{why}"
        );
    }
}

/// A client's own token (contract, section 4): for its only audience, or the one that it names, or always the
/// issuer; several are named.
#[tokio::test]
async fn a_client_asks_for_one_of_its_audiences() {
    let server = Server::start().await;
    let client = |id: &str, audiences: &[&str]| {
        json!({
            "client_id": id, "permissions": ["introspect", "sessions"], "grants": ["client_credentials"],
            "audiences": audiences,
        })
    };
    let none = server.client(client("none", &[])).await;
    let one = server.client(client("one", &["https://a"])).await;
    let two = server.client(client("two", &["https://a", "https://b"])).await;
    for (client, resource, expected) in [
        (&none, None, Ok(ISSUER)),
        (&none, Some("https://a"), Err(())),
        (&one, None, Ok("https://a")),
        (&one, Some(ISSUER), Ok(ISSUER)),
        (&two, Some("https://b"), Ok("https://b")),
        (&two, Some("https://c"), Err(())),
        (&two, Some("https://b/"), Err(())),
        (&two, None, Err(())),
    ] {
        let mut fields = vec![("grant_type", "client_credentials")];
        fields.extend(resource.map(|resource| ("resource", resource)));
        let answer = server.form(PATH, Auth::Basic(client), &fields).await;
        match expected {
            Ok(audience) => {
                let reported = server.introspect(client, &text(&answer.json()["access_token"])).await;
                assert_eq!(reported["aud"], json!(audience), "{} {resource:?}", client.id);
            }
            Err(()) => answer.assert_error(400, "invalid_target"),
        }
    }
    let several = server.form(PATH, Auth::Basic(&two), &[("grant_type", "client_credentials")]).await;
    assert!(several.text().contains("https://a, https://b"), "{}", several.text());
    let opening =
        server.json(Method::POST, "/v1/sessions", Auth::Basic(&two), json!({"subject": "alice"})).await;
    opening.assert_problem(400, opening.json()["field"].as_str());
    assert!(opening.text().contains("https://a, https://b"), "{}", opening.text());
}

/// A client's own scopes, asked for like a person's; and no refresh token comes with its token.
#[tokio::test]
async fn a_client_asks_for_its_own_scopes() {
    let (server, app, _) = setting().await;
    for (scope, expected) in [
        ("write", Ok("write")),
        ("write read write", Ok("read write")),
        ("admin", Err(())),
        ("read  write", Err(())),
    ] {
        let answer = server
            .form(PATH, Auth::Basic(&app), &[("grant_type", "client_credentials"), ("scope", scope)])
            .await;
        match expected {
            Ok(granted) => assert_eq!((answer.status, &answer.json()["scope"]), (200, &json!(granted))),
            Err(()) => answer.assert_error(400, "invalid_scope"),
        }
    }
}
