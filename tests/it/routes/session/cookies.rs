//! The session cookie over HTTP (standards, section 4.1): how it is set, how it is read, how it goes, and
//! what it may not do.

use http::Method;
use serde_json::json;

use crate::harness::people::{SAME_ORIGIN, seconds, signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, Server, text};

const DAY_S: u64 = 86_400;

/// CKE-01, CKE-02, CKE-03, CKE-06, CKE-07, CKE-08, CKE-09, CKE-13, CKE-19, NST-08, SES-20: to the letter what
/// a browser keeps until it closes.
#[tokio::test]
async fn the_cookie_is_to_the_letter_what_the_standards_ask_for() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let answer =
        server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), json!({"subject": "alice"})).await;
    let opened = answer.json();
    let token = text(&opened["session_token"]);
    let set_cookie = text(&opened["set_cookie"]);
    assert_eq!(set_cookie, format!("__Host-keyfob={token}; Path=/; Secure; HttpOnly; SameSite=Lax"));
    assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)), "only cookie-octets");
    assert!(!token.contains("alice") && set_cookie.len() <= 4096);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("set-cookie"), "", "the one who asks is a server: the cookie is its to hand on");
    assert!(!answer.header("location").contains(&token));
}

/// CKE-04, CKE-22: `SameSite=None` is never without `Secure`; the stricter prefix has what it asks for.
#[tokio::test]
async fn name_and_same_site_are_as_configured() {
    for same_site in ["Strict", "None"] {
        let settings = [("cookie.name", "__Host-Http-sid"), ("cookie.same_site", same_site)];
        let people = signed_in_with(&settings, json!({"subject": "alice"})).await;
        let expected = format!(
            "__Host-Http-sid={}; Path=/; Secure; HttpOnly; SameSite={same_site}",
            people.session_token()
        );
        assert_eq!(text(&people.opened["set_cookie"]), expected);
        assert_eq!(people.browse(Method::GET, "/v1/session").await.status, 200);
        let usual = format!("__Host-keyfob={}", people.session_token());
        assert_eq!(people.server.browse(Method::GET, "/v1/session", &usual, &[]).await.status, 401);
    }
}

/// CKE-10, CKE-11, CKE-13: only on request, in whole seconds, and no longer than the session can live.
#[tokio::test]
async fn a_remembered_session_has_a_persistent_cookie_and_the_longer_policy() {
    let people = signed_in_with(&[], json!({"subject": "alice", "remember": true})).await;
    let expected =
        format!("{}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", people.cookie(), 30 * DAY_S);
    assert_eq!(text(&people.opened["set_cookie"]), expected);
    assert_eq!(people.opened["session"]["idle_expires_at"], "2027-01-29T08:00:00Z");
    assert_eq!(people.opened["session"]["expires_at"], "2027-02-14T08:00:00Z");
    people.server.hand.advance(seconds(14 * DAY_S - 1));
    assert!(people.is_there().await);
    let renewed = people.renew(json!({})).await.json();
    assert!(text(&renewed["set_cookie"]).ends_with(&format!("; Max-Age={}", 30 * DAY_S)), "{renewed}");

    let longest = [("policy.default.remember.absolute_lifetime", "400d")];
    let people = signed_in_with(&longest, json!({"subject": "alice", "remember": true})).await;
    assert!(text(&people.opened["set_cookie"]).ends_with("; Max-Age=34560000"));
}

#[tokio::test]
async fn the_cookie_of_an_older_sign_in_ends_with_its_session() {
    let fields = json!({"subject": "alice", "remember": true, "auth_time": "2027-01-14T08:00:00Z"});
    let people = signed_in_with(&[], fields).await;
    assert!(text(&people.opened["set_cookie"]).ends_with(&format!("; Max-Age={}", 29 * DAY_S)));
}

/// CKE-14, SES-05, SES-16: whatever the browser still has, the server's clock decides.
#[tokio::test]
async fn a_cookie_that_outlives_its_session_is_rejected() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(1800));
    let answer = people.browse(Method::GET, "/v1/session").await;
    answer.assert_problem(401, None);
    assert_eq!(answer.header("set-cookie"), "", "CKE-18");
}

