//! Everything that issues a token or makes a change, against everything that ends it, at the same moment.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Attacks;
use crate::harness::people::{SAME_ORIGIN, cookie, path};
use crate::harness::server::{Answer, Auth, Client, Server, text};

/// How often each pair runs.
const ROUNDS: usize = 4;

/// What ends something, and what may race it. A request that can win the race and leave something valid that
/// the end does not concern is not listed: a renewal replaces the cookie that a log-out shows, and a family
/// outlives the refresh token of another one.
const RACES: [(&str, &[&str]); 9] = [
    ("the session ends", &["refresh", "renew", "family", "change", "use"]),
    ("the subject is logged out by path", &["refresh", "renew", "family", "change", "use"]),
    ("the subject is logged out by query", &["refresh", "renew", "family", "change", "use"]),
    ("all sessions end", &["refresh", "renew", "family", "change", "use"]),
    ("the browser logs out", &["refresh", "family", "change", "use"]),
    ("the session token is revoked", &["refresh", "family", "change", "use"]),
    ("the refresh token is revoked", &["refresh", "change", "use"]),
    (
        "the client is deleted",
        &["refresh", "renew", "family", "change", "use", "open", "repeat", "own token"],
    ),
    (
        "the client is deleted and its name given anew",
        &["refresh", "renew", "family", "change", "use", "open", "repeat", "own token"],
    ),
];

/// A session of a client, and the server of both.
#[derive(Clone)]
struct Race {
    server: Arc<Server>,
    app: Client,
    opened: Value,
}

async fn register(server: &Server) -> Client {
    let fields = json!({
        "client_id": "app", "permissions": ["sessions"], "grants": ["refresh_token", "client_credentials"],
    });
    server.client(fields).await
}

impl Race {
    async fn issue(self, what: &'static str) -> Answer {
        let (server, auth) = (&self.server, Auth::Basic(&self.app));
        let at = |under: &str| format!("{}{under}", path(&self.opened));
        let open = json!({"subject": "alice"}).to_string();
        let kind = ("content-type", "application/json");
        match what {
            "refresh" => server.refresh(&self.app, &text(&self.opened["refresh_token"])).await,
            "renew" => server.json(Method::POST, &at("/renew"), auth, json!({"acr": "aal2"})).await,
            "family" => server.json(Method::POST, &at("/families"), auth, json!({})).await,
            "change" => server.json(Method::PATCH, &at(""), auth, json!({"claims": {"n": 1}})).await,
            "use" => server.who_am_i(&text(&self.opened["session_token"])).await,
            "open" => server.send(Method::POST, "/v1/sessions", auth, &[kind], open).await,
            "repeat" => {
                let key = ("idempotency-key", &at("")[13..]);
                server.send(Method::POST, "/v1/sessions", auth, &[kind, key], open).await
            }
            _ => server.form("/oauth2/token", auth, &[("grant_type", "client_credentials")]).await,
        }
    }

    async fn end(self, how: &'static str) -> Answer {
        let (server, auth, admin) = (&self.server, Auth::Basic(&self.app), Auth::Basic(&self.server.admin));
        match how {
            "the session ends" => server.delete(&path(&self.opened), auth).await,
            "the subject is logged out by path" => server.delete("/v1/subjects/alice/sessions", auth).await,
            "the subject is logged out by query" => server.delete("/v1/sessions?subject=alice", auth).await,
            "all sessions end" => server.delete("/v1/sessions?all=true", admin).await,
            "the browser logs out" => {
                server.browse(Method::DELETE, "/v1/session", &cookie(&self.opened), &[SAME_ORIGIN]).await
            }
            "the session token is revoked" => {
                server.revoke(&self.app, &text(&self.opened["session_token"])).await
            }
            "the refresh token is revoked" => {
                server.revoke(&self.app, &text(&self.opened["refresh_token"])).await
            }
            _ => server.delete("/v1/clients/app", admin).await,
        }
    }
}

fn tokens(answer: &Value) -> Vec<String> {
    let names = ["access_token", "refresh_token", "session_token"];
    names.into_iter().filter_map(|name| answer[name].as_str().map(ToOwned::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_issued_at_the_moment_of_an_end_is_not_active_after_its_answer() {
    let server = Arc::new(Server::start().await);
    let mut app = register(&server).await;
    let (mut attacks, mut looked_at) = (Attacks::of("races with an end"), 0);
    for (how, issuers) in RACES {
        for what in issuers {
            let mut alive = vec![];
            for round in 0..ROUNDS {
                let race = Race { opened: server.open(&app).await, app: app.clone(), server: server.clone() };
                let mut issued = tokens(&race.opened);
                let mut racing = JoinSet::new();
                // The end is asked for first, second or last; the store puts the requests in an order.
                for turn in 0..3 {
                    let race = race.clone();
                    if turn == round % 3 {
                        racing.spawn(async move { (true, race.end(how).await) });
                    } else {
                        racing.spawn(async move { (false, race.issue(what).await) });
                    }
                }
                for (is_end, answer) in racing.join_all().await {
                    assert!(answer.status < 500 && (!is_end || answer.status < 300), "{}", answer.text());
                    if answer.status < 300 && !answer.body.is_empty() {
                        issued.extend(tokens(&answer.json()));
                    }
                }
                let is_gone = how.starts_with("the client");
                if how.ends_with("anew") {
                    app = register(&server).await;
                }
                for token in &issued {
                    looked_at += 1;
                    if server.is_active(&server.admin, token).await {
                        alive.push(token.clone());
                    }
                    if !is_gone || how.ends_with("anew") {
                        let refreshed = server.refresh(&app, token).await;
                        alive.extend((refreshed.status == 200).then(|| token.clone()));
                    }
                }
                if is_gone && !how.ends_with("anew") {
                    app = register(&server).await;
                }
            }
            attacks.check(format!("{how}: {what}"), alive.is_empty(), alive);
        }
    }
    println!("{looked_at} tokens");
    attacks.finish(47);
}

/// A change that is decided on beside the deletion does not bring the client back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_is_not_brought_back_by_a_change_at_the_moment_of_its_deletion() {
    let server = Arc::new(Server::start().await);
    let mut attacks = Attacks::of("changes at the moment of a deletion");
    for (what, method, under, body) in [
        ("a change", Method::PATCH, "", json!({"scopes": ["x"]})),
        ("a change that enables", Method::PATCH, "", json!({"disabled": false})),
        ("a new secret", Method::POST, "/secret", json!({})),
        ("a new secret beside the old one", Method::POST, "/secret", json!({"keep_old_for": "1h"})),
        ("the end of its own tokens", Method::POST, "/tokens/revoke", json!({})),
    ] {
        let mut back = vec![];
        for round in 0..ROUNDS {
            register(&server).await;
            let mut racing = JoinSet::new();
            for turn in 0..3 {
                let (server, method, body) = (server.clone(), method.clone(), body.clone());
                let path = format!("/v1/clients/app{under}");
                racing.spawn(async move {
                    let admin = Auth::Basic(&server.admin);
                    if turn == round % 3 {
                        server.delete("/v1/clients/app", admin).await
                    } else {
                        server.json(method, &path, admin, body).await
                    }
                });
            }
            racing.join_all().await;
            let found = server.get("/v1/clients/app", Auth::Basic(&server.admin)).await.status;
            back.extend((found != 404).then_some(found));
        }
        attacks.check(what, back.is_empty(), back);
    }
    attacks.finish(5);
}
