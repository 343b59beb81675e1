//! `/v1/clients`: registration and all that follows from it (contract, section 4).

mod authentication;
mod deletion;
mod in_progress;
mod narrowing;
mod own_tokens;

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::server::{Answer, Auth, Client, ISSUER, Server, text};

const PATH: &str = "/v1/clients";

async fn as_admin(server: &Server, method: Method, path: &str, body: Value) -> Answer {
    server.json(method, path, Auth::Basic(&server.admin), body).await
}

async fn change(server: &Server, id: &str, body: Value) -> Answer {
    as_admin(server, Method::PATCH, &format!("{PATH}/{id}"), body).await
}

/// Whether these credentials are good.
async fn authenticates(server: &Server, client: &Client) -> bool {
    server.form("/oauth2/revoke", Auth::Basic(client), &[("token", "x")]).await.status == 200
}

/// Every field, as it is sent and as it is shown; the secret once.
#[tokio::test]
async fn a_client_is_registered_with_every_field() {
    let server = Server::with(&[("policy.web.access_token_ttl", "10m")]).await;
    let fields = json!({
        "client_id": "My.app_1~x-", "kind": "confidential",
        "permissions": ["sessions", "introspect", "sessions"],
        "grants": ["client_credentials", "refresh_token"], "scopes": ["write", "read", "read"],
        "audiences": ["https://a", "urn:b"],
        "serves": ["https://c"], "opens_for": ["spa", "not-yet-there"], "policy": "web",
        "access_token_format": "paseto", "disabled": false,
    });
    let created = as_admin(&server, Method::POST, PATH, fields).await;
    assert_eq!((created.status, created.header("location")), (201, "/v1/clients/My.app_1~x-"));
    let mut shown = created.json();
    let secret = shown.as_object_mut().unwrap().remove("client_secret").map(|secret| text(&secret)).unwrap();
    assert!(secret.starts_with("kfc_") && secret.len() == 47);
    let expected = json!({
        "client_id": "My.app_1~x-", "kind": "confidential", "permissions": ["sessions", "introspect"],
        "grants": ["client_credentials", "refresh_token"], "scopes": ["read", "write"],
        "audiences": ["https://a", "urn:b"],
        "serves": ["https://c"], "opens_for": ["spa", "not-yet-there"], "policy": "web",
        "access_token_format": "paseto", "disabled": false,
        "declared": false, "created_at": "2027-01-15T08:00:00Z", "updated_at": "2027-01-15T08:00:00Z",
    });
    assert_eq!(shown, expected);
    let read = server.get("/v1/clients/My.app_1~x-", Auth::Basic(&server.admin)).await;
    assert_eq!((read.json(), read.text().contains("secret")), (expected.clone(), false));
    let list = server.get(PATH, Auth::Basic(&server.admin)).await.json();
    assert_eq!(list["items"][0], expected);
    let app = Client { id: "My.app_1~x-".into(), secret };
    let token = server.open_with(&app, json!({"subject": "alice", "audience": "urn:b"})).await;
    assert_eq!(token["expires_in"], json!(600), "its policy");
}

/// A name of its own, and nothing allowed, if nothing is said.
#[tokio::test]
async fn the_defaults_allow_nothing() {
    let server = Server::start().await;
    let created = as_admin(&server, Method::POST, PATH, json!({})).await.json();
    for member in ["permissions", "grants", "scopes", "audiences", "serves", "opens_for"] {
        assert_eq!(created[member], json!([]), "{member}");
    }
    assert_eq!(
        (&created["kind"], &created["policy"], &created["disabled"]),
        (&json!("confidential"), &json!("default"), &json!(false))
    );
    assert_ne!(
        as_admin(&server, Method::POST, PATH, json!({})).await.json()["client_id"],
        created["client_id"]
    );
}

