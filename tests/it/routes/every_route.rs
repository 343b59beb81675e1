//! What holds at every route: access, methods, limits, the form of errors, and that no answer is cached.

use std::collections::BTreeSet;

use http::Method;
use keyfob::domain::client::Permission;
use keyfob::http::ROUTES;
use keyfob::http::access::Access;
use keyfob::http::request::admission::AdmissionRequest;
use serde_json::json;

use crate::harness::server::{Auth, Client, Server, text};

/// Every path of the document, with a value for each parameter, and its methods.
fn routes(server: &Server) -> Vec<(String, Vec<String>)> {
    let document = server.app().wire().document();
    let methods = |operations: &serde_json::Value| {
        operations.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect()
    };
    let paths = document["paths"].as_object().unwrap().iter();
    paths.map(|(path, operations)| (path.replace(['{', '}'], ""), methods(operations))).collect()
}

#[tokio::test]
async fn the_routes_that_are_listed_are_those_that_are_served() {
    let server = Server::start().await;
    let of_route = |route: &keyfob::http::routes::Route| {
        let template = route.template().to_owned();
        route.methods().map(|method| (method.to_string(), template.clone())).collect::<Vec<_>>()
    };
    let served: BTreeSet<_> = server.app().wire().routes().iter().flat_map(of_route).collect();
    let listed: BTreeSet<_> =
        ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(listed, served);
    assert_eq!(listed.len(), ROUTES.len(), "a route is listed twice");
}

#[tokio::test]
async fn a_route_admits_the_callers_that_are_listed_and_no_others() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "1000")]).await;
    let all = ["sessions", "introspect", "introspect:any", "events", "metrics", "admin"];
    for (number, (method, path, access)) in ROUTES.iter().enumerate() {
        let path = path.replace(['{', '}'], "");
        let (kind, body) = if path.starts_with("/oauth2/") {
            ("application/x-www-form-urlencoded", "token=a&grant_type=b")
        } else {
            ("application/json", "{}")
        };
        let body = if *method == "GET" { "" } else { body };
        let status = async |auth: Auth<'_>| {
            let headers = [("content-type", kind)];
            server.send(method.parse().unwrap(), &path, auth, &headers, body).await.status
        };
        let client = async |name: &str, permissions: &[&str]| {
            let id = format!("{name}-{number}");
            let grants = ["client_credentials"];
            server.client(json!({"client_id": id, "permissions": permissions, "grants": grants})).await
        };
        let impostor = Client { id: server.admin.id.clone(), secret: "wrong".into() };
        let is_admitted = |status: u16| status != 401 && status != 403;
        let shown = format!("{method} {path}");
        match access {
            Access::Public => assert!(is_admitted(status(Auth::None).await), "{shown}"),
            Access::Client => {
                let client = client("plain", &[]).await;
                assert!(is_admitted(status(Auth::Basic(&client)).await), "{shown}");
                assert_eq!(status(Auth::None).await, 401, "{shown}");
                assert_eq!(status(Auth::Basic(&impostor)).await, 401, "{shown}");
            }
            Access::OwnPage => {
                assert_eq!(status(Auth::None).await, 403, "{shown}");
                let headers = [("content-type", kind), ("sec-fetch-site", "same-origin")];
                let page = server.send(method.parse().unwrap(), &path, Auth::None, &headers, body).await;
                assert!(is_admitted(page.status), "{shown}");
            }
            Access::Console => {
                assert_eq!(status(Auth::None).await, 401, "{shown}");
                assert_eq!(status(Auth::Basic(&server.admin)).await, 401, "{shown}");
                assert_eq!(status(Auth::Socket).await, 401, "{shown}");
            }
            Access::AdminSocket => {
                assert_eq!(status(Auth::None).await, 401, "{shown}");
                assert_eq!(status(Auth::Basic(&impostor)).await, 401, "{shown}");
                assert_eq!(status(Auth::Basic(&server.admin)).await, 403, "{shown}");
                assert!(is_admitted(status(Auth::Socket).await), "{shown}");
            }
            Access::Person => {
                assert_eq!(status(Auth::None).await, 401, "{shown}");
                assert_eq!(status(Auth::Basic(&server.admin)).await, 401, "{shown}");
            }
            Access::Permission(permission) => {
                let (name, implied_by) = match permission {
                    Permission::Sessions => ("sessions", "admin"),
                    Permission::Introspect => ("introspect", "introspect:any"),
                    Permission::IntrospectAny => ("introspect:any", "admin"),
                    Permission::Events => ("events", "admin"),
                    Permission::Metrics => ("metrics", "admin"),
                    Permission::Admin => ("admin", "admin"),
                };
                let others = all.into_iter().filter(|other| ![name, implied_by, "admin"].contains(other));
                let with = client("with", &[name]).await;
                let without = client("without", &others.collect::<Vec<_>>()).await;
                assert!(is_admitted(status(Auth::Basic(&with)).await), "{shown}");
                assert_eq!(status(Auth::Basic(&without)).await, 403, "{shown}");
                let own = server.own_token(&without).await;
                // RFC 7662 §2.3: at introspection a bearer without the permission is 401.
                let rejected = if path.starts_with("/oauth2/") { 401 } else { 403 };
                assert_eq!(status(Auth::Bearer(&own)).await, rejected, "{shown}");
                assert_eq!(status(Auth::None).await, 401, "{shown}");
                assert_eq!(status(Auth::Basic(&impostor)).await, 401, "{shown}");
            }
        }
    }
}

