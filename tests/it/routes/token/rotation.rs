//! Refresh rotation over HTTP (standards, section 6.5): what is answered, and what a retry gets.

use std::time::Duration;

use http::Method;
use keyfob::domain::event::Event;
use keyfob::domain::id::{Position, SessionId};
use keyfob::domain::session::Session;
use keyfob::store::Store;
use keyfob::token::keys::{Keys, SecretKey};
use serde_json::{Value, json};

use crate::harness::server::{Answer, Auth, Client, Server, text};

mod clocks;
mod forged;
mod late;
mod races;
mod theft;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server, its application, and a session just opened.
struct Opened {
    server: Server,
    app: Client,
    session: Value,
}

async fn opened() -> Opened {
    opened_with(&[]).await
}

async fn opened_with(settings: &[(&str, &str)]) -> Opened {
    let server = Server::with(settings).await;
    let app = server.application("app").await;
    let session = server.open(&app).await;
    Opened { server, app, session }
}

impl Opened {
    /// The first refresh token.
    fn first(&self) -> String {
        text(&self.session["refresh_token"])
    }

    fn id(&self) -> SessionId {
        text(&self.session["session"]["id"]).parse().unwrap()
    }

    /// Refreshes, and expects to be answered.
    async fn refresh(&self, token: &str) -> Value {
        let answer = self.server.refresh(&self.app, token).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Refreshes, and answers the next refresh token.
    async fn next(&self, token: &str) -> String {
        text(&self.refresh(token).await["refresh_token"])
    }

    /// Refreshes with a further parameter.
    async fn refresh_with(&self, token: &str, name: &str, value: &str) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token), (name, value)];
        self.server.form("/oauth2/token", Auth::Basic(&self.app), &fields).await
    }

    /// Refreshes, and expects to be refused as an invalid grant.
    async fn is_refused(&self, token: &str) {
        let answer = self.server.refresh(&self.app, token).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_grant".into()));
    }

    /// The session as the API shows it.
    async fn shown(&self) -> Value {
        self.server.get(&format!("/v1/sessions/{}", self.id()), Auth::Basic(&self.app)).await.json()
    }

    /// The session as it is stored.
    async fn stored(&self) -> Session {
        self.server.app().store().session(self.id()).await.unwrap().unwrap().as_ref().clone()
    }

    /// Why the session has ended; empty if it lives.
    async fn ended(&self) -> String {
        self.shown().await["ended"]["reason"].as_str().unwrap_or_default().into()
    }

    async fn events(&self) -> Vec<Event> {
        let events = self.server.app().store().events(Position::default(), 1_000).await.unwrap();
        events.into_iter().map(|(_, event)| event).collect()
    }

    /// The names of all events so far.
    async fn reported(&self) -> Vec<&'static str> {
        self.events().await.iter().map(|event| event.kind.as_str()).collect()
    }

    /// The keys that the server's master key gives.
    fn keys(&self) -> Keys {
        let source = keyfob::config::MasterKeySource::File(self.server.file("master.key"));
        Keys::derive(&keyfob::first_start::read_master_key(&source, "data".as_ref(), |_| None).unwrap())
    }
}

/// ROT-01: the next token works, once; the one before does not after the window.
#[tokio::test]
async fn a_refresh_token_is_spent_by_its_use() {
    let case = opened().await;
    let first = case.first();
    let second = case.next(&first).await;
    assert_ne!(first, second);
    let third = case.next(&second).await;
    assert!(
        !case.server.is_active(&case.app, &second).await && case.server.is_active(&case.app, &third).await
    );
    case.server.hand.advance(seconds(10));
    case.is_refused(&second).await;
    let case = opened().await;
    case.refresh(&case.first()).await;
    case.server.hand.advance(seconds(10));
    case.is_refused(&case.first()).await;
}

/// ROT-02, ROT-07: a retry gets the same pair, and never the presented token back.
#[tokio::test]
async fn a_retry_within_the_window_gets_the_same_pair() {
    let case = opened().await;
    let answered = case.refresh(&case.first()).await;
    case.server.hand.advance(seconds(3));
    let again = case.refresh(&case.first()).await;
    assert_eq!(again["refresh_token"], answered["refresh_token"]);
    assert_eq!(again["access_token"], answered["access_token"]);
    assert_ne!(again["refresh_token"], json!(case.first()));
    assert_eq!(
        (answered["expires_in"].as_i64(), again["expires_in"].as_i64()),
        (Some(300), Some(297)),
        "what is left"
    );
    assert_eq!(case.shown().await["families"][0]["generation"], 1);
    assert!(case.server.is_active(&case.app, &text(&again["access_token"])).await);
    case.refresh(&text(&again["refresh_token"])).await;
}

