//! `POST /oauth2/introspect`: every reason to be inactive has one shape (RFC 7662 §2.2, §4).

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::Method;
use keyfob::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, NOW_S, Server, text};
use crate::harness::wired::Wired;

const PATH: &str = "/oauth2/introspect";
const INACTIVE: &str = r#"{"active":false}"#;

/// INT-61, INT-62: exactly this, with exactly these headers, whatever the reason.
async fn assert_inactive(server: &Server, client: &Client, token: &str, why: &str) {
    let answer = server.form(PATH, Auth::Basic(client), &[("token", token)]).await;
    assert_eq!((answer.status, answer.text()), (200, INACTIVE.into()), "{why}");
    let headers = [
        "cache-control=no-store",
        "content-security-policy=default-src 'none'; frame-ancestors 'none'",
        "content-type=application/json",
        "cross-origin-resource-policy=same-origin",
        "pragma=no-cache",
        "referrer-policy=no-referrer",
        "x-content-type-options=nosniff",
    ];
    let mut sent: Vec<_> =
        answer.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
    sent.sort();
    assert_eq!(sent, headers, "{why}");
}

/// A server and an application that may introspect.
async fn setting() -> (Server, Client) {
    let server = Server::start().await;
    let app = server.application("app").await;
    (server, app)
}

/// The same token with one bit of its body changed, counted from the end; a footer stays.
fn flipped(token: &str, prefix: &str, byte: usize, bit: u8) -> String {
    let (body, footer) = token[prefix.len()..].split_once('.').unwrap_or((&token[prefix.len()..], ""));
    let mut bytes = Base64UrlUnpadded::decode_vec(body).unwrap();
    let at = bytes.len() - 1 - byte;
    bytes[at] ^= 1 << bit;
    let dot = if footer.is_empty() { "" } else { "." };
    format!("{prefix}{}{dot}{footer}", Base64UrlUnpadded::encode_string(&bytes))
}

/// INT-50, INT-60, INT-61, INT-62: no token of ours at all.
#[tokio::test]
async fn what_is_no_token_of_ours() {
    let (server, app) = setting().await;
    let bytes = Base64UrlUnpadded::encode_string(&[7; 200]);
    let jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.c2ln";
    let unsecured = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImV4cCI6OTk5OTk5OTk5OX0.";
    for token in [
        "x",
        &*bytes,
        &format!("v4.local.{bytes}"),
        &format!("v3.public.{bytes}"),
        &format!("v4.public.{bytes}"),
        &format!("kfr_{}", &bytes[..96]),
        &format!("kfs_{}", &bytes[..96]),
        &format!("kfc_{}", &bytes[..43]),
        jwt,
        unsecured,
        &app.secret,
        &server.admin.secret,
    ] {
        assert_inactive(&server, &app, token, token).await;
    }
}

/// INT-51, INT-52: before its time and after it.
#[tokio::test]
async fn a_token_outside_its_time() {
    let (server, app) = setting().await;
    let token = text(&server.open(&app).await["access_token"]);
    assert!(server.is_active(&app, &token).await);
    server.hand.set_wall(Timestamp::from_seconds(NOW_S - 61));
    assert_inactive(&server, &app, &token, "iat is in the future").await;
    server.hand.set_wall(Timestamp::from_seconds(NOW_S + 300));
    assert_inactive(&server, &app, &token, "exp has come").await;
}

/// INT-53, for what of it can be revoked: each cause by itself, for the tokens that die of it.
#[tokio::test]
async fn a_token_whose_ground_was_taken_away() {
    const ALL: &[&str] = &["access_token", "refresh_token", "session_token"];
    for (cause, dead) in [
        ("jti", &["access_token"][..]),
        ("family", ALL),
        ("session", ALL),
        ("session by its token", ALL),
        ("subject", ALL),
        ("everything", ALL),
        ("client disabled", ALL),
        ("client deleted", ALL),
        ("reuse", ALL),
    ] {
        let (server, app) = setting().await;
        let reader = server.client(json!({"client_id": "reader", "permissions": ["introspect:any"]})).await;
        let opened = server.open(&app).await;
        let (admin, id) = (Auth::Basic(&server.admin), text(&opened["session"]["id"]));
        for token in ALL {
            assert!(server.is_active(&reader, &text(&opened[token])).await, "{cause}");
        }
        let status = match cause {
            "jti" => server.revoke(&app, &text(&opened["access_token"])).await.status,
            "family" => server.revoke(&app, &text(&opened["refresh_token"])).await.status,
            "session by its token" => server.revoke(&app, &text(&opened["session_token"])).await.status,
            "session" => server.delete(&format!("/v1/sessions/{id}"), admin).await.status,
            "subject" => server.delete("/v1/subjects/alice/sessions", admin).await.status,
            "everything" => server.delete("/v1/sessions?all=true", admin).await.status,
            "client disabled" => {
                server.json(Method::PATCH, "/v1/clients/app", admin, json!({"disabled": true})).await.status
            }
            "client deleted" => server.delete("/v1/clients/app", admin).await.status,
            _ => {
                let once = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
                server.refresh(&app, &text(&once["refresh_token"])).await;
                assert_eq!(
                    server.refresh(&app, &text(&opened["refresh_token"])).await.error(),
                    "invalid_grant"
                );
                200
            }
        };
        assert!((200..=204).contains(&status), "{cause}: {status}");
        for token in dead {
            assert_inactive(&server, &reader, &text(&opened[token]), cause).await;
        }
    }
}

