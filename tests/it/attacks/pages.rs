//! Pages of other origins in a user's browser: changes by cookie and by remembered credentials, reads by
//! CORS, and the headers that keep pages apart.

use http::Method;
use keyfob::http::ROUTES;
use serde_json::json;

use super::Attacks;
use crate::harness::people::{SAME_ORIGIN, cookie, path, signed_in_with};
use crate::harness::server::{Answer, Auth, ISSUER, Server, text};

const APP: &str = "https://app.example";
const WWW: &str = "https://www.example";
const FURTHER: (&str, &str) = ("cookie.origins", r#"["https://app.example", "https://www.example"]"#);
const SITE: &str = "sec-fetch-site";
const ORIGIN: &str = "origin";

/// The values of `Sec-Fetch-Site` that a request can have: none, one, or several headers.
const SITES: [&[&str]; 11] = [
    &[],
    &["same-origin"],
    &["same-site"],
    &["cross-site"],
    &["none"],
    &[""],
    &["Same-Origin"],
    &["same-origin, same-origin"],
    &["same-origin", "same-origin"],
    &["same-origin", "cross-site"],
    &["cross-site", "same-origin"],
];

/// The values of `Origin`. The server's own and those of the configuration are the first three.
const ORIGINS: [&[&str]; 20] = [
    &[ISSUER],
    &[APP],
    &[WWW],
    &[],
    &["null"],
    &[""],
    &["https://evil.example"],
    &["https://app.example.evil.example"],
    &["https://evil-app.example"],
    &["https://sub.app.example"],
    &["http://app.example"],
    &["https://app.example:8443"],
    &["https://app.example/"],
    &["https://APP.example"],
    &["https://app.example."],
    &["https://user@app.example"],
    &["http://127.0.0.1:8081"],
    &["http://localhost:8080"],
    &[ISSUER, "https://evil.example"],
    &[APP, WWW],
];

fn headers<'a>(sites: &[&'a str], origins: &[&'a str]) -> Vec<(&'static str, &'a str)> {
    let sites = sites.iter().map(|site| (SITE, *site));
    sites.chain(origins.iter().map(|origin| (ORIGIN, *origin))).collect()
}

/// SES-21, CKE-18: SameSite is not the defence. A change by the cookie alone counts from a page of our own,
/// by either header, and from a page of the further origins, by its origin.
#[tokio::test]
async fn a_cookie_ends_its_session_only_from_our_own_pages() {
    let people = signed_in_with(&[FURTHER], json!({"subject": "alice"})).await;
    let server = &people.server;
    let mut attacks = Attacks::of("changes by cookie");
    for sites in SITES {
        for (number, origins) in ORIGINS.iter().enumerate() {
            let opened = server.open(&people.app).await;
            let sent = headers(sites, origins);
            let answer = server.browse(Method::DELETE, "/v1/session", &cookie(&opened), &sent).await;
            let is_ended = server.who_am_i(&text(&opened["session_token"])).await.status == 401;
            let name = format!("site {sites:?}, origin {origins:?}");
            if number < 3 || sites == ["same-origin"] {
                attacks.control(format!("our own: {name}"), answer.status == 204 && is_ended);
                continue;
            }
            let held = answer.status == 403 && answer.header("set-cookie").is_empty() && !is_ended;
            attacks.check(name, held, (answer.status, is_ended));
        }
    }
    let opened = server.open(&people.app).await;
    for (name, sent) in [
        ("a referrer", ("referer", ISSUER)),
        ("a forwarded host", ("x-forwarded-host", "127.0.0.1:8080")),
        ("a host", ("host", "127.0.0.1:8080")),
        ("a script's own header", ("x-requested-with", "XMLHttpRequest")),
        ("the fetch mode", ("sec-fetch-mode", "same-origin")),
        ("a token of another defence", ("x-csrf-token", "1")),
    ] {
        let answer = server.browse(Method::DELETE, "/v1/session", &cookie(&opened), &[sent]).await;
        attacks.expect(format!("only {name}"), answer.status, 403);
    }
    assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 200);
    attacks.finish(10 * 17 + 6);
}

