//! `/v1/sessions`: who sees and ends what (contract, sections 4 and 5).

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, ISSUER, Server, text};

/// A backend that opens sessions for an application, and another application.
pub(in crate::routes) struct House {
    pub server: Server,
    pub backend: Client,
    pub app: Client,
    pub other: Client,
}

impl House {
    pub async fn build() -> Self {
        let server = Server::start().await;
        let app = server.application("app").await;
        let other = server.application("other").await;
        let backend = json!({
            "client_id": "backend", "permissions": ["sessions"], "opens_for": ["app"],
            "grants": ["refresh_token"],
        });
        let backend = server.client(backend).await;
        Self { server, backend, app, other }
    }

    pub async fn open(&self, opener: &Client, client: &str, subject: &str) -> Value {
        self.server
            .open_with(opener, json!({"subject": subject, "client_id": client, "data": {"private": true}}))
            .await
    }

    pub async fn state(&self, opened: &Value) -> (String, String) {
        let session = self.server.get(&path_of(opened), Auth::Basic(&self.server.admin)).await.json();
        (text(&session["state"]), session["ended"]["reason"].as_str().unwrap_or_default().to_owned())
    }
}

fn path_of(opened: &Value) -> String {
    format!("/v1/sessions/{}", text(&opened["session"]["id"]))
}

/// The answer to a renewal by an administrator had empty data, as if the session had none.
#[tokio::test]
async fn a_renewal_shows_the_data_to_those_who_can_read_it() {
    let house = House::build().await;
    let opened = house.open(&house.backend, "app", "alice").await;
    let path = format!("{}/renew", path_of(&opened));
    for (caller, data) in [(&house.backend, Some(json!({"private": true}))), (&house.server.admin, None)] {
        let renewed = house.server.json(Method::POST, &path, Auth::Basic(caller), json!({})).await;
        assert_eq!((renewed.status, renewed.json()["session"].get("data").cloned()), (200, data));
    }
}

/// The opener and the client it was opened for read and list it, with its data; an administrator without; to
/// others it does not exist.
#[tokio::test]
async fn a_session_is_seen_by_its_opener_its_client_and_administrators() {
    let house = House::build().await;
    let server = &house.server;
    let opened = house.open(&house.backend, "app", "alice").await;
    assert_eq!(opened["session"]["data"], json!({"private": true}));
    for (caller, data) in [
        (&house.backend, Some(json!({"private": true}))),
        (&house.app, Some(json!({"private": true}))),
        (&server.admin, None),
    ] {
        let read = server.get(&path_of(&opened), Auth::Basic(caller)).await;
        assert_eq!((read.status, read.json().get("data").cloned()), (200, data.clone()), "{}", caller.id);
        let list = server.get("/v1/sessions?subject=alice", Auth::Basic(caller)).await.json();
        assert_eq!(
            (list["items"].as_array().unwrap().len(), &list["items"][0]),
            (1, &read.json()),
            "{}",
            caller.id
        );
    }
    let unknown =
        server.get("/v1/sessions/00000000-0000-7000-8000-000000000000", Auth::Basic(&house.other)).await;
    unknown.assert_problem(404, None);
    let malformed = server.get("/v1/sessions/x", Auth::Basic(&house.other)).await;
    for method in [Method::GET, Method::DELETE] {
        let foreign = server.send(method, &path_of(&opened), Auth::Basic(&house.other), &[], "").await;
        for answer in [&foreign, &malformed] {
            assert_eq!(
                (answer.status, &answer.headers, &answer.body),
                (unknown.status, &unknown.headers, &unknown.body)
            );
        }
    }
    let list = server.get("/v1/sessions?subject=alice&client_id=app", Auth::Basic(&house.other)).await.json();
    assert_eq!(list, json!({"items": [], "next_cursor": null}));
    assert_eq!(house.state(&opened).await.0, "active");
}

/// The opener and the client it was opened for end it; a reader of tokens does not even see it.
#[tokio::test]
async fn a_session_is_ended_by_its_opener_or_its_client() {
    let house = House::build().await;
    let server = &house.server;
    let rs = server
        .client(json!({"client_id": "rs", "permissions": ["introspect:any", "events"], "serves": [ISSUER]}))
        .await;
    for caller in [&house.backend, &house.app] {
        let opened = house.open(&house.backend, "app", "alice").await;
        for method in [Method::GET, Method::DELETE] {
            server.send(method, &path_of(&opened), Auth::Basic(&rs), &[], "").await.assert_problem(403, None);
        }
        server
            .json(Method::POST, "/v1/sessions", Auth::Basic(&rs), json!({"subject": "alice"}))
            .await
            .assert_problem(403, None);
        assert_eq!(server.delete(&path_of(&opened), Auth::Basic(caller)).await.status, 204);
        assert_eq!(house.state(&opened).await, ("ended".into(), "logout".into()), "by {}", caller.id);
    }
}

