//! Values beyond their form or their meaning: times, durations, versions, ids, scopes, claims that resemble
//! ours, and requests that want to be another method.

use http::Method;
use serde_json::{Value, json};

use super::{Attacks, state_of};
use crate::harness::people::{path, signed_in_with};
use crate::harness::server::{Auth, Server, text};

/// Each field of an opening, with values that it does not have.
#[tokio::test]
async fn a_value_outside_its_form_is_refused_and_opens_nothing() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let mut attacks = Attacks::of("values of an opening");
    let long = "x".repeat(2_000);
    let table: [(&str, Vec<Value>); 14] = [
        (
            "auth_time",
            [
                "2027-01-15T08:01:01Z",
                "9999-12-31T23:59:59Z",
                "10000-01-01T00:00:00Z",
                "-0001-01-01T00:00:00Z",
                "1969-12-31T23:59:59Z",
                "1996-01-15T08:00:00Z",
                "2027-01-15",
                "2027-01-15T08:00:00",
                "2027-01-15 08:00:00Z",
                "2027-01-15T24:00:00Z",
                "2027-02-29T08:00:00Z",
                "2027-13-01T08:00:00Z",
                "2027-01-15T08:00:00+25:61",
                "2027-01-15T08:00:00[Europe/Berlin]",
                "2027-W02-5T08:00:00Z",
                "1800000000",
                "now",
                "",
            ]
            .map(|text| json!(text))
            .into(),
        ),
        ("auth_time", vec![json!(NOW), json!(-1), json!(1.5), json!(true), json!([]), json!({})]),
        ("subject", vec![json!("."), json!(".."), json!("a\u{0}"), json!("a\u{7f}"), json!("\u{1b}[2J")]),
        ("subject", vec![json!("a\r\nb"), json!("a\tb"), json!("x".repeat(257)), json!("é".repeat(129))]),
        (
            "scope",
            vec![json!("admin"), json!("read  write"), json!(" read"), json!("read "), json!("read\twrite")],
        ),
        (
            "scope",
            vec![
                json!("re\"ad"),
                json!("re\\ad"),
                json!("réad"),
                json!("*"),
                json!("READ"),
                json!([]),
                json!(1),
            ],
        ),
        (
            "audience",
            vec![json!("https://other.example"), json!(""), json!(["a", "b"]), json!("a b"), json!("\n")],
        ),
        ("acr", vec![json!(""), json!(long), json!("a\u{0}"), json!(["aal3"]), json!(3)]),
        (
            "amr",
            vec![
                json!("pwd"),
                json!([1]),
                json!([""]),
                json!(vec!["a"; 17]),
                json!({"0": "pwd"}),
                json!([["pwd"]]),
            ],
        ),
        ("claims", vec![json!({"c": "x".repeat(4_096)}), json!([]), json!(""), json!(1), json!([{}])]),
        ("data", vec![json!({"d": "x".repeat(16_384)}), json!([]), json!(""), json!(true)]),
        ("remember", vec![json!("yes"), json!(1), json!([]), json!({})]),
        (
            "device",
            vec![
                json!([]),
                json!(""),
                json!({"ip": "\u{0}"}),
                json!({"label": long}),
                json!({"user": "root"}),
            ],
        ),
        (
            "client_id",
            vec![
                json!("admin"),
                json!("APP"),
                json!("app "),
                json!("../app"),
                json!(""),
                json!(["app"]),
                json!(0),
            ],
        ),
    ];
    let mut number = 0;
    for (field, values) in table {
        for value in values {
            number += 1;
            let mut body = json!({"subject": "alice"});
            body[field] = value.clone();
            let answer = server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), body).await;
            let shown: String = value.to_string().chars().take(40).collect();
            attacks.check(
                format!("{number}: {field} {shown}"),
                matches!(answer.status, 400 | 403),
                answer.status,
            );
        }
    }
    attacks.finish(86);
    let listed = server.get("/v1/sessions", Auth::Basic(&app)).await.json();
    assert_eq!(listed["items"], json!([]), "nothing was opened");
}

const NOW: i64 = crate::harness::server::NOW_S;

