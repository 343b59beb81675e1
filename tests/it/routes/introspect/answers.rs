//! `POST /oauth2/introspect`: members, lifetime and headers of the answer for a valid token (RFC 7662 §2.2).

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use keyfob::domain::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::server::{Auth, ISSUER, NOW_S, Server, text};

const PATH: &str = "/oauth2/introspect";

fn names(answer: &Value) -> BTreeSet<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

/// INT-80, INT-81, INT-84, INT-86, INT-87, INT-88, INT-89, INT-94, INT-101: the types of every member, in
/// an answer to another client than the token's.
#[tokio::test]
async fn an_access_token_is_answered_in_full() {
    let server = Server::start().await;
    let app = server
        .client(json!({
            "client_id": "app", "permissions": ["sessions"], "grants": ["refresh_token"],
            "scopes": ["b", "a", "c"], "audiences": ["https://api.example/x?y"],
        }))
        .await;
    let rs = server
        .client(
            json!({"client_id": "rs", "permissions": ["introspect"], "serves": ["https://api.example/x?y"]}),
        )
        .await;
    let fields = json!({
        "subject": "alice", "scope": "b a", "acr": "aal2", "amr": ["pwd", "otp"], "claims": {"org": 7},
        "data": {"secret": 1}, "device": {"user_agent": "Firefox", "ip": "192.0.2.7"},
    });
    let opened = server.open_with(&app, fields).await;
    let reported = server.introspect(&rs, &text(&opened["access_token"])).await;
    let metadata = server.get("/.well-known/oauth-authorization-server", Auth::None).await.json();
    let mut expected = json!({
        "active": true, "iss": metadata["issuer"], "sub": "alice", "username": "alice", "client_id": "app",
        "aud": "https://api.example/x?y",
        "scope": "a b", "token_type": "Bearer", "exp": NOW_S + 300, "iat": NOW_S,
        "sid": opened["session"]["id"], "acr": "aal2",
        "amr": ["pwd", "otp"], "auth_time": NOW_S, "claims": {"org": 7},
    });
    for own in ["jti", "feed_seq"] {
        expected[own] = json!(text(&reported[own]));
    }
    assert_eq!(reported, expected);
    assert!(["exp", "iat", "auth_time"].iter().all(|time| reported[time].is_i64()), "{reported}");
}

/// INT-82: the whole permitted set of characters survives.
#[tokio::test]
async fn a_scope_keeps_to_the_permitted_characters() {
    let server = Server::start().await;
    let odd: String = (0x21..=0x7e_u8).map(char::from).filter(|c| !"\"\\".contains(*c)).collect();
    let fields =
        json!({"client_id": "app", "permissions": ["sessions", "introspect"], "scopes": [odd, "read"]});
    let app = server.client(fields).await;
    let token = text(&server.open(&app).await["access_token"]);
    assert_eq!(server.introspect(&app, &token).await["scope"], json!(format!("{odd} read")));
    for bad in ["a\"b", "a\\b", "a b\u{7f}", "a\nb", "ä"] {
        let fields = json!({"client_id": "bad", "scopes": [bad]});
        server
            .json(Method::POST, "/v1/clients", Auth::Basic(&server.admin), fields)
            .await
            .assert_problem(400, Some("scopes"));
    }
}