/// What cannot be is named, at a creation and in a change alike, and nothing is kept of it.
#[tokio::test]
async fn what_a_client_cannot_be_is_named() {
    let server = Server::start().await;
    server.client(json!({"client_id": "app"})).await;
    let before = server.get("/v1/clients/app", Auth::Basic(&server.admin)).await.json();
    let many: Vec<String> = (0..65).map(|number| format!("x{number}")).collect();
    for (field, value) in [
        ("permissions", json!(["root"])),
        ("grants", json!(["password"])),
        ("scopes", json!(["a b\"c"])),
        ("audiences", json!([""])),
        ("audiences", json!(["a b"])),
        ("serves", json!(many)),
        ("serves", json!(["x".repeat(257)])),
        ("opens_for", json!(["a b"])),
        ("opens_for", json!(many)),
        ("policy", json!("nope")),
        ("access_token_format", json!("saml")),
        ("disabled", json!("no")),
        ("kind", json!("secret")),
        ("secret", json!("kfc_x")),
        ("client_secret", json!("kfc_x")),
    ] {
        for (method, path) in [(Method::POST, PATH), (Method::PATCH, "/v1/clients/app")] {
            let answer = as_admin(&server, method.clone(), path, json!({field: value})).await;
            let named = text(&answer.json()["field"]);
            assert!(
                answer.status == 400 && named.split('[').next() == Some(field),
                "{method} {field}: {}",
                answer.text()
            );
        }
    }
    for id in ["", "a b", "a/b", "ä", "a:b", &"x".repeat(65)] {
        as_admin(&server, Method::POST, PATH, json!({"client_id": id}))
            .await
            .assert_problem(400, Some("client_id"));
    }
    change(&server, "app", json!({"kind": "public"})).await.assert_problem(400, Some("kind"));
    change(&server, "app", json!({"client_id": "other"})).await.assert_problem(400, Some("client_id"));
    as_admin(&server, Method::POST, PATH, json!({"client_id": "app"})).await.assert_problem(409, None);
    assert_eq!(server.get("/v1/clients/app", Auth::Basic(&server.admin)).await.json(), before);
    let names = server.get(PATH, Auth::Basic(&server.admin)).await.json();
    assert_eq!(names["items"].as_array().unwrap().len(), 2);
}

/// A public client has no secret, and nothing that needs one, wherever it is tried.
#[tokio::test]
async fn a_public_client_has_nothing_that_needs_a_secret() {
    let server = Server::start().await;
    let created = as_admin(
        &server,
        Method::POST,
        PATH,
        json!({"client_id": "spa", "kind": "public", "grants": ["refresh_token"]}),
    )
    .await;
    assert_eq!((created.status, created.json().get("client_secret")), (201, None));
    for (field, value) in [
        ("permissions", json!(["introspect"])),
        ("serves", json!(["https://a"])),
        ("opens_for", json!(["spa"])),
        ("grants", json!(["client_credentials"])),
    ] {
        let mut body = json!({"kind": "public"});
        body[field] = value.clone();
        as_admin(&server, Method::POST, PATH, body).await.assert_problem(400, Some(field));
        change(&server, "spa", json!({field: value})).await.assert_problem(400, Some(field));
    }
    as_admin(&server, Method::POST, "/v1/clients/spa/secret", json!({}))
        .await
        .assert_problem(400, Some("kind"));
    let token = ("grant_type", "client_credentials");
    server
        .form("/oauth2/token", Auth::None, &[token, ("client_id", "spa")])
        .await
        .assert_error(400, "unauthorized_client");
    for header in ["Basic c3BhOg==", "Basic c3BhOmtmY194"] {
        server.get("/v1/sessions", Auth::Header(header)).await.assert_problem(401, None);
    }
}

