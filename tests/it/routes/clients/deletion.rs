//! What becomes of that which a client was issued and had opened when it is deleted, and another client gets
//! its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::people::path;
use crate::harness::server::{Auth, Client, Server, text};

/// How often the client is deleted and created again.
const ROUNDS: usize = 8;
/// How many tokens are issued before the client is deleted, in each round.
const TOKENS_BEFORE: usize = 60;

fn fields(id: &str) -> Value {
    let grants = ["refresh_token", "client_credentials"];
    json!({"client_id": id, "permissions": ["sessions", "introspect"], "grants": grants, "scopes": ["read"]})
}

async fn delete(server: &Server, id: &str) {
    let answer = server.delete(&format!("/v1/clients/{id}"), Auth::Basic(&server.admin)).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

/// One way to be issued tokens, over and over until `stop`; answers the tokens that were issued.
async fn issue(server: Arc<Server>, thief: Client, how: &'static str, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut tokens = vec![];
    let Some(session) = first_session(&server, &thief).await else { return tokens };
    let mut refresh_token = text(&session["refresh_token"]);
    let families = format!("{}/families", path(&session));
    while !stop.load(Ordering::Relaxed) {
        let auth = Auth::Basic(&thief);
        let answer = match how {
            "open" => server.json(Method::POST, "/v1/sessions", auth, json!({"subject": "alice"})).await,
            "family" => server.json(Method::POST, &families, auth, json!({})).await,
            "renew" => server.json(Method::POST, &format!("{}/renew", path(&session)), auth, json!({})).await,
            "refresh" => server.refresh(&thief, &refresh_token).await,
            _ => server.form("/oauth2/token", auth, &[("grant_type", "client_credentials")]).await,
        };
        if (200..300).contains(&answer.status) {
            let body = answer.json();
            for name in ["access_token", "refresh_token", "session_token"] {
                tokens.extend(body[name].as_str().map(str::to_owned));
            }
            if how == "refresh" {
                refresh_token = text(&body["refresh_token"]);
            }
        }
        if how == "family" && tokens.len() % 64 == 0 {
            // A session has at most 64 active families.
            server.delete(&format!("{families}/{}", 1 + tokens.len() / 2), auth).await;
        }
    }
    tokens
}

async fn first_session(server: &Server, client: &Client) -> Option<Value> {
    let opened =
        server.json(Method::POST, "/v1/sessions", Auth::Basic(client), json!({"subject": "victim"})).await;
    (opened.status == 201).then(|| opened.json())
}

/// The thief of a client's secret keeps every way of being issued tokens running; the operator deletes the
/// client and creates it again. Tokens that were on their way used to be valid under the new client.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_issued_while_its_client_was_deleted_is_valid_under_the_next_of_its_name() {
    let server = Arc::new(Server::start().await);
    let mut issued = 0;
    for _ in 0..ROUNDS {
        let thief = server.client(fields("x")).await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut loops = JoinSet::new();
        for how in ["open", "open", "family", "renew", "refresh", "client_credentials"] {
            loops.spawn(issue(server.clone(), thief.clone(), how, stop.clone()));
        }
        let head = server.event_types().await.len() as u64;
        use keyfob::store::Store;
        server.app().store().head_after(keyfob::domain::id::Position(head + TOKENS_BEFORE as u64)).await;
        delete(&server, "x").await;
        let next = server.client(fields("x")).await;
        stop.store(true, Ordering::Relaxed);
        while let Some(tokens) = loops.join_next().await {
            for token in tokens.unwrap() {
                issued += 1;
                let reported = server.introspect(&server.admin, &token).await;
                assert_eq!(reported, json!({"active": false}), "{token}");
                assert!(!server.is_active(&next, &token).await);
            }
        }
        delete(&server, "x").await;
    }
    assert!(issued > ROUNDS * TOKENS_BEFORE, "{issued}: the race did not take place");
}

/// `partner` opens a session of `victim` for `mob`, and is deleted. Another client gets its name: it used to
/// read the session with its private data, and to renew it at any level.
#[tokio::test]
async fn the_rights_of_an_opener_end_with_it_and_pass_to_no_client_of_its_name() {
    let server = Server::start().await;
    let mob = server
        .client(json!({"client_id": "mob", "permissions": ["sessions"], "grants": ["refresh_token"]}))
        .await;
    let partner =
        json!({"client_id": "partner", "permissions": ["sessions", "introspect"], "opens_for": ["mob"]});
    let first = server.client(partner.clone()).await;
    let opened = server
        .open_with(&first, json!({"subject": "victim", "client_id": "mob", "data": {"private": true}}))
        .await;
    assert_eq!(server.get(&path(&opened), Auth::Basic(&first)).await.status, 200);
    delete(&server, "partner").await;
    let next = server.client(partner).await;
    let auth = Auth::Basic(&next);
    assert_eq!(server.get(&path(&opened), auth).await.status, 404);
    let renewed =
        server.json(Method::POST, &format!("{}/renew", path(&opened)), auth, json!({"acr": "aal3"})).await;
    assert_eq!(renewed.status, 404, "{}", renewed.text());
    assert_eq!(server.json(Method::PATCH, &path(&opened), auth, json!({"data": {}})).await.status, 404);
    assert_eq!(server.delete(&path(&opened), auth).await.status, 404);
    let list = server.get("/v1/sessions?subject=victim", auth).await.json();
    assert_eq!(list["items"], json!([]));
    let refresh_token = text(&opened["refresh_token"]);
    assert!(!server.is_active(&next, &refresh_token).await);
    assert_eq!(server.revoke(&next, &refresh_token).await.status, 400);
    let ended = server.delete("/v1/subjects/victim/sessions", auth).await.json();
    assert_eq!(ended, json!({"ended": 0}));
    // The session is `mob`'s, and goes on.
    assert_eq!(server.get(&path(&opened), Auth::Basic(&mob)).await.json()["data"], json!({"private": true}));
    assert_eq!(server.refresh(&mob, &refresh_token).await.status, 200);
}

/// A deleted client's ended sessions stay for a while, to explain themselves: to administrators, and not to
/// the next client of that name.
#[tokio::test]
async fn the_sessions_of_a_deleted_client_do_not_exist_for_the_next_of_its_name() {
    let server = Server::start().await;
    let first = server.client(fields("shop")).await;
    let opened = server.open_with(&first, json!({"subject": "alice", "data": {"private": true}})).await;
    delete(&server, "shop").await;
    let next = server.client(fields("shop")).await;
    assert_eq!(server.get(&path(&opened), Auth::Basic(&next)).await.status, 404);
    let list = server.get("/v1/sessions?subject=alice", Auth::Basic(&next)).await.json();
    assert_eq!(list["items"], json!([]));
    let shown = server.get(&path(&opened), Auth::Basic(&server.admin)).await.json();
    assert_eq!(shown["ended"]["reason"], json!("client_deleted"));
}
