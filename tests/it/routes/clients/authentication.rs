//! How a client authenticates at `/oauth2/*` (RFC 6749 §2.3).

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use http::Method;
use serde_json::json;

use crate::harness::server::{Auth, Client, Server, basic, text};
use crate::routes::introspect::Logged;

const PATH: &str = "/oauth2/token";
const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const BASIC: &str = r#"Basic realm="keyfob", charset="UTF-8""#;

/// A server and a client with its own tokens, whose name has every permitted sign.
async fn setting() -> (Server, Client) {
    let server = Server::with(&[("limits.failed_auth_per_minute", "1000")]).await;
    let app = server.client(json!({"client_id": "My-app_1.0~x", "grants": ["client_credentials"]})).await;
    (server, app)
}

fn header(joined: &[u8]) -> String {
    format!("Basic {}", Base64::encode_string(joined))
}

/// Every byte percent-encoded, more than any client does.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// CLI-01, CLI-04, CLI-05: names and secrets keep to the unreserved alphabet, and are form-decoded; the
/// scheme has no case.
#[tokio::test]
async fn basic_is_form_decoded() {
    let (server, app) = setting().await;
    let unreserved = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "._~-".contains(c));
    assert!(unreserved(&app.secret), "{}", app.secret.len());
    let generated = server.client(json!({})).await;
    assert!(unreserved(&generated.id) && unreserved(&generated.secret) && !generated.id.is_empty());
    assert_eq!(Base64UrlUnpadded::decode_vec(app.secret.strip_prefix("kfc_").unwrap()).unwrap().len(), 32);
    let (id, secret) = (&app.id, &app.secret);
    for joined in [
        format!("{id}:{secret}"),
        format!("{}:{}", percent(id), percent(secret)),
        format!("{}:{}", id.replace('_', "%5F").replace('~', "%7e"), secret.replace('_', "%5f")),
    ] {
        for scheme in ["Basic", "bAsIc", "BASIC "] {
            let header = format!("{scheme} {}", Base64::encode_string(joined.as_bytes()));
            let answer = server.form(PATH, Auth::Header(&header), &[GRANT]).await;
            assert_eq!(answer.status, 200, "{scheme} {joined}: {}", answer.text());
        }
    }
}

/// Decoding happens after the split and once: an encoded colon, plus or blank is part of its half, and no
/// other name fits.
#[tokio::test]
async fn what_is_decoded_is_compared_whole() {
    let (server, app) = setting().await;
    for joined in [
        format!("{}%3A{}", app.id, app.secret),
        format!("{}:{}+", app.id, app.secret),
        format!("{}:{}%20", app.id, app.secret),
        format!("{}:%2B{}", app.id, app.secret),
        format!("{}::{}", app.id, app.secret),
        format!("{}:{}", app.id.to_uppercase(), app.secret),
        format!("{}:{}", app.id, percent(&percent(&app.secret))),
    ] {
        server
            .form(PATH, Auth::Header(&header(joined.as_bytes())), &[GRANT])
            .await
            .assert_error(401, "invalid_client");
    }
}

/// CLI-06, CLI-07: Basic that does not decode is a failed one, and is asked for again.
#[tokio::test]
async fn malformed_basic_is_401() {
    let (server, app) = setting().await;
    let good = basic(&app.id, &app.secret);
    let mut rows: Vec<String> =
        [&b"no colon"[..], b"a%GG:b", b"app:%f", b"app:\xff", b"\xff:b", b":"].map(header).into();
    rows.extend(
        [
            "Basic",
            "Basic ",
            "Basic !!!!",
            "Basic YTpi YTpi",
            "Basic YTpiYQ",
            "Digest x",
            "Negotiate",
            "garbage",
        ]
        .map(String::from),
    );
    rows.push(good.trim_end_matches('=')[..good.len() - 5].to_owned());
    rows.push(basic(&app.id, "wrong"));
    for value in rows {
        for path in [PATH, "/oauth2/revoke", "/oauth2/introspect"] {
            let answer = server.form(path, Auth::Header(&value), &[GRANT, ("token", "x")]).await;
            answer.assert_error(401, "invalid_client");
            assert!(answer.challenges().contains(&BASIC), "{value}");
        }
    }
}

