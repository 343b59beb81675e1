//! `POST /v1/sessions/{id}/renew` over HTTP: the subject authenticated again.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::{cookie, seconds, signed_in, signed_in_with};
use crate::harness::server::{Auth, NOW_S, Server, text};

/// SES-02, SES-03, SES-15: a new secret, the old one dead, both timeouts from their start.
#[tokio::test]
async fn a_renewal_gives_a_new_session_token_and_starts_both_timeouts_again() {
    let people =
        signed_in_with(&[], json!({"subject": "alice", "acr": "aal1", "amr": ["pwd"], "data": {"cart": 7}}))
            .await;
    people.server.hand.advance(seconds(1000));
    let answer = people.renew(json!({"acr": "aal2", "amr": ["pwd", "otp"]})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let renewed = answer.json();
    let (session, before) = (&renewed["session"], &people.opened["session"]);
    assert_eq!(session["id"], before["id"]);
    assert_eq!(
        (&session["acr"], &session["amr"], &session["version"]),
        (&json!("aal2"), &json!(["pwd", "otp"]), &json!(2))
    );
    assert_eq!(session["authenticated_at"], "2027-01-15T08:16:40Z");
    assert_eq!(
        (&session["idle_expires_at"], &session["expires_at"]),
        (&json!("2027-01-15T08:46:40Z"), &json!("2027-01-16T08:16:40Z"))
    );
    assert_eq!((&session["created_at"], &session["data"]), (&before["created_at"], &json!({"cart": 7})));
    let mut names: Vec<_> = people.opened.as_object().unwrap().keys().collect();
    names.sort();
    assert!(renewed.as_object().unwrap().keys().eq(names), "the body of an opening");
    assert_eq!(cookie(&renewed), format!("__Host-keyfob={}", text(&renewed["session_token"])));

    assert!(!people.is_there().await, "the old session token is dead");
    assert_eq!(people.server.who_am_i(&text(&renewed["session_token"])).await.status, 200);
    let reported = people.server.introspect(&people.app, &text(&renewed["access_token"])).await;
    assert_eq!((&reported["acr"], &reported["auth_time"]), (&json!("aal2"), &json!(NOW_S + 1000)));
    assert_eq!(people.server.event_types().await.last().unwrap(), "session.renewed");
}

/// The old family was replaced, not stolen: its tokens are refused, and nothing else happens.
#[tokio::test]
async fn the_replaced_familys_tokens_are_refused_without_reuse_handling() {
    let people = signed_in().await;
    let first = text(&people.opened["refresh_token"]);
    let second = text(&people.server.refresh(&people.app, &first).await.json()["refresh_token"]);
    let access_token = text(&people.opened["access_token"]);
    let renewed = people.renew(json!({})).await.json();
    assert!(!people.server.is_active(&people.app, &access_token).await);
    people.server.hand.advance(seconds(60));
    for token in [&second, &first] {
        let answer = people.server.refresh(&people.app, token).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_grant".into()));
    }
    assert_eq!(people.shown().await["state"], "active");
    assert!(!people.server.event_types().await.contains(&"refresh.reused".into()));
    let next = people.server.refresh(&people.app, &text(&renewed["refresh_token"])).await;
    assert_eq!(next.status, 200, "{}", next.text());
    let states: Vec<_> = people.shown().await["families"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["id"].clone(), f["state"].clone()))
        .collect();
    assert_eq!(states, [(json!(1), json!("ended")), (json!(2), json!("active"))]);
}

/// NST-05: they live on as they were granted.
#[tokio::test]
async fn other_families_live_on_with_the_authentication_they_were_granted_under() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1"})).await;
    let path = format!("{}/families", people.path());
    let family = people.server.json(Method::POST, &path, Auth::Basic(&people.app), json!({})).await.json();
    people.server.hand.advance(seconds(100));
    assert_eq!(people.renew(json!({"acr": "aal2"})).await.status, 200);
    let refreshed = people.server.refresh(&people.app, &text(&family["refresh_token"])).await.json();
    for token in [&family["access_token"], &refreshed["access_token"]] {
        let reported = people.server.introspect(&people.app, &text(token)).await;
        assert_eq!((&reported["acr"], &reported["auth_time"]), (&json!("aal1"), &json!(NOW_S)));
    }
}

#[tokio::test]
async fn auth_time_may_be_past_but_not_far_in_the_future_and_not_before_the_last_one() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(100));
    for bad in ["2027-01-15T08:02:40.001Z", "2027-01-15T07:59:59Z"] {
        people.renew(json!({"auth_time": bad})).await.assert_problem(400, Some("auth_time"));
    }
    assert!(people.is_there().await, "a refused renewal changes nothing");
    let renewed = people.renew(json!({"auth_time": "2027-01-15T08:01:00Z"})).await.json();
    assert_eq!(renewed["session"]["expires_at"], "2027-01-16T08:01:00Z");
    assert_eq!(renewed["session"]["idle_expires_at"], "2027-01-15T08:31:40Z");
    let again = people.renew(json!({"auth_time": "2027-01-15T08:01:00Z"})).await.json();
    assert_eq!(again["session"].get("acr"), None, "what is not said this time is not true any more");
    people.renew(json!({"auth_time": "2027-01-15T08:00:59Z"})).await.assert_problem(400, Some("auth_time"));
}

