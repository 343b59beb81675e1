//! Requests that cost much: each has a bound, and the answer says which.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::Attacks;
use super::smuggling::Target;
use crate::harness::server::{Auth, Server, basic};

/// Over a socket: sizes of heads and bodies, announced and not.
#[test]
fn what_is_too_large_is_refused_before_it_is_held() {
    let target = Target::start();
    let admin = target.admin();
    let authorization = basic(&admin.id, &admin.secret);
    let get = |line: &str, header: &str| {
        format!("GET {line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n")
    };
    let form = |header: &str, body: &str| {
        format!(
            "POST /oauth2/token HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: \
             application/x-www-form-urlencoded\r\n{header}\r\n\r\n{body}"
        )
    };
    let json = |line: &str, header: &str, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: \
             {authorization}\r\nContent-Type: application/json\r\n{header}\r\n\r\n{body}"
        )
    };
    let long = |bytes: usize| "a".repeat(bytes);
    let chunks = |count: usize| format!("{}0\r\n\r\n", format!("400\r\n{}\r\n", long(1_024)).repeat(count));
    let (chunked, huge) =
        ("Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 10000000000");
    let (open, whole) = ("POST /v1/sessions", "Content-Length: 66000");
    let mut attacks = Attacks::of("sizes of requests");
    for (name, request, status) in [
        ("a header of 60 kB", get("/healthz", &format!("X: {}\r\n", long(60_000))), 431),
        ("a name of a header of 60 kB", get("/healthz", &format!("{}: x\r\n", long(60_000))), 431),
        ("a cookie of 60 kB", get("/healthz", &format!("Cookie: {}\r\n", long(60_000))), 431),
        ("credentials of 60 kB", get("/", &format!("Authorization: Basic {}\r\n", long(60_000))), 431),
        ("a bearer of 60 kB", get("/", &format!("Authorization: Bearer {}\r\n", long(60_000))), 431),
        ("7,500 addresses", get("/", &format!("X-Forwarded-For: {}\r\n", "1.1.1.1,".repeat(7_500))), 431),
        ("60 headers of 1 kB", get("/healthz", &format!("X: {}\r\n", long(1_000)).repeat(60)), 431),
        ("a query of 60 kB", get(&format!("/v1/sessions?{}", long(60_000)), ""), 431),
        ("a path of 60 kB", get(&format!("/{}", long(60_000)), ""), 431),
        ("a form of 17 kB without credentials", form("Content-Length: 17000", &long(17_000)), 413),
        ("the same in chunks", form(chunked, &chunks(17)), 413),
        ("an announced form of 10 GB", form(huge, ""), 413),
        ("JSON of 66 kB", json(open, whole, &long(66_000)), 413),
        ("JSON of 66 kB in chunks", json(open, chunked, &chunks(65)), 413),
        ("an announced JSON of 10 GB", json(open, huge, ""), 413),
        ("a change of 66 kB", json("PATCH /v1/clients/admin", whole, &long(66_000)), 413),
        ("a deletion with 66 kB", json("DELETE /v1/clients/x", whole, &long(66_000)), 413),
        ("a read with 66 kB", json("GET /v1/clients", whole, &long(66_000)), 413),
    ] {
        let received = target.send(request.as_bytes());
        attacks.check(name, received.statuses == [status] && received.is_closed, received.text);
    }
    attacks.finish(18);
}

