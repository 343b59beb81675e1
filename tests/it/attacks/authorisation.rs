//! Each caller without the right, with each operation on what belongs to another client.

use http::Method;
use serde_json::{Value, json};

use super::{Attacks, state_of};
use crate::harness::people::path;
use crate::harness::server::{Auth, Client, Server, basic, text};

/// What a caller is known as; it decides the status of what it is refused.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// Not authenticated.
    No,
    /// A client without the permission `sessions`.
    Plain,
    /// A client with the permissions `sessions` and `introspect`, which may not do it to this session.
    Sessions,
}

/// What an operation needs.
#[derive(Clone, Copy)]
enum Needs {
    /// The session, of which others must not learn.
    Session,
    /// A permission that none of the callers has.
    Admin,
    /// The permission `sessions`; of other clients' sessions nothing is ended.
    Own,
    /// A client that it may open for.
    Opening,
}

/// The status of a refusal, and what is in its body.
fn refused(known: Known, needs: Needs) -> (u16, Option<Value>) {
    match (known, needs) {
        (Known::No, _) => (401, None),
        (Known::Plain, _) | (Known::Sessions, Needs::Admin | Needs::Opening) => (403, None),
        (Known::Sessions, Needs::Session) => (404, None),
        (Known::Sessions, Needs::Own) => (200, Some(json!({"ended": 0}))),
    }
}

