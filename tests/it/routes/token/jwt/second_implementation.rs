//! Our JWTs as a resource server sees them that knows nothing of keyfob: the crate jsonwebtoken, and the
//! published keys. It brings its own parsing and its own rules; Ed25519 is checked by ed25519-compact, so
//! that nothing here is the code that signed.

use std::sync::Once;

use ed25519_compact::{PublicKey, Signature};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::jwk::{JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};

use super::{application, part};
use crate::harness::server::{Auth, ISSUER, NOW_S, Server, text};

/// jsonwebtoken's own backends bring RSA or C.
struct Ed25519(PublicKey);

impl Verifier<Vec<u8>> for Ed25519 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        let good = Signature::from_slice(signature).and_then(|signature| self.0.verify(message, &signature));
        good.map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Ed25519 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

static ED25519: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let public =
                PublicKey::from_slice(key.try_get_as_bytes()?).map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(Ed25519(public)))
        }
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// What a resource server for `audience` learns from a token, by the rules of RFC 9068 §4 and the keys that
/// the server publishes.
fn verified(token: &str, keys: &JwkSet, audience: &str) -> Result<Value> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| ED25519.install_default().expect("nobody else installs one"));
    let header = decode_header(token)?;
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let jwk =
        keys.find(header.kid.as_deref().expect("our tokens name their key")).expect("the key is published");
    assert_eq!(
        (jwk.common.key_algorithm, &jwk.common.public_key_use),
        (Some(KeyAlgorithm::EdDSA), &Some(PublicKeyUse::Signature))
    );
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "sub", "aud"]);
    // The library would read the real clock. Its `exp` and `nbf` are compared below.
    validation.validate_exp = false;
    Ok(decode::<Value>(token, &DecodingKey::from_jwk(jwk)?, &validation)?.claims)
}

async fn published(server: &Server) -> JwkSet {
    let answer = server.get("/.well-known/jwks.json", Auth::None).await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// JWP-01.
#[tokio::test]
async fn a_second_implementation_verifies_our_jwts_with_the_published_keys() {
    let server = Server::start().await;
    let app = application(&server, "app", "jwt").await;
    let opened = server.open(&app).await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    let keys = published(&server).await;
    for token in [&opened["access_token"], &refreshed["access_token"]] {
        let claims = verified(&text(token), &keys, ISSUER).unwrap();
        assert_eq!(claims, part(&text(token), 1));
        assert_eq!(
            (&claims["sub"], &claims["client_id"], &claims["scope"]),
            (&json!("alice"), &json!("app"), &json!("read write"))
        );
        assert_eq!(
            (&claims["iat"], &claims["nbf"], &claims["exp"]),
            (&json!(NOW_S), &json!(NOW_S), &json!(NOW_S + 300))
        );
        assert_eq!(claims["sid"], opened["session"]["id"]);
    }
    let own = verified(&server.own_token(&app).await, &keys, ISSUER).unwrap();
    assert_eq!((&own["sub"], own.get("sid")), (&json!("app"), None));
}

/// The check itself can fail: at another audience, a changed byte, another key, a PASETO.
#[tokio::test]
async fn the_second_implementation_refuses_what_is_not_ours_or_not_for_it() {
    let server = Server::start().await;
    let app = application(&server, "app", "jwt").await;
    let token = text(&server.open(&app).await["access_token"]);
    let keys = published(&server).await;
    let kind =
        |token: &str, keys: &JwkSet, audience: &str| verified(token, keys, audience).unwrap_err().into_kind();
    assert_eq!(kind(&token, &keys, "https://other.example"), ErrorKind::InvalidAudience);
    let last = token.len() - 2;
    let changed = format!(
        "{}{}{}",
        &token[..last],
        if token[last..].starts_with('A') { 'B' } else { 'A' },
        &token[last + 1..]
    );
    assert_eq!(kind(&changed, &keys, ISSUER), ErrorKind::InvalidSignature);
    let mut swapped = keys.clone();
    assert!(swapped.keys.len() >= 2, "one signs, one is published ahead of its turn");
    swapped.keys[0].algorithm = keys.keys[1].algorithm.clone();
    swapped.keys[1].algorithm = keys.keys[0].algorithm.clone();
    assert_eq!(kind(&token, &swapped, ISSUER), ErrorKind::InvalidSignature);
    let paseto = text(&server.open(&application(&server, "paseto", "paseto").await).await["access_token"]);
    assert!(decode_header(&paseto).is_err());
}
