//! `/v1/session` over HTTP (standards, section 3.4): which credentials it accepts, and how it rejects others.

mod cookies;

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{SignedIn, seconds, signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, Server, text};

const CHALLENGE: &str = r#"Bearer realm="keyfob""#;
const INVALID_TOKEN: &str = r#"Bearer realm="keyfob", error="invalid_token""#;

/// BER-05, BER-08: one challenge, of the scheme that is served here, and never a password window.
#[track_caller]
fn assert_challenge(answer: &Answer, challenge: &str) {
    answer.assert_problem(401, None);
    assert_eq!(answer.challenges(), [challenge]);
}

#[tokio::test]
async fn cookie_session_token_and_access_token_are_the_same_person() {
    let people = signed_in_with(
        &[],
        json!({"subject": "alice", "acr": "aal1", "data": {"cart": 7}, "claims": {"role": "editor"}}),
    )
    .await;
    let by_cookie = people.browse(Method::GET, "/v1/session").await;
    assert_eq!(by_cookie.status, 200, "{}", by_cookie.text());
    let me = by_cookie.json();
    assert_eq!(
        (&me["subject"], &me["acr"], &me["claims"]),
        (&json!("alice"), &json!("aal1"), &json!({"role": "editor"}))
    );
    assert_eq!(me.get("data"), None, "private to the clients whose session it is");
    for token in ["session_token", "access_token"] {
        assert_eq!(people.server.who_am_i(&text(&people.opened[token])).await.json(), me, "{token}");
    }
}

#[tokio::test]
async fn the_answer_has_the_new_deadline() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(600));
    let me = people.browse(Method::GET, "/v1/session").await.json();
    assert_eq!(
        (&me["last_used_at"], &me["idle_expires_at"]),
        (&json!("2027-01-15T08:10:00Z"), &json!("2027-01-15T08:40:00Z"))
    );
}

/// BER-01: whatever the case of the scheme.
#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let people = signed_in().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let header = format!("{scheme} {}", people.session_token());
        assert_eq!(people.server.get("/v1/session", Auth::Header(&header)).await.status, 200, "{scheme}");
    }
}

/// BER-02, SES-20: a token in the address is not read. BER-04: without credentials the challenge names none.
#[tokio::test]
async fn without_credentials_the_challenge_names_no_error() {
    let people = signed_in().await;
    let token = people.session_token();
    for path in [
        "/v1/session".to_owned(),
        format!("/v1/session?access_token={token}"),
        format!("/v1/forward-auth?access_token={token}"),
    ] {
        assert_challenge(&people.server.get(&path, Auth::None).await, CHALLENGE);
    }
    let basic = people.server.get("/v1/session", Auth::Basic(&people.app)).await;
    assert_challenge(&basic, CHALLENGE);
    assert_challenge(&people.server.delete("/v1/session", Auth::None).await, CHALLENGE);
}

/// BER-03: one way at a time.
#[tokio::test]
async fn a_token_that_comes_twice_is_a_bad_request() {
    let people = signed_in().await;
    let header = format!("Bearer {}", people.session_token());
    for path in ["/v1/session", "/v1/forward-auth"] {
        let answer = people
            .server
            .send(Method::GET, path, Auth::Header(&header), &[("authorization", &header)], "")
            .await;
        assert_eq!(answer.status, 400);
    }
    let machine =
        people.server.client(json!({"permissions": ["sessions"], "grants": ["client_credentials"]})).await;
    let token = people.server.own_token(&machine).await;
    let body = json!({"subject": "alice", "access_token": token});
    assert_eq!(
        people.server.json(Method::POST, "/v1/sessions", Auth::Bearer(&token), body).await.status,
        400
    );
}

/// BER-06, SES-07: what is not good, for whatever reason, looks the same.
#[tokio::test]
async fn an_invalid_token_gets_invalid_token_and_no_details() {
    let people = signed_in().await;
    let server = &people.server;
    let machine = server.client(json!({"permissions": ["admin"], "grants": ["client_credentials"]})).await;
    let of_machine = server.own_token(&machine).await;
    let mut answers = vec![];
    for token in
        [&*text(&people.opened["refresh_token"]), &of_machine, "v4.public.AAAA", "kfs_AAAA", "kfc_AAAA", ""]
    {
        answers.push(server.who_am_i(token).await);
    }
    let (session_token, access_token) = (people.session_token(), text(&people.opened["access_token"]));
    server.hand.advance(seconds(300));
    answers.push(server.who_am_i(&access_token).await);
    assert_eq!(server.delete(&people.path(), Auth::Basic(&people.app)).await.status, 204);
    answers.push(server.who_am_i(&session_token).await);
    let bodies: Vec<_> = answers.iter().map(|answer| answer.body.clone()).collect();
    for answer in &answers {
        assert_challenge(answer, INVALID_TOKEN);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]));
}