/// 405 with `Allow`, on every route, in the shape of its surface (contract, section 5; C-13).
#[tokio::test]
async fn a_method_that_a_route_lacks_is_405() {
    let server = Server::start().await;
    let routes = routes(&server);
    assert!(routes.len() >= 12, "{routes:?}");
    for (path, methods) in routes.into_iter().filter(|(path, _)| !AdmissionRequest::is_at(path)) {
        let mut allow = methods.clone();
        allow.extend(methods.contains(&"GET".to_owned()).then(|| "HEAD".to_owned()));
        allow.sort();
        for method in [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ] {
            let answer = server.send(method.clone(), &path, Auth::Basic(&server.admin), &[], "").await;
            if allow.contains(&method.to_string()) {
                assert_ne!(answer.status, 405, "{method} {path}");
                continue;
            }
            assert_eq!((answer.status, answer.header("allow")), (405, &*allow.join(", ")), "{method} {path}");
            let media_type =
                if path.starts_with("/oauth2/") { "application/json" } else { "application/problem+json" };
            assert_eq!(
                (answer.header("content-type"), answer.header("cache-control")),
                (media_type, "no-store"),
                "{method} {path}"
            );
        }
    }
}

/// 413 on every route that takes a body, and `Connection: close`.
#[tokio::test]
async fn a_body_over_the_limit_is_413_everywhere() {
    let server = Server::with(&[("limits.body_bytes_max", "1KiB")]).await;
    for (path, methods) in routes(&server) {
        for method in methods.iter().filter(|method| ["POST", "PATCH"].contains(&method.as_str())) {
            let method: Method = method.parse().unwrap();
            let answer = server
                .send(
                    method,
                    &path,
                    Auth::Basic(&server.admin),
                    &[("content-type", "application/json")],
                    "x".repeat(1025),
                )
                .await;
            assert_eq!(
                (answer.status, answer.header("connection"), answer.header("cache-control")),
                (413, "close", "no-store"),
                "{path}"
            );
        }
    }
}

/// REV-43: no route answers a page of another origin, nor its preflight; the documentation is no exception.
#[tokio::test]
async fn no_route_is_open_to_other_origins() {
    let server = Server::start().await;
    let headers = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    for (path, methods) in routes(&server)
        .into_iter()
        .chain([("/docs".into(), vec!["GET".into()]), ("/openapi.json".into(), vec!["GET".into()])])
    {
        for method in methods.into_iter().chain(["OPTIONS".into()]) {
            let answer = server.send(method.parse().unwrap(), &path, Auth::None, &headers, "").await;
            assert!(
                !answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")),
                "{method} {path}"
            );
        }
    }
}

