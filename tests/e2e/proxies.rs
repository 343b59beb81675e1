//! What passes through real nginx, real Caddy and real Traefik, with the configurations that `examples/web`
//! ships.

use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{Answer, House, Proxy, echo};

const SPOOFED: [&str; 14] = [
    "-H",
    "X-Keyfob-Subject: root",
    "-H",
    "x-keyfob-session: root",
    "-H",
    "X-KEYFOB-CLIENT: root",
    "-H",
    "X-Keyfob-Scope: root",
    "-H",
    "X-Keyfob-Acr: root",
    "-H",
    "X_Keyfob_Subject: root",
    "-H",
    "x_keyfob_acr: root",
];

fn house(proxy: Proxy) -> House {
    let house = House::build(proxy, &[]);
    echo(house.application);
    house
}

/// `-H`, and the cookie as a browser sends it.
fn cookie(opened: &Value) -> String {
    format!("Cookie: theme=dark; {}", opened["set_cookie"].as_str().unwrap().split(';').next().unwrap())
}

/// The headers of ours that reached the application.
fn reported(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{answer:?}");
    // Many a framework takes an underscore for a hyphen.
    let ours = |line: &str| line.replace('_', "-").strip_prefix("x-keyfob-").map(str::to_owned);
    let lines = answer.body.lines().filter_map(|line| ours(&line.to_ascii_lowercase()));
    let mut reported: Vec<String> = lines.filter(|line| !line.ends_with(": ")).collect();
    reported.sort();
    reported
}

fn the_application_gets_the_subject_from_keyfob_alone(proxy: Proxy) {
    let house = house(proxy);
    let alice = house.open(&json!({"subject": "Zoë 100%", "acr": "aal1"}));
    let cookie = cookie(&alice);
    let id = alice["session"]["id"].as_str().unwrap();
    let known = [
        "acr: aal1",
        "client: web",
        "scope: read%20write",
        &format!("session: {id}"),
        "subject: zo%c3%ab%20100%25",
    ];
    assert_eq!(reported(&house.ask("/api/me", &["-H", &cookie])), known);
    assert_eq!(
        reported(&house.ask("/api/me", &[&["-H", &cookie][..], &SPOOFED].concat())),
        known,
        "spoofed headers"
    );
    let bearer = format!("Authorization: Bearer {}", alice["session_token"].as_str().unwrap());
    assert_eq!(reported(&house.ask("/api/me", &["-H", &bearer])), known);
    let theirs = "/api/me?audience=https://api.example&scope=root&max_age=soon&x=%ff";
    assert_eq!(
        reported(&house.ask(theirs, &["-H", &cookie])),
        known,
        "a visitor's query is no part of the question"
    );
    // A header that keyfob leaves empty is set by no other side.
    let nobody_said = house.open(&json!({"subject": "bob", "scope": "read"}));
    let told_of_bob =
        reported(&house.ask("/api/me", &[&["-H", &self::cookie(&nobody_said)][..], &SPOOFED].concat()));
    assert!(
        !told_of_bob.iter().any(|line| line.starts_with("acr") || line.contains("root")),
        "{told_of_bob:?}"
    );
    assert_eq!(reported(&house.ask("/", &SPOOFED)), [""; 0], "on a path without a check too");
    // A body is the application's alone.
    let posted = house.ask("/api/notes", &["-H", &cookie, "-d", "a note"]);
    assert!(posted.body.starts_with("POST /api/notes") && posted.body.ends_with("a note"), "{posted:?}");
}