/// BER-09: here the audience is the issuer.
#[tokio::test]
async fn an_access_token_for_an_api_says_nothing_here() {
    let server = Server::start().await;
    let fields = json!({
        "client_id": "app", "permissions": ["sessions"], "grants": ["refresh_token"],
        "audiences": ["https://api.example"],
    });
    let app = server.client(fields).await;
    let opened = server.open(&app).await;
    assert_challenge(&server.who_am_i(&text(&opened["access_token"])).await, INVALID_TOKEN);
    assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 200);
}

#[tokio::test]
async fn an_access_token_ends_with_its_family_and_by_itself() {
    let people = signed_in().await;
    let access_token = text(&people.opened["access_token"]);
    assert_eq!(people.server.revoke(&people.app, &access_token).await.status, 200);
    assert_challenge(&people.server.who_am_i(&access_token).await, INVALID_TOKEN);
    let renewed = people.renew(json!({})).await.json();
    let access_token = text(&renewed["access_token"]);
    assert_eq!(people.server.who_am_i(&access_token).await.status, 200);
    let family = format!("{}/families/2", people.path());
    assert_eq!(people.server.delete(&family, Auth::Basic(&people.app)).await.status, 204);
    assert_challenge(&people.server.who_am_i(&access_token).await, INVALID_TOKEN);
    assert_eq!(people.server.who_am_i(&text(&renewed["session_token"])).await.status, 200);
}

#[tokio::test]
async fn no_session_is_active_while_the_client_is_disabled() {
    let people = signed_in().await;
    let disable = async |people: &SignedIn, disabled: bool| {
        let admin = Auth::Basic(&people.server.admin);
        let answer =
            people.server.json(Method::PATCH, "/v1/clients/app", admin, json!({"disabled": disabled})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    disable(&people, true).await;
    for token in ["session_token", "access_token"] {
        assert_challenge(&people.server.who_am_i(&text(&people.opened[token])).await, INVALID_TOKEN);
    }
    disable(&people, false).await;
    assert!(people.is_there().await);
}

#[tokio::test]
async fn a_bearer_token_counts_before_a_cookie() {
    let people = signed_in().await;
    let bob = people.server.open_with(&people.app, json!({"subject": "bob"})).await;
    let bearer = format!("Bearer {}", text(&bob["session_token"]));
    let both = people
        .server
        .browse(Method::GET, "/v1/session", &people.cookie(), &[("authorization", &bearer)])
        .await;
    assert_eq!(both.json()["subject"], "bob");
    let bad = people
        .server
        .browse(Method::GET, "/v1/session", &people.cookie(), &[("authorization", "Bearer x")])
        .await;
    assert_challenge(&bad, INVALID_TOKEN);
}

/// CKE-20 is for browsers: a program has no cookie to lose.
#[tokio::test]
async fn a_program_logs_out_by_its_session_token_alone() {
    let people = signed_in().await;
    let log_out = async |token: &Value| people.server.delete("/v1/session", Auth::Bearer(&text(token))).await;
    for token in ["access_token", "refresh_token"] {
        assert_challenge(&log_out(&people.opened[token]).await, INVALID_TOKEN);
    }
    assert!(people.is_there().await, "a token for reading ends nothing");
    let answer = log_out(&people.opened["session_token"]).await;
    assert_eq!((answer.status, answer.header("clear-site-data")), (204, ""));
    let deleted = "__Host-keyfob=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0";
    assert_eq!(answer.header("set-cookie"), deleted, "an application that calls for a browser passes it on");
    assert_challenge(&log_out(&people.opened["session_token"]).await, INVALID_TOKEN);
    assert_eq!(people.shown().await["ended"]["reason"], "logout");
}

/// As at forward-auth: a page of one application must not take the session of another for its own.
#[tokio::test]
async fn client_id_admits_only_sessions_of_the_named_clients() {
    let people = signed_in().await;
    for (query, status) in [
        ("", 200),
        ("?client_id=app", 200),
        ("?client_id=other&client_id=app", 200),
        ("?client_id=other", 403),
        ("?client_id=", 400),
        ("?client=app", 400),
    ] {
        assert_eq!(
            people.browse(Method::GET, &format!("/v1/session{query}")).await.status,
            status,
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_page_can_ask_without_activity() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(600));
    let me = people.browse(Method::GET, "/v1/session?touch=false").await.json();
    assert_eq!(me["last_used_at"], "2027-01-15T08:00:00Z");
    let me = people.browse(Method::GET, "/v1/session?touch=true").await.json();
    assert_eq!(me["last_used_at"], "2027-01-15T08:10:00Z");
}
