//! `POST /v1/sessions/check`: the one question of a backend.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{SignedIn, seconds, signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, Client, Server, text};

const PATH: &str = "/v1/sessions/check";
const IDLE_S: u64 = 1800;

impl Server {
    async fn check(&self, client: &Client, fields: Value) -> Answer {
        self.json(Method::POST, PATH, Auth::Basic(client), fields).await
    }
}

impl SignedIn {
    /// A check of the session token with these requirements.
    async fn check(&self, fields: Value) -> Answer {
        let mut body = json!({"token": self.session_token()});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.server.check(&self.app, body).await
    }
}

#[track_caller]
fn assert_inactive(answer: &Answer) {
    assert_eq!((answer.status, &*answer.text()), (200, r#"{"active":false}"#));
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// What a route needs at each request: the session with its data, the token, and the position in the log.
#[tokio::test]
async fn a_session_token_is_answered_with_the_session_as_it_is_read() {
    let fields = json!({"subject": "alice", "acr": "aal2", "claims": {"a": 1}, "data": {"cart": [7]}});
    let people = signed_in_with(&[], fields).await;
    let answer = people.check(json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let checked = answer.json();
    assert_eq!(checked["session"], people.shown().await);
    assert_eq!(checked["session"]["data"], json!({"cart": [7]}));
    let token = json!({
        "kind": "session", "scope": "read write", "expires_at": checked["session"]["idle_expires_at"],
    });
    assert_eq!((&checked["active"], &checked["token"]), (&json!(true), &token));
    assert_eq!(text(&checked["feed_seq"]), people.server.app().engine().head().to_string());
}

#[tokio::test]
async fn an_access_token_is_answered_with_its_own_scope_audience_and_family() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "scopes": ["read", "write"], "audiences": ["https://api"],
    });
    let app = server.client(fields).await;
    let opened = server.open_with(&app, json!({"subject": "alice", "scope": "read"})).await;
    let checked = server.check(&app, json!({"token": opened["access_token"], "scope": "read"})).await.json();
    let token = json!({
        "kind": "access", "scope": "read", "audience": "https://api", "family": 1,
        "expires_at": "2027-01-15T08:05:00Z",
    });
    assert_eq!(checked["token"], token);
    assert_eq!(checked["session"]["id"], opened["session"]["id"]);
}

/// A resource server learns what tokens tell, and neither the data nor the devices of the session.
#[tokio::test]
async fn a_caller_that_may_not_read_the_session_gets_fewer_members() {
    let server = Server::start().await;
    let fields = json!({"client_id": "app", "permissions": ["sessions"], "audiences": ["https://api"]});
    let app = server.client(fields).await;
    let api = json!({"client_id": "api", "permissions": ["introspect"], "serves": ["https://api"]});
    let api = server.client(api).await;
    let opened = server.open_with(&app, json!({"subject": "alice", "acr": "aal1", "data": {"a": 1}})).await;
    let checked = server.check(&api, json!({"token": opened["access_token"]})).await.json();
    let session = json!({
        "id": opened["session"]["id"], "subject": "alice", "client_id": "app", "acr": "aal1", "amr": [],
        "authenticated_at": "2027-01-15T08:00:00Z", "idle_expires_at": "2027-01-15T08:30:00Z",
        "expires_at": "2027-01-16T08:00:00Z", "claims": {},
    });
    assert_eq!(checked["session"], session);
    let weak = server.check(&api, json!({"token": opened["access_token"], "acr": "aal2"})).await;
    assert_eq!((weak.status, &weak.json()["session"]), (403, &session));
}

/// Session tokens: for the opener and the owner, also without the permission to read; not even for callers
/// that may introspect every token.
#[tokio::test]
async fn a_session_token_is_inactive_for_all_but_opener_and_owner() {
    let server = Server::start().await;
    let app = server.client(json!({"client_id": "app", "permissions": ["introspect"]})).await;
    let fields = json!({"client_id": "bff", "permissions": ["sessions", "introspect"], "opens_for": ["app"]});
    let bff = server.client(fields).await;
    let every = server.client(json!({"client_id": "every", "permissions": ["introspect:any"]})).await;
    let other = server.application("other").await;
    let opened = server.open_with(&bff, json!({"subject": "alice", "client_id": "app", "data": {}})).await;
    let body = json!({"token": opened["session_token"]});
    assert_eq!(server.check(&bff, body.clone()).await.json()["session"]["data"], json!({}));
    let owner = server.check(&app, body.clone()).await.json();
    assert_eq!((&owner["active"], owner["session"].get("data")), (&json!(true), None));
    for stranger in [&other, &every, &server.admin] {
        assert_inactive(&server.check(stranger, body.clone()).await);
    }
    let access = json!({"token": opened["access_token"]});
    assert_inactive(&server.check(&other, access.clone()).await);
    assert_eq!(server.check(&every, access).await.json()["active"], true, "as at introspection");
}

/// INT-60 in the terms of a check: whatever is wrong with a token looks the same.
#[tokio::test]
async fn every_other_token_is_exactly_inactive() {
    let people = signed_in().await;
    let (server, app) = (&people.server, &people.app);
    let machine =
        json!({"client_id": "machine", "permissions": ["introspect"], "grants": ["client_credentials"]});
    let machine = server.client(machine).await;
    let own = server.own_token(&machine).await;
    assert!(server.is_active(&machine, &own).await);
    assert_inactive(&server.check(&machine, json!({"token": own})).await);
    for token in [&people.opened["refresh_token"], &json!("kfs_x"), &json!(""), &json!("x".repeat(9000))] {
        assert_inactive(&server.check(app, json!({"token": token})).await);
    }
    server.delete(&people.path(), Auth::Basic(app)).await;
    for token in ["session_token", "access_token"] {
        assert_inactive(&server.check(app, json!({"token": people.opened[token], "acr": "aal9"})).await);
    }
}

/// RFC 9470 §3: what would be enough is in the answer, for the page that asks for it.
#[tokio::test]
async fn an_unmet_requirement_is_403_with_what_is_required_and_the_session() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1"})).await;
    assert_eq!(people.check(json!({"acr": "aal2 aal1", "max_age": 0, "scope": "read"})).await.status, 200);
    people.server.hand.advance(seconds(10));
    for (fields, error) in [
        (json!({"acr": "aal2 aal3", "max_age": 600}), "insufficient_user_authentication"),
        (json!({"max_age": 9}), "insufficient_user_authentication"),
        (json!({"scope": "admin read", "acr": "aal2"}), "insufficient_scope"),
    ] {
        let answer = people.check(fields.clone()).await;
        answer.assert_problem(403, None);
        let problem = answer.json();
        assert_eq!(problem["error"], error);
        for (member, asked) in [("acr_values", "acr"), ("max_age", "max_age"), ("scope", "scope")] {
            assert_eq!(problem.get(member), fields.get(asked), "{member}");
        }
        assert_eq!(problem["session"], people.shown().await);
        assert_eq!(answer.challenges(), [""; 0], "the caller's own credentials are in order");
    }
    people.renew(json!({"acr": "aal2"})).await;
    assert_inactive(&people.check(json!({"acr": "aal2"})).await);
}