/// SES-21: browsers remember Basic, so no change at `/v1` comes from a foreign page, whatever vouches for it;
/// the further origins have `/v1/session` only.
#[tokio::test]
async fn a_foreign_page_changes_nothing_at_v1_whatever_its_credentials() {
    let people = signed_in_with(&[FURTHER], json!({"subject": "alice"})).await;
    let server = &people.server;
    let admin = Auth::Basic(&server.admin);
    let own = server.own_token(&server.admin).await;
    let before = super::state_of(server, &people.path()).await;
    let id = text(&people.opened["session"]["id"]);
    let is_change = |method: &str, path: &str| {
        method != "GET" && method != "OPTIONS" && path.starts_with("/v1/") && path != "/v1/session"
    };
    let mut attacks = Attacks::of("changes with remembered credentials");
    let mut routes = 0;
    for (method, path, _) in ROUTES.iter().filter(|(method, path, _)| is_change(method, path)) {
        routes += 1;
        let path = path.replace("{id}", if path.contains("clients") { "app" } else { &id });
        let path = path.replace("{family}", "1").replace("{subject}", "alice").replace(['{', '}'], "");
        for (site, origin) in [
            (None, Some("https://evil.example")),
            (None, Some("null")),
            (None, Some("")),
            (None, Some(APP)),
            (Some("cross-site"), None),
            (Some("same-site"), None),
            (Some(""), None),
            (Some("cross-site"), Some("https://evil.example")),
            (Some("cross-site"), Some(APP)),
            (Some("same-site"), Some("http://127.0.0.1:8081")),
            (Some("SAME-ORIGIN"), None),
        ] {
            let (site, origin) = (site.as_slice(), origin.as_slice());
            for (by, auth) in [("Basic", admin), ("a bearer", Auth::Bearer(&own))] {
                let sent: Vec<_> =
                    headers(site, origin).into_iter().chain([("content-type", "application/json")]).collect();
                let body = if *method == "DELETE" { "" } else { r#"{"subject":"alice"}"# };
                let answer = server.send(method.parse().unwrap(), &path, auth, &sent, body).await;
                let name = format!("{method} {path} by {by}, site {site:?}, origin {origin:?}");
                attacks.expect(name, answer.status, 403);
            }
        }
    }
    let is_unchanged = super::state_of(server, &people.path()).await == before;
    let foreign = headers(&["cross-site"], &["https://evil.example"]);
    let read = server.send(Method::GET, &people.path(), Auth::Basic(&people.app), &foreign, "").await;
    attacks.control("a read changes nothing", read.status == 200);
    for ours in [headers(&[], &[]), headers(&["none"], &[]), headers(&["cross-site"], &[ISSUER])] {
        let renew = format!("{}/renew", people.path());
        let renewed = server.send(Method::POST, &renew, Auth::Basic(&people.app), &ours, "").await;
        attacks.control(format!("our own: {ours:?}"), renewed.status == 200);
    }
    attacks.finish(routes * 11 * 2);
    assert!(is_unchanged);
}

/// A form of a page on another origin needs no preflight: it can send text, and nothing, to any address.
#[tokio::test]
async fn a_post_at_v1_has_json_or_neither_a_body_nor_a_type() {
    let people = signed_in_with(&[], json!({"subject": "alice"})).await;
    let server = &people.server;
    let kind = "content-type";
    let renew = format!("{}/renew", people.path());
    let mut attacks = Attacks::of("posts of forms");
    for path in
        [&*renew, "/v1/keys/rotate?force=true", "/v1/sessions", "/v1/clients", "/v1/clients/app/secret"]
    {
        for (name, sent, body) in [
            ("JSON without a type", &[][..], "{}"),
            ("text", &[(kind, "text/plain")], "{}"),
            ("empty text", &[(kind, "text/plain")], ""),
            ("a form", &[(kind, "application/x-www-form-urlencoded")], "a=b"),
            ("an empty form", &[(kind, "application/x-www-form-urlencoded")], ""),
            ("a form of parts", &[(kind, "multipart/form-data; boundary=x")], "--x--"),
            ("two types", &[(kind, "application/json"), (kind, "text/plain")], "{}"),
            ("two types in one", &[(kind, "text/plain, application/json")], "{}"),
            ("JSON as a parameter", &[(kind, "text/plain; application/json")], "{}"),
            ("a type with JSON in its name", &[(kind, "application/json+x")], "{}"),
            ("an empty type", &[(kind, "")], "{}"),
        ] {
            let answer = server.send(Method::POST, path, Auth::Basic(&server.admin), sent, body).await;
            let at = if path == renew { "/renew" } else { path };
            attacks.expect(format!("{at}: {name}"), answer.status, 415);
        }
    }
    for (sent, body) in [
        (&[][..], ""),
        (&[(kind, "application/json")], ""),
        (&[(kind, "Application/JSON; charset=utf-8")], "{}"),
    ] {
        let renewed = server.send(Method::POST, &renew, Auth::Basic(&people.app), sent, body).await;
        assert_eq!(renewed.status, 200, "{sent:?}");
    }
    attacks.finish(5 * 11);
}

/// What an answer gives a browser leave to, for a page of another origin.
fn leave(answer: &Answer) -> [String; 3] {
    ["access-control-allow-origin", "access-control-allow-credentials", "vary"]
        .map(|name| answer.header(name).to_owned())
}

/// Exactly the further origins, exactly at `/v1/session`. Without the setting none:
/// `no_route_is_open_to_other_origins`.
#[tokio::test]
async fn no_other_page_and_no_other_route_has_leave() {
    let people = signed_in_with(&[FURTHER], json!({"subject": "alice"})).await;
    let server = &people.server;
    let asks = ("access-control-request-method", "DELETE");
    let mut attacks = Attacks::of("reads by CORS");
    for origins in &ORIGINS[3..] {
        for (method, status) in [(Method::OPTIONS, 405), (Method::GET, 200), (Method::DELETE, 403)] {
            let sent: Vec<_> = headers(&[], origins).into_iter().chain([asks]).collect();
            let answer = server.browse(method.clone(), "/v1/session", &people.cookie(), &sent).await;
            let held = answer.status == status && leave(&answer).iter().all(String::is_empty);
            attacks.check(format!("{method} by {origins:?}"), held, (answer.status, leave(&answer)));
        }
    }
    for (method, path, _) in ROUTES.iter().filter(|(_, path, _)| *path != "/v1/session" && *path != "*") {
        let path = path.replace(['{', '}'], "");
        for method in [Method::OPTIONS, method.parse().unwrap()] {
            let name = format!("{method} {path} by a further origin");
            let answer = server.browse(method, &path, &people.cookie(), &[(ORIGIN, APP), asks]).await;
            if attacks.names.contains(&name) {
                continue;
            }
            let given = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
            attacks.check(name, !given, leave(&answer));
        }
    }
    for path in ["/v1/session/", "/v1/session?x", "//v1/session", "/v1/Session"] {
        let answer = server.browse(Method::OPTIONS, path, &people.cookie(), &[(ORIGIN, APP), asks]).await;
        let is_open = path == "/v1/session?x";
        let given = answer.headers.contains_key("access-control-allow-origin");
        attacks.check(format!("OPTIONS {path} by a further origin"), is_open == given, leave(&answer));
    }
    assert!(people.is_there().await);
    let own = server.browse(Method::GET, "/v1/session", &people.cookie(), &[SAME_ORIGIN, asks]).await;
    assert_eq!((own.status, leave(&own)), (200, ["", "", ""].map(Into::into)));
    attacks.finish(17 * 3 + 97 + 4);
}

/// The headers without which a page of another origin could frame, sniff, cache or load an answer.
#[tokio::test]
async fn every_answer_has_the_headers_that_keep_pages_apart() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let policy = "default-src 'none'; frame-ancestors 'none'";
    let mut attacks = Attacks::of("headers of answers");
    for (name, answer) in [
        ("a session", server.get(&path(&opened), Auth::Basic(&app)).await),
        ("a list", server.get("/v1/sessions", Auth::Basic(&app)).await),
        ("who am I", server.who_am_i(&text(&opened["session_token"])).await),
        ("forward-auth", server.get("/v1/forward-auth", Auth::Bearer(&text(&opened["session_token"]))).await),
        ("a 401", server.get("/v1/sessions", Auth::None).await),
        ("a 403", server.get("/v1/clients", Auth::Basic(&app)).await),
        ("a 404", server.get("/%3Cscript%3E", Auth::None).await),
        ("a 405", server.send(Method::PUT, "/v1/keys", Auth::None, &[], "").await),
        ("an introspection", server.form("/oauth2/introspect", Auth::Basic(&app), &[("token", "x")]).await),
        ("an error of OAuth", server.form("/oauth2/token", Auth::None, &[]).await),
    ] {
        for (header, value) in [
            ("content-security-policy", policy),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("server", ""),
            ("x-powered-by", ""),
            ("access-control-allow-origin", ""),
        ] {
            attacks.expect(format!("{name}: {header}"), answer.header(header), value);
        }
        let reflected = answer.text().contains("<script>") && answer.header("content-type").contains("html");
        attacks.check(format!("{name}: nothing of the request as HTML"), !reflected, answer.text());
    }
    attacks.finish(10 * 9);
}