/// Nothing that carries or judges a token or a secret may be kept: at `/oauth2` and `/v1`, success and error
/// alike.
#[tokio::test]
async fn no_answer_about_a_secret_may_be_kept() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened =
        server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), json!({"subject": "alice"})).await;
    let id = text(&opened.json()["session"]["id"]);
    let rotated = server
        .json(
            Method::POST,
            "/v1/clients/app/secret",
            Auth::Basic(&server.admin),
            json!({"keep_old_for": "1h"}),
        )
        .await;
    for answer in [
        opened.clone(),
        rotated,
        server.json(Method::POST, "/v1/clients", Auth::Basic(&server.admin), json!({})).await,
        server.refresh(&app, &text(&opened.json()["refresh_token"])).await,
        server.get(&format!("/v1/sessions/{id}"), Auth::Basic(&app)).await,
        server.get("/v1/sessions", Auth::Basic(&app)).await,
        server.get("/v1/sessions/none", Auth::Basic(&app)).await,
        server.get("/v1/sessions", Auth::None).await,
        server.get("/v1/nothing", Auth::Basic(&app)).await,
        server.json(Method::POST, "/v1/sessions", Auth::Basic(&app), json!({})).await,
        server.delete(&format!("/v1/sessions/{id}"), Auth::Basic(&app)).await,
    ] {
        let headers = ["cache-control", "pragma", "x-content-type-options"].map(|name| answer.header(name));
        assert_eq!(headers, ["no-store", "no-cache", "nosniff"], "{} {}", answer.status, answer.text());
        assert_eq!((answer.headers.get("etag"), answer.headers.get("set-cookie")), (None, None));
    }
}

