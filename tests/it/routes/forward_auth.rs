//! `GET /v1/forward-auth` over HTTP: the answers that a proxy gets; no visitor can forge their headers.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{SignedIn, cookie, seconds, signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, Server, text};

const HEADERS: [&str; 5] =
    ["x-keyfob-subject", "x-keyfob-session", "x-keyfob-client", "x-keyfob-scope", "x-keyfob-acr"];

impl SignedIn {
    async fn ask(&self, query: &str) -> Answer {
        self.browse(Method::GET, &format!("/v1/forward-auth{query}")).await
    }
}

#[track_caller]
fn assert_rejected(answer: &Answer, status: u16, challenge: &[&str]) {
    answer.assert_problem(status, None);
    assert_eq!(answer.challenges(), challenge);
    assert_tells_nothing(answer);
}

#[track_caller]
fn assert_tells_nothing(answer: &Answer) {
    for name in HEADERS {
        assert_eq!(answer.headers[name], "", "{name}");
    }
}

#[tokio::test]
async fn a_signed_in_subject_passes_and_the_proxy_gets_its_name() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal2"})).await;
    let bearer = people.server.get("/v1/forward-auth", Auth::Bearer(&people.session_token())).await;
    for answer in [people.ask("").await, bearer] {
        assert_eq!((answer.status, &*answer.text()), (200, ""));
        let id = text(&people.opened["session"]["id"]);
        assert_eq!(HEADERS.map(|name| answer.header(name)), ["alice", &id, "app", "read%20write", "aal2"]);
        assert_eq!((answer.header("set-cookie"), answer.header("cache-control")), ("", "no-store"));
    }
    let head = people.browse(Method::HEAD, "/v1/forward-auth").await;
    assert_eq!((head.status, head.header("x-keyfob-subject")), (200, "alice"));
}

