//! Our JWTs as seen by a resource server that has the crate jsonwebtoken and the published keys: it parses by
//! its own rules; ed25519-compact verifies EdDSA, and ring ES256, so that no code is the one that signed.

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

/// jsonwebtoken's own backends need RSA or C.
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

/// The public point, uncompressed.
struct P256(Vec<u8>);

impl Verifier<Vec<u8>> for P256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, &self.0)
            .verify(message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for P256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| match (algorithm, key.family()) {
        (Algorithm::EdDSA, AlgorithmFamily::Ed) => {
            let public =
                PublicKey::from_slice(key.try_get_as_bytes()?).map_err(|_| ErrorKind::InvalidEddsaKey)?;
            Ok(Box::new(Ed25519(public)))
        }
        (Algorithm::ES256, AlgorithmFamily::Ec) => Ok(Box::new(P256(key.try_get_as_bytes()?.to_vec()))),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// What a resource server for `audience` learns from a token, by the rules of RFC 9068 §4 and the keys that
/// the server publishes.
fn verified(token: &str, keys: &JwkSet, audience: &str, algorithm: Algorithm) -> Result<Value> {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| PROVIDER.install_default().expect("only this test installs one"));
    let header = decode_header(token)?;
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let jwk =
        keys.find(header.kid.as_deref().expect("our tokens name their key")).expect("the key is published");
    let expected = if algorithm == Algorithm::EdDSA { KeyAlgorithm::EdDSA } else { KeyAlgorithm::ES256 };
    assert_eq!(
        (jwk.common.key_algorithm, &jwk.common.public_key_use),
        (Some(expected), &Some(PublicKeyUse::Signature))
    );
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[audience]);
    validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    // The library would read the real clock. Its `exp` is compared below.
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
    for (format, algorithm) in [("jwt", Algorithm::EdDSA), ("jwt_es256", Algorithm::ES256)] {
        verifies_our_jwts(format, algorithm).await;
    }
}

async fn verifies_our_jwts(format: &str, algorithm: Algorithm) {
    let server = Server::start().await;
    let app = application(&server, "app", format).await;
    let opened = server.open(&app).await;
    let refreshed = server.refresh(&app, &text(&opened["refresh_token"])).await.json();
    let keys = published(&server).await;
    for token in [&opened["access_token"], &refreshed["access_token"]] {
        let claims = verified(&text(token), &keys, ISSUER, algorithm).unwrap();
        assert_eq!(claims, part(&text(token), 1));
        assert_eq!(
            (&claims["sub"], &claims["client_id"], &claims["scope"]),
            (&json!("alice"), &json!("app"), &json!("read write"))
        );
        assert_eq!(
            (&claims["iat"], claims.get("nbf"), &claims["exp"]),
            (&json!(NOW_S), None, &json!(NOW_S + 300))
        );
        assert_eq!(claims["sid"], opened["session"]["id"]);
    }
    let own = verified(&server.own_token(&app).await, &keys, ISSUER, algorithm).unwrap();
    assert_eq!((&own["sub"], own.get("sid")), (&json!("app"), None));
}

/// The check itself can fail: at another audience, a changed byte, another key, a PASETO.
#[tokio::test]
async fn the_second_implementation_rejects_tokens_that_are_not_ours_or_not_for_it() {
    for (format, algorithm) in [("jwt", Algorithm::EdDSA), ("jwt_es256", Algorithm::ES256)] {
        refuses_other_tokens(format, algorithm).await;
    }
}

async fn refuses_other_tokens(format: &str, algorithm: Algorithm) {
    let server = Server::start().await;
    let app = application(&server, "app", format).await;
    let token = text(&server.open(&app).await["access_token"]);
    let mut keys = published(&server).await;
    keys.keys.retain(|key| {
        key.common.key_algorithm.is_some_and(|alg| alg.to_string() == format!("{algorithm:?}"))
    });
    let kind = |token: &str, keys: &JwkSet, audience: &str| {
        verified(token, keys, audience, algorithm).unwrap_err().into_kind()
    };
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
    assert!(swapped.keys.len() >= 2, "one is active, and one is published ahead");
    swapped.keys[0].algorithm = keys.keys[1].algorithm.clone();
    swapped.keys[1].algorithm = keys.keys[0].algorithm.clone();
    assert_eq!(kind(&token, &swapped, ISSUER), ErrorKind::InvalidSignature);
    let paseto = text(&server.open(&application(&server, "paseto", "paseto").await).await["access_token"]);
    assert!(decode_header(&paseto).is_err());
}