/// In the order of names, page by page.
#[tokio::test]
async fn clients_are_listed_by_name() {
    let server = Server::start().await;
    for id in ["zed", "b", "a-1", "B"] {
        server.client(json!({"client_id": id})).await;
    }
    let (mut found, mut cursor) = (vec![], String::new());
    loop {
        let page = server.get(&format!("{PATH}?limit=2{cursor}"), Auth::Basic(&server.admin)).await.json();
        found.extend(page["items"].as_array().unwrap().iter().map(|client| text(&client["client_id"])));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(found, ["B", "a-1", "admin", "b", "zed"]);
    for (query, field) in [("limit=0", "limit"), ("limit=201", "limit"), ("cursor=a%20b", "cursor")] {
        server
            .get(&format!("{PATH}?{query}"), Auth::Basic(&server.admin))
            .await
            .assert_problem(400, Some(field));
    }
}

/// What is left out of a change stays; what it takes away counts at once.
#[tokio::test]
async fn a_change_keeps_what_it_leaves_out() {
    let server = Server::start().await;
    let app = server.application("app").await;
    server.hand.advance(Duration::from_secs(1));
    let changed = change(
        &server,
        "app",
        json!({"permissions": ["introspect"], "client_id": "app", "kind": "confidential"}),
    )
    .await
    .json();
    assert_eq!(
        (&changed["scopes"], &changed["grants"]),
        (&json!(["read", "write"]), &json!(["refresh_token"]))
    );
    assert_eq!(
        (&changed["created_at"], &changed["updated_at"]),
        (&json!("2027-01-15T08:00:00Z"), &json!("2027-01-15T08:00:01Z"))
    );
    server
        .json(Method::POST, "/v1/sessions", Auth::Basic(&app), json!({"subject": "a"}))
        .await
        .assert_problem(403, None);
    assert!(authenticates(&server, &app).await, "the secret stays");
    for (method, path) in
        [(Method::GET, ""), (Method::PATCH, ""), (Method::DELETE, ""), (Method::POST, "/secret")]
    {
        for id in ["unknown", "a%20b"] {
            let answer = as_admin(&server, method.clone(), &format!("{PATH}/{id}{path}"), json!({})).await;
            answer.assert_problem(404, None);
        }
    }
}

/// By default the old secret dies at once; two can be good at a time, never three; and the end of the older
/// is never put off.
#[tokio::test]
async fn a_secret_is_rotated() {
    let server = Server::start().await;
    let first = server.application("app").await;
    let rotate = |body: Value| {
        let server = &server;
        async move {
            let answer = as_admin(server, Method::POST, "/v1/clients/app/secret", body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            Client { id: "app".into(), secret: text(&answer.json()["client_secret"]) }
        }
    };
    let second = rotate(json!({})).await;
    assert!(!authenticates(&server, &first).await && authenticates(&server, &second).await);
    let third = rotate(json!({"keep_old_for": "1h"})).await;
    server.hand.advance(Duration::from_secs(1800));
    assert!(authenticates(&server, &second).await && authenticates(&server, &third).await);
    let fourth = rotate(json!({"keep_old_for": "24h"})).await;
    assert!(
        !authenticates(&server, &second).await
            && authenticates(&server, &third).await
            && authenticates(&server, &fourth).await
    );
    server.hand.advance(Duration::from_secs(24 * 3600));
    assert!(!authenticates(&server, &third).await && authenticates(&server, &fourth).await);
    let fifth = rotate(json!({"keep_old_for": "0s"})).await;
    assert!(!authenticates(&server, &fourth).await && authenticates(&server, &fifth).await);
    for bad in [json!("soon"), json!("-1h"), json!(60), json!("401d")] {
        as_admin(&server, Method::POST, "/v1/clients/app/secret", json!({"keep_old_for": bad}))
            .await
            .assert_problem(400, Some("keep_old_for"));
    }
    assert!(authenticates(&server, &fifth).await);
    let own = server.open(&fifth).await;
    assert!(server.is_active(&fifth, &text(&own["access_token"])).await);
}

/// Shut out and let in again: nothing is lost but what expired meanwhile.
#[tokio::test]
async fn a_disabled_client_is_restored() {
    let server = Server::start().await;
    let app = server
        .client(json!({
            "client_id": "app", "permissions": ["sessions", "introspect"],
            "grants": ["refresh_token", "client_credentials"],
        }))
        .await;
    let (opened, own) = (server.open(&app).await, server.own_token(&app).await);
    let tokens = [
        text(&opened["access_token"]),
        text(&opened["refresh_token"]),
        text(&opened["session_token"]),
        own.clone(),
    ];
    change(&server, "app", json!({"disabled": true})).await;
    for token in &tokens {
        assert!(!server.is_active(&server.admin, token).await);
    }
    assert!(!authenticates(&server, &app).await);
    server.get("/v1/sessions", Auth::Bearer(&own)).await.assert_problem(401, None);
    change(&server, "app", json!({"disabled": false})).await;
    for token in &tokens {
        assert!(server.is_active(&app, token).await);
    }
    assert_eq!(server.refresh(&app, &tokens[1]).await.status, 200);
}

/// Deleting ends all that it was issued, permanently: a later client of the same name gets none of it, also
/// after a restart.
#[tokio::test]
async fn a_deleted_clients_tokens_do_not_come_back_with_its_name() {
    let mut server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"],
        "grants": ["refresh_token", "client_credentials"],
    });
    let app = server.client(fields.clone()).await;
    let (opened, own) = (server.open(&app).await, server.own_token(&app).await);
    assert_eq!(server.delete("/v1/clients/app", Auth::Basic(&server.admin)).await.status, 204);
    server.delete("/v1/clients/app", Auth::Basic(&server.admin)).await.assert_problem(404, None);
    assert!(!authenticates(&server, &app).await);
    let again = server.client(fields).await;
    assert!(
        !authenticates(&server, &app).await && authenticates(&server, &again).await,
        "the old secret is gone with it"
    );
    let lives = server.open(&again).await;
    for _ in 0..2 {
        for token in ["access_token", "refresh_token", "session_token"]
            .map(|name| text(&opened[name]))
            .iter()
            .chain([&own])
        {
            assert!(!server.is_active(&server.admin, token).await);
        }
        server.refresh(&again, &text(&opened["refresh_token"])).await.assert_error(400, "invalid_grant");
        server.get("/v1/sessions", Auth::Bearer(&own)).await.assert_problem(401, None);
        let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
        let session = server.get(&path, Auth::Basic(&server.admin)).await.json();
        assert_eq!(
            (&session["state"], &session["ended"]["reason"]),
            (&json!("ended"), &json!("client_deleted"))
        );
        assert!(server.is_active(&again, &text(&lives["access_token"])).await);
        server.restart().await;
    }
}

