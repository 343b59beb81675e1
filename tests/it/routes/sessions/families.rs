//! Families over HTTP: single sign-on, and who may open what for whom (contract, section 4).

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::path;
use crate::harness::server::{Answer, Auth, Client, Server, text};

/// A backend that signs people in for its own mobile client (public) and for a shop beside it.
struct House {
    server: Server,
    backend: Client,
    mobile: Client,
    shop: Client,
}

async fn house() -> House {
    let server = Server::start().await;
    let mobile =
        json!({"client_id": "mobile", "kind": "public", "grants": ["refresh_token"], "scopes": ["read"]});
    let mobile = server.client(mobile).await;
    let shop = server.application("shop").await;
    let fields = json!({
        "client_id": "backend", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "scopes": ["read", "write", "pay"], "opens_for": ["mobile", "shop", "ghost"],
    });
    let backend = server.client(fields).await;
    House { server, backend, mobile, shop }
}

impl House {
    async fn open_family(&self, auth: Auth<'_>, session: &Value, fields: Value) -> Answer {
        self.server.json(Method::POST, &format!("{}/families", path(session)), auth, fields).await
    }

    async fn shown(&self, session: &Value) -> Value {
        self.server.get(&path(session), Auth::Basic(&self.backend)).await.json()
    }

    /// A public client presents its name alone.
    async fn refresh_mobile(&self, token: &Value) -> Answer {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", "mobile"),
            ("refresh_token", token.as_str().unwrap()),
        ];
        self.server.form("/oauth2/token", Auth::None, &fields).await
    }
}

/// What is granted is the client's that the session is for, never the opener's.
#[tokio::test]
async fn a_backend_signs_in_its_mobile_client_without_being_an_administrator() {
    let house = house().await;
    let opened =
        house.server.open_with(&house.backend, json!({"subject": "alice", "client_id": "mobile"})).await;
    let session = &opened["session"];
    assert_eq!(
        (&session["client_id"], &session["opened_by"], &session["scope"]),
        (&json!("mobile"), &json!("backend"), &json!("read"))
    );
    let refreshed = house.refresh_mobile(&opened["refresh_token"]).await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    let answer = house
        .server
        .json(Method::PATCH, &path(&opened), Auth::Basic(&house.backend), json!({"claims": {"a": 1}}))
        .await;
    assert_eq!(answer.status, 200, "the opener changes what it opened: {}", answer.text());
    assert!(house.server.is_active(&house.backend, &text(&opened["session_token"])).await);
}

/// Unknown and not named clients get one answer, which does not reveal which clients exist.
#[tokio::test]
async fn no_caller_opens_for_a_client_that_it_does_not_name() {
    let house = house().await;
    let open = async |caller: &Client, client_id: &str| {
        let fields = json!({"subject": "alice", "client_id": client_id});
        house.server.json(Method::POST, "/v1/sessions", Auth::Basic(caller), fields).await
    };
    let (not_named, unknown, named_but_gone) = (
        open(&house.backend, "admin").await,
        open(&house.backend, "unknown").await,
        open(&house.backend, "ghost").await,
    );
    not_named.assert_problem(403, None);
    assert_eq!((&not_named.body, &not_named.body), (&unknown.body, &named_but_gone.body));
    assert_eq!(
        open(&house.shop, "mobile").await.status,
        403,
        "opens_for is its holder's own, not its client's"
    );
    assert_eq!(open(&house.backend, "backend").await.status, 201);
    assert_eq!(open(&house.server.admin, "mobile").await.status, 201);
    house.server.client(json!({"client_id": "ghost", "kind": "public", "grants": ["refresh_token"]})).await;
    assert_eq!(open(&house.backend, "ghost").await.status, 201);
}