#[tokio::test]
async fn an_opening_may_say_when_the_subject_authenticated_but_not_that_it_will() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let open = async |auth_time: &str| {
        server
            .json(
                Method::POST,
                "/v1/sessions",
                Auth::Basic(&app),
                json!({"subject": "alice", "auth_time": auth_time}),
            )
            .await
    };
    let opened = open("2027-01-15T07:00:00Z").await.json();
    assert_eq!(opened["session"]["expires_at"], "2027-01-16T07:00:00Z");
    assert_eq!(opened["session"]["idle_expires_at"], "2027-01-15T08:30:00Z");
    for ahead in ["2027-01-15T08:00:00.200Z", "2027-01-15T08:01:00Z"] {
        let opened = open(ahead).await.json();
        assert_eq!(opened["session"]["authenticated_at"], "2027-01-15T08:00:00Z", "it counts as now");
        assert_eq!(opened["session"]["expires_at"], "2027-01-16T08:00:00Z");
    }
    let further = open("2027-01-15T08:01:00.001Z").await;
    further.assert_problem(400, Some("auth_time"));
    assert_eq!(further.json()["detail"], "auth_time must be at most 60 seconds in the future");
    open("2027-01-14T08:00:00Z").await.assert_problem(400, Some("auth_time"));
}

/// An application that counts in whole seconds steps up right after the sign-in: 400 in each case, once.
#[tokio::test]
async fn a_step_up_in_the_second_of_the_sign_in_is_not_before_it() {
    let server = Server::start().await;
    server.hand.advance(std::time::Duration::from_millis(700));
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    assert_eq!(opened["session"]["authenticated_at"], "2027-01-15T08:00:00.7Z");
    let path = format!("{}/renew", crate::harness::people::path(&opened));
    let renew = async |fields| server.json(Method::POST, &path, Auth::Basic(&app), fields).await;
    let renewed = renew(json!({"auth_time": "2027-01-15T08:00:00Z", "acr": "aal2"})).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    assert_eq!(renewed.json()["session"]["expires_at"], "2027-01-16T08:00:00Z");
    renew(json!({"auth_time": "2027-01-15T07:59:59.999Z"})).await.assert_problem(400, Some("auth_time"));
}

/// The clock was two hours ahead at the sign-in, and was corrected. Step-up failed for two hours, naming a
/// field that was not sent.
#[tokio::test]
async fn a_renewal_without_auth_time_is_not_refused_when_the_clock_was_set_back() {
    let people = signed_in().await;
    people.server.hand.set_wall(keyfob::domain::time::Timestamp::from_seconds(NOW_S - 7_200));
    let renewed = people.renew(json!({"acr": "aal2"})).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text());
    let session = &renewed.json()["session"];
    assert_eq!(session["authenticated_at"], "2027-01-15T08:00:00Z", "the later of now and the previous one");
    assert_eq!(session["expires_at"], "2027-01-16T08:00:00Z");
    let reported = people.renew(json!({"auth_time": "2027-01-15T06:00:00Z"})).await;
    reported.assert_problem(400, Some("auth_time"));
}

#[tokio::test]
async fn only_the_opener_and_administrators_renew() {
    let server = Server::start().await;
    server.client(json!({"client_id": "mobile", "kind": "public", "grants": ["refresh_token"]})).await;
    let reader = server.client(json!({"client_id": "web", "permissions": ["sessions"]})).await;
    let stranger = server.application("stranger").await;
    let fields = json!({"client_id": "backend", "permissions": ["sessions"], "opens_for": ["mobile", "web"]});
    let backend = server.client(fields).await;
    let opened = server.open_with(&backend, json!({"subject": "alice", "client_id": "web"})).await;
    let path = format!("/v1/sessions/{}/renew", text(&opened["session"]["id"]));
    let renew = async |auth: Auth<'_>| server.json(Method::POST, &path, auth, json!({})).await.status;
    assert_eq!(renew(Auth::Basic(&reader)).await, 403, "it may read and end it");
    assert_eq!(renew(Auth::Basic(&stranger)).await, 404);
    assert_eq!(
        renew(Auth::Bearer(&text(&opened["access_token"]))).await,
        401,
        "tokens of people never open management"
    );
    assert_eq!(renew(Auth::Basic(&backend)).await, 200);
    assert_eq!(renew(Auth::Basic(&server.admin)).await, 200);
    assert_eq!(renew(Auth::Socket).await, 200);
}

