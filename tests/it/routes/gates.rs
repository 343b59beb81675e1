//! `/v1/gates/{name}`: the requirements are the configuration's, everything else is the visitor's.

use http::Method;
use serde_json::json;

use crate::harness::people::{SAME_ORIGIN, SignedIn, signed_in_with};
use crate::harness::server::{Answer, Auth, Server};

const GATES: &str = r#"
[[gate]]
name = "pages"
client_ids = ["app"]

[[gate]]
name = "strong"
scope = "read"
acr = ["aal2", "aal3"]
max_age = "5m"
headers = ["X-Keyfob-Subject"]
"#;

async fn at_gates(subject: &str, acr: &str) -> SignedIn {
    let mut people = signed_in_with(&[], json!({"subject": subject, "acr": acr})).await;
    people.server.stop().await;
    people.server.configure(GATES);
    people.server.resume().await;
    people
}

impl SignedIn {
    async fn pass(&self, method: Method, path: &str) -> Answer {
        self.browse(method, &format!("/v1/gates/{path}")).await
    }
}

/// Envoy, Istio and Contour append the visitor's path and query and use the visitor's method.
#[tokio::test]
async fn method_path_and_query_are_the_visitors_and_are_ignored() {
    let people = at_gates("alice", "aal1").await;
    for method in [Method::GET, Method::POST, Method::DELETE, Method::OPTIONS] {
        for path in
            ["pages", "pages/", "pages/api/x?client_id=other&acr=&a=%zz", "pages/../strong", "pages//.."]
        {
            let answer = people.pass(method.clone(), path).await;
            assert_eq!((answer.status, answer.header("x-keyfob-subject")), (200, "alice"), "{method} {path}");
            assert_eq!(answer.header("x-keyfob-acr"), "aal1");
        }
        let answer = people.pass(method, "strong/pages").await;
        let challenge = r#"Bearer realm="keyfob", error="insufficient_user_authentication", acr_values="aal2 aal3", max_age="300""#;
        assert_eq!((answer.status, answer.challenges()), (401, vec![challenge]));
        assert_eq!(answer.headers["x-keyfob-subject"], "");
    }
    let other = people.server.application("other").await;
    let guest = people.server.open(&other).await;
    let cookie = crate::harness::people::cookie(&guest);
    let answer = people.server.browse(Method::GET, "/v1/gates/pages", &cookie, &[]).await;
    answer.assert_problem(403, None);
}

#[tokio::test]
async fn a_gate_sends_the_headers_that_it_chooses_and_the_others_empty() {
    let people = at_gates("alice", "aal3").await;
    let answer = people.pass(Method::PUT, "strong/x").await;
    let names = ["subject", "session", "client", "scope", "acr"];
    let values = names.map(|name| answer.headers[format!("x-keyfob-{name}")].to_str().unwrap());
    assert_eq!((answer.status, values), (200, ["alice", "", "", "", ""]));
}

#[tokio::test]
async fn an_unknown_gate_admits_no_request() {
    let people = at_gates("alice", "aal1").await;
    for path in ["", "/", "other", "Pages", "page", "pages%2Fx", "pages;x"] {
        let answer = people.pass(Method::GET, path).await;
        assert_eq!(
            (answer.status, answer.headers["x-keyfob-subject"].to_str().unwrap()),
            (404, ""),
            "{path}"
        );
    }
    let none = Server::start().await;
    let answer = none.send(Method::POST, "/v1/gates/x/y", Auth::None, &[SAME_ORIGIN], "").await;
    answer.assert_problem(401, None);
}

/// nginx and others read the head of an answer into 4 KiB; beyond that the visitor gets a 500.
#[tokio::test]
async fn the_scope_is_empty_where_the_head_would_be_too_long() {
    let server = Server::start().await;
    server.configure(GATES);
    let mut server = server;
    let scopes: Vec<String> = (0..550).map(|n| format!("{n:x}")).collect();
    let fields = json!({"client_id": "app", "permissions": ["sessions"], "scopes": scopes});
    let app = server.client(fields).await;
    let long = server.open_with(&app, json!({"subject": "ż".repeat(128), "acr": "é".repeat(100)})).await;
    let short = server.open_with(&app, json!({"subject": "alice", "scope": "1 2"})).await;
    server.restart().await;
    for (opened, scope) in [(long, ""), (short, "1%202")] {
        let cookie = crate::harness::people::cookie(&opened);
        let answer = server.browse(Method::GET, "/v1/gates/pages/x", &cookie, &[]).await;
        assert_eq!((answer.status, answer.header("x-keyfob-scope")), (200, scope));
        let bytes: usize =
            answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        assert!(bytes + 60 < 3 * 1024, "{bytes}");
    }
}