/// Versions, ids to leave out, durations and counts in headers, queries and bodies of changes.
#[tokio::test]
async fn a_parameter_outside_its_form_is_refused_and_changes_nothing() {
    let people = signed_in_with(&[], json!({"subject": "alice"})).await;
    let server = &people.server;
    let other = server.application("other").await;
    let foreign = server.open_with(&other, json!({"subject": "alice"})).await;
    let before = state_of(server, &people.path()).await;
    let mut attacks = Attacks::of("values of parameters");
    let json = ("content-type", "application/json");
    for version in [
        "\"2\"",
        "\"0\"",
        "\"-1\"",
        "\"+1\"",
        "\"01x\"",
        "W/\"1\"",
        "w/\"1\"",
        "'1'",
        "\"1",
        "1\"",
        "\"1\" \"1\"",
        "1.0",
        "0x1",
        "*, \"1\"",
        "\"18446744073709551617\"",
        "\"4294967297\"",
        "99999999999",
        "",
        ",",
        "one",
    ] {
        let headers = [json, ("if-match", version)];
        let change = r#"{"claims":{"role":"root"}}"#;
        let answer =
            server.send(Method::PATCH, &people.path(), Auth::Basic(&people.app), &headers, change).await;
        attacks.check(format!("If-Match {version}"), matches!(answer.status, 400 | 412), answer.status);
    }
    let foreign_id = text(&foreign["session"]["id"]);
    let own_id = text(&people.opened["session"]["id"]);
    let unknown = "00000000-0000-7000-8000-000000000000";
    for (name, except) in [
        ("empty", String::new()),
        ("no id", "x".to_owned()),
        ("in braces", format!("%7B{own_id}%7D")),
        ("as a URN", format!("urn:uuid:{own_id}")),
        ("without hyphens", own_id.replace('-', "")),
        ("twice", format!("{own_id}&except={foreign_id}")),
        ("a list", format!("{own_id},{foreign_id}")),
        ("with a zero byte", format!("{own_id}%00")),
        ("with a space", format!("{own_id}%20")),
        ("a star", "*".to_owned()),
    ] {
        for route in ["/v1/subjects/alice/sessions?", "/v1/sessions?subject=alice&"] {
            let answer = server.delete(&format!("{route}except={except}"), Auth::Basic(&server.admin)).await;
            attacks.expect(format!("{route}except, {name}"), answer.status, 400);
        }
    }
    // A session that there is not, or of another subject, is not one to be left out: nothing is ended for it.
    let bob = server.open_with(&other, json!({"subject": "bob"})).await;
    for (name, id) in
        [("an unknown session", unknown.to_owned()), ("a session of bob", text(&bob["session"]["id"]))]
    {
        let carol = server.open_with(&other, json!({"subject": "carol"})).await;
        let path = format!("/v1/subjects/carol/sessions?except={id}");
        let answer = server.delete(&path, Auth::Basic(&other)).await;
        let spared = server.who_am_i(&text(&carol["session_token"])).await.status == 200;
        let is_ended = answer.status == 200 && answer.json()["ended"] == 1 && !spared;
        attacks.check(
            format!("except of {name}"),
            is_ended || answer.status >= 400,
            (answer.status, answer.text()),
        );
    }
    for keep in [
        "-1s",
        "1",
        "1h30",
        "1x",
        "1 h",
        "1H",
        "\u{661}h",
        "0x1h",
        "1e3s",
        "NaN",
        "99999999999999999999d",
        "500d",
        "",
        "PT1H",
        "1h\n",
    ] {
        let body = json!({"keep_old_for": keep});
        let answer =
            server.json(Method::POST, "/v1/clients/app/secret", Auth::Basic(&server.admin), body).await;
        attacks.expect(format!("keep_old_for {keep:?}"), answer.status, 400);
    }
    for (route, limits) in [
        (
            "/v1/sessions?limit=",
            ["0", "201", "-1", "+1", "1.0", "x", "", "18446744073709551617", "1%20", "%D9%A1"],
        ),
        (
            "/v1/events?limit=",
            ["0", "-1", "+1", "1.0", "x", "", "18446744073709551617", "1%20", "%D9%A1", "1e2"],
        ),
        (
            "/v1/events?wait=",
            ["-1", "+1", "1.0", "x", "", "18446744073709551617", "1%20", "%D9%A1", "1e2", "0x1"],
        ),
        (
            "/v1/feed?since=",
            ["-1", "+1", "1.0", "x", "", "18446744073709551617", "1%20", "%D9%A1", "1e2", "0x1"],
        ),
    ] {
        for limit in limits {
            let answer = server.get(&format!("{route}{limit}"), Auth::Basic(&server.admin)).await;
            attacks.expect(format!("{route}{limit}"), answer.status, 400);
        }
    }
    let is_unchanged = state_of(server, &people.path()).await == before;
    attacks.finish(20 + 10 * 2 + 2 + 15 + 40);
    assert!(is_unchanged);
}

/// No header, query or form turns a request into one of another method or route.
#[tokio::test]
async fn no_request_becomes_another_method() {
    let people = signed_in_with(&[], json!({"subject": "alice"})).await;
    let server = &people.server;
    let before = state_of(server, &people.path()).await;
    let mut attacks = Attacks::of("overridden methods");
    let client = "/v1/clients/app".to_owned();
    for target in [people.path(), client] {
        let kind = if target == people.path() { "session" } else { "client" };
        let auth = Auth::Basic(&server.admin);
        for header in ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"] {
            for method in [Method::GET, Method::HEAD, Method::POST] {
                let answer = server.send(method.clone(), &target, auth, &[(header, "DELETE")], "").await;
                let held = if method == Method::POST { answer.status == 405 } else { answer.status == 200 };
                attacks.check(format!("{kind}: {method} with {header}"), held, answer.status);
            }
        }
        for query in ["_method=DELETE", "method=DELETE", "X-HTTP-Method-Override=DELETE"] {
            let answer = server.get(&format!("{target}?{query}"), auth).await;
            attacks.expect(format!("{kind}: GET with {query}"), answer.status, 400);
            let form = [("content-type", "application/x-www-form-urlencoded")];
            let answer = server.send(Method::POST, &target, auth, &form, query).await;
            attacks.expect(format!("{kind}: POST of {query}"), answer.status, 405);
        }
        for method in
            ["delete", "Delete", "DELETE2", "PURGE", "PROPFIND", "TRACE", "TRACK", "DEBUG", "LINK", "COPY"]
        {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = server.send(method.clone(), &target, auth, &[], "").await;
            attacks.expect(format!("{kind}: {method}"), answer.status, 405);
        }
    }
    let is_unchanged = state_of(server, &people.path()).await == before;
    attacks.finish(2 * (4 * 3 + 3 * 2 + 10));
    assert!(is_unchanged);
}