/// BER-04, BER-05, BER-06, BER-01, BER-02: how `/v1` asks for credentials.
#[tokio::test]
async fn v1_asks_for_credentials() {
    let server = Server::start().await;
    let own = server.own_token(&server.admin).await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(
            server.get("/v1/clients", Auth::Header(&format!("{scheme} {own}"))).await.status,
            200,
            "{scheme}"
        );
    }
    let anonymous = server.get("/v1/clients", Auth::None).await;
    anonymous.assert_problem(401, None);
    assert_eq!(
        anonymous.challenges(),
        [r#"Basic realm="keyfob", charset="UTF-8""#, r#"Bearer realm="keyfob""#]
    );
    server.get(&format!("/v1/clients?access_token={own}"), Auth::None).await.assert_problem(401, None);
    for bad in ["x", "", "v4.public.x"] {
        let answer = server.get("/v1/clients", Auth::Bearer(bad)).await;
        answer.assert_problem(401, None);
        assert_eq!(answer.challenges(), [r#"Bearer realm="keyfob", error="invalid_token""#]);
    }
    assert_eq!(server.revoke(&server.admin, &own).await.status, 200);
    server.get("/v1/clients", Auth::Bearer(&own)).await.assert_problem(401, None);
}

/// BER-07: a valid token without the permission gets `insufficient_scope`; a secret without it, no challenge.
#[tokio::test]
async fn a_bearer_without_the_permission_gets_insufficient_scope() {
    let server = Server::start().await;
    let machine =
        server.client(json!({"permissions": ["introspect"], "grants": ["client_credentials"]})).await;
    let own = server.own_token(&machine).await;
    for path in ["/v1/clients", "/v1/sessions", "/v1/events", "/v1/keys"] {
        let by_bearer = server.get(path, Auth::Bearer(&own)).await;
        by_bearer.assert_problem(403, None);
        assert_eq!(
            by_bearer.challenges(),
            [r#"Bearer realm="keyfob", error="insufficient_scope""#],
            "{path}"
        );
        let by_secret = server.get(path, Auth::Basic(&machine)).await;
        by_secret.assert_problem(403, None);
        assert_eq!(by_secret.challenges(), [""; 0], "{path}");
    }
}

/// A body that is not what the document says is refused naming the field, before anything is done.
#[tokio::test]
async fn a_wrong_body_names_its_field() {
    let server = Server::start().await;
    for (body, status, field) in [
        (r#"{"subject":"a","subjcet":"b"}"#, 400, Some("subjcet")),
        (r#"{"subject":"a","device":{"model":"x"}}"#, 400, Some("device.model")),
        (r#"{"subject":1}"#, 400, Some("subject")),
        ("{}", 400, Some("subject")),
        (r#"{"subject":"a","subject":"b"}"#, 400, None),
        (r#"{"subject":"a""#, 400, None),
        ("", 400, None),
    ] {
        let headers = [("content-type", "application/json")];
        let answer = server
            .send(Method::POST, "/v1/sessions", Auth::Basic(&server.admin), &headers, body.to_owned())
            .await;
        answer.assert_problem(status, field);
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    server
        .send(Method::POST, "/v1/sessions", Auth::Basic(&server.admin), &form, "subject=a")
        .await
        .assert_problem(415, None);
    server
        .send(Method::POST, "/v1/sessions", Auth::Basic(&server.admin), &[], r#"{"subject":"a"}"#)
        .await
        .assert_problem(415, None);
    let none = server.get("/v1/sessions", Auth::Basic(&server.admin)).await.json();
    assert_eq!(none["items"], json!([]));
}

/// What only an administrator may do is 403 to every other client, with the challenge of RFC 6750 §3.1 to a
/// bearer (BER-07), and to none 401.
#[tokio::test]
async fn administration_is_for_administrators() {
    let server = Server::start().await;
    let all = ["sessions", "introspect", "introspect:any", "events", "metrics"];
    let app = server
        .client(json!({
            "client_id": "app", "permissions": all, "grants": ["client_credentials"], "scopes": ["admin"],
        }))
        .await;
    let own = server.own_token(&app).await;
    let keys = server.get("/.well-known/paserk.json", Auth::None).await.json();
    let key = format!("/v1/keys/{}", text(&keys["keys"][0]["kid"]));
    for (method, path, body) in [
        (Method::GET, "/v1/clients", json!(null)),
        (Method::POST, "/v1/clients", json!({"client_id": "x", "permissions": ["admin"]})),
        (Method::GET, "/v1/clients/app", json!(null)),
        (Method::GET, "/v1/clients/unknown", json!(null)),
        (Method::PATCH, "/v1/clients/app", json!({"permissions": ["admin"]})),
        (Method::PATCH, "/v1/clients/unknown", json!({"permissions": ["admin"]})),
        (Method::DELETE, "/v1/clients/admin", json!(null)),
        (Method::POST, "/v1/clients/app/secret", json!({})),
        (Method::POST, "/v1/clients/app/tokens/revoke", json!(null)),
        (Method::DELETE, "/v1/sessions?all=true", json!(null)),
        (Method::GET, "/v1/keys", json!(null)),
        (Method::POST, "/v1/keys/rotate", json!(null)),
        (Method::DELETE, &*key, json!(null)),
    ] {
        for auth in [Auth::Basic(&app), Auth::Bearer(&own)] {
            let answer = server.json(method.clone(), path, auth, body.clone()).await;
            answer.assert_problem(403, None);
            let reported = matches!(auth, Auth::Bearer(_))
                .then_some(r#"Bearer realm="keyfob", error="insufficient_scope""#);
            assert_eq!(answer.challenges(), reported.as_slice(), "{method} {path}");
        }
        server.json(method.clone(), path, Auth::None, body).await.assert_problem(401, None);
    }
    assert_eq!(
        server.get("/v1/clients", Auth::Basic(&server.admin)).await.json()["items"].as_array().unwrap().len(),
        2
    );
}

/// A person finds the documentation at the address of the server. HAProxy's default check is `OPTIONS /`.
#[tokio::test]
async fn the_root_links_to_the_documentation_and_options_is_204() {
    let server = Server::start().await;
    let root = server.get("/", Auth::None).await;
    assert_eq!((root.status, root.header("content-type")), (200, "text/html; charset=utf-8"));
    for link in root.text().split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert_eq!(server.get(link, Auth::None).await.status, 200, "{link}");
    }
    assert!(root.text().contains("href=\"/docs\""));
    for path in ["*", "/"] {
        let answer = server.send(Method::OPTIONS, path, Auth::None, &[], "").await;
        assert_eq!((answer.status, &*answer.text()), (204, ""), "{path}");
    }
}
