//! The documents under `/.well-known` (RFC 8414): what they say, and that it is so.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::Method;
use keyfob::config::{Config, Sources};
use serde_json::{Value, json};

use crate::harness::server::{Auth, Client, ISSUER, Server, basic, text};

const METADATA: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";
const DOCUMENTS: [&str; 4] = [METADATA, OPENID, "/.well-known/jwks.json", "/.well-known/paserk.json"];
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// MET-01, MET-03, MET-04, MET-05 (C-12), MET-07: the whole document.
#[tokio::test]
async fn the_metadata_is_what_rfc_8414_asks_for() {
    let server = Server::start().await;
    let answer = server.get(METADATA, Auth::None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let or_none = json!(["client_secret_basic", "client_secret_post", "none"]);
    let expected = json!({
        "issuer": ISSUER,
        "token_endpoint": format!("{ISSUER}/oauth2/token"),
        "introspection_endpoint": format!("{ISSUER}/oauth2/introspect"),
        "revocation_endpoint": format!("{ISSUER}/oauth2/revoke"),
        "jwks_uri": format!("{ISSUER}/.well-known/jwks.json"),
        "paserk_keys_uri": format!("{ISSUER}/.well-known/paserk.json"),
        "service_documentation": format!("{ISSUER}/docs"),
        "grant_types_supported": ["refresh_token", "client_credentials"],
        "response_types_supported": ["none"],
        "token_endpoint_auth_methods_supported": or_none,
        "introspection_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "Bearer"],
        "revocation_endpoint_auth_methods_supported": or_none,
    });
    assert_eq!(answer.json(), expected);
    for (name, member) in answer.json().as_object().unwrap() {
        assert!(member.as_array().is_none_or(|list| !list.is_empty()), "{name}");
        assert!(!name.ends_with("_signing_alg_values_supported"), "private_key_jwt is not listed");
    }
}

/// Quarkus, go-oidc, zitadel and Spring ask for nothing else, and require these members.
#[tokio::test]
async fn the_openid_configuration_has_what_discovery_requires_and_is_true() {
    let server = Server::start().await;
    let answer = server.get(OPENID, Auth::None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let mut openid = answer.json();
    assert_eq!(openid["subject_types_supported"], json!(["public"]));
    assert_eq!(openid["id_token_signing_alg_values_supported"], json!(["EdDSA"]));
    let members = openid.as_object_mut().unwrap();
    members.remove("subject_types_supported");
    members.remove("id_token_signing_alg_values_supported");
    assert_eq!(openid, server.get(METADATA, Auth::None).await.json());
}

/// The clients of the Model Context Protocol reject metadata without it (C-12 as amended by the contract).
#[tokio::test]
async fn an_authorization_endpoint_of_the_application_is_in_both_documents() {
    let url = "https://app.example/authorize?from=keyfob";
    let server = Server::with(&[("server.authorization_endpoint", url)]).await;
    for path in [METADATA, OPENID] {
        assert_eq!(server.get(path, Auth::None).await.json()["authorization_endpoint"], url, "{path}");
    }
    for url in [
        "app.example",
        "http://app.example/",
        "https://app.example/#x",
        "https:///x",
        "https://a b/",
        "javascript:x",
    ] {
        let overrides = vec![("server.authorization_endpoint".into(), url.into())];
        let sources = Sources { directory: "/nonexistent".into(), overrides, ..Sources::default() };
        assert!(Config::load(&sources).is_err(), "{url}");
    }
}

/// MET-03: the issuer is an origin, byte for byte; one with a path, a query or a fragment does not start.
#[tokio::test]
async fn the_issuer_is_the_configured_one() {
    let server = Server::with(&[("server.issuer", "https://id.example:8443")]).await;
    assert_eq!(server.get(METADATA, Auth::None).await.json()["issuer"], json!("https://id.example:8443"));
    for issuer in ["https://h/t1", "https://h/t1/", "https://h?x", "https://h#x", "http://id.example"] {
        let overrides = vec![("server.issuer".into(), issuer.into())];
        let sources = Sources { directory: "/nonexistent".into(), overrides, ..Sources::default() };
        assert!(Config::load(&sources).is_err(), "{issuer}");
    }
    assert_eq!(server.get(&format!("{METADATA}/t1"), Auth::None).await.status, 404);
}

/// The ways to authenticate, by the name that the metadata gives them, and one that it never gives.
const METHODS: [&str; 5] = ["client_secret_basic", "client_secret_post", "none", "Bearer", "private_key_jwt"];

/// MET-08: every advertised endpoint, method and grant works, and every other fails.
#[tokio::test]
async fn what_is_advertised_works_and_what_is_not_fails() {
    let server = Server::start().await;
    let both = json!({
        "client_id": "app", "permissions": ["introspect", "sessions"],
        "grants": ["refresh_token", "client_credentials"],
    });
    let app = server.client(both).await;
    server.client(json!({"client_id": "spa", "kind": "public", "grants": ["refresh_token"]})).await;
    let own = server.own_token(&app).await;
    let metadata = server.get(METADATA, Auth::None).await.json();
    for endpoint in ["token", "introspection", "revocation"] {
        let path = text(&metadata[format!("{endpoint}_endpoint")]).replace(ISSUER, "");
        let advertised = metadata[format!("{endpoint}_endpoint_auth_methods_supported")].as_array().unwrap();
        for method in METHODS {
            let status = probe(&server, &path, endpoint, method, &app, &own).await;
            assert_eq!(status == 200, advertised.contains(&json!(method)), "{method} at {path}: {status}");
        }
    }
    for grant in [
        "refresh_token",
        "client_credentials",
        "authorization_code",
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:device_code",
    ] {
        let refresh_token = text(&server.open(&app).await["refresh_token"]);
        let answer = server
            .form(
                "/oauth2/token",
                Auth::Basic(&app),
                &[("grant_type", grant), ("refresh_token", &refresh_token)],
            )
            .await;
        assert_eq!(
            answer.status == 200,
            metadata["grant_types_supported"].as_array().unwrap().contains(&json!(grant)),
            "{grant}"
        );
    }
    for uri in ["jwks_uri", "paserk_keys_uri", "service_documentation"] {
        assert_eq!(
            server.get(&text(&metadata[uri]).replace(ISSUER, ""), Auth::None).await.status,
            200,
            "{uri}"
        );
    }
}

/// The status of a request that is good but for the way of authentication.
async fn probe(server: &Server, path: &str, endpoint: &str, method: &str, app: &Client, own: &str) -> u16 {
    let client = if method == "none" { "spa" } else { "app" };
    let opened = server.open_with(&server.admin, json!({"subject": "alice", "client_id": client})).await;
    let token = text(&opened["refresh_token"]);
    let mut body = if endpoint == "token" {
        format!("grant_type=refresh_token&refresh_token={token}")
    } else {
        format!("token={token}")
    };
    let mut headers = vec![FORM];
    let (by_basic, by_bearer) = (basic(&app.id, &app.secret), format!("Bearer {own}"));
    match method {
        "client_secret_basic" => headers.push(("authorization", &by_basic)),
        "client_secret_post" => body.push_str(&format!("&client_id=app&client_secret={}", app.secret)),
        "none" => body.push_str("&client_id=spa"),
        "Bearer" => headers.push(("authorization", &by_bearer)),
        _ => body.push_str(
            "&client_id=app&\
             client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&\
             client_assertion=a.b.c",
        ),
    }
    server.send(Method::POST, path, Auth::None, &headers, body).await.status
}

/// MET-11: each key in both forms, under one name, and the signer among them.
#[tokio::test]
async fn the_keys_are_published_in_both_forms() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let jwks = server.get("/.well-known/jwks.json", Auth::None).await.json();
    let paserks = server.get("/.well-known/paserk.json", Auth::None).await.json();
    let (jwks, paserks) = (jwks["keys"].as_array().unwrap(), paserks["keys"].as_array().unwrap());
    assert_eq!((jwks.len(), paserks.len()), (2, 2));
    for (jwk, paserk) in jwks.iter().zip(paserks) {
        let kid = text(&jwk["kid"]);
        assert!(kid.starts_with("k4.pid.") && paserk["kid"] == jwk["kid"], "{kid}");
        let x = text(&jwk["x"]);
        assert_eq!(Base64UrlUnpadded::decode_vec(&x).unwrap().len(), 32);
        assert_eq!(paserk["key"], json!(format!("k4.public.{x}")));
        let expected =
            json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x});
        assert_eq!(jwk, &expected, "and nothing private");
        let public: [u8; 32] = Base64UrlUnpadded::decode_vec(&x).unwrap().try_into().unwrap();
        assert_eq!(keyfob::token::paserk::public_id(&public).to_string(), kid);
    }
    let statuses: Vec<&Value> = paserks.iter().map(|key| &key["status"]).collect();
    assert_eq!(statuses, [&json!("active"), &json!("next")]);
    let token = text(&server.open(&app).await["access_token"]);
    let footer = Base64UrlUnpadded::decode_vec(token.rsplit('.').next().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&footer).unwrap(), json!({"kid": paserks[0]["kid"]}));
}

/// MET-12: GET and HEAD alone; HEAD says what GET says; kept for less than a key is published ahead, and only
/// these.
#[tokio::test]
async fn the_documents_may_be_kept_for_a_while() {
    let server = Server::start().await;
    for path in DOCUMENTS {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = server.send(method, path, Auth::None, &[], "").await;
            assert_eq!(
                (answer.status, answer.header("allow"), answer.header("cache-control")),
                (405, "GET, HEAD", "no-store"),
                "{path}"
            );
        }
        let got = server.get(path, Auth::None).await;
        let head = server.send(Method::HEAD, path, Auth::None, &[], "").await;
        assert_eq!((got.status, got.header("cache-control")), (200, "public, max-age=300"));
        assert_eq!(head.header("content-length"), got.body.len().to_string());
        let but_length = |answer: &crate::harness::server::Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("content-length");
            headers
        };
        assert_eq!((head.status, head.body.len(), but_length(&head)), (200, 0, but_length(&got)), "{path}");
    }
}