/// Claims that are called like ours stay under `claims`, and decide nothing.
#[tokio::test]
async fn a_claim_that_resembles_ours_changes_no_answer() {
    let mut attacks = Attacks::of("claims with reserved names");
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "scopes": ["read"],
    });
    let app = server.client(fields).await;
    let plain = server.open_with(&app, json!({"subject": "alice", "claims": {"x": 1}})).await;
    let expected = server.introspect(&app, &text(&plain["access_token"])).await;
    for (name, value) in [
        ("iss", json!("https://evil.example")),
        ("sub", json!("root")),
        ("aud", json!("https://api.example")),
        ("exp", json!(9_999_999_999_u64)),
        ("iat", json!(0)),
        ("nbf", json!(9_999_999_999_u64)),
        ("jti", json!("x")),
        ("sid", json!("x")),
        ("fam", json!(9)),
        ("client_id", json!("admin")),
        ("scope", json!("admin")),
        ("acr", json!("aal3")),
        ("amr", json!(["hwk"])),
        ("auth_time", json!(0)),
        ("rh", json!("0")),
        ("active", json!(false)),
        ("username", json!("root")),
        ("token_type", json!("DPoP")),
        ("cnf", json!({"jkt": "x"})),
        ("act", json!({"sub": "root"})),
        ("may_act", json!({"sub": "root"})),
        ("permissions", json!(["admin"])),
        ("kid", json!("x")),
        ("alg", json!("none")),
        ("claims", json!({"sub": "root"})),
        ("__proto__", json!({"admin": true})),
        ("constructor", json!({"prototype": {"admin": true}})),
        ("", json!("root")),
        ("feed_seq", json!("0")),
    ] {
        let fields = json!({"subject": "alice", "claims": {name: value}});
        let opened = server.open_with(&app, fields.clone()).await;
        let reported = server.introspect(&app, &text(&opened["access_token"])).await;
        let differs = |member: &&String| {
            !["claims", "jti", "sid", "feed_seq"].contains(&member.as_str())
                && reported[*member] != expected[*member]
        };
        let different: Vec<_> = reported.as_object().unwrap().keys().filter(differs).collect();
        let same_members = reported.as_object().unwrap().len() == expected.as_object().unwrap().len();
        let ids = reported["sid"] == opened["session"]["id"] && reported["jti"] != "x";
        let held = different.is_empty() && same_members && ids && reported["claims"] == fields["claims"];
        attacks.check(format!("a claim {name:?}"), held, reported.clone());
        let management = server.get("/v1/clients", Auth::Bearer(&text(&opened["access_token"]))).await;
        attacks.expect(format!("management with a claim {name:?}"), management.status, 401);
    }
    attacks.finish(29 * 2);
}

/// A scope is never more than the client has and the session was granted.
#[tokio::test]
async fn no_request_widens_a_scope() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open_with(&app, json!({"subject": "alice", "scope": "read"})).await;
    let refresh_token = text(&opened["refresh_token"]);
    let mut attacks = Attacks::of("scopes of a refresh");
    for scope in [
        "write",
        "read write",
        "write read",
        "admin",
        "READ",
        "read admin",
        "read  read",
        "*",
        "read*",
        "read,write",
        "read\twrite",
        "read\nwrite",
        "read\u{a0}write",
        "\"read\"",
        "openid",
        "offline_access",
        "read\\",
        "%72ead",
        "réad",
        "read;write",
    ] {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", &*refresh_token), ("scope", scope)];
        let answer = server.form("/oauth2/token", Auth::Basic(&app), &fields).await;
        let held = answer.status == 400 && answer.error() == "invalid_scope";
        attacks.check(format!("{scope:?}"), held, (answer.status, answer.text()));
    }
    let narrow = [("grant_type", "refresh_token"), ("refresh_token", &*refresh_token), ("scope", "read")];
    let refreshed = server.form("/oauth2/token", Auth::Basic(&app), &narrow).await;
    assert_eq!((refreshed.status, &refreshed.json()["scope"]), (200, &json!("read")), "nothing was spent");
    assert_eq!(server.get(&path(&opened), Auth::Basic(&app)).await.json()["scope"], "read");
    attacks.finish(20);
}