/// INT-83, INT-97: what there is not is left out: never null, never empty, never twice.
#[tokio::test]
async fn what_there_is_not_is_left_out() {
    let server = Server::start().await;
    let app = server
        .client(json!({
            "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        }))
        .await;
    let opened = server.open(&app).await;
    let common = ["active", "auth_time", "client_id", "exp", "feed_seq", "iss", "sid", "sub", "username"];
    for (token, more) in [
        ("access_token", &["aud", "iat", "jti", "token_type"][..]),
        ("refresh_token", &[]),
        ("session_token", &[]),
    ] {
        let answer = server.form(PATH, Auth::Basic(&app), &[("token", &text(&opened[token]))]).await;
        let reported = answer.json();
        assert_eq!(names(&reported), common.iter().chain(more).copied().collect(), "{token}");
        assert!(!answer.text().contains("null"), "{token}");
        for name in names(&reported) {
            assert_eq!(answer.text().matches(&format!("\"{name}\":")).count(), 1, "{token}: {name}");
        }
    }
}

/// INT-90: a client's own token: its subject is the client, and there is neither person nor session.
#[tokio::test]
async fn a_clients_own_token_speaks_for_the_client() {
    let server = Server::start().await;
    let rs = server
        .client(json!({"client_id": "rs", "permissions": ["introspect"], "grants": ["client_credentials"]}))
        .await;
    let own = server.own_token(&rs).await;
    let reported = server.introspect(&rs, &own).await;
    assert_eq!(
        (&reported["sub"], &reported["client_id"], &reported["aud"]),
        (&json!("rs"), &json!("rs"), &json!(ISSUER))
    );
    let expected =
        ["active", "aud", "client_id", "exp", "feed_seq", "iat", "iss", "jti", "sub", "token_type"];
    assert_eq!(names(&reported), expected.into());
}

/// INT-95: a token's name is not the token, stays, and is no other token's.
#[tokio::test]
async fn a_jti_is_stable_and_its_own() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let (one, other) =
        (text(&server.open(&app).await["access_token"]), text(&server.open(&app).await["access_token"]));
    let jti = text(&server.introspect(&app, &one).await["jti"]);
    assert_eq!(text(&server.introspect(&app, &one).await["jti"]), jti);
    assert_ne!(text(&server.introspect(&app, &other).await["jti"]), jti);
    assert!(jti.len() >= 16 && !one.contains(&jti), "{jti}");
}

/// INT-96 (C-08): a refresh token has no type, the scope that was granted, and the nearer of the two
/// expiries.
#[tokio::test]
async fn a_refresh_token_expires_with_its_session() {
    let server = Server::with(&[("policy.default.absolute_lifetime", "40m")]).await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let reported = server.introspect(&app, &text(&opened["refresh_token"])).await;
    assert_eq!(
        (reported.get("token_type"), reported.get("aud"), &reported["scope"]),
        (None, None, &json!("read write"))
    );
    assert_eq!(reported["exp"], json!(NOW_S + 30 * 60), "idle");
    server.hand.advance(Duration::from_secs(20 * 60));
    let fields = [
        ("grant_type", "refresh_token"),
        ("refresh_token", &*text(&opened["refresh_token"])),
        ("scope", "read"),
    ];
    let refreshed = server.form("/oauth2/token", Auth::Basic(&app), &fields).await.json();
    let reported = server.introspect(&app, &text(&refreshed["refresh_token"])).await;
    assert_eq!(
        (&reported["exp"], &reported["scope"]),
        (&json!(NOW_S + 40 * 60), &json!("read write")),
        "absolute, and the scope as granted"
    );
    let reported = server.introspect(&app, &text(&refreshed["access_token"])).await;
    assert_eq!((&reported["scope"], &reported["auth_time"]), (&json!("read"), &json!(NOW_S)));
}

/// INT-100: what we add to the registered members does not take the name of another registered one (IANA,
/// OAuth Token Introspection Response, as of 2026; `sid`, `amr` have their meaning from the JWT registry).
#[tokio::test]
async fn our_own_members_collide_with_no_registered_one() {
    let registered = "active username client_id scope token_type exp iat nbf sub aud iss jti permissions vot \
                      vtm act may_act cnf acr auth_time ace_profile cnonce exi authorization_details \
                      trust_framework";
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server
        .open_with(
            &app,
            json!({"subject": "a", "acr": "1", "amr": ["pwd"], "claims": {"active": "no", "scope": "admin"}}),
        )
        .await;
    let reported = server.introspect(&app, &text(&opened["access_token"])).await;
    let own: Vec<&str> = names(&reported)
        .into_iter()
        .filter(|name| !registered.split_whitespace().any(|taken| taken == *name))
        .collect();
    assert_eq!(own, ["amr", "claims", "feed_seq", "sid"]);
    assert_eq!(
        (&reported["active"], &reported["scope"]),
        (&json!(true), &json!("read write")),
        "claims are nested"
    );
}

/// INT-110 (C-14), INT-86: expired at `exp`, not a second earlier; valid also where the clock is a minute
/// behind. Fractions never widen it.
#[tokio::test]
async fn a_token_is_valid_until_just_before_exp() {
    let server = Server::start().await;
    let app = server.application("app").await;
    server.hand.advance(Duration::from_millis(700));
    let token = text(&server.open(&app).await["access_token"]);
    let reported = server.introspect(&app, &token).await;
    assert_eq!(
        (&reported["iat"], reported.get("nbf"), &reported["exp"]),
        (&json!(NOW_S), None, &json!(NOW_S + 300))
    );
    for (millis, active) in [
        (-61_000, false),
        (-60_001, false),
        (-60_000, true),
        (0, true),
        (299_000, true),
        (299_999, true),
        (300_000, false),
        (301_000, false),
    ] {
        server.hand.set_wall(Timestamp::from_millis(NOW_S * 1000 + millis));
        assert_eq!(server.is_active(&app, &token).await, active, "{millis} ms");
    }
}

/// INT-86: a session token or refresh token was active in, and after, the second that its `exp` named,
/// because the fraction of its end was cut off.
#[tokio::test]
async fn an_active_token_of_any_kind_has_an_exp_that_has_not_come() {
    for opened_at in [0, 1, 300, 700, 999] {
        let server = Server::start().await;
        let app = server.application("app").await;
        server.hand.advance(Duration::from_millis(opened_at));
        let opened = server.open(&app).await;
        let mut last = [0; 2];
        for before_the_end in (-1_000_i64..2_500).rev().step_by(250) {
            let now = NOW_S * 1000 + i64::try_from(opened_at).unwrap() + 30 * 60_000 - before_the_end;
            server.hand.set_wall(Timestamp::from_millis(now));
            for (n, name) in ["session_token", "refresh_token"].into_iter().enumerate() {
                let reported = server.introspect(&app, &text(&opened[name])).await;
                if reported["active"] == json!(true) {
                    last[n] = now;
                    assert!(reported["exp"].as_i64().unwrap() * 1000 > now, "{name} at {now}: {reported}");
                }
            }
        }
        assert!(last.iter().all(|last| *last > NOW_S * 1000 + 30 * 60_000 - 2_000), "they were active");
    }
}

/// INT-111: the next answer knows, also for a resource server that never asked before.
#[tokio::test]
async fn a_revocation_shows_in_the_very_next_answer() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let rs =
        server.client(json!({"client_id": "rs", "permissions": ["introspect"], "serves": [ISSUER]})).await;
    let token = text(&server.open(&app).await["access_token"]);
    assert!(server.is_active(&app, &token).await && server.is_active(&rs, &token).await);
    assert_eq!(server.revoke(&app, &token).await.status, 200);
    assert!(!server.is_active(&rs, &token).await && !server.is_active(&app, &token).await);
}

/// INT-114 (C-11): asking is not using.
#[tokio::test]
async fn introspection_is_no_activity() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    let before = server.get(&path, Auth::Basic(&app)).await.json();
    for number in 0..100 {
        server.hand.advance(Duration::from_secs(1));
        let token = ["access_token", "refresh_token", "session_token"][number % 3];
        assert!(server.is_active(&app, &text(&opened[token])).await);
    }
    assert_eq!(server.get(&path, Auth::Basic(&app)).await.json(), before);
    server.hand.advance(Duration::from_secs(30 * 60 - 100));
    assert!(!server.is_active(&app, &text(&opened["session_token"])).await, "the idle timeout ran on");
}

