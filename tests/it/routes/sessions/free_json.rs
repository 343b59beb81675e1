//! `claims` and `data`: what went in comes out, of any JSON, on every way out; what cannot is refused by
//! name.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::Method;
use keyfob::domain::access::Claims;
use keyfob::domain::session::Data;
use keyfob::store::{Opening, Store};
use proptest::collection::{hash_map, vec};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::harness::fixture::{opening, session};
use crate::harness::process::run;
use crate::harness::server::{Answer, Auth, Client, Server, text};

const PATH: &str = "/v1/sessions";
const FORMATS: [&str; 3] = ["paseto", "jwt", "jwt_es256"];
/// Keys to which libraries give a meaning of their own.
const SPECIAL: [&str; 6] =
    ["$serde_json::private::RawValue", "$serde_json::private::Number", "__proto__", "", "exp", "sub"];

/// Sends a body as it is written.
async fn send(server: &Server, method: Method, path: &str, client: &Client, body: String) -> Answer {
    server.send(method, path, Auth::Basic(client), &[("content-type", "application/json")], body).await
}

/// The free members of an object, as they are written.
#[derive(Deserialize)]
struct Free<'a> {
    #[serde(borrow)]
    claims: &'a RawValue,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Not by `Value`, which gives the special keys their meaning.
#[derive(Deserialize)]
struct Whole<'a> {
    #[serde(borrow)]
    session: &'a RawValue,
    access_token: String,
    session_token: String,
    refresh_token: String,
}

#[derive(Deserialize)]
struct Checked<'a> {
    #[serde(borrow)]
    session: &'a RawValue,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    items: Vec<&'a RawValue>,
}