/// Numbers of parameters, members and names.
#[tokio::test]
async fn what_is_too_many_is_refused() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let mut attacks = Attacks::of("numbers of parts");
    let many = |count: usize| (0..count).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join("&");
    for path in ["/v1/sessions", "/v1/clients", "/v1/events", "/v1/forward-auth", "/healthz", "/docs"] {
        let answer = server.get(&format!("{path}?{}", many(65)), Auth::Basic(&server.admin)).await;
        attacks.expect(format!("{path} with 65 parameters"), answer.status, 400);
    }
    for path in ["/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"] {
        let answer = server.raw_form(path, Auth::Basic(&app), &many(65)).await;
        attacks.expect(format!("{path} with 65 fields"), answer.status, 400);
        let answer = server.raw_form(path, Auth::Basic(&app), &"&".repeat(10_000)).await;
        attacks.expect(format!("{path} with 10,000 separators"), answer.status, 400);
    }
    let members =
        |count: usize| (0..count).map(|n| (format!("m{n}"), json!(1))).collect::<serde_json::Map<_, _>>();
    let names = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
    for (name, field, value) in [
        ("5,000 members of the claims", "claims", Value::Object(members(5_000))),
        ("a list of 20,000 in the data", "data", json!({"a": vec![1; 20_000]})),
        ("1,000 methods", "amr", json!(names(1_000))),
        ("2,000 names of scopes", "scope", json!(names(2_000).join(" "))),
        ("a subject of 60 kB", "subject", json!("a".repeat(60_000))),
        ("a label of 60 kB", "device", json!({"label": "a".repeat(60_000)})),
        ("a level of 60 kB", "acr", json!("a".repeat(60_000))),
    ] {
        let mut body = json!({"subject": "alice"});
        body[field] = value;
        let answer = server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), body).await;
        attacks.check(name, matches!(answer.status, 400 | 413), answer.status);
    }
    let token = "v4.public.".to_owned() + &"a".repeat(15_000);
    for (name, token) in [
        ("a PASETO of 15 kB", token.clone()),
        ("a JWT of 15 kB", format!("e30.{}.c2ln", "a".repeat(15_000))),
        ("5,000 dots", ".".repeat(5_000)),
        ("a refresh token of 15 kB", format!("kfr_{}", "a".repeat(15_000))),
        ("a session token of 15 kB", format!("kfs_{}", "a".repeat(15_000))),
    ] {
        let answer = server.form("/oauth2/introspect", Auth::Basic(&app), &[("token", &token)]).await;
        attacks.expect(name, answer.text(), r#"{"active":false}"#.to_owned());
    }
    attacks.finish(6 + 6 + 7 + 5);
    let listed = server.get("/v1/sessions", Auth::Basic(&app)).await.json();
    assert_eq!(listed["items"], json!([]));
}

/// A connection that sends nothing, or too slowly, or that reads nothing, is closed; `process::memory` tests
/// what all of them hold together.
#[test]
fn a_connection_that_stands_still_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("KEYFOB_LIMITS__HEADER_TIMEOUT", "1s"), ("KEYFOB_LIMITS__REQUEST_TIMEOUT", "1s")];
    let server = crate::harness::process::Process::with(directory.path(), &settings);
    let form = "Host: a\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let mut attacks = Attacks::of("connections that stand still");
    let mut open = vec![];
    for (name, request, status) in [
        ("nothing", String::new(), None),
        ("a letter", "G".to_owned(), None),
        ("half a line", "GET /healthz HT".to_owned(), None),
        ("a head without its end", "GET /healthz HTTP/1.1\r\nHost: a\r\n".to_owned(), None),
        ("an empty line", "\r\n".to_owned(), None),
        (
            "a head without its body",
            format!("POST /oauth2/token HTTP/1.1\r\n{form}Content-Length: 5\r\n\r\n"),
            Some("408"),
        ),
        (
            "half a body",
            format!("POST /oauth2/token HTTP/1.1\r\n{form}Content-Length: 50\r\n\r\ntoken"),
            Some("408"),
        ),
        (
            "half a chunk",
            format!("POST /oauth2/token HTTP/1.1\r\n{form}Transfer-Encoding: chunked\r\n\r\n5\r\nto"),
            Some("408"),
        ),
        (
            "chunks without an end",
            format!("POST /oauth2/token HTTP/1.1\r\n{form}Transfer-Encoding: chunked\r\n\r\n5\r\ntoken\r\n"),
            Some("408"),
        ),
        (
            "a size without a chunk",
            format!("POST /oauth2/token HTTP/1.1\r\n{form}Transfer-Encoding: chunked\r\n\r\n5"),
            Some("408"),
        ),
    ] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        open.push((name, stream, status));
    }
    for (name, mut stream, status) in open {
        let mut answer = vec![];
        let closed = stream.read_to_end(&mut answer).is_ok();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let said = status.is_none_or(|status| answer.starts_with(&format!("HTTP/1.1 {status} ")));
        attacks.check(name, closed && said, answer);
    }
    attacks.finish(10);
}