/// A person's token opens no management route, whatever its scope and audience say; the client's own does,
/// with the rights of its record.
#[tokio::test]
async fn a_persons_token_manages_nothing() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["admin"], "grants": ["refresh_token", "client_credentials"],
        "scopes": ["admin", "sessions", "introspect:any"],
    });
    let app = server.client(fields).await;
    let opened = server
        .open_with(
            &app,
            json!({"subject": "app", "claims": {"permissions": ["admin"], "client_id": "admin"}}),
        )
        .await;
    let reported = server.introspect(&app, &text(&opened["access_token"])).await;
    assert_eq!(
        (&reported["aud"], &reported["scope"]),
        (&json!(ISSUER), &json!("admin introspect:any sessions"))
    );
    let own = server.own_token(&app).await;
    for token in ["access_token", "session_token", "refresh_token"].map(|name| text(&opened[name])) {
        for (method, path) in [
            (Method::GET, "/v1/clients"),
            (Method::GET, "/v1/sessions"),
            (Method::DELETE, "/v1/sessions?all=true"),
            (Method::DELETE, "/v1/clients/app"),
            (Method::DELETE, "/v1/subjects/app/sessions"),
        ] {
            let answer = server.send(method.clone(), path, Auth::Bearer(&token), &[], "").await;
            answer.assert_problem(401, None);
        }
        server
            .json(Method::POST, "/v1/sessions", Auth::Bearer(&token), json!({"subject": "x"}))
            .await
            .assert_problem(401, None);
    }
    assert!(server.is_active(&app, &text(&opened["access_token"])).await);
    assert_eq!(server.get("/v1/clients", Auth::Bearer(&own)).await.status, 200);
    server
        .json(
            Method::PATCH,
            "/v1/clients/app",
            Auth::Basic(&server.admin),
            json!({"permissions": ["sessions"]}),
        )
        .await;
    server.get("/v1/clients", Auth::Bearer(&own)).await.assert_problem(403, None);
    assert_eq!(
        server.get("/v1/sessions", Auth::Bearer(&own)).await.status,
        200,
        "what it may is read at that moment"
    );
    server
        .json(Method::PATCH, "/v1/clients/app", Auth::Basic(&server.admin), json!({"disabled": true}))
        .await;
    server.get("/v1/sessions", Auth::Bearer(&own)).await.assert_problem(401, None);
}

/// Through the admin socket the caller is an administrator, unless a header says otherwise (contract, section
/// 5).
#[tokio::test]
async fn the_admin_socket_is_an_administrator() {
    let house = House::build().await;
    let server = &house.server;
    let opened = house.open(&house.app, "app", "alice").await;
    assert_eq!(server.get(&path_of(&opened), Auth::Socket).await.status, 200);
    let headers = [("authorization", &*crate::harness::server::basic(&house.other.id, &house.other.secret))];
    server.send(Method::GET, &path_of(&opened), Auth::Socket, &headers, "").await.assert_problem(404, None);
    let wrong = [("authorization", "Basic eDp5")];
    server.send(Method::GET, &path_of(&opened), Auth::Socket, &wrong, "").await.assert_problem(401, None);
    assert_eq!(server.delete(&path_of(&opened), Auth::Socket).await.status, 204);
    assert_eq!(house.state(&opened).await, ("ended".into(), "admin".into()));
}

/// A caller without the permission gets that answer, and none about its request: once a malformed name was
/// 404, and an invalid body 400, for any caller.
#[tokio::test]
async fn the_permission_is_checked_before_the_request() {
    let server = Server::start().await;
    let onlooker = server.client(json!({"client_id": "onlooker", "permissions": ["introspect"]})).await;
    for (method, path) in [
        (Method::GET, "/v1/sessions/x"),
        (Method::PATCH, "/v1/sessions/x"),
        (Method::DELETE, "/v1/sessions/x"),
        (Method::POST, "/v1/sessions"),
        (Method::GET, "/v1/sessions?cursor=x&subject=%00"),
        (Method::POST, "/v1/sessions/x/renew"),
        (Method::POST, "/v1/sessions/x/families"),
        (Method::DELETE, "/v1/sessions/x/families/x"),
        (Method::DELETE, "/v1/subjects/%00/sessions?except=x"),
        (Method::GET, "/v1/events?after=x"),
        (Method::POST, "/v1/clients"),
        (Method::GET, "/v1/clients?cursor=%00"),
        (Method::GET, "/v1/clients/a,b"),
        (Method::PATCH, "/v1/clients/a,b"),
        (Method::DELETE, "/v1/clients/a,b"),
        (Method::POST, "/v1/clients/a,b/secret"),
        (Method::DELETE, "/v1/keys/x"),
    ] {
        for (headers, body) in
            [(&[][..], ""), (&[("content-type", "application/json")], r#"{"client_id":"a,b","no":1}"#)]
        {
            let ask = async |auth| server.send(method.clone(), path, auth, headers, body).await.status;
            let answers = (
                ask(Auth::None).await,
                ask(Auth::Basic(&onlooker)).await,
                ask(Auth::Basic(&server.admin)).await,
            );
            assert!(matches!(answers, (401, 403, 400 | 404 | 415)), "{method} {path}: {answers:?}");
        }
    }
}