/// An access token attests the authentication that it was granted under, whatever the session reached since.
#[tokio::test]
async fn a_token_does_not_gain_the_level_of_a_later_step_up() {
    let server = Server::start().await;
    let app = server.client(json!({"client_id": "app", "permissions": ["sessions", "introspect"]})).await;
    let opened = server.open_with(&app, json!({"subject": "alice", "acr": "aal1"})).await;
    let renew = format!("/v1/sessions/{}/renew", text(&opened["session"]["id"]));
    let renewed = server.json(Method::POST, &renew, Auth::Basic(&app), json!({"acr": "aal2"})).await.json();
    let check = async |token: &Value| server.check(&app, json!({"token": token, "acr": "aal2"})).await.status;
    assert_eq!(check(&renewed["access_token"]).await, 200);
    assert_eq!(check(&opened["access_token"]).await, 403);
}

/// SES-14: a check is activity where it lets the subject pass, and only there.
#[tokio::test]
async fn a_check_counts_as_activity_when_the_requirements_are_met_unless_touch_is_false() {
    let idle = seconds(IDLE_S);
    for (fields, is_activity) in [
        (json!({}), true),
        (json!({"touch": true}), true),
        (json!({"touch": false}), false),
        (json!({"acr": "aal2"}), false),
    ] {
        let people = signed_in().await;
        people.server.hand.advance(seconds(IDLE_S - 1));
        let answer = people.check(fields.clone()).await.json();
        let left = answer["session"]["idle_expires_at"] == "2027-01-15T08:59:59Z";
        assert_eq!(left, is_activity, "{fields}: the answer has the new deadline");
        people.server.hand.advance(idle - seconds(1));
        assert_eq!(people.shown().await["state"] == "active", is_activity, "{fields}");
    }
}

/// An empty requirement is a template whose variable was empty: `scope: ""` used to admit every session.
#[tokio::test]
async fn a_wrong_or_empty_requirement_names_its_field() {
    let people = signed_in().await;
    for (fields, field) in [
        (json!({"acr": " "}), "acr"),
        (json!({"acr": ""}), "acr"),
        (json!({"max_age": -1}), "max_age"),
        (json!({"max_age": 100_000_000_000_001_u64}), "max_age"),
        (json!({"max_age": "60"}), "max_age"),
        (json!({"scope": "a  b"}), "scope"),
        (json!({"scope": ""}), "scope"),
        (json!({"scope": " "}), "scope"),
        (json!({"token": null}), "token"),
        (json!({"client_id": "app"}), "client_id"),
    ] {
        people.check(fields.clone()).await.assert_problem(400, Some(field));
    }
    let nothing = json!({"acr": null, "max_age": null, "scope": null, "touch": null});
    assert_eq!(people.check(nothing).await.status, 200, "null is as if it were absent");
}

/// The position is taken before the state: no event behind it is already part of the answer, and every later
/// one is behind it.
#[tokio::test]
async fn an_answer_precedes_every_event_behind_its_position() {
    let people = signed_in().await;
    let before = text(&people.check(json!({})).await.json()["feed_seq"]);
    people.patch(json!({"claims": {"a": 1}})).await;
    let after = text(&people.check(json!({})).await.json()["feed_seq"]);
    assert_eq!(after.parse::<u64>().unwrap(), before.parse::<u64>().unwrap() + 1);
}

#[tokio::test]
async fn checks_are_counted_by_their_result() {
    let people = signed_in().await;
    people.check(json!({})).await;
    people.check(json!({"acr": "aal2"})).await;
    people.check(json!({"token": "x"})).await;
    let page = people.server.get("/metrics", Auth::Socket).await.text();
    for outcome in ["active", "denied", "inactive"] {
        let line = format!("keyfob_session_checks_total{{outcome=\"{outcome}\"}} 1");
        assert!(page.contains(&line), "{line}");
    }
}