/// INT-54: every bit of the signature counts, and so does every bit of a MAC.
#[tokio::test]
async fn a_token_with_a_flipped_bit() {
    let (server, app) = setting().await;
    let opened = server.open(&app).await;
    for byte in 0..64 {
        let forged =
            flipped(&text(&opened["access_token"]), "v4.public.", byte, u8::try_from(byte % 8).unwrap());
        assert_inactive(&server, &app, &forged, "signature").await;
    }
    for (token, prefix) in [("refresh_token", "kfr_"), ("session_token", "kfs_")] {
        for byte in 0..72 {
            let forged = flipped(&text(&opened[token]), prefix, byte, u8::try_from(byte % 8).unwrap());
            assert_inactive(&server, &app, &forged, token).await;
        }
        assert!(server.is_active(&app, &text(&opened[token])).await, "forgeries do no harm");
    }
    assert!(server.is_active(&app, &text(&opened["access_token"])).await);
}

/// INT-55: another key, although all else is the same: issuer, client, audience; and a `kid` that is not the
/// signer's.
#[tokio::test]
async fn a_token_of_an_unknown_key() {
    let ((server, app), (stranger, their_app)) = (setting().await, setting().await);
    let theirs = text(&stranger.open(&their_app).await["access_token"]);
    assert!(stranger.is_active(&their_app, &theirs).await);
    assert_inactive(&server, &app, &theirs, "unknown kid").await;
    let ours = text(&server.open(&app).await["access_token"]);
    let footer = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let relabelled = theirs.replace(&footer(&theirs), &footer(&ours));
    assert_ne!(relabelled, theirs);
    assert_inactive(&server, &app, &relabelled, "our kid under their signature").await;
    assert_inactive(&server, &app, theirs.trim_end_matches(&format!(".{}", footer(&theirs))), "no kid").await;
}

/// INT-56, INT-57, INT-60: live tokens that are not the caller's to read: by audience, by owner, by opener.
#[tokio::test]
async fn a_token_that_is_not_for_the_caller() {
    let server = Server::start().await;
    let app = |id: &str| {
        json!({
            "client_id": id, "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
            "audiences": ["https://a"],
        })
    };
    let (owner, other) = (server.client(app("owner")).await, server.client(app("other")).await);
    let rs = |id: &str, serves: &str| {
        json!({
            "client_id": id, "permissions": ["introspect", "sessions"], "serves": [serves],
        })
    };
    let (rs_a, rs_b) =
        (server.client(rs("rs-a", "https://a")).await, server.client(rs("rs-b", "https://b")).await);
    let backend =
        json!({"client_id": "backend", "permissions": ["sessions", "introspect"], "opens_for": ["owner"]});
    let backend = server.client(backend).await;
    let opened = server.open(&owner).await;
    let for_owner = server.open_with(&backend, json!({"subject": "bob", "client_id": "owner"})).await;
    let readers = |token: &str, opened: &Value| {
        let by_backend = opened["session"]["opened_by"] == json!("backend");
        match token {
            "access_token" => vec!["owner", "rs-a"],
            _ if by_backend => vec!["owner", "backend"],
            _ => vec!["owner"],
        }
    };
    for opened in [&opened, &for_owner] {
        for token in ["access_token", "refresh_token", "session_token"] {
            for caller in [&owner, &other, &rs_a, &rs_b, &backend] {
                let value = text(&opened[token]);
                if readers(token, opened).contains(&&*caller.id) {
                    assert!(server.is_active(caller, &value).await, "{token} for {}", caller.id);
                } else {
                    assert_inactive(&server, caller, &value, &format!("{token} for {}", caller.id)).await;
                }
            }
        }
    }
}

/// INT-58 (C-09): a refresh token that was rotated out, within the window and after it; and asking is not
/// using it again.
#[tokio::test]
async fn a_rotated_refresh_token() {
    let (server, app) = setting().await;
    let opened = server.open(&app).await;
    let old = text(&opened["refresh_token"]);
    let current = text(&server.refresh(&app, &old).await.json()["refresh_token"]);
    let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    let before = server.get(&path, Auth::Basic(&app)).await.json();
    for seconds in [1, 60] {
        server.hand.advance(Duration::from_secs(seconds));
        assert_inactive(&server, &app, &old, "rotated out").await;
        assert!(server.is_active(&app, &current).await);
        assert_eq!(server.get(&path, Auth::Basic(&app)).await.json(), before);
    }
    assert_eq!(server.refresh(&app, &current).await.status, 200, "the family lives");
}

/// INT-59: the same keys, another issuer.
#[tokio::test]
async fn a_token_of_another_issuer() {
    let (mut server, app) = setting().await;
    let token = text(&server.open(&app).await["access_token"]);
    server.restart().await;
    assert!(server.is_active(&app, &token).await, "a restart alone does no harm");
    server.set("server.issuer", "https://id.example");
    server.restart().await;
    assert_inactive(&server, &app, &token, "another issuer").await;
    let own = text(&server.open(&app).await["access_token"]);
    assert_eq!(server.introspect(&app, &own).await["iss"], json!("https://id.example"));
}

/// INT-63: a genuine token about which nothing is known: its MAC is right and its session is not in this
/// store.
#[tokio::test]
async fn a_genuine_token_of_an_unknown_session() {
    let (wired, elsewhere) = (Wired::start().await, Wired::start().await);
    let (app, their_app) = (wired.application("app").await, elsewhere.application("app").await);
    let opened = elsewhere.open(&their_app).await;
    for token in ["refresh_token", "session_token"] {
        let token = text(&opened[token]);
        assert!(elsewhere.is_active(&their_app, &token).await);
        assert_eq!(wired.form(PATH, &app, &[("token", &token)]).await.text(), INACTIVE);
    }
}