/// Finding 5: numbers were rounded in silence, or refused without a name.
#[tokio::test]
async fn a_number_that_cannot_be_kept_exactly_is_refused_by_name() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let path = super::path_of(&opened);
    let body = |member: &str, number: &str| {
        format!(r#"{{"subject":"m","{member}":{{"a":[0,{{"b c":{number}}}]}}}}"#)
    };
    for number in [
        "12345678901234567890123",
        "18446744073709551616",
        "-9223372036854775809",
        "0.1234567890123456789012",
        "1e400",
        "-1E+400",
        "1e-400",
        "1e99999999999999999999",
        "1e-99999999999999999999",
        "3.00000000000000000001",
        "122.416294033786585",
    ] {
        for member in ["claims", "data"] {
            let open = send(&server, Method::POST, PATH, &app, body(member, number)).await;
            let patch = body(member, number).replace(r#""subject":"m","#, "");
            for refused in [open, send(&server, Method::PATCH, &path, &app, patch).await] {
                refused.assert_problem(400, Some(&format!("{member}.a[1].b c")));
                let detail = text(&refused.json()["detail"]);
                assert!(
                    detail.contains("64") && detail.contains("string") && !detail.contains(number),
                    "{detail}"
                );
            }
        }
    }
    for (number, kept) in [
        ("-0", "-0.0"),
        ("0e5", "0.0"),
        ("1.50", "1.5"),
        ("1E2", "100.0"),
        ("10000000000000000000000", "1e+22"),
        ("0.1", "0.1"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9007199254740993", "9007199254740993"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("5e-324", "5e-324"),
    ] {
        let answer = send(&server, Method::POST, PATH, &app, body("claims", number)).await;
        assert_eq!(answer.status, 201, "{number}: {}", answer.text());
        assert!(
            answer.text().contains(&format!(r#""claims":{{"a":[0,{{"b c":{kept}}}]}}"#)),
            "{}",
            answer.text()
        );
    }
}

/// RFC 8259 §8.1: programs of Windows write it.
#[tokio::test]
async fn a_byte_order_mark_before_a_body_is_ignored() {
    let server = Server::start().await;
    let app = server.application("app").await;
    for (body, status) in [
        ("\u{feff}{\"subject\":\"x\"}", 201),
        ("\u{feff}\u{feff}{\"subject\":\"x\"}", 400),
        ("{\"subject\":\"\u{feff}x\"}", 201),
    ] {
        assert_eq!(send(&server, Method::POST, PATH, &app, body.into()).await.status, status, "{body:?}");
    }
}

/// A stored text that is not JSON was once answered as `{}`, and would have stopped a refresh.
#[tokio::test]
async fn a_stored_text_that_is_not_an_object_is_a_damaged_record() {
    for damaged in ["{\"a\":", "[1]", "", "{} {}"] {
        let server = Server::start().await;
        let app = server.application("app").await;
        for (number, in_claims) in [(1, true), (2, false)] {
            let mut opening = opening(session(number, "alice", "app"));
            if in_claims {
                opening.session.claims = Some(Claims(damaged.into()));
            } else {
                opening = Opening { data: Some(Data(damaged.into())), ..opening };
            }
            let id = opening.session.id;
            server.app().store().open(opening).await.unwrap().unwrap();
            let path = format!("{PATH}/{id}");
            server.get(&path, Auth::Basic(&app)).await.assert_problem(503, None);
            server.get(PATH, Auth::Basic(&app)).await.assert_problem(503, None);
            let found = server.get("/v1/db/check", Auth::Basic(&server.admin)).await.text();
            let cause =
                if in_claims { "its claims are not a JSON object" } else { "it is not a JSON object" };
            assert!(found.contains(&format!(r#""key":"{id}","cause":"{cause}""#)), "{found}");
            if in_claims {
                let patch = send(&server, Method::PATCH, &path, &app, r#"{"claims":{}}"#.into()).await;
                patch.assert_problem(503, None);
            }
        }
    }
}

/// Any value.
fn value() -> impl Strategy<Value = Value> {
    let special = proptest::sample::select(&SPECIAL[..]).prop_map(str::to_owned);
    let key = prop_oneof![2 => special, 1 => any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        proptest::num::f64::NORMAL.prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 24, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            hash_map(key.clone(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// An object, and how it is stored: members in order of their names, without spaces.
fn object() -> impl Strategy<Value = (Value, String)> {
    value().prop_map(|value| {
        let object =
            if value.is_object() { value } else { json!({ "$serde_json::private::RawValue": value }) };
        let stored = object.to_string();
        (object, stored)
    })
}

/// The payload of an access token, in either form.
fn payload(token: &str) -> String {
    let (part, signature_bytes) = match token.strip_prefix("v4.public.") {
        Some(rest) => (rest.split('.').next().unwrap(), 64),
        None => (token.split('.').nth(1).unwrap(), 0),
    };
    let bytes = Base64UrlUnpadded::decode_vec(part).unwrap();
    String::from_utf8(bytes[..bytes.len() - signature_bytes].to_vec()).unwrap()
}

#[track_caller]
fn assert_free(written: &str, claims: &str, data: Option<&str>) {
    let free: Free = serde_json::from_str(written).unwrap();
    assert_eq!((free.claims.get(), free.data.map(RawValue::get)), (claims, data));
}

/// Opens a session with one pair of objects, changes it to the other, and reads both on every way out.
/// Returns the path of the session.
async fn round_trip(server: &Server, app: &Client, pairs: [&(Value, String); 4]) -> String {
    let [(claims, claims_text), (data, data_text), (later, later_text), (other, other_text)] = pairs;
    let body = format!("{{\"subject\":\"m\",\"claims\":{claims:#},\n\"data\": {data:#}}}");
    let opened = send(server, Method::POST, PATH, app, body).await;
    assert_eq!(opened.status, 201, "{}", opened.text());
    let opened_text = opened.text();
    let whole: Whole = serde_json::from_str(&opened_text).unwrap();
    assert_free(whole.session.get(), claims_text, Some(data_text));
    let path = opened.header("location").to_owned();
    assert_free(&payload(&whole.access_token), claims_text, None);
    for token in [&whole.access_token, &whole.session_token, &whole.refresh_token] {
        let answer = server.form("/oauth2/introspect", Auth::Basic(app), &[("token", token)]).await;
        assert_free(&answer.text(), claims_text, None);
    }
    let body = format!("{{\"claims\":{later:#},\"data\":{other}}}");
    let changed = send(server, Method::PATCH, &path, app, body).await;
    let read = server.get(&path, Auth::Basic(app)).await;
    let who = server.who_am_i(&whole.session_token).await;
    for answer in [changed, read] {
        assert_free(&answer.text(), later_text, Some(other_text));
    }
    let who: Free = serde_json::from_slice(&who.body).unwrap();
    assert_eq!(who.claims.get(), later_text);
    let body = format!(r#"{{"token":"{}"}}"#, whole.session_token);
    let checked = send(server, Method::POST, "/v1/sessions/check", app, body).await.text();
    let checked: Checked = serde_json::from_str(&checked).unwrap();
    assert_free(checked.session.get(), later_text, Some(other_text));
    let refreshed = server.refresh(app, &whole.refresh_token).await.json();
    let access = text(&refreshed["access_token"]);
    assert_free(&payload(&access), later_text, None);
    let answer = server.form("/oauth2/introspect", Auth::Basic(app), &[("token", &access)]).await;
    assert_free(&answer.text(), later_text, None);
    let page = server.get(&format!("{PATH}?limit=200"), Auth::Basic(app)).await.text();
    let page: Page = serde_json::from_str(&page).unwrap();
    assert!(page.items.iter().any(|item| {
        let free: Free = serde_json::from_str(item.get()).unwrap();
        (free.claims.get(), free.data.map(RawValue::get)) == (later_text, Some(other_text))
    }));
    path
}

/// Through opening, change, reads, lists, introspection, the three forms of tokens, and a backup with its
/// restore.
#[test]
fn any_json_comes_back_as_it_was_given() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut server = runtime.block_on(Server::start());
    let clients = FORMATS.map(|format| {
        runtime
            .block_on(server.client(json!({"client_id": format, "permissions": ["sessions", "introspect"],
            "grants": ["refresh_token"], "access_token_format": format})))
    });
    let stored = std::sync::Mutex::new(vec![]);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() });
    runner
        .run(&(0..FORMATS.len(), object(), object(), object(), object()), |(at, a, b, c, d)| {
            let path = runtime.block_on(round_trip(&server, &clients[at], [&a, &b, &c, &d]));
            stored.lock().unwrap().push((path, at, c.1, d.1));
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        let backup = server.get("/v1/db/backup", Auth::Basic(&server.admin)).await;
        std::fs::write(server.file("../x.backup"), &backup.body).unwrap();
        server.stop().await;
        let restored = run(&server.file(".."), &["db", "restore", "x.backup"]);
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        server.resume().await;
        for (path, at, claims, data) in stored.into_inner().unwrap() {
            assert_free(&server.get(&path, Auth::Basic(&clients[at])).await.text(), &claims, Some(&data));
        }
        let lines = server.get("/v1/db/check", Auth::Basic(&server.admin)).await.text();
        assert!(lines.lines().last().unwrap().contains(r#""finds":0"#), "{lines}");
    });
}