fn a_rejected_user_gets_the_answer_of_keyfob(proxy: Proxy) {
    let house = house(proxy);
    let alice = house.open(&json!({"subject": "alice", "acr": "aal1"}));
    let cookie = cookie(&alice);
    let anonymous = house.ask("/api/me", &SPOOFED);
    assert_eq!((anonymous.status, anonymous.header("www-authenticate")), (401, r#"Bearer realm="keyfob""#));
    let invalid = house.ask("/api/me", &["-H", "Cookie: __Host-keyfob=kfs_x"]);
    assert_eq!(
        (invalid.status, invalid.header("www-authenticate")),
        (401, r#"Bearer realm="keyfob", error="invalid_token""#)
    );
    let twice = format!("{cookie}; {}", cookie.split("; ").last().unwrap());
    assert_eq!(house.ask("/api/me", &["-H", &twice]).status, 401, "CKE-16");
    // BER-10: the challenge arrives whole.
    let step_up = house.ask("/api/secret", &["-H", &cookie]);
    let challenge = r#"Bearer realm="keyfob", error="insufficient_user_authentication", acr_values="aal2", max_age="300""#;
    assert_eq!((step_up.status, step_up.header("www-authenticate")), (401, challenge));
    let strong = house.open(&json!({"subject": "alice", "acr": "aal2"}));
    assert!(
        reported(&house.ask("/api/secret", &["-H", &self::cookie(&strong)]))
            .contains(&"acr: aal2".to_owned())
    );
    // Of keyfob itself only /v1/session is outside.
    assert!(
        house
            .ask("/v1/sessions", &["-u", &format!("web:{}", house.secret)])
            .body
            .starts_with("GET /v1/sessions")
    );
    // A session of another client is not accepted here: 403.
    let admin: Value =
        serde_json::from_slice(&std::fs::read(house.directory.path().join("data/admin.json")).unwrap())
            .unwrap();
    let credentials = format!("admin:{}", admin["client_secret"].as_str().unwrap());
    let url = format!("http://{}/v1/sessions", house.keyfob);
    let opened = crate::house::curl(&[
        "-u",
        &credentials,
        "-H",
        "content-type: application/json",
        "-d",
        r#"{"subject":"root"}"#,
        &url,
    ]);
    let foreign = self::cookie(&serde_json::from_str(&opened.body).unwrap());
    assert_eq!(house.ask("/api/me", &["-H", &foreign]).status, 403);
}

/// SES-21, CKE-12, CKE-20, CKE-21: through the proxy as without it.
fn logging_out_passes_through(proxy: Proxy) {
    let house = house(proxy);
    let cookie = cookie(&house.open(&json!({"subject": "alice"})));
    let log_out = |headers: &[&str]| {
        house.ask("/v1/session", &[&["-X", "DELETE", "-H", &cookie][..], headers].concat())
    };
    assert_eq!(house.ask("/v1/session", &["-H", &cookie]).status, 200);
    assert_eq!(log_out(&[]).status, 403);
    assert_eq!(log_out(&["-H", "Sec-Fetch-Site: cross-site"]).status, 403);
    assert_eq!(log_out(&["-H", "Origin: https://evil.example"]).status, 403);
    let done = log_out(&["-H", &format!("Origin: {}", house.url)]);
    assert_eq!(done.status, 204, "the issuer is what people come to");
    assert_eq!(
        done.header("set-cookie"),
        "__Host-keyfob=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
    );
    assert_eq!(done.header("clear-site-data"), "\"cache\"");
    assert!(done.header("strict-transport-security").starts_with("max-age=31536000"));
    assert_eq!(house.ask("/api/me", &["-H", &cookie]).status, 401);
}

/// A proxy that cannot ask does not let in.
fn without_keyfob_no_request_is_admitted(proxy: Proxy) {
    let mut house = house(proxy);
    let cookie = cookie(&house.open(&json!({"subject": "alice"})));
    assert_eq!(house.ask("/api/me", &["-H", &cookie]).status, 200);
    house.stop_keyfob();
    let status = house.ask("/api/me", &["-H", &cookie]).status;
    assert!((500..=504).contains(&status), "{status}");
}

/// A visitor who writes what keyfob believes of a proxy chooses neither the address that is throttled nor the
/// name that the log has.
fn no_outside_request_sets_its_origin_or_its_id(proxy: Proxy) {
    let mut house = house(proxy);
    house.stop_keyfob();
    let keyfob = echo(house.keyfob.rsplit(':').next().unwrap().parse().unwrap());
    let spoofed = ["-H", "X-Forwarded-For: 203.0.113.7", "-H", "X-Request-Id: theirs"];
    for path in ["/v1/session", "/api/me", "/api/secret"] {
        assert_eq!(house.ask(path, &spoofed).status, 200, "{path}");
        let asked = keyfob.recv_timeout(Duration::from_secs(20)).unwrap().to_ascii_lowercase();
        assert!(
            asked.contains("\r\nx-forwarded-for: 127.0.0.1\r\n") && asked.contains(" /v1/"),
            "{path}: {asked}"
        );
        assert!(!asked.contains("203.0.113.7") && !asked.contains("theirs"), "{path}: {asked}");
        // Who can make names gives the request one, for its own log too.
        assert_eq!(asked.contains("\r\nx-request-id: "), proxy != Proxy::Traefik, "{path}: {asked}");
    }
}

/// Pages of other origins ask first, and are not answered with what they need (no CORS header).
fn a_preflight_is_answered_without_leave(proxy: Proxy) {
    let house = house(proxy);
    let preflight = [
        "-X",
        "OPTIONS",
        "-H",
        "Origin: https://localhost:9443",
        "-H",
        "Access-Control-Request-Method: DELETE",
    ];
    let answer = house.ask("/v1/session", &preflight);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, ""));
}

/// It has no cookie: a check would reject every request of a page of another origin to the API.
fn a_preflight_passes_to_the_application_without_a_check(proxy: Proxy) {
    let house = house(proxy);
    let origin = ["-X", "OPTIONS", "-H", "Origin: https://app.example"];
    let preflight = [&origin[..], &["-H", "Access-Control-Request-Method: PUT"], &SPOOFED].concat();
    for path in ["/api/me", "/api/secret"] {
        assert_eq!(reported(&house.ask(path, &preflight)), [""; 0], "{path}");
        assert_eq!(house.ask(path, &origin).status, 401, "{path}: it is no preflight");
    }
}

macro_rules! through {
    ($($test:ident),+ $(,)?) => {
        mod nginx { $(#[test] fn $test() { super::$test(crate::house::Proxy::Nginx); })+ }
        mod caddy { $(#[test] fn $test() { super::$test(crate::house::Proxy::Caddy); })+ }
        mod traefik { $(#[test] fn $test() { super::$test(crate::house::Proxy::Traefik); })+ }
    };
}
through!(
    the_application_gets_the_subject_from_keyfob_alone,
    a_rejected_user_gets_the_answer_of_keyfob,
    logging_out_passes_through,
    without_keyfob_no_request_is_admitted,
    a_preflight_is_answered_without_leave,
    a_preflight_passes_to_the_application_without_a_check,
    no_outside_request_sets_its_origin_or_its_id,
);