/// A client of the configuration file is changed there: the API answers 409, and one that leaves the file is
/// shut out.
#[tokio::test]
async fn a_declared_client_is_the_files() {
    let secret = format!("kfc_{}", "A".repeat(43));
    let hash: String = Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let declaration = |scopes: &str| {
        format!(
            "[[client]]\nclient_id = \"web\"\nsecret_sha256 = \"{hash}\"\npermissions = [\"sessions\", \
             \"introspect\"]\nscopes = [{scopes}]\n"
        )
    };
    let mut server = Server::start().await;
    server.configure(&declaration("\"read\""));
    server.restart().await;
    let web = Client { id: "web".into(), secret };
    let shown = server.get("/v1/clients/web", Auth::Basic(&server.admin)).await.json();
    assert_eq!((&shown["declared"], &shown["scopes"]), (&json!(true), &json!(["read"])));
    let token = text(&server.open(&web).await["access_token"]);
    for (method, path, body) in [
        (Method::PATCH, "/v1/clients/web", json!({"disabled": true})),
        (Method::DELETE, "/v1/clients/web", json!(null)),
        (Method::POST, "/v1/clients/web/secret", json!({})),
        (Method::POST, PATH, json!({"client_id": "web"})),
    ] {
        as_admin(&server, method, path, body).await.assert_problem(409, None);
    }
    assert_eq!(server.get("/v1/clients/web", Auth::Basic(&server.admin)).await.json(), shown);
    server.configure(&declaration("\"read\", \"write\""));
    server.restart().await;
    assert!(server.is_active(&web, &token).await, "updated in place");
    assert_eq!(
        server.get("/v1/clients/web", Auth::Basic(&server.admin)).await.json()["scopes"],
        json!(["read", "write"])
    );
    server.configure("");
    server.restart().await;
    assert!(!authenticates(&server, &web).await && !server.is_active(&server.admin, &token).await);
    assert_eq!(
        server.get("/v1/clients/web", Auth::Basic(&server.admin)).await.json()["disabled"],
        json!(true)
    );
}

/// What a client may introspect (contract, section 4): what it was issued, what it serves; with
/// `introspect:any` all of it.
#[tokio::test]
async fn the_permission_decides_what_is_introspected() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let reader = |id: &str, permission: &str, serves: Value| {
        let fields = json!({"client_id": id, "permissions": [permission], "serves": serves});
        let server = &server;
        async move { server.client(fields).await }
    };
    let any = reader("any", "introspect:any", json!([])).await;
    let serving = reader("serving", "introspect", json!([ISSUER])).await;
    let nothing = reader("nothing", "introspect", json!([])).await;
    for (client, expected) in [
        (&any, [true, true, true]),
        (&serving, [true, false, false]),
        (&nothing, [false; 3]),
        (&server.admin, [true; 3]),
    ] {
        for (name, active) in ["access_token", "refresh_token", "session_token"].into_iter().zip(expected) {
            assert_eq!(
                server.is_active(client, &text(&opened[name])).await,
                active,
                "{name} for {}",
                client.id
            );
        }
    }
}
