//! Paths, JSON and cursors that another program could read differently.

use http::Method;
use serde_json::{Value, json};

use super::smuggling::Target;
use super::{Attacks, state_of};
use crate::harness::people::path;
use crate::harness::server::{Auth, Server, basic, text};

/// Over a socket, so that nothing normalises the path before the server does not.
#[test]
fn no_path_becomes_another_route() {
    let target = Target::start();
    let admin = target.admin();
    let authorization = basic(&admin.id, &admin.secret);
    let json = json!({"subject": "alice", "client_id": "admin"});
    let opened = target.server.json("POST", "/v1/sessions", Some(&admin), &json).json();
    let session = path(&opened);
    let mut attacks = Attacks::of("paths");
    for attacked in [
        "/v1/subjects/../sessions?all=true",
        "/v1/subjects/%2e%2e/sessions?all=true",
        "/v1/subjects/%2E%2E/sessions?all=true",
        "/v1/subjects/.%2e/sessions?all=true",
        "/v1/subjects/x/../../sessions?all=true",
        "/v1/subjects/x%2F..%2F../sessions?all=true",
        "/v1/subjects/x%2f%2e%2e%2f%2e%2e/sessions?all=true",
        "/v1/subjects/..%2f/sessions?all=true",
        "/v1/subjects/..;/sessions?all=true",
        "/v1/subjects/..%00/sessions?all=true",
        "/v1/subjects/..%5c/sessions?all=true",
        "/v1/subjects/..\\/sessions?all=true",
        "/v1/subjects/%252e%252e/sessions?all=true",
        "/v1/subjects//sessions?all=true",
        "/v1/./sessions?all=true",
        "/v1//sessions?all=true",
        "//v1/sessions?all=true",
        "/v1/sessions/?all=true",
        "/v1/sessions/.?all=true",
        "/v1/sessions/..?all=true",
        "/v1/sessions;x=y?all=true",
        "/v1/sessions%20?all=true",
        "/v1/sessions%00?all=true",
        "/v1/sessions%3Fall=true",
        "/v1/sessions%23?all=true",
        "/v1/session%73?all=true",
        "/v1/%73essions?all=true",
        "/V1/sessions?all=true",
        "/v1/Sessions?all=true",
        "/v1/sessions.json?all=true",
        "/v1/sessions\u{ff}?all=true",
        "/v1\\sessions?all=true",
        "/v1%2Fsessions?all=true",
        "/../v1/sessions?all=true",
        "/x/../v1/sessions?all=true",
        "/docs/../v1/sessions?all=true",
        "/v1/forward-auth/../sessions?all=true",
        "/v1/gates/../sessions?all=true",
        "/healthz/../v1/sessions?all=true",
        "/v1/sessions?ALL=true",
        "/v1/sessions?all=TRUE",
        "/v1/sessions?all=true%00",
        "/v1/sessions?all=true;",
        "/v1/sessions?all=true&all=true",
        "/v1/sessions?all=true&x",
        "/v1/sessions?%61ll=true&all=true",
        "/v1/sessions?all=true&subject=",
        "/v1/sessions?all%00=true",
        "/v1/sessions??all=true",
        "/v1/sessions?a%6cl=tru%65&except=x",
        "v1/sessions?all=true",
        "*?all=true",
    ] {
        let request = format!(
            "DELETE {attacked} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: \
             {authorization}\r\n\r\n"
        );
        let bytes: Vec<u8> = request.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let received = target.send(&bytes);
        let [status] = received.statuses[..] else { panic!("{attacked}: {}", received.text) };
        // A subject called `..` or the like can be logged out; it is none of those that there are.
        let ended_none = received.text.ends_with(r#"{"ended":0}"#);
        let active = target.server.send("GET", &session, Some(&admin), "", "").unwrap().json();
        let held = (status >= 400 || ended_none) && active["state"] == "active";
        attacks.check(attacked, held, (status, received.text));
    }
    attacks.finish(52);
}

/// What two JSON parsers could read differently is rejected, and opens nothing. `free_json` tries numbers.
#[tokio::test]
async fn json_that_two_parsers_could_read_differently_is_rejected() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let mut attacks = Attacks::of("JSON");
    let deep = |open: &str, close: &str, times: usize| {
        format!(r#"{{"subject":"a","claims":{{"c":{}1{}}}}}"#, open.repeat(times), close.repeat(times))
    };
    let nested = deep("[", "]", 500);
    let objects = deep(r#"{"a":"#, "}", 500);
    for (name, body) in [
        ("a member twice", r#"{"subject":"a","subject":"b"}"#),
        ("a member twice, once escaped", r#"{"subject":"a","\u0073ubject":"b"}"#),
        ("a member of the claims twice", r#"{"subject":"a","claims":{"x":1,"x":2}}"#),
        ("a member of the claims twice, once escaped", r#"{"subject":"a","claims":{"x":1,"\u0078":2}}"#),
        ("a member deep in the data twice", r#"{"subject":"a","data":{"x":[{"y":1,"y":2}]}}"#),
        ("a member of the device twice", r#"{"subject":"a","device":{"ip":"x","ip":"y"}}"#),
        ("an unknown member", r#"{"subject":"a","admin":true}"#),
        ("a member in another case", r#"{"Subject":"a"}"#),
        ("a member with a space", r#"{"subject ":"a"}"#),
        ("a member with a zero byte", r#"{"subject\u0000":"a"}"#),
        ("a comma at the end", r#"{"subject":"a",}"#),
        ("a comment", r#"{"subject":"a"/*,"x":1*/}"#),
        ("a line comment", "{\"subject\":\"a\"//\n}"),
        ("single quotation marks", "{'subject':'a'}"),
        ("no quotation marks", "{subject:\"a\"}"),
        ("two objects", r#"{"subject":"a"}{"subject":"b"}"#),
        ("text behind the object", r#"{"subject":"a"}x"#),
        ("a zero byte behind the object", "{\"subject\":\"a\"}\0"),
        ("a list around it", r#"[{"subject":"a"}]"#),
        ("a list of the values", r#"["a"]"#),
        ("a text", r#""{\"subject\":\"a\"}""#),
        ("null", "null"),
        ("a line feed in a text", "{\"subject\":\"a\nb\"}"),
        ("a tab in a text", "{\"subject\":\"a\tb\"}"),
        ("an escape that is none", r#"{"subject":"a\x41"}"#),
        ("half a pair", r#"{"subject":"a\ud800"}"#),
        ("half a pair before a letter", r#"{"subject":"\ud800a"}"#),
        ("a pair in the wrong order", r#"{"subject":"\udc00\ud800"}"#),
        ("half a pair in the claims", r#"{"subject":"a","claims":{"x":"\udfff"}}"#),
        ("half a pair in a name", r#"{"subject":"a","claims":{"\ud800":1}}"#),
        ("NaN", r#"{"subject":"a","claims":{"x":NaN}}"#),
        ("Infinity", r#"{"subject":"a","claims":{"x":Infinity}}"#),
        ("a number in hexadecimal", r#"{"subject":"a","claims":{"x":0x10}}"#),
        ("a number with a zero before it", r#"{"subject":"a","claims":{"x":01}}"#),
        ("a number with a plus sign", r#"{"subject":"a","claims":{"x":+1}}"#),
        ("a number that starts at its point", r#"{"subject":"a","claims":{"x":.5}}"#),
        ("a number that ends at its point", r#"{"subject":"a","claims":{"x":5.}}"#),
        ("a number as the subject", r#"{"subject":1}"#),
        ("a list as the subject", r#"{"subject":["a"]}"#),
        ("an object as the subject", r#"{"subject":{"$ne":null}}"#),
        ("null as the subject", r#"{"subject":null}"#),
        ("a boolean as text", r#"{"subject":"a","remember":"true"}"#),
        ("a boolean as a number", r#"{"subject":"a","remember":1}"#),
        ("True", r#"{"subject":"a","remember":True}"#),
        ("claims as a list", r#"{"subject":"a","claims":[]}"#),
        ("claims as a text", r#"{"subject":"a","claims":"{}"}"#),
        ("500 lists in each other", &nested),
        ("500 objects in each other", &objects),
        ("cut off", r#"{"subject":"a""#),
        ("nothing", ""),
        ("a space", " "),
    ] {
        let kind = [("content-type", "application/json")];
        let answer =
            server.send(Method::POST, "/v1/sessions", Auth::Basic(&app), &kind, body.to_owned()).await;
        attacks.expect(name, answer.status, 400);
    }
    for (name, body) in [
        ("a byte that is no UTF-8", &b"{\"subject\":\"a\xff\"}"[..]),
        ("an overlong slash", b"{\"subject\":\"a\xc0\xaf\"}"),
        ("a surrogate in UTF-8", b"{\"subject\":\"a\xed\xa0\x80\"}"),
        ("UTF-16", b"\xff\xfe{\0\"\0s\0\"\0:\x001\0}\0"),
        ("UTF-32", b"{\0\0\0}\0\0\0"),
        ("a name that is no UTF-8", b"{\"subject\":\"a\",\"claims\":{\"\xff\":1}}"),
    ] {
        let kind = [("content-type", "application/json")];
        let answer = server.send(Method::POST, "/v1/sessions", Auth::Basic(&app), &kind, body.to_vec()).await;
        attacks.expect(name, answer.status, 400);
    }
    attacks.finish(51 + 6);
    let listed = server.get("/v1/sessions", Auth::Basic(&app)).await.json();
    assert_eq!(listed["items"], json!([]), "nothing was opened");
}

/// A cursor is one that this server made for this caller and this list; every other text is rejected.
#[tokio::test]
async fn a_cursor_is_read_only_if_the_server_made_it_for_its_caller() {
    let server = Server::start().await;
    let (app, other) = (server.application("app").await, server.application("other").await);
    let first = server.open(&app).await;
    server.open(&app).await;
    server.open(&other).await;
    let page = server.get("/v1/sessions?limit=1", Auth::Basic(&app)).await.json();
    let cursor = text(&page["next_cursor"]);
    let before = state_of(&server, &path(&first)).await;
    let elsewhere = Server::start().await;
    let theirs = elsewhere.application("app").await;
    for _ in 0..2 {
        elsewhere.open(&theirs).await;
    }
    let foreign = elsewhere.get("/v1/sessions?limit=1", Auth::Basic(&theirs)).await.json();
    let mut attacks = Attacks::of("cursors");
    let id = text(&first["session"]["id"]);
    let (head, tail) = cursor.split_at(cursor.len() - 1);
    let changed = format!("{head}{}", if tail == "A" { "B" } else { "A" });
    let start = format!("{}{}", if cursor.starts_with('A') { "B" } else { "A" }, &cursor[1..]);
    for (name, cursor) in [
        ("changed at its end", &*changed),
        ("changed at its start", &start),
        ("a character less", head),
        ("a character more", &format!("{cursor}A")),
        ("twice", &format!("{cursor}{cursor}")),
        ("padded", &format!("{cursor}%3D")),
        ("in upper case", &cursor.to_uppercase()),
        ("behind a space", &format!("%20{cursor}")),
        ("before a line feed", &format!("{cursor}%0A")),
        ("before a zero byte", &format!("{cursor}%00")),
        ("of another server", foreign["next_cursor"].as_str().unwrap()),
        ("the id of a session", &id),
        ("a number", "0"),
        ("a negative number", "-1"),
        ("a path", "..%2F..%2Fetc%2Fpasswd"),
        ("a quotation mark", "%27%20OR%201%3D1"),
        ("empty", ""),
        ("a session token", &text(&first["session_token"])),
    ] {
        let answer = server.get(&format!("/v1/sessions?cursor={cursor}"), Auth::Basic(&app)).await;
        attacks.expect(format!("sessions: {name}"), answer.status, 400);
    }
    for (name, client) in [("another client", &other), ("an administrator", &server.admin)] {
        let answer = server.get(&format!("/v1/sessions?cursor={cursor}"), Auth::Basic(client)).await;
        attacks.expect(format!("sessions: by {name}"), answer.status, 400);
    }
    for route in ["/v1/events", "/v1/feed"] {
        for value in ["-1", "+1", "1.0", "0x1", "01e", "%D9%A1", "1%20", "18446744073709551616", "x", ""] {
            let answer = server.get(&format!("{route}?after={value}"), Auth::Basic(&server.admin)).await;
            attacks.expect(format!("{route}: {value}"), answer.status, 400);
        }
    }
    let is_unchanged = state_of(&server, &path(&first)).await == before;
    let next: Value = server.get(&format!("/v1/sessions?cursor={cursor}"), Auth::Basic(&app)).await.json();
    attacks.control("the genuine cursor", next["items"].as_array().is_some_and(|items| items.len() == 1));
    attacks.finish(18 + 2 + 2 * 10);
    assert!(is_unchanged);
}
