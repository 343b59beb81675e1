//! The start of the tests of people: a user who is signed in, and the requests that their browser or
//! program sends.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Answer, Auth, Client, Server, text};

/// What a browser says of a request that a page of our own sends.
pub const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A server, its application, and alice, who has just signed in.
pub struct SignedIn {
    pub server: Server,
    pub app: Client,
    /// The body of the opening.
    pub opened: Value,
}

pub async fn signed_in() -> SignedIn {
    signed_in_with(&[], json!({"subject": "alice"})).await
}

pub async fn signed_in_with(settings: &[(&str, &str)], fields: Value) -> SignedIn {
    let server = Server::with(settings).await;
    let app = server.application("app").await;
    let opened = server.open_with(&app, fields).await;
    SignedIn { server, app, opened }
}

impl SignedIn {
    pub fn session_token(&self) -> String {
        text(&self.opened["session_token"])
    }

    /// What the browser sends back.
    pub fn cookie(&self) -> String {
        cookie(&self.opened)
    }

    pub fn path(&self) -> String {
        path(&self.opened)
    }

    /// The session as its client sees it.
    pub async fn shown(&self) -> Value {
        self.server.get(&self.path(), Auth::Basic(&self.app)).await.json()
    }

    /// A request with the cookie alone.
    pub async fn browse(&self, method: Method, path: &str) -> Answer {
        self.server.browse(method, path, &self.cookie(), &[]).await
    }

    /// Whether the session token is valid. Counts as activity.
    pub async fn is_there(&self) -> bool {
        self.server.who_am_i(&self.session_token()).await.status == 200
    }

    /// The last events, as an administrator reads them.
    pub async fn last_events(&self, count: usize) -> Vec<Value> {
        let log = self.server.get("/v1/events?limit=200", Auth::Basic(&self.server.admin)).await.json();
        let items = log["items"].as_array().unwrap();
        items[items.len() - count..].to_vec()
    }

    pub async fn renew(&self, fields: Value) -> Answer {
        self.server
            .json(Method::POST, &format!("{}/renew", self.path()), Auth::Basic(&self.app), fields)
            .await
    }

    pub async fn patch(&self, fields: Value) -> Answer {
        self.server.json(Method::PATCH, &self.path(), Auth::Basic(&self.app), fields).await
    }
}

impl Server {
    /// A request with a `Cookie` header and what else a browser says.
    pub async fn browse(&self, method: Method, path: &str, cookie: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: Vec<_> = [("cookie", cookie)].iter().chain(headers).copied().collect();
        self.send(method, path, Auth::None, &headers, "").await
    }

    pub async fn who_am_i(&self, bearer: &str) -> Answer {
        self.get("/v1/session", Auth::Bearer(bearer)).await
    }

    /// The types of all events so far.
    pub async fn event_types(&self) -> Vec<String> {
        use keyfob::store::Store;
        let events = self.app().store().events(keyfob::domain::id::Position(0), 10_000).await.unwrap();
        events.iter().map(|(_, event)| event.kind.as_str().to_owned()).collect()
    }
}

/// The first part of `Set-Cookie`: what a browser sends back.
pub fn cookie(opened: &Value) -> String {
    text(&opened["set_cookie"]).split(';').next().unwrap().to_owned()
}

pub fn path(opened: &Value) -> String {
    format!("/v1/sessions/{}", text(&opened["session"]["id"]))
}
