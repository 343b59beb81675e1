//! Requests that are in progress while the credentials of their client end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use keyfob::domain::caller::Caller;
use keyfob::domain::refusal::Refusal;
use keyfob::engine::Error;
use keyfob::engine::authenticate::{Authenticated, PresentedCredentials, Source};
use keyfob::engine::open::OpenSession;
use keyfob::store::Store;
use keyfob::token::client_secret::PresentedSecret;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{as_admin, change};
use crate::harness::people::path;
use crate::harness::server::{Auth, Client, Server, text};

/// Every use case that changes something for a caller.
const USE_CASES: &str = "open renew family change end end_family end_subject end_everything refresh \
    client_credentials revoke revoke_own create update secret tokens delete rotate_keys revoke_key";

/// What ends the credentials of a client.
const ENDS: [(&str, Method, &str, Option<&str>); 4] = [
    ("rotation", Method::POST, "/secret", Some("{}")),
    ("disabling", Method::PATCH, "", Some(r#"{"disabled":true}"#)),
    ("deletion", Method::DELETE, "", None),
    ("revocation", Method::POST, "/tokens/revoke", None),
];

/// A client with every right, what it was issued, and its authentication, as of one moment.
struct Started {
    client: Client,
    who: Authenticated,
    opened: Value,
    own: String,
}

async fn start(server: &Server, id: &str) -> Started {
    let client = server
        .client(json!({"client_id": id, "permissions": ["admin"], "scopes": ["read", "write"],
                       "grants": ["refresh_token", "client_credentials"]}))
        .await;
    let (opened, own) = (server.open(&client).await, server.own_token(&client).await);
    let credentials = PresentedCredentials::Secret { id, secret: PresentedSecret::new(&client.secret) };
    let who = server.app().engine().authenticate(credentials, Source::default()).await.unwrap();
    Started { client, who, opened, own }
}

/// The rest of a request that was authenticated.
async fn finish(server: &Server, started: &Started, use_case: &str) -> Result<(), Error> {
    let (engine, Started { who, opened, own, .. }) = (server.app().engine(), started);
    let id = text(&opened["session"]["id"]).parse().unwrap();
    let Caller::Client(client) = &who.caller else { panic!("a client was authenticated") };
    let (refresh_token, victim) = (text(&opened["refresh_token"]), "victim".parse().unwrap());
    match use_case {
        "open" => {
            let opening = OpenSession { subject: "alice".into(), ..OpenSession::default() };
            engine.open(&who.require()?, opening).await.map(drop)
        }
        "renew" => engine.renew(&who.require()?, id, Default::default()).await.map(drop),
        "family" => engine.open_family(&who.require()?, id, Default::default()).await.map(drop),
        "change" => engine.change_session(&who.require()?, id, Default::default()).await.map(drop),
        "end" => engine.end_session(&who.require()?, id).await,
        "end_family" => engine.end_family(&who.require()?, id, 1).await,
        "end_subject" => {
            let alice = "alice".parse().unwrap();
            engine.end_subject(&who.require()?, alice, None, None).await.map(drop)
        }
        "end_everything" => engine.end_everything(&who.require()?, None).await,
        "refresh" => engine.refresh(client, &refresh_token, None, None, Source::default()).await.map(drop),
        "client_credentials" => engine.client_credentials(client, None, None).map(drop),
        "revoke" => engine.revoke(&who.caller, &refresh_token).await,
        "revoke_own" => engine.revoke(&who.caller, own).await,
        "create" => engine.create_client(&who.require()?, None, Default::default()).await.map(drop),
        "update" => engine.change_client(&who.require()?, victim, Default::default()).await.map(drop),
        "secret" => engine.rotate_secret(&who.require()?, victim, Default::default()).await.map(drop),
        "tokens" => engine.revoke_client_tokens(&who.require()?, victim).await,
        "delete" => engine.delete_client(&who.require()?, victim).await,
        "rotate_keys" => engine.rotate_keys(&who.require()?, true).await.map(drop),
        "revoke_key" => {
            let key = engine.keys(&who.require()?)[0].id;
            engine.revoke_key(&who.require()?, key).await
        }
        other => panic!("{other} is no use case"),
    }
}

/// A thief's request is authenticated; then the operator rotates the stolen secret. The request used to be
/// completed: among others, an administrator's made a client that outlived the rotation.
#[tokio::test]
async fn a_request_that_was_authenticated_before_its_credentials_ended_changes_nothing() {
    let server = Server::start().await;
    server.client(json!({"client_id": "victim", "permissions": ["sessions"]})).await;
    for (end, method, sub_path, body) in ENDS {
        for use_case in USE_CASES.split_whitespace() {
            let started = start(&server, "thief").await;
            let path = format!("/v1/clients/thief{sub_path}");
            let headers = [("content-type", "application/json")];
            let headers = if body.is_some() { &headers[..] } else { &[] };
            let admin = Auth::Basic(&server.admin);
            let ended = server.send(method.clone(), &path, admin, headers, body.unwrap_or_default()).await;
            assert!(ended.status < 300, "{end}: {}", ended.text());
            let head = server.app().store().head();
            match finish(&server, &started, use_case).await {
                // A renewal looks at the session's client first, which is the caller here.
                Err(Error::Refused(refused)) => assert!(
                    refused.refusal == Refusal::InvalidClient
                        || (use_case, refused.refusal) == ("renew", Refusal::Conflict),
                    "{use_case} after {end}"
                ),
                other => panic!("{use_case} after {end}: {other:?}"),
            }
            assert_eq!(server.app().store().head(), head, "{use_case} after {end}");
            if end != "deletion" {
                assert_eq!(server.delete("/v1/clients/thief", admin).await.status, 204);
            }
        }
    }
}

/// What an operator takes from a client, how a request is refused, and the use cases that need it.
const NARROWINGS: [(&str, Refusal, &str); 4] = [
    (
        r#"{"permissions":["sessions"]}"#,
        Refusal::Forbidden,
        "open renew family change end end_family end_subject end_everything client_credentials revoke \
         revoke_own create update secret tokens delete rotate_keys revoke_key",
    ),
    (r#"{"scopes":["write"]}"#, Refusal::Conflict, "open family client_credentials"),
    (r#"{"audiences":["https://api.example"]}"#, Refusal::Conflict, "open family client_credentials"),
    (r#"{"grants":["client_credentials"]}"#, Refusal::Conflict, "open family"),
];

/// A right is taken from a client while its request waits for the writer. The request used to be completed
/// with it: an administrator that was none any more made a client, and a session got a scope that no client
/// had.
#[tokio::test]
async fn a_request_in_progress_does_not_use_a_right_that_its_client_lost() {
    let server = Server::start().await;
    server.client(json!({"client_id": "victim", "permissions": ["sessions"]})).await;
    for (fields, why, use_cases) in NARROWINGS {
        for use_case in use_cases.split_whitespace() {
            let started = start(&server, "app").await;
            let narrowed = change(&server, "app", serde_json::from_str(fields).unwrap()).await;
            assert_eq!(narrowed.status, 200, "{}", narrowed.text());
            let head = server.app().store().head();
            match finish(&server, &started, use_case).await {
                Err(Error::Refused(refused)) => {
                    assert_eq!(refused.refusal, why, "{use_case}, {fields}");
                }
                other => panic!("{use_case}, {fields}: {other:?}"),
            }
            assert_eq!(server.app().store().head(), head, "{use_case}, {fields}");
            assert_eq!(server.delete("/v1/clients/app", Auth::Basic(&server.admin)).await.status, 204);
        }
    }
}

/// A refresh needs no permission, and gets what is left of the scope.
#[tokio::test]
async fn a_refresh_in_progress_gets_what_the_client_has_left() {
    let server = Server::start().await;
    for (fields, expected) in [
        (json!({"permissions": []}), Ok("read write")),
        (json!({"scopes": ["write"]}), Ok("write")),
        (json!({"scopes": []}), Err(Refusal::InvalidScope)),
        (json!({"audiences": ["https://api.example"]}), Err(Refusal::InvalidTarget)),
        (json!({"grants": ["client_credentials"]}), Err(Refusal::InvalidClient)),
    ] {
        let started = start(&server, "app").await;
        assert_eq!(change(&server, "app", fields.clone()).await.status, 200);
        let Caller::Client(client) = &started.who.caller else { panic!("a client was authenticated") };
        let token = text(&started.opened["refresh_token"]);
        let refreshed = server.app().engine().refresh(client, &token, None, None, Source::default()).await;
        let answer = match refreshed {
            Ok(pair) => Ok(pair.access.scope.to_string()),
            Err(Error::Refused(refused)) => Err(refused.refusal),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(answer, expected.map(str::to_owned), "{fields}");
        assert_eq!(server.delete("/v1/clients/app", Auth::Basic(&server.admin)).await.status, 204);
    }
}

/// An application changes its secret without an interruption: what is in progress is completed.
#[tokio::test]
async fn a_rotation_that_keeps_the_old_secret_disturbs_no_request() {
    let server = Server::start().await;
    server.client(json!({"client_id": "victim", "permissions": ["sessions"]})).await;
    for use_case in USE_CASES.split_whitespace() {
        let started = start(&server, "app").await;
        let rotated =
            as_admin(&server, Method::POST, "/v1/clients/app/secret", json!({"keep_old_for": "1m"})).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        finish(&server, &started, use_case).await.unwrap_or_else(|error| panic!("{use_case}: {error}"));
        assert_eq!(server.delete("/v1/clients/app", Auth::Basic(&server.admin)).await.status, 204);
        if use_case == "delete" {
            server.client(json!({"client_id": "victim", "permissions": ["sessions"]})).await;
        }
    }
}

/// One way to change something, over and over until `stop`.
async fn use_up(server: Arc<Server>, thief: Client, how: &'static str, stop: Arc<AtomicBool>) {
    let opened =
        server.json(Method::POST, "/v1/sessions", Auth::Basic(&thief), json!({"subject": "v"})).await;
    if opened.status != 201 {
        return;
    }
    let session = path(&opened.json());
    while !stop.load(Ordering::Relaxed) {
        let auth = Auth::Basic(&thief);
        match how {
            "open" => server.json(Method::POST, "/v1/sessions", auth, json!({"subject": "v"})).await,
            "renew" => server.json(Method::POST, &format!("{session}/renew"), auth, json!({})).await,
            "change" => server.json(Method::PATCH, &session, auth, json!({"data": {"n": 1}})).await,
            _ => server.json(Method::POST, "/v1/clients", auth, json!({"kind": "public"})).await,
        };
    }
}

/// The same as a race of whole requests: the log shows nothing of the old secret behind the rotation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_of_an_old_secret_follows_its_rotation() {
    const ROUNDS: usize = 12;
    const EVENTS_BEFORE: u64 = 40;
    let server = Arc::new(Server::start().await);
    for _ in 0..ROUNDS {
        let thief = start(&server, "thief").await.client;
        let stop = Arc::new(AtomicBool::new(false));
        let mut loops = JoinSet::new();
        for how in ["open", "open", "renew", "change", "create"] {
            loops.spawn(use_up(server.clone(), thief.clone(), how, stop.clone()));
        }
        let before = server.app().store().head();
        server.app().store().head_after(keyfob::domain::id::Position(before.0 + EVENTS_BEFORE)).await;
        let rotated = as_admin(&server, Method::POST, "/v1/clients/thief/secret", json!({})).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = loops.join_next().await {
            ended.unwrap();
        }
        let events = server.app().store().events(before, usize::MAX).await.unwrap();
        let of_thief = events.iter().map(|(_, event)| &*event.by == "thief").collect::<Vec<_>>();
        let rotation = of_thief.iter().position(|thief| !thief).unwrap();
        assert!(rotation as u64 >= EVENTS_BEFORE, "{rotation}: the race did not take place");
        assert!(!of_thief[rotation..].contains(&true), "{:?}", &events[rotation..]);
        assert_eq!(server.delete("/v1/clients/thief", Auth::Basic(&server.admin)).await.status, 204);
    }
}