#[tokio::test]
async fn a_session_that_is_not_active_is_not_renewed() {
    let people = signed_in().await;
    people.server.hand.advance(seconds(1800));
    people.renew(json!({})).await.assert_problem(409, None);
    let opened = people.server.open(&people.app).await;
    let path = crate::harness::people::path(&opened);
    assert_eq!(people.server.delete(&path, Auth::Basic(&people.app)).await.status, 204);
    let answer =
        people.server.json(Method::POST, &format!("{path}/renew"), Auth::Basic(&people.app), json!({})).await;
    answer.assert_problem(409, None);
    let unknown = people
        .server
        .json(Method::POST, "/v1/sessions/unknown/renew", Auth::Basic(&people.app), json!({}))
        .await;
    unknown.assert_problem(404, None);
}

/// Once a renewal answered 400 because the new methods made the access token too long, after the old session
/// token had died with it.
#[tokio::test]
async fn a_renewal_whose_token_would_be_too_long_leaves_the_old_one_alive() {
    let claims = json!({"c": "x".repeat(4000)});
    let people = signed_in_with(&[], json!({"subject": "alice", "claims": claims})).await;
    let amr: Vec<String> = (0..16).map(|n| format!("{n}{}", "m".repeat(250))).collect();
    people.renew(json!({"amr": amr})).await.assert_problem(400, Some("claims"));
    assert!(people.is_there().await);
}

/// A reader of the log drops the old family's tokens. Once a renewal recorded only itself, and the family had
/// ended as `logout`.
#[tokio::test]
async fn the_log_tells_which_family_was_replaced_and_by_which() {
    let people = signed_in().await;
    assert_eq!(people.renew(json!({})).await.status, 200);
    let reported = people.last_events(2).await;
    let common =
        |event: &Value| (event["session_id"].clone(), event["client_id"].clone(), event["by"].clone());
    let expected = (people.opened["session"]["id"].clone(), json!("app"), json!("app"));
    assert_eq!((common(&reported[0]), common(&reported[1])), (expected.clone(), expected));
    assert_eq!(
        (&reported[0]["type"], &reported[0]["family"], &reported[0]["reason"]),
        (&json!("family.ended"), &json!(1), &json!("token_revoked"))
    );
    assert_eq!(
        (&reported[1]["type"], &reported[1]["family"], &reported[1].get("reason")),
        (&json!("session.renewed"), &json!(2), &None)
    );
    // What had ended before is not ended again.
    let family = format!("{}/families/2", people.path());
    assert_eq!(people.server.delete(&family, Auth::Basic(&people.app)).await.status, 204);
    assert_eq!(people.renew(json!({})).await.status, 200);
    let reported = people.last_events(2).await;
    assert_eq!((&reported[0]["type"], &reported[0]["family"]), (&json!("family.ended"), &json!(2)));
    assert_eq!((&reported[1]["type"], &reported[1]["family"]), (&json!("session.renewed"), &json!(3)));
}

#[tokio::test]
async fn without_the_grant_a_renewal_has_no_family_to_tell_of() {
    let server = Server::start().await;
    let web = server.client(json!({"client_id": "web", "permissions": ["sessions"]})).await;
    let opened = server.open(&web).await;
    let path = format!("{}/renew", crate::harness::people::path(&opened));
    let renewed = server.json(Method::POST, &path, Auth::Basic(&web), json!({})).await.json();
    assert_eq!((&renewed["session"]["families"], renewed.get("refresh_token")), (&json!([]), None));
    assert_eq!(
        server.event_types().await.last_chunk(),
        Some(&["session.opened".into(), "session.renewed".into()])
    );
}

/// Contract, section 4: enabling restores what has not expired; until then nothing is issued. Once the answer
/// did not name the reason.
#[tokio::test]
async fn the_session_of_a_disabled_client_is_not_renewed_and_the_answer_says_why() {
    let server = Server::start().await;
    server.client(json!({"client_id": "mobile", "kind": "public", "grants": ["refresh_token"]})).await;
    let backend = server
        .client(json!({"client_id": "backend", "permissions": ["sessions"], "opens_for": ["mobile"]}))
        .await;
    let opened = server.open_with(&backend, json!({"subject": "alice", "client_id": "mobile"})).await;
    let path = format!("{}/renew", crate::harness::people::path(&opened));
    let renew = async || server.json(Method::POST, &path, Auth::Basic(&backend), json!({})).await;
    let set = async |disabled: bool| {
        let fields = json!({"disabled": disabled});
        assert_eq!(
            server.json(Method::PATCH, "/v1/clients/mobile", Auth::Basic(&server.admin), fields).await.status,
            200
        );
    };
    set(true).await;
    let refused = renew().await;
    refused.assert_problem(409, None);
    assert_eq!(
        refused.json()["detail"],
        "the session's client is disabled: nothing is issued to it until it is enabled again"
    );
    assert_eq!(server.who_am_i(&text(&opened["session_token"])).await.status, 401);
    set(false).await;
    assert_eq!(
        server.who_am_i(&text(&opened["session_token"])).await.status,
        200,
        "the refused renewal has changed nothing"
    );
    assert_eq!(renew().await.status, 200);
}