/// A disabled client's requests are refused and its tokens inactive; opening for it would be neither. Who may
/// open for it learns why.
#[tokio::test]
async fn nothing_is_opened_for_a_disabled_client_and_an_authorized_caller_learns_why() {
    let house = house().await;
    let opened = house.server.open(&house.backend).await;
    let admin = Auth::Basic(&house.server.admin);
    assert_eq!(
        house.server.json(Method::PATCH, "/v1/clients/shop", admin, json!({"disabled": true})).await.status,
        200
    );
    let fields = json!({"subject": "alice", "client_id": "shop"});
    for auth in [Auth::Basic(&house.backend), admin, Auth::Socket] {
        let answers = [
            house.server.json(Method::POST, "/v1/sessions", auth, fields.clone()).await,
            house.open_family(auth, &opened, json!({"client_id": "shop"})).await,
        ];
        for answer in answers {
            answer.assert_problem(403, None);
            assert_eq!(
                answer.json()["detail"],
                "client_id: the client is disabled: nothing is issued to it until it is enabled again"
            );
        }
    }
    let other = house.server.application("other").await;
    let not_named = house.server.json(Method::POST, "/v1/sessions", Auth::Basic(&other), fields).await;
    assert!(!not_named.text().contains("disabled"), "who may not open for it learns nothing");
}

#[tokio::test]
async fn the_client_that_a_session_is_for_reads_and_ends_it_but_does_not_change_it() {
    let house = house().await;
    let opened = house
        .server
        .open_with(&house.backend, json!({"subject": "alice", "client_id": "shop", "data": {"a": 1}}))
        .await;
    let shop = Auth::Basic(&house.shop);
    let read = house.server.get(&path(&opened), shop).await;
    assert_eq!((read.status, &read.json()["data"]), (200, &json!({"a": 1})));
    house
        .server
        .json(Method::PATCH, &path(&opened), shop, json!({"claims": {"a": 2}}))
        .await
        .assert_problem(403, None);
    house.open_family(shop, &opened, json!({})).await.assert_problem(403, None);
    assert_eq!(house.server.delete(&path(&opened), shop).await.status, 204);
    assert_eq!(house.shown(&opened).await["ended"]["by"], "shop");
}

#[tokio::test]
async fn a_further_family_signs_in_another_client_under_the_same_session() {
    let house = house().await;
    let opened = house
        .server
        .open_with(&house.backend, json!({"subject": "alice", "acr": "aal2", "claims": {"role": "editor"}}))
        .await;
    let answer = house
        .open_family(Auth::Basic(&house.backend), &opened, json!({"client_id": "shop", "scope": "read"}))
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let family = answer.json();
    assert_eq!(
        (&family["family"], &family["scope"], &family["token_type"]),
        (&json!(2), &json!("read"), &json!("Bearer"))
    );
    let reported = house.server.introspect(&house.shop, &text(&family["access_token"])).await;
    assert_eq!((&reported["sid"], &reported["client_id"]), (&opened["session"]["id"], &json!("shop")));
    assert_eq!((&reported["acr"], &reported["claims"]), (&json!("aal2"), &json!({"role": "editor"})));
    assert_eq!(house.server.refresh(&house.shop, &text(&family["refresh_token"])).await.status, 200);
    let shown = house.shown(&opened).await;
    assert_eq!(
        (&shown["families"][1]["client_id"], &shown["families"][1]["generation"]),
        (&json!("shop"), &json!(1))
    );
    assert_eq!(shown["version"], 1, "neither a family nor a refresh is a change of the session");
    assert_eq!(house.server.event_types().await.last().unwrap(), "family.opened");
    // What ends the session ends it everywhere.
    assert_eq!(house.server.delete(&path(&opened), Auth::Basic(&house.backend)).await.status, 204);
    assert!(!house.server.is_active(&house.shop, &text(&family["access_token"])).await);
}