/// A retry that asks for something else gets the same refresh token, and an access token of its own.
#[tokio::test]
async fn a_retry_for_another_scope_gets_another_access_token() {
    let case = opened().await;
    let answered = case.refresh(&case.first()).await;
    let narrow = case.refresh_with(&case.first(), "scope", "read").await.json();
    assert_eq!((&narrow["refresh_token"], &narrow["scope"]), (&answered["refresh_token"], &json!("read")));
    assert_ne!(narrow["access_token"], answered["access_token"]);
    assert!(case.server.is_active(&case.app, &text(&narrow["access_token"])).await);
}

/// Contract, section 6: the same access token only while its `jti` is not revoked.
#[tokio::test]
async fn a_retry_does_not_bring_a_revoked_access_token_back() {
    let case = opened().await;
    let answered = case.refresh(&case.first()).await;
    assert_eq!(case.server.revoke(&case.app, &text(&answered["access_token"])).await.status, 200);
    let again = case.refresh(&case.first()).await;
    assert_eq!(again["refresh_token"], answered["refresh_token"]);
    assert_ne!(again["access_token"], answered["access_token"]);
    assert!(case.server.is_active(&case.app, &text(&again["access_token"])).await);
    assert!(!case.server.is_active(&case.app, &text(&answered["access_token"])).await);
}

/// Contract, section 6: a refresh leaves earlier access tokens valid until their `exp`.
#[tokio::test]
async fn earlier_access_tokens_live_until_they_expire() {
    let case = opened().await;
    let early = text(&case.session["access_token"]);
    case.server.hand.advance(seconds(100));
    case.refresh(&case.first()).await;
    case.server.hand.advance(seconds(199));
    assert!(case.server.is_active(&case.app, &early).await);
    case.server.hand.advance(seconds(1));
    assert!(!case.server.is_active(&case.app, &early).await);
}

/// The sixty-fifth retry of one token is too many; it comes with a time to wait, and the session is none the
/// worse for it.
#[tokio::test]
async fn retries_have_a_limit() {
    let case = opened().await;
    let second = case.next(&case.first()).await;
    for _ in 0..64 {
        assert_eq!(case.next(&case.first()).await, second);
    }
    let answer = case.server.refresh(&case.app, &case.first()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"));
    case.next(&second).await;
}

/// ROT-22, RFR-02, RFR-04: a narrower scope is the access token's alone, on a rotation and on a retry.
#[tokio::test]
async fn a_narrower_scope_narrows_only_the_access_token() {
    let case = opened().await;
    for _ in 0..2 {
        let narrow = case.refresh_with(&case.first(), "scope", "read").await.json();
        assert_eq!(narrow["scope"], "read");
        let seen = case.server.introspect(&case.app, &text(&narrow["access_token"])).await;
        assert_eq!(seen["scope"], "read");
        let seen = case.server.introspect(&case.app, &text(&narrow["refresh_token"])).await;
        assert_eq!(seen["scope"], "read write");
    }
    let second = case.next(&case.first()).await;
    assert_eq!(case.refresh(&second).await["scope"], "read write");
}

/// ROT-23, RFR-03, RFR-16: a request that could not be granted leaves the token as it was.
#[tokio::test]
async fn a_bad_scope_or_resource_consumes_nothing() {
    let case = opened().await;
    let before = case.stored().await;
    for scope in ["admin", "read admin", "Read", "read  write", "a\"b", " "] {
        let answer = case.refresh_with(&case.first(), "scope", scope).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_scope".into()), "{scope:?}");
    }
    let answer = case.refresh_with(&case.first(), "resource", "https://elsewhere.example").await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_target".into()));
    assert_eq!(case.stored().await, before);
    case.refresh(&case.first()).await;
}

/// ROT-30: a disabled client is refused as a client, and finds its families where they were.
#[tokio::test]
async fn a_disabled_client_keeps_its_families() {
    let case = opened().await;
    let disable = async |disabled: bool| {
        let answer = case
            .server
            .json(
                Method::PATCH,
                "/v1/clients/app",
                Auth::Basic(&case.server.admin),
                json!({"disabled": disabled}),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let access = text(&case.session["access_token"]);
    disable(true).await;
    let answer = case.server.refresh(&case.app, &case.first()).await;
    assert_eq!((answer.status, answer.error()), (401, "invalid_client".into()));
    assert!(!case.server.is_active(&case.server.admin, &access).await);
    disable(false).await;
    assert!(case.server.is_active(&case.app, &access).await);
    case.refresh(&case.first()).await;
}

/// C-10: logging out with a stale token logs out, whichever of the chain it is.
#[tokio::test]
async fn a_spent_token_revokes_its_family_all_the_same() {
    let case = opened().await;
    let second = case.next(&case.first()).await;
    let third = case.refresh(&second).await;
    assert_eq!(case.server.revoke(&case.app, &case.first()).await.status, 200);
    assert_eq!(case.ended().await, "token_revoked");
    assert!(!case.server.is_active(&case.app, &text(&third["access_token"])).await);
    case.is_refused(&text(&third["refresh_token"])).await;
    assert!(!case.reported().await.contains(&"refresh.reused"), "that is no theft");
}