/// INT-120, INT-121, INT-122, INT-123: on every status.
#[tokio::test]
async fn no_answer_may_be_kept_sniffed_or_read_by_another_origin() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "1")]).await;
    let app = server.application("app").await;
    let live = format!("token={}", text(&server.open(&app).await["access_token"]));
    let plain = server.client(json!({"client_id": "plain"})).await;
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "https://evil.example")];
    let large = format!("token={}", "a".repeat(70_000));
    for (method, auth, body, status) in [
        (Method::POST, Auth::Basic(&app), &*live, 200),
        (Method::POST, Auth::Basic(&app), "token=x", 200),
        (Method::POST, Auth::Basic(&app), "", 400),
        (Method::POST, Auth::None, "token=x", 401),
        (Method::POST, Auth::Bearer("x"), "token=x", 401),
        (Method::POST, Auth::Basic(&plain), "token=x", 403),
        (Method::GET, Auth::Basic(&app), "", 405),
        (Method::OPTIONS, Auth::None, "", 405),
        (Method::POST, Auth::Basic(&app), &*large, 413),
        (Method::POST, Auth::Header("Basic bm86bm8="), "token=x", 401),
        (Method::POST, Auth::Header("Basic bm86bm8="), "token=x", 429),
    ] {
        let answer = server.send(method, PATH, auth, &headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        for (name, value) in
            [("cache-control", "no-store"), ("pragma", "no-cache"), ("x-content-type-options", "nosniff")]
        {
            assert_eq!(answer.header(name), value, "{status}");
        }
        for name in
            ["etag", "last-modified", "access-control-allow-origin", "access-control-allow-credentials"]
        {
            assert_eq!(answer.headers.get(name), None, "{status}");
        }
    }
}