/// A family gives its client no right to the session.
#[tokio::test]
async fn the_client_of_a_family_neither_sees_nor_touches_the_session() {
    let house = house().await;
    let opened = house.server.open(&house.backend).await;
    let family =
        house.open_family(Auth::Basic(&house.backend), &opened, json!({"client_id": "shop"})).await.json();
    let shop = Auth::Basic(&house.shop);
    let one = format!("{}/families/2", path(&opened));
    house.server.get(&path(&opened), shop).await.assert_problem(404, None);
    house.server.delete(&path(&opened), shop).await.assert_problem(404, None);
    house.server.json(Method::PATCH, &path(&opened), shop, json!({})).await.assert_problem(404, None);
    house
        .server
        .json(Method::POST, &format!("{}/renew", path(&opened)), shop, json!({}))
        .await
        .assert_problem(404, None);
    house.open_family(shop, &opened, json!({})).await.assert_problem(404, None);
    house.server.delete(&one, shop).await.assert_problem(404, None);
    assert_eq!(house.server.get("/v1/sessions", shop).await.json()["items"], json!([]));
    assert!(!house.server.is_active(&house.shop, &text(&opened["session_token"])).await);
    // Its own tokens are its own: it may give them up, and the session lives on.
    assert_eq!(house.server.revoke(&house.shop, &text(&family["refresh_token"])).await.status, 200);
    let shown = house.shown(&opened).await;
    assert_eq!((&shown["state"], &shown["families"][1]["state"]), (&json!("active"), &json!("ended")));
    // Logging a subject out ends the caller's families elsewhere, uncounted.
    let family =
        house.open_family(Auth::Basic(&house.backend), &opened, json!({"client_id": "shop"})).await.json();
    let ended = house.server.delete("/v1/subjects/alice/sessions", shop).await.json();
    assert_eq!(ended, json!({"ended": 0}));
    assert!(!house.server.is_active(&house.shop, &text(&family["access_token"])).await);
    assert_eq!(house.shown(&opened).await["state"], "active");
}

#[tokio::test]
async fn a_family_is_opened_only_for_whom_its_opener_may_open() {
    let house = house().await;
    let opened = house.server.open(&house.backend).await;
    let backend = Auth::Basic(&house.backend);
    house.open_family(backend, &opened, json!({"client_id": "admin"})).await.assert_problem(403, None);
    house.open_family(backend, &opened, json!({"client_id": "ghost"})).await.assert_problem(403, None);
    house.server.client(json!({"client_id": "ghost", "permissions": ["sessions"]})).await;
    house.open_family(backend, &opened, json!({"client_id": "ghost"})).await.assert_problem(403, None);
    house
        .open_family(backend, &opened, json!({"client_id": "shop", "scope": "pay"}))
        .await
        .assert_problem(400, Some("scope"));
    let elsewhere = json!({"client_id": "shop", "audience": "https://elsewhere"});
    house.open_family(backend, &opened, elsewhere).await.assert_problem(400, Some("audience"));
    assert_eq!(
        house
            .open_family(Auth::Basic(&house.server.admin), &opened, json!({"client_id": "mobile"}))
            .await
            .status,
        201
    );
    assert_eq!(house.open_family(Auth::Socket, &opened, json!({"client_id": "mobile"})).await.status, 201);
    house.open_family(Auth::Socket, &opened, json!({})).await.assert_problem(400, Some("client_id"));
    let alone =
        house.server.send(Method::POST, &format!("{}/families", path(&opened)), backend, &[], "").await;
    assert_eq!(alone.status, 201, "without a body it is the caller's own: {}", alone.text());
}

