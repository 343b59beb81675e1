//! Clients whose access tokens are JWTs with ES256: the keys they need, and their behaviour at every route.

use http::Method;
use sha2::Digest;

use super::*;
use crate::harness::server::Auth;

fn alg(token: &str) -> String {
    text(&part(token, 0)["alg"])
}

/// The keys that the server lists, by algorithm and status.
async fn keys(server: &Server) -> Vec<(String, String)> {
    let keys = server.get("/v1/keys", Auth::Basic(&server.admin)).await.json();
    keys["items"].as_array().unwrap().iter().map(|key| (text(&key["alg"]), text(&key["status"]))).collect()
}

/// The published JWKs of this algorithm.
async fn published(server: &Server, algorithm: &str) -> Vec<Value> {
    let jwks = server.get("/.well-known/jwks.json", Auth::None).await.json();
    jwks["keys"].as_array().unwrap().iter().filter(|key| key["alg"] == algorithm).cloned().collect()
}

fn pairs<'a>(of: &'a [(&'a str, &'a str)]) -> Vec<(String, String)> {
    of.iter().map(|(algorithm, status)| ((*algorithm).to_owned(), (*status).to_owned())).collect()
}

const EDDSA: [(&str, &str); 2] = [("EdDSA", "active"), ("EdDSA", "next")];
const ES256: [(&str, &str); 2] = [("ES256", "active"), ("ES256", "next")];

/// RFC 7518 §6.2, RFC 7638. An existing store gets its first P-256 keys when a client gets the format.
#[tokio::test]
async fn p256_keys_are_generated_and_published_when_a_client_gets_the_format() {
    let server = Server::start().await;
    let app = application(&server, "app", "jwt").await;
    let opened = server.open(&app).await;
    assert_eq!(keys(&server).await, pairs(&EDDSA));
    set_format(&server, &app, "jwt_es256").await;
    assert_eq!(keys(&server).await, pairs(&[EDDSA, ES256].concat()));
    let jwks = published(&server, "ES256").await;
    assert_eq!(jwks.len(), 2);
    for key in &jwks {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!((&key["kty"], &key["crv"], &key["use"]), (&json!("EC"), &json!("P-256"), &json!("sig")));
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, key["x"], key["y"]);
        assert_eq!(text(&key["kid"]), base64url(sha2::Sha256::digest(thumbprint)));
    }
    let paserk = server.get("/.well-known/paserk.json", Auth::None).await.json();
    assert_eq!(paserk["keys"].as_array().unwrap().len(), 2, "no PASERK of P-256");
    assert!(server.is_active(&app, &text(&opened["access_token"])).await, "issued tokens stay valid");
    let again = server.open(&app).await;
    assert_eq!(alg(&text(&again["access_token"])), "ES256");
    assert_eq!(part(&text(&again["access_token"]), 0)["kid"], jwks[0]["kid"]);
}

/// JWP-01, ROT-02: as with the other formats.
#[tokio::test]
async fn a_session_with_es256_behaves_as_with_any_other_format() {
    let mut server = Server::start().await;
    let app = application(&server, "app", "jwt_es256").await;
    let opened = server.open(&app).await;
    let first = text(&opened["access_token"]);
    assert_eq!((&part(&first, 0)["typ"], alg(&first)), (&json!("at+jwt"), "ES256".into()));
    assert!(server.is_active(&app, &first).await);
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        let again = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
        assert_eq!(
            again["access_token"], refreshed["access_token"],
            "the same bytes, restarted: {restarted}"
        );
    }
    let own = server.own_token(&app).await;
    assert_eq!(alg(&own), "ES256");
    let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    assert_eq!(server.get(&path, Auth::Bearer(&own)).await.status, 200);
    let second = text(&refreshed["access_token"]);
    assert_eq!(server.revoke(&app, &second).await.status, 200);
    assert!(server.is_active(&app, &first).await && !server.is_active(&app, &second).await);
    let metrics = server.get("/metrics", Auth::Basic(&server.admin)).await.text();
    assert!(metrics.lines().any(|line| line.contains("jwt_es256") && !line.ends_with(" 0")), "{metrics}");
}