/// CLI-08, CLI-12 (any client may use either), CLI-11 (C-07): header or form; the name beside the header must
/// be the same.
#[tokio::test]
async fn header_and_form_are_equally_good() {
    let (server, app) = setting().await;
    let other = server.client(json!({"client_id": "other", "grants": ["client_credentials"]})).await;
    let (id, secret) = (("client_id", &*app.id), ("client_secret", &*app.secret));
    assert_eq!(server.form(PATH, Auth::Basic(&app), &[GRANT]).await.status, 200);
    assert_eq!(server.form(PATH, Auth::None, &[GRANT, id, secret]).await.status, 200);
    assert_eq!(server.form(PATH, Auth::Basic(&app), &[GRANT, id]).await.status, 200);
    server.form(PATH, Auth::Basic(&other), &[GRANT, id]).await.assert_error(400, "invalid_request");
    server.form(PATH, Auth::Basic(&app), &[GRANT, id, secret]).await.assert_error(400, "invalid_request");
    server.form(PATH, Auth::None, &[GRANT, secret]).await.assert_error(400, "invalid_request");
    server
        .form(PATH, Auth::None, &[GRANT, ("client_id", "other"), secret])
        .await
        .assert_error(401, "invalid_client");
}

/// CLI-09: a secret in the URL is refused, even beside good credentials; it is not logged and not repeated.
#[tokio::test]
async fn a_secret_in_the_url_is_refused() {
    let (server, app) = setting().await;
    let (logged, _guard) = Logged::listen();
    let path = format!("{PATH}?client_id={}&client_secret={}", app.id, app.secret);
    let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", app.id, app.secret);
    for (auth, body) in [
        (Auth::None, "grant_type=client_credentials"),
        (Auth::Basic(&app), "grant_type=client_credentials"),
        (Auth::None, &form),
    ] {
        let answer = server.raw_form(&path, auth, body).await;
        answer.assert_error(400, "invalid_request");
        assert!(!answer.text().contains(&app.secret));
    }
    assert!(!logged.text().contains(&app.secret), "{}", logged.text());
}

/// CLI-10: one way at a time, whatever the ways are worth by themselves.
#[tokio::test]
async fn two_ways_at_once_are_an_invalid_request() {
    let (server, app) = setting().await;
    let (good, secret) = (basic(&app.id, &app.secret), format!("&client_secret={}", app.secret));
    let assertion = "&client_assertion=a.b.c&\
                     client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let named = format!("&client_id={}", app.id);
    for (headers, body) in [
        (vec![&*good], secret.clone()),
        (vec![&*good], "&client_secret=wrong".into()),
        (vec!["Basic eDp5"], secret.clone()),
        (vec![&*good], assertion.into()),
        (vec![], format!("{named}{secret}{assertion}")),
        (vec![&*good, &*good], String::new()),
        (vec!["Bearer x"], secret),
    ] {
        let mut all = form.to_vec();
        all.extend(headers.iter().map(|value| ("authorization", *value)));
        for path in [PATH, "/oauth2/revoke", "/oauth2/introspect"] {
            let body = format!("grant_type=client_credentials&token=x{body}");
            server
                .send(Method::POST, path, Auth::None, &all, body)
                .await
                .assert_error(400, "invalid_request");
        }
    }
    let alone =
        server.raw_form(PATH, Auth::None, &format!("grant_type=client_credentials{named}{assertion}")).await;
    alone.assert_error(401, "invalid_client");
}

/// CLI-23: a confidential client that gives only its name does not refresh, and its token is not spent.
#[tokio::test]
async fn a_confidential_client_does_not_refresh_by_name() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let token = text(&server.open(&app).await["refresh_token"]);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &*token)];
    for (auth, more) in [
        (Auth::None, &[][..]),
        (Auth::None, &[("client_id", "app")]),
        (Auth::None, &[("client_id", "app"), ("client_secret", "wrong")]),
        (Auth::Header("Basic YXBwOg=="), &[]),
        (Auth::Bearer("x"), &[]),
    ] {
        let fields: Vec<_> = fields.iter().chain(more).copied().collect();
        let answer = server.form(PATH, auth, &fields).await;
        answer.assert_error(401, "invalid_client");
        assert_eq!(answer.challenges(), [BASIC]);
    }
    assert!(server.is_active(&app, &token).await);
    assert_eq!(server.refresh(&app, &token).await.status, 200);
}

/// A secret of another form than `kfc_` and 43 characters is wrong; so is no secret (contract, section 4).
#[tokio::test]
async fn a_secret_of_another_form_is_wrong() {
    let (server, app) = setting().await;
    let padded = format!("{}=", app.secret);
    for secret in [
        "",
        "kfc_",
        &app.secret[4..],
        &app.secret[..46],
        &*padded,
        &app.secret.to_uppercase(),
        &app.secret.replace("kfc_", "kfs_"),
    ] {
        let client = Client { id: app.id.clone(), secret: secret.into() };
        server.form(PATH, Auth::Basic(&client), &[GRANT]).await.assert_error(401, "invalid_client");
    }
}