/// HAProxy and Envoy ask with the visitor's method; nginx sent the visitor's `Content-Length` without the
/// body, and the answer came after 30 s (408).
#[tokio::test]
async fn any_method_is_answered_at_once_whatever_body_is_announced() {
    let people = signed_in().await;
    let cookie = people.cookie();
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let headers =
            [("cookie", &*cookie), ("content-type", "text/plain"), ("sec-fetch-site", "cross-site")];
        let large = "x".repeat(100_000);
        let answer =
            people.server.send(method.clone(), "/v1/forward-auth", Auth::None, &headers, large).await;
        assert_eq!((answer.status, answer.header("x-keyfob-subject")), (200, "alice"), "{method}");
        assert_eq!(answer.header("connection"), "close", "the body was not read");
        let answer = people.server.send(method, "/v1/forward-auth", Auth::None, &headers, "").await;
        assert_eq!((answer.status, answer.header("connection")), (200, ""));
    }
    let anonymous = people.server.send(Method::POST, "/v1/forward-auth", Auth::None, &[], "x").await;
    assert_rejected(&anonymous, 401, &[r#"Bearer realm="keyfob""#]);
}

/// The application behind the proxy has bearer tokens of its own, and scripts send `Bearer undefined`.
#[tokio::test]
async fn a_bearer_token_of_the_application_itself_leaves_the_cookie() {
    let people = signed_in().await;
    let other = "e30.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIn0.c2ln";
    let cookie = people.cookie();
    let ask = async |bearer: &str, cookie: &str| {
        let authorization = format!("Bearer {bearer}");
        let headers = [("cookie", cookie), ("authorization", &*authorization)];
        people.server.send(Method::GET, "/v1/forward-auth", Auth::None, &headers, "").await
    };
    for bearer in ["app-token", "", "undefined", other] {
        let answer = ask(bearer, &cookie).await;
        assert_eq!((answer.status, answer.header("x-keyfob-subject")), (200, "alice"), "{bearer}");
        assert_rejected(&ask(bearer, "a=b").await, 401, &[r#"Bearer realm="keyfob""#]);
    }
    let invalid = [r#"Bearer realm="keyfob", error="invalid_token""#];
    for bearer in ["kfs_x", "v4.public.x", "e30.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjgwODAifQ.c2ln"] {
        assert_rejected(&ask(bearer, &cookie).await, 401, &invalid);
    }
}

/// A page that polls kept its session active for ever.
#[tokio::test]
async fn without_touch_the_idle_timeout_does_not_start_again() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(1_000));
    assert_eq!(people.ask("?touch=false").await.status, 200);
    assert_eq!(people.shown().await["last_used_at"], "2027-01-15T08:00:00Z");
    assert_eq!(people.ask("?touch=true").await.status, 200);
    assert_eq!(people.shown().await["last_used_at"], "2027-01-15T08:16:40Z");
}

/// A template with an empty variable (`acr=$level`) admitted every session.
#[tokio::test]
async fn an_empty_requirement_is_400() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1"})).await;
    for name in ["acr", "scope", "audience", "client_id", "max_age", "touch"] {
        for query in ["", "=", "=%20", "=+"] {
            let answer = people.ask(&format!("?{name}{query}")).await;
            answer.assert_problem(400, Some(name));
            assert_tells_nothing(&answer);
        }
    }
}

/// Nothing in a header can be taken for another one, or for what it is not.
#[tokio::test]
async fn headers_are_percent_encoded_outside_visible_ascii() {
    let people = signed_in_with(&[], json!({"subject": "Zoë 100%\u{1f511} x%41", "acr": "très élevé"})).await;
    let answer = people.ask("").await;
    assert_eq!(answer.header("x-keyfob-subject"), "Zo%C3%AB%20100%25%F0%9F%94%91%20x%2541");
    assert_eq!(answer.header("x-keyfob-acr"), "tr%C3%A8s%20%C3%A9lev%C3%A9");
}

#[tokio::test]
async fn an_incoming_header_of_ours_is_never_believed_and_never_answered() {
    let people = signed_in().await;
    let spoofed: Vec<(&str, &str)> = HEADERS.iter().map(|name| (*name, "root")).collect();
    let anonymous = people.server.send(Method::GET, "/v1/forward-auth", Auth::None, &spoofed, "").await;
    assert_rejected(&anonymous, 401, &[r#"Bearer realm="keyfob""#]);
    let alice = people.server.browse(Method::GET, "/v1/forward-auth", &people.cookie(), &spoofed).await;
    assert_eq!((alice.status, alice.header("x-keyfob-subject")), (200, "alice"));
    assert_eq!(alice.headers["x-keyfob-acr"], "", "no level was given: an empty header");
}

/// BER-07, BER-08.
#[tokio::test]
async fn a_scope_that_is_not_enough_is_403_and_named() {
    let people = signed_in_with(&[], json!({"subject": "alice", "scope": "read"})).await;
    assert_eq!(people.ask("?scope=read").await.status, 200);
    let refused = people.ask("?scope=read%20write").await;
    assert_rejected(
        &refused,
        403,
        &[r#"Bearer realm="keyfob", error="insufficient_scope", scope="read write""#],
    );
    assert_eq!(people.ask("?scope=read%20%20write").await.status, 400, "not a scope");
}

#[tokio::test]
async fn only_the_clients_that_are_named_are_let_in() {
    let people = signed_in().await;
    let other = people.server.application("other").await;
    let guest = cookie(&people.server.open_with(&other, json!({"subject": "bob"})).await);
    let ask = async |query: &str| {
        let path = format!("/v1/forward-auth{query}");
        (people.ask(query).await.status, people.server.browse(Method::GET, &path, &guest, &[]).await.status)
    };
    assert_eq!(ask("").await, (200, 200));
    assert_eq!(ask("?client_id=app").await, (200, 403));
    assert_eq!(ask("?client_id=other&client_id=third").await, (403, 200));
    assert_eq!(ask("?client_id=app&client_id=other").await, (200, 200));
    assert_eq!(ask("?client_id=a%20b").await, (400, 400));
    let denied = people.ask("?client_id=other").await;
    assert_rejected(&denied, 403, &[]);
    assert!(denied.text().contains("sessions of the client app are not accepted here"), "{}", denied.text());
}

/// BER-09: an access token is for one audience; a cookie has none.
#[tokio::test]
async fn an_access_token_must_be_for_the_audience_or_without_one_for_the_issuer() {
    let server = Server::start().await;
    let audiences = json!(["https://api.example", "https://shop.example"]);
    let fields = json!({
        "client_id": "app", "permissions": ["sessions"], "grants": ["refresh_token"], "audiences": audiences,
    });
    let app = server.client(fields).await;
    let for_api =
        server.open_with(&app, json!({"subject": "alice", "audience": "https://api.example"})).await;
    let plain = server.application("plain").await;
    let for_issuer = server.open(&plain).await;
    let ask = async |token: &Value, query: &str| {
        server.get(&format!("/v1/forward-auth{query}"), Auth::Bearer(&text(token))).await
    };
    let (api, issuer) = (&for_api["access_token"], &for_issuer["access_token"]);
    let (for_us, for_shop, for_it) = ("", "?audience=https://shop.example", "?audience=https://api.example");
    assert_eq!(ask(api, for_it).await.status, 200);
    for (token, query) in [(api, for_us), (api, for_shop), (issuer, for_it)] {
        let answer = ask(token, query).await;
        assert_rejected(&answer, 401, &[r#"Bearer realm="keyfob", error="invalid_token""#]);
        assert!(answer.text().contains("not valid here: it is for another audience"), "{}", answer.text());
    }
    assert_eq!(ask(issuer, for_us).await.status, 200);
    assert_eq!(ask(&for_api["session_token"], for_shop).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_and_a_clients_own_token_are_not_accepted() {
    let people = signed_in().await;
    let machine =
        people.server.client(json!({"permissions": ["admin"], "grants": ["client_credentials"]})).await;
    for token in [text(&people.opened["refresh_token"]), people.server.own_token(&machine).await] {
        let answer = people.server.get("/v1/forward-auth", Auth::Bearer(&token)).await;
        assert_rejected(&answer, 401, &[r#"Bearer realm="keyfob", error="invalid_token""#]);
    }
    assert_eq!(people.server.get("/v1/forward-auth", Auth::Basic(&people.server.admin)).await.status, 401);
}

/// BER-10, SES-12: what is asked for is named, so that the application knows what to do, and doing it opens
/// the way.
#[tokio::test]
async fn a_step_up_is_asked_for_by_level_and_by_age() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1"})).await;
    let start = r#"Bearer realm="keyfob", error="insufficient_user_authentication""#;
    people.server.hand.advance(seconds(61));
    for (query, what) in [
        ("?acr=aal2", r#", acr_values="aal2""#),
        ("?acr=aal2%20aal3", r#", acr_values="aal2 aal3""#),
        ("?max_age=60", r#", max_age="60""#),
        ("?max_age=0", r#", max_age="0""#),
        ("?acr=aal2&max_age=60", r#", acr_values="aal2", max_age="60""#),
        ("?acr=aal1&max_age=60", r#", acr_values="aal1", max_age="60""#),
    ] {
        assert_rejected(&people.ask(query).await, 401, &[&format!("{start}{what}")]);
    }
    for query in ["?acr=aal1", "?acr=aal2%20aal1", "?max_age=61", "?max_age=100000000000000"] {
        assert_eq!(people.ask(query).await.status, 200, "{query}");
    }
    let renewed = people.renew(json!({"acr": "aal2"})).await.json();
    let answer = people
        .server
        .browse(Method::GET, "/v1/forward-auth?acr=aal2&max_age=60", &cookie(&renewed), &[])
        .await;
    assert_eq!((answer.status, answer.header("x-keyfob-acr")), (200, "aal2"));
    assert_eq!(people.ask("").await.status, 401, "the old cookie is dead");
}

/// NST-05: the level is the token's own; another family does not rise with the session.
#[tokio::test]
async fn a_token_granted_under_a_lower_level_stays_there() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1"})).await;
    let body = people
        .server
        .json(Method::POST, &format!("{}/families", people.path()), Auth::Basic(&people.app), json!({}))
        .await;
    assert_eq!(body.status, 201, "{}", body.text());
    let lower = text(&body.json()["access_token"]);
    assert_eq!(people.renew(json!({"acr": "aal2"})).await.status, 200);
    let answer = people.server.get("/v1/forward-auth", Auth::Bearer(&lower)).await;
    assert_eq!((answer.status, answer.header("x-keyfob-acr")), (200, "aal1"));
    assert_eq!(people.server.get("/v1/forward-auth?acr=aal2", Auth::Bearer(&lower)).await.status, 401);
}

/// An unknown or repeated requirement is rejected, since ignoring it would admit users that it excludes. Once
/// the first of two scopes counted, and `acr_values=`, as RFC 9470 calls it, was ignored.
#[tokio::test]
async fn an_unknown_requirement_admits_no_request() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1"})).await;
    for (query, field, what) in [
        (
            "?acr_values=aal2",
            "acr_values",
            "acr_values is not a parameter of this route, which has: scope, audience, client_id, acr, \
             max_age, touch",
        ),
        (
            "?Scope=pay",
            "Scope",
            "Scope is not a parameter of this route, which has: scope, audience, client_id, acr, max_age, \
             touch",
        ),
        ("?scope=read&scope=pay", "scope", "scope is repeated"),
        ("?acr=aal1&acr=aal2", "acr", "acr is repeated"),
        ("?max_age=9&max_age=1", "max_age", "max_age is repeated"),
        ("?audience=a&%61udience=b", "audience", "audience is repeated"),
        ("?max_age=soon", "max_age", "max_age must be a whole number from 0 to 100000000000000"),
        ("?max_age=-1", "max_age", "max_age must be a whole number from 0 to 100000000000000"),
        (
            "?max_age=99999999999999999999",
            "max_age",
            "max_age must be a whole number from 0 to 100000000000000",
        ),
        ("?scope=%ff", "scope", "scope is not percent-encoded UTF-8"),
    ] {
        let answer = people.ask(query).await;
        answer.assert_problem(400, Some(field));
        assert_eq!(answer.json()["detail"], what, "{query}");
        assert_tells_nothing(&answer);
    }
    assert_eq!(people.ask("?&client_id=app&&client_id=app&").await.status, 200);
}

/// BER-08: the sender of the requirements cannot add to the challenge.
#[tokio::test]
async fn a_strange_question_does_not_break_out_of_the_challenge() {
    let people = signed_in().await;
    let answer = people.ask("?acr=a%22%2C%20realm%3D%22b%5C%22%0D%0AX%3A%20y%20%C3%A9").await;
    assert_eq!(answer.status, 401);
    let [challenge] = answer.challenges()[..] else { panic!() };
    assert_eq!(challenge.matches('"').count(), 6, "{challenge}");
    assert_eq!(challenge.matches("realm=\"").count(), 1);
    assert!(challenge.ends_with(r#"acr_values="a, realm=b%0D%0AX: y %C3%A9""#), "{challenge}");
    for query in ["?max_age=-1", "?max_age=1.5", "?max_age=soon", "?max_age="] {
        let status = people.ask(query).await.status;
        assert!(status == 400 || query == "?max_age=", "{query}: {status}");
    }
}

#[tokio::test]
async fn a_navigation_from_elsewhere_is_a_read_like_any_other() {
    let people = signed_in().await;
    let headers =
        [("sec-fetch-site", "cross-site"), ("x-forwarded-method", "GET"), ("x-forwarded-uri", "/inbox")];
    assert_eq!(
        people.server.browse(Method::GET, "/v1/forward-auth", &people.cookie(), &headers).await.status,
        200
    );
    let twice = format!("{0}; {0}", people.cookie());
    assert_eq!(
        people.server.browse(Method::GET, "/v1/forward-auth", &twice, &[]).await.status,
        401,
        "CKE-16"
    );
}