/// PAS-49.
#[tokio::test]
async fn keys_of_both_algorithms_rotate_together_and_old_tokens_stay_valid() {
    let server = Server::start().await;
    let (es256, eddsa) =
        (application(&server, "es256", "jwt_es256").await, application(&server, "eddsa", "jwt").await);
    let (by_es256, by_eddsa) = (server.open(&es256).await, server.open(&eddsa).await);
    let next = published(&server, "ES256").await[1]["kid"].clone();
    server.hand.advance(Duration::from_secs(300));
    let rotated =
        server.send(Method::POST, "/v1/keys/rotate", Auth::Basic(&server.admin), &[], "").await.json();
    assert_eq!(rotated["es256_kid"], next, "the published key signs");
    assert!(text(&rotated["kid"]).starts_with("k4.pid."));
    let (by_es256, by_eddsa) = (
        server.refresh(&es256, &text(&by_es256["refresh_token"])).await.json(),
        server.refresh(&eddsa, &text(&by_eddsa["refresh_token"])).await.json(),
    );
    for (client, refreshed, kid) in
        [(&es256, &by_es256, &rotated["es256_kid"]), (&eddsa, &by_eddsa, &rotated["kid"])]
    {
        let token = text(&refreshed["access_token"]);
        assert_eq!(&part(&token, 0)["kid"], kid);
        assert!(server.is_active(client, &token).await);
    }
    assert_eq!(published(&server, "ES256").await.len(), 3);
    let events = server.get("/v1/events?after=0", Auth::Basic(&server.admin)).await.text();
    assert!(events.contains(&text(&rotated["es256_kid"])), "the event names the key");
}

#[tokio::test]
async fn a_revoked_p256_key_ends_its_own_tokens_only() {
    let mut server = Server::start().await;
    let (es256, eddsa) =
        (application(&server, "es256", "jwt_es256").await, application(&server, "eddsa", "jwt").await);
    let (by_es256, by_eddsa) = (server.open(&es256).await, server.open(&eddsa).await);
    let (es256_token, eddsa_token) = (text(&by_es256["access_token"]), text(&by_eddsa["access_token"]));
    assert!(server.is_active(&es256, &es256_token).await, "seen, and so cached");
    let kid = text(&part(&es256_token, 0)["kid"]);
    assert_eq!(server.delete(&format!("/v1/keys/{kid}"), Auth::Basic(&server.admin)).await.status, 204);
    for restarted in [false, true] {
        if restarted {
            server.restart().await;
        }
        assert!(
            !server.is_active(&es256, &es256_token).await && server.is_active(&eddsa, &eddsa_token).await
        );
    }
    let refreshed = server.refresh(&es256, &text(&by_es256["refresh_token"])).await.json();
    assert!(server.is_active(&es256, &text(&refreshed["access_token"])).await);
    assert_eq!(keys(&server).await, pairs(&[EDDSA, ES256].concat()));
}

/// The last token of the format may live for a day, so its key is published that long.
#[tokio::test]
async fn p256_keys_are_retired_when_no_client_has_the_format_and_removed_a_day_later() {
    let server = Server::start().await;
    let app = application(&server, "app", "jwt_es256").await;
    let token = text(&server.open(&app).await["access_token"]);
    set_format(&server, &app, "paseto").await;
    let tend = async || server.app().engine().tend_keys().await.unwrap();
    tend().await;
    assert_eq!(keys(&server).await, pairs(&[&EDDSA[..], &[("ES256", "retired")]].concat()));
    assert!(server.is_active(&app, &token).await);
    assert_eq!(published(&server, "ES256").await.len(), 1);
    server.hand.advance(Duration::from_secs(86_400));
    tend().await;
    assert_eq!(keys(&server).await, pairs(&EDDSA));
    set_format(&server, &app, "jwt_es256").await;
    assert_eq!(keys(&server).await, pairs(&[EDDSA, ES256].concat()));
}

/// RFC 8725 §3.1: the header of one algorithm with the signature of a key of the other.
#[tokio::test]
async fn a_token_of_one_algorithm_under_the_key_of_the_other_is_rejected() {
    let server = Server::start().await;
    let (es256, eddsa) =
        (application(&server, "es256", "jwt_es256").await, application(&server, "eddsa", "jwt").await);
    let (by_es256, by_eddsa) = (server.own_token(&es256).await, server.own_token(&eddsa).await);
    let (es256_kid, eddsa_kid) = (text(&part(&by_es256, 0)["kid"]), text(&part(&by_eddsa, 0)["kid"]));
    let [_, claims, signature] = by_es256.split('.').collect::<Vec<_>>().try_into().unwrap();
    let [_, eddsa_claims, eddsa_signature] = by_eddsa.split('.').collect::<Vec<_>>().try_into().unwrap();
    let header =
        |alg: &str, kid: &str| base64url(format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}"}}"#));
    assert_eq!(format!("{}.{claims}.{signature}", header("ES256", &es256_kid)), by_es256);
    for (header, claims, signature) in [
        (header("EdDSA", &es256_kid), claims, signature),
        (header("EdDSA", &eddsa_kid), claims, signature),
        (header("ES256", &eddsa_kid), claims, signature),
        (header("ES256", &es256_kid), eddsa_claims, eddsa_signature),
        (header("ES256", &eddsa_kid), eddsa_claims, eddsa_signature),
        (header("EdDSA", &es256_kid), eddsa_claims, eddsa_signature),
        (header("none", &es256_kid), claims, ""),
    ] {
        let token = format!("{header}.{claims}.{signature}");
        assert_eq!(server.introspect(&server.admin, &token).await, json!({"active": false}), "{token}");
    }
}