#[tokio::test]
async fn ending_a_family_ends_its_tokens_and_nothing_else() {
    let house = house().await;
    let opened = house.server.open(&house.backend).await;
    let backend = Auth::Basic(&house.backend);
    let mobile = house.open_family(backend, &opened, json!({"client_id": "mobile"})).await.json();
    let one = format!("{}/families/2", path(&opened));
    assert_eq!(house.server.delete(&one, backend).await.status, 204);
    assert_eq!(house.server.delete(&one, backend).await.status, 204, "again");
    assert_eq!(house.refresh_mobile(&mobile["refresh_token"]).await.error(), "invalid_grant");
    assert!(!house.server.is_active(&house.server.admin, &text(&mobile["access_token"])).await);
    for never in ["3", "0", "65536", "x"] {
        let answer = house.server.delete(&format!("{}/families/{never}", path(&opened)), backend).await;
        answer.assert_problem(404, None);
    }
    // Even the last one: a user who is signed in by cookie stays signed in.
    assert_eq!(house.server.delete(&format!("{}/families/1", path(&opened)), backend).await.status, 204);
    assert_eq!(house.server.who_am_i(&text(&opened["session_token"])).await.status, 200);
    let ended = house.server.event_types().await.into_iter().filter(|kind| kind == "family.ended").count();
    assert_eq!(ended, 2);
    let _ = &house.mobile;
}

/// Reuse in any family ends the session, whichever client it is.
#[tokio::test]
async fn theft_in_one_family_ends_the_whole_session() {
    let house = house().await;
    let opened = house.server.open(&house.backend).await;
    let mobile =
        house.open_family(Auth::Basic(&house.backend), &opened, json!({"client_id": "mobile"})).await.json();
    assert_eq!(house.refresh_mobile(&mobile["refresh_token"]).await.status, 200);
    house.server.hand.advance(crate::harness::people::seconds(11));
    assert_eq!(house.refresh_mobile(&mobile["refresh_token"]).await.error(), "invalid_grant");
    assert_eq!(house.shown(&opened).await["ended"]["reason"], "refresh_reuse");
    assert_eq!(house.server.who_am_i(&text(&opened["session_token"])).await.status, 401);
}

#[tokio::test]
async fn a_session_has_at_most_64_active_families_and_an_ended_one_gets_none() {
    let house = house().await;
    let opened = house.server.open(&house.backend).await;
    let backend = Auth::Basic(&house.backend);
    for _ in 1..64 {
        assert_eq!(house.open_family(backend, &opened, json!({})).await.status, 201);
    }
    house.open_family(backend, &opened, json!({})).await.assert_problem(409, None);
    let renew = format!("{}/renew", path(&opened));
    let renewed = house.server.json(Method::POST, &renew, backend, json!({})).await.json();
    assert!(renewed["refresh_token"].is_string(), "what is replaced makes room");
    assert_eq!(house.server.delete(&format!("{}/families/2", path(&opened)), backend).await.status, 204);
    assert_eq!(house.open_family(backend, &opened, json!({})).await.status, 201);
    assert_eq!(house.server.delete(&path(&opened), backend).await.status, 204);
    house.open_family(backend, &opened, json!({})).await.assert_problem(409, None);
}

/// A long scope of another client does not make a token that no verifier accepts.
#[tokio::test]
async fn a_family_whose_token_would_be_too_long_is_refused_before_it_is_opened() {
    let house = house().await;
    let long: Vec<String> = (0..20).map(|n| format!("s{n}{}", "x".repeat(90))).collect();
    let fields = json!({"opens_for": ["mobile", "shop", "wide"]});
    let wide = json!({"client_id": "wide", "kind": "public", "grants": ["refresh_token"], "scopes": long});
    house.server.client(wide).await;
    assert_eq!(
        house
            .server
            .json(Method::PATCH, "/v1/clients/backend", Auth::Basic(&house.server.admin), fields)
            .await
            .status,
        200
    );
    let claims = json!({"c": "x".repeat(4000)});
    let opened =
        house.server.open_with(&house.backend, json!({"subject": "a".repeat(256), "claims": claims})).await;
    house
        .open_family(Auth::Basic(&house.backend), &opened, json!({"client_id": "wide"}))
        .await
        .assert_problem(400, Some("claims"));
    assert_eq!(house.shown(&opened).await["families"].as_array().unwrap().len(), 1);
}
