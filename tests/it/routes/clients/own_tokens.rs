//! What ends a client's own tokens: a rotation that keeps no secret, the loss of the grant, and the route.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};

use super::{as_admin, change};
use crate::harness::server::{Auth, Client, ISSUER, Server, text};

/// An application with own tokens for the issuer.
async fn shop(server: &Server) -> Client {
    let fields = json!({"client_id": "shop", "permissions": ["sessions", "introspect"], "scopes": ["read"],
                        "grants": ["refresh_token", "client_credentials"]});
    server.client(fields).await
}

async fn rotate(server: &Server, fields: Value) -> Client {
    let answer = as_admin(server, Method::POST, "/v1/clients/shop/secret", fields).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    Client { id: "shop".into(), secret: text(&answer.json()["client_secret"]) }
}

async fn revoke(server: &Server) {
    let path = "/v1/clients/shop/tokens/revoke";
    let answer = server.send(Method::POST, path, Auth::Basic(&server.admin), &[], "").await;
    assert_eq!((answer.status, &*answer.text()), (204, ""));
}

async fn opens_with(server: &Server, token: &str) -> u16 {
    let opening = json!({"subject": "any person"});
    server.json(Method::POST, "/v1/sessions", Auth::Bearer(token), opening).await.status
}

/// A thief of the secret has a token of its own before the operator acts. It used to open sessions for any
/// subject until it expired.
#[tokio::test]
async fn a_rotation_that_keeps_no_secret_ends_the_tokens_of_the_thief_at_once() {
    let server = Server::start().await;
    let thief = shop(&server).await;
    let stolen = server.own_token(&thief).await;
    let session = server.open(&thief).await;
    assert_eq!(opens_with(&server, &stolen).await, 201);
    let kept = rotate(&server, json!({"keep_old_for": "1h"})).await;
    assert_eq!(
        opens_with(&server, &stolen).await,
        201,
        "the application goes on while it changes its secret"
    );
    let shop = rotate(&server, json!({})).await;
    for secret in [&thief, &kept] {
        let fields = [("grant_type", "client_credentials")];
        assert_eq!(server.form("/oauth2/token", Auth::Basic(secret), &fields).await.status, 401);
    }
    let refused = server.get("/v1/sessions", Auth::Bearer(&stolen)).await;
    refused.assert_problem(401, None);
    assert_eq!(refused.challenges(), [r#"Bearer realm="keyfob", error="invalid_token""#]);
    assert_eq!(opens_with(&server, &stolen).await, 401);
    assert!(!server.is_active(&server.admin, &stolen).await);
    let by_bearer = server.form("/oauth2/introspect", Auth::Bearer(&stolen), &[("token", &stolen)]).await;
    by_bearer.assert_error(401, "invalid_token");
    let own = server.own_token(&shop).await;
    assert_eq!(opens_with(&server, &own).await, 201, "a token got with the new secret");
    assert!(server.is_active(&shop, &text(&session["access_token"])).await, "sessions are not touched");
    let log = server.get("/v1/events?limit=200", Auth::Basic(&server.admin)).await.json();
    let revoked: Vec<&Value> =
        log["items"].as_array().unwrap().iter().filter(|e| e["type"] == "client.tokens_revoked").collect();
    assert_eq!(revoked.len(), 1);
    assert_eq!((&revoked[0]["client_id"], &revoked[0]["by"]), (&json!("shop"), &json!("admin")));
}

#[tokio::test]
async fn without_the_grant_a_client_has_no_tokens_of_its_own_and_other_changes_end_none() {
    let server = Server::start().await;
    let shop = shop(&server).await;
    let own = server.own_token(&shop).await;
    for fields in [
        json!({"scopes": []}),
        json!({"permissions": ["introspect"]}),
        json!({"grants": ["client_credentials"]}),
    ] {
        assert_eq!(change(&server, "shop", fields).await.status, 200);
        assert!(server.is_active(&server.admin, &own).await);
    }
    assert_eq!(change(&server, "shop", json!({"grants": ["refresh_token"]})).await.status, 200);
    assert!(!server.is_active(&server.admin, &own).await);
    let back = change(&server, "shop", json!({"grants": ["client_credentials"]})).await;
    assert_eq!(back.status, 200);
    assert!(!server.is_active(&server.admin, &own).await, "what ended has ended");
    assert!(server.is_active(&server.admin, &server.own_token(&shop).await).await);
    let types = server.event_types().await;
    assert_eq!(types.iter().filter(|kind| **kind == "client.tokens_revoked").count(), 1);
}

/// Of both forms, also after a restart and by a resource server whose tokens they are.
#[tokio::test]
async fn the_route_ends_every_own_token_and_nothing_else() {
    let mut server = Server::start().await;
    let shop = shop(&server).await;
    let mut tokens = vec![server.own_token(&shop).await];
    for format in ["jwt", "jwt_es256", "paseto"] {
        let fields = json!({"access_token_format": format, "audiences": ["https://api.example"]});
        assert_eq!(change(&server, "shop", fields).await.status, 200);
        tokens.push(server.own_token(&shop).await);
    }
    let other = server.client(json!({"client_id": "job", "grants": ["client_credentials"]})).await;
    let kept = server.own_token(&other).await;
    let session = server.open(&shop).await;
    for token in &tokens {
        assert!(server.is_active(&server.admin, token).await);
    }
    let before = server.get("/v1/clients/shop", Auth::Basic(&server.admin)).await.json();
    revoke(&server).await;
    for _ in 0..2 {
        for token in &tokens {
            assert_eq!(server.introspect(&server.admin, token).await, json!({"active": false}));
        }
        assert!(server.is_active(&server.admin, &kept).await);
        assert!(server.is_active(&shop, &text(&session["access_token"])).await);
        assert_eq!(server.get("/v1/clients/shop", Auth::Basic(&server.admin)).await.json(), before);
        assert!(
            server.is_active(&server.admin, &server.own_token(&shop).await).await,
            "the secret still works"
        );
        server.restart().await;
    }
    let unknown =
        server.send(Method::POST, "/v1/clients/unknown/tokens/revoke", Auth::Basic(&server.admin), &[], "");
    unknown.await.assert_problem(404, None);
}

/// The file has the secret and the grants of a declared client; the route does not change them.
#[tokio::test]
async fn the_own_tokens_of_a_declared_client_end_by_the_route_and_by_a_new_secret_in_the_file() {
    let mut server = Server::start().await;
    let secret = |fill: &str| format!("kfc_{}", fill.repeat(43));
    let declare = |secret: &str| {
        use sha2::{Digest, Sha256};
        let hash: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "[[client]]\nclient_id = \"shop\"\nsecret_sha256 = \"{hash}\"\ngrants = \
             [\"client_credentials\"]\n"
        )
    };
    server.configure(&declare(&secret("A")));
    server.restart().await;
    let shop = Client { id: "shop".into(), secret: secret("A") };
    let own = server.own_token(&shop).await;
    server.restart().await;
    assert!(server.is_active(&server.admin, &own).await, "the same declaration");
    revoke(&server).await;
    assert!(!server.is_active(&server.admin, &own).await);
    server.restart().await;
    assert!(!server.is_active(&server.admin, &own).await, "the file does not know of it");
    let own = server.own_token(&shop).await;
    server.configure(&declare(&secret("Q")));
    server.restart().await;
    assert!(!server.is_active(&server.admin, &own).await);
    let shop = Client { secret: secret("Q"), ..shop };
    assert!(server.is_active(&server.admin, &server.own_token(&shop).await).await);
}

/// One loop of the thief: asks for tokens until `stop`, and counts what it got.
async fn ask(
    server: Arc<Server>,
    thief: Client,
    issued: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<String> {
    let mut tokens = vec![];
    while !stop.load(Ordering::Relaxed) {
        let fields = [("grant_type", "client_credentials"), ("resource", ISSUER)];
        let answer = server.form("/oauth2/token", Auth::Basic(&thief), &fields).await;
        if answer.status == 200 {
            tokens.push(text(&answer.json()["access_token"]));
            issued.fetch_add(1, Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
    }
    tokens
}

/// The thief asks for tokens while the operator rotates: none that it gets is valid afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_that_was_requested_with_the_old_secret_is_valid_after_the_rotation() {
    let server = Arc::new(Server::start().await);
    let mut thief = shop(&server).await;
    for _ in 0..20 {
        let (issued, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let ask = |_| tokio::spawn(ask(server.clone(), thief.clone(), issued.clone(), stop.clone()));
        let loops: Vec<_> = (0..3).map(ask).collect();
        while issued.load(Ordering::Relaxed) < 20 {
            tokio::task::yield_now().await;
        }
        thief = rotate(&server, json!({})).await;
        stop.store(true, Ordering::Relaxed);
        for tokens in loops {
            // The latest were on their way during the rotation.
            for token in tokens.await.unwrap().iter().rev().take(20) {
                assert!(!server.is_active(&server.admin, token).await);
            }
        }
    }
}