/// A victim, its session, and those who attack it.
struct World {
    server: Server,
    shop: Client,
    opened: Value,
    kiosk: Value,
    /// The name of each caller, its `Authorization`, and what it is known as.
    callers: Vec<(&'static str, String, Known)>,
}

async fn world() -> World {
    let server = Server::with(&[("limits.failed_auth_per_minute", "100000")]).await;
    let admin = Auth::Basic(&server.admin);
    let client = async |id: &str, permissions: &[&str], more: Value| {
        let mut fields = json!({
            "client_id": id, "permissions": permissions, "grants": ["refresh_token", "client_credentials"],
            "scopes": ["read", "write"],
        });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server.client(fields).await
    };
    let shop = client("shop", &["sessions", "introspect"], json!({"opens_for": ["kiosk"]})).await;
    let rival = client("rival", &["sessions", "introspect"], json!({})).await;
    let kiosk = client("kiosk", &["sessions", "introspect"], json!({})).await;
    let plain = client("plain", &[], json!({})).await;
    let reader = client("reader", &["introspect"], json!({})).await;
    let off = client("off", &["admin"], json!({})).await;
    let gone = client("gone", &["admin"], json!({})).await;
    let root = client("root", &["admin"], json!({})).await;
    let api = client("api", &["admin"], json!({"audiences": ["https://api.example"]})).await;
    let mob = json!({"client_id": "mob", "kind": "public", "grants": ["refresh_token"]});
    let mob = server.client(mob).await;

    let fields = json!({"subject": "alice", "data": {"private": 1}});
    let opened = server.open_with(&shop, fields).await;
    let families = format!("{}/families", path(&opened));
    let of_kiosk = json!({"client_id": "kiosk"});
    let of_kiosk = server.json(Method::POST, &families, Auth::Basic(&shop), of_kiosk).await;
    assert_eq!(of_kiosk.status, 201, "{}", of_kiosk.text());
    let mallory = server.open_with(&rival, json!({"subject": "mallory", "scope": "read write"})).await;

    let own = async |client: &Client| format!("Bearer {}", server.own_token(client).await);
    let revoked = server.own_token(&root).await;
    assert_eq!(server.revoke(&root, &revoked).await.status, 200);
    let rotated = own(&root).await;
    let new = server.json(Method::POST, "/v1/clients/root/secret", admin, json!({})).await;
    assert_eq!(new.status, 200);
    let (of_off, of_gone) = (own(&off).await, own(&gone).await);
    server.json(Method::PATCH, "/v1/clients/off", admin, json!({"disabled": true})).await;
    server.delete("/v1/clients/gone", admin).await;

    let by = |client: &Client| basic(&client.id, &client.secret);
    let token = |opened: &Value, name: &str| format!("Bearer {}", text(&opened[name]));
    let callers = vec![
        ("no credentials", String::new(), Known::No),
        ("another client", by(&rival), Known::Sessions),
        ("another client by its own token", own(&rival).await, Known::Sessions),
        ("the client of a family", by(&kiosk), Known::Sessions),
        ("the client of a family by its own token", own(&kiosk).await, Known::Sessions),
        ("a client without permissions", by(&plain), Known::Plain),
        ("a client without permissions by its own token", own(&plain).await, Known::Plain),
        ("a client that introspects", by(&reader), Known::Plain),
        ("a public client", by(&mob), Known::No),
        ("a disabled administrator", by(&off), Known::No),
        ("a disabled administrator by its own token", of_off, Known::No),
        ("a deleted administrator", by(&gone), Known::No),
        ("a deleted administrator by its own token", of_gone, Known::No),
        ("the victim with the secret of another", basic("shop", &rival.secret), Known::No),
        ("the administrator with the secret of another", basic("admin", &rival.secret), Known::No),
        ("the administrator without a secret", basic("admin", ""), Known::No),
        ("the secret of before a rotation", by(&root), Known::No),
        ("an own token of before a rotation", rotated, Known::No),
        ("an own token that was revoked", format!("Bearer {revoked}"), Known::No),
        ("an administrator's token for another audience", own(&api).await, Known::No),
        ("the victim's secret as bearer", format!("Bearer {}", shop.secret), Known::No),
        ("the access token of the subject", token(&opened, "access_token"), Known::No),
        ("the session token of the subject", token(&opened, "session_token"), Known::No),
        ("the refresh token of the subject", token(&opened, "refresh_token"), Known::No),
        ("the access token of another subject", token(&mallory, "access_token"), Known::No),
    ];
    World { kiosk: of_kiosk.json(), shop, opened, callers, server }
}

#[tokio::test]
async fn no_caller_without_the_right_reads_or_changes_what_belongs_to_another_client() {
    let world = world().await;
    let server = &world.server;
    let session = path(&world.opened);
    let keys = server.get("/.well-known/paserk.json", Auth::None).await.json();
    let key = format!("/v1/keys/{}", text(&keys["keys"][0]["kid"]));
    let (to, post) = (|under: &str| format!("{session}{under}"), Method::POST);
    let admin = json!({"permissions": ["admin"]});
    let operations = [
        ("read", Method::GET, session.clone(), json!(null), Needs::Session),
        ("change", Method::PATCH, session.clone(), json!({"claims": {"role": "root"}}), Needs::Session),
        ("end", Method::DELETE, session.clone(), json!(null), Needs::Session),
        ("renew", post.clone(), to("/renew"), json!({"acr": "aal3"}), Needs::Session),
        ("add a family", post.clone(), to("/families"), json!({}), Needs::Session),
        ("end a family", Method::DELETE, to("/families/1"), json!(null), Needs::Session),
        ("end the kiosk's family", Method::DELETE, to("/families/2"), json!(null), Needs::Session),
        (
            "log the subject out",
            Method::DELETE,
            "/v1/subjects/alice/sessions".into(),
            json!(null),
            Needs::Own,
        ),
        ("the same by query", Method::DELETE, "/v1/sessions?subject=alice".into(), json!(null), Needs::Own),
        ("end all sessions", Method::DELETE, "/v1/sessions?all=true".into(), json!(null), Needs::Admin),
        (
            "open for the victim's client",
            post.clone(),
            "/v1/sessions".into(),
            json!({"subject": "alice", "client_id": "shop"}),
            Needs::Opening,
        ),
        ("list the clients", Method::GET, "/v1/clients".into(), json!(null), Needs::Admin),
        ("register an administrator", post.clone(), "/v1/clients".into(), admin.clone(), Needs::Admin),
        ("read a client", Method::GET, "/v1/clients/shop".into(), json!(null), Needs::Admin),
        ("change a client", Method::PATCH, "/v1/clients/rival".into(), admin, Needs::Admin),
        ("delete a client", Method::DELETE, "/v1/clients/shop".into(), json!(null), Needs::Admin),
        ("rotate a secret", post.clone(), "/v1/clients/shop/secret".into(), json!({}), Needs::Admin),
        ("end own tokens", post.clone(), "/v1/clients/shop/tokens/revoke".into(), json!({}), Needs::Admin),
        ("list the keys", Method::GET, "/v1/keys".into(), json!(null), Needs::Admin),
        ("rotate the keys", post, "/v1/keys/rotate?force=true".into(), json!({}), Needs::Admin),
        ("revoke a key", Method::DELETE, key, json!(null), Needs::Admin),
        ("read the log", Method::GET, "/v1/events".into(), json!(null), Needs::Admin),
        ("take a backup", Method::GET, "/v1/db/backup".into(), json!(null), Needs::Admin),
        ("check the store", Method::GET, "/v1/db/check".into(), json!(null), Needs::Admin),
        ("read the sizes", Method::GET, "/v1/db/stats".into(), json!(null), Needs::Admin),
        ("read the metrics", Method::GET, "/metrics".into(), json!(null), Needs::Admin),
    ];
    let before = state_of(server, &session).await;
    let mut attacks = Attacks::of("operations on what belongs to another client");
    for (caller, authorization, known) in &world.callers {
        for (operation, method, path, body, needs) in &operations {
            // The client of a family may end that family, and so log the subject out of it.
            if caller.starts_with("the client of a family") && matches!(needs, Needs::Own) {
                continue;
            }
            let headers = [("authorization", &**authorization), ("content-type", "application/json")];
            let headers = if authorization.is_empty() { &headers[1..] } else { &headers[..] };
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let answer = server.send(method.clone(), path, Auth::None, headers, body).await;
            let (status, content) = refused(*known, *needs);
            let says_more = content.is_some_and(|content| answer.json() != content);
            let leaks = answer.text().contains("alice") || answer.text().contains("private");
            let unchanged = state_of(server, &session).await == before;
            let held = answer.status == status && !says_more && !leaks && unchanged;
            attacks.check(format!("{caller}: {operation}"), held, (answer.status, answer.text(), unchanged));
        }
    }
    for opened in [&world.opened, &world.kiosk] {
        assert!(server.is_active(&server.admin, &text(&opened["access_token"])).await);
    }
    attacks.finish(25 * 26 - 2 * 2);
}

/// At `/oauth2/*`: the victim's tokens say nothing to these callers, and stay valid.
#[tokio::test]
async fn no_caller_without_the_right_introspects_revokes_or_refreshes_a_token_of_another_client() {
    let world = world().await;
    let server = &world.server;
    let (own, opened) = (server.own_token(&world.shop).await, &world.opened);
    let tokens = [
        ("access token", text(&opened["access_token"])),
        ("refresh token", text(&opened["refresh_token"])),
        ("session token", text(&opened["session_token"])),
        ("own token", own),
    ];
    let mut attacks = Attacks::of("tokens of another client");
    for (caller, authorization, known) in &world.callers {
        let is_reader = *caller == "a client that introspects";
        let bearer = authorization.starts_with("Bearer");
        for (name, token) in &tokens {
            for operation in ["introspect", "check", "revoke", "refresh"] {
                if operation == "refresh" && *name != "refresh token" {
                    continue;
                }
                let form = format!("token={token}&refresh_token={token}&grant_type=refresh_token");
                let (path, kind, body) = match operation {
                    "introspect" => ("/oauth2/introspect", "application/x-www-form-urlencoded", form),
                    "revoke" => ("/oauth2/revoke", "application/x-www-form-urlencoded", form),
                    "refresh" => ("/oauth2/token", "application/x-www-form-urlencoded", form),
                    _ => ("/v1/sessions/check", "application/json", json!({"token": token}).to_string()),
                };
                let headers = [("authorization", &**authorization), ("content-type", kind)];
                let headers = if authorization.is_empty() { &headers[1..] } else { &headers[..] };
                let answer = server.send(Method::POST, path, Auth::None, headers, body).await;
                let inactive = answer.text() == r#"{"active":false}"#;
                let can_introspect = *known == Known::Sessions || is_reader;
                let refused = matches!(answer.status, 400 | 401 | 403);
                let held = match operation {
                    "introspect" | "check" if can_introspect => answer.status == 200 && inactive,
                    "introspect" | "check" if *known == Known::Plain => {
                        answer.status == if bearer && operation == "introspect" { 401 } else { 403 }
                    }
                    "introspect" | "check" => answer.status == 401,
                    _ => refused,
                };
                let active = server.is_active(&server.admin, token).await;
                attacks.check(
                    format!("{caller}: {operation} the {name}"),
                    held && active,
                    (answer.status, answer.text(), active),
                );
            }
        }
    }
    attacks.finish(25 * (4 * 3 + 1));
}