fn assert_logged_out(answer: &Answer) {
    assert_eq!(answer.status, 204, "{}", answer.text());
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["__Host-keyfob=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"]);
    assert_eq!((answer.header("clear-site-data"), answer.header("cache-control")), ("\"cache\"", "no-store"));
}

/// CKE-12, CKE-20, SES-07: the browser forgets, and so does everything else.
#[tokio::test]
async fn logging_out_takes_the_cookie_away_and_ends_all_that_the_session_issued() {
    let people = signed_in().await;
    let server = &people.server;
    assert_logged_out(&server.browse(Method::DELETE, "/v1/session", &people.cookie(), &[SAME_ORIGIN]).await);
    assert!(!people.is_there().await);
    for name in ["session_token", "access_token", "refresh_token"] {
        assert!(!server.is_active(&people.app, &text(&people.opened[name])).await, "{name}");
    }
    let refreshed = server.refresh(&people.app, &text(&people.opened["refresh_token"])).await;
    assert_eq!((refreshed.status, refreshed.error()), (400, "invalid_grant".into()));
    let ended = &people.shown().await["ended"];
    assert_eq!((&ended["reason"], &ended["by"]), (&json!("logout"), &json!("app")));
    // A browser that still has it is rid of it all the same.
    assert_logged_out(&server.browse(Method::DELETE, "/v1/session", &people.cookie(), &[SAME_ORIGIN]).await);
    let endings = server.event_types().await.into_iter().filter(|kind| kind == "session.ended").count();
    assert_eq!(endings, 1);
}

/// What an answer gives a browser leave to, for a page of another origin.
fn leave(answer: &Answer) -> [String; 3] {
    ["access-control-allow-origin", "access-control-allow-credentials", "vary"]
        .map(|name| answer.header(name).to_owned())
}

const FURTHER: (&str, &str) = ("origin", "https://app.example");
const ASKS: (&str, &str) = ("access-control-request-method", "DELETE");
const TWO_ORIGINS: (&str, &str) = ("cookie.origins", r#"["https://app.example", "https://www.example"]"#);

/// SES-21: a browser asks before it lets a page of another origin log out, and before it lets one read.
#[tokio::test]
async fn a_page_of_a_further_origin_has_the_leave_that_its_browser_asks_for() {
    let people = signed_in_with(&[TWO_ORIGINS], json!({"subject": "alice"})).await;
    let (server, cookie) = (&people.server, people.cookie());
    let given = ["https://app.example", "true", "Origin"];
    let preflight = server.send(Method::OPTIONS, "/v1/session", Auth::None, &[FURTHER, ASKS], "").await;
    assert_eq!((preflight.status, leave(&preflight)), (204, given.map(Into::into)));
    assert_eq!(preflight.header("access-control-allow-methods"), "GET, DELETE");
    assert_eq!(
        (preflight.header("access-control-max-age"), preflight.header("access-control-allow-headers")),
        ("600", "")
    );
    assert!(preflight.body.is_empty() && people.is_there().await);
    let names = ("access-control-request-headers", "baggage,Authorization, content-type,tr aceparent");
    let traced = server.send(Method::OPTIONS, "/v1/session", Auth::None, &[FURTHER, ASKS, names], "").await;
    assert_eq!(
        traced.header("access-control-allow-headers"),
        "baggage, content-type",
        "tracing adds headers"
    );
    let crossing = [FURTHER, ("sec-fetch-site", "same-site")];
    for (method, cookie, status) in [
        (Method::GET, &*cookie, 200),
        (Method::GET, "a=b", 401),
        (Method::OPTIONS, &cookie, 405),
        (Method::DELETE, &cookie, 204),
        (Method::DELETE, "a=b", 401),
    ] {
        let answer = server.browse(method.clone(), "/v1/session", cookie, &crossing).await;
        assert_eq!((answer.status, leave(&answer)), (status, given.map(Into::into)), "{method} {cookie}");
    }
    assert!(!people.is_there().await);
}
