//! The documents under `/.well-known`: metadata (RFC 8414, OpenID Connect Discovery) and the public keys, as
//! JWKs (RFC 8037) and as PASERK.

use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::key::{KEY_SET_MAX_AGE, KeyStatus};
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::Parsed;
use crate::http::response::Json;
use crate::store::Store;
use crate::token::keyring::SigningKeyEntry;
use crate::token::paserk;
use crate::token::public_key::PublicKey;

/// The documents.
pub struct WellKnownApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// The authorization endpoint of the application, for clients that require one in the metadata.
    pub authorization_endpoint: Option<Arc<str>>,
}

/// An answer that clients may cache.
#[derive(ApiResponse)]
enum Cacheable<T: poem_openapi::types::Type + Serialize> {
    /// The document.
    #[oai(status = 200)]
    Found(
        Json<T>,
        /// How long it may be cached.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// Authorization server metadata (RFC 8414). keyfob has no authorization endpoint: applications authenticate
/// their users.
#[skip_serializing_none]
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct Metadata {
    pub issuer: String,
    /// The application's own, if the configuration has one.
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: String,
    pub introspection_endpoint: String,
    pub revocation_endpoint: String,
    pub jwks_uri: String,
    /// The Ed25519 keys as PASERK.
    pub paserk_keys_uri: String,
    /// The documentation of this API.
    pub service_documentation: String,
    pub grant_types_supported: Vec<String>,
    pub response_types_supported: Vec<String>,
    pub token_endpoint_auth_methods_supported: Vec<String>,
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
    /// Only in the document of OpenID Connect, which requires it.
    pub subject_types_supported: Option<Vec<String>>,
    /// Only in the document of OpenID Connect, which requires it: the algorithms of the published keys. keyfob
    /// issues no ID tokens.
    pub id_token_signing_alg_values_supported: Option<Vec<String>>,
}

/// A set of JSON Web Keys (RFC 7517).
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct JwkSet {
    /// The active key, the next key and the retired keys.
    pub keys: Vec<Jwk>,
}

/// An Ed25519 public key (RFC 8037), or a P-256 public key (RFC 7518 §6.2).
#[skip_serializing_none]
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct Jwk {
    /// `OKP` for Ed25519, `EC` for P-256.
    pub kty: String,
    /// `Ed25519` or `P-256`.
    pub crv: String,
    /// Always `sig`.
    pub r#use: String,
    /// `EdDSA` or `ES256`.
    pub alg: String,
    /// PASERK identifier of an Ed25519 key, or JWK thumbprint (RFC 7638) of a P-256 key.
    pub kid: String,
    /// The public key, or of P-256 its x coordinate.
    pub x: String,
    /// The y coordinate of a P-256 key.
    pub y: Option<String>,
}

/// The public keys as PASERK.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct PaserkSet {
    /// The active key, the next key and the retired keys.
    pub keys: Vec<PaserkKey>,
}

/// One public key.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct PaserkKey {
    /// The PASERK identifier of the key, `k4.pid.…`.
    pub kid: String,
    /// The public key, `k4.public.…`.
    pub key: String,
    /// `active` signs, `next` will sign next, `retired` still verifies.
    pub status: Parsed<KeyStatus>,
}

#[OpenApi]
impl<S: Store> WellKnownApi<S> {
    /// Read the server metadata.
    ///
    /// Authorization server metadata (RFC 8414). May be cached for five minutes.
    #[oai(
        path = "/.well-known/oauth-authorization-server",
        method = "get",
        tag = "Tag::Discovery",
        operation_id = "metadata"
    )]
    async fn metadata(&self) -> Cacheable<Metadata> {
        found(self.describe())
    }

    /// The same, for software that asks only here.
    ///
    /// The metadata with the members that OpenID Connect Discovery requires and that are true here. keyfob issues no
    /// ID tokens: an access token is not one. May be cached for five minutes.
    #[oai(
        path = "/.well-known/openid-configuration",
        method = "get",
        tag = "Tag::Discovery",
        operation_id = "openidConfiguration"
    )]
    async fn openid_configuration(&self) -> Cacheable<Metadata> {
        let keyring = self.engine.current_keyring().await;
        let mut algorithms: Vec<String> =
            keyring.published().map(|key| key.id.algorithm().as_str().into()).collect();
        algorithms.sort_by_key(|algorithm| algorithm != "EdDSA");
        algorithms.dedup();
        found(Metadata {
            subject_types_supported: Some(texts(&["public"])),
            id_token_signing_alg_values_supported: Some(algorithms),
            ..self.describe()
        })
    }

    /// Read the public keys as JSON Web Keys.
    ///
    /// Ed25519 keys (RFC 8037), whose `kid` is the PASERK identifier; while a client has the format `jwt_es256`
    /// also P-256 keys (RFC 7518), whose `kid` is the JWK thumbprint (RFC 7638). May be cached for five minutes.
    #[oai(path = "/.well-known/jwks.json", method = "get", tag = "Tag::Discovery", operation_id = "jwks")]
    async fn jwks(&self) -> Cacheable<JwkSet> {
        let keyring = self.engine.current_keyring().await;
        found(JwkSet { keys: keyring.published().map(Jwk::from).collect() })
    }

    /// Read the public keys as PASERK.
    ///
    /// The Ed25519 keys in the form that PASETO libraries read, with the one that signs now, the next one and
    /// the retired. May be cached for five minutes.
    #[oai(path = "/.well-known/paserk.json", method = "get", tag = "Tag::Discovery", operation_id = "paserk")]
    async fn paserk(&self) -> Cacheable<PaserkSet> {
        let keyring = self.engine.current_keyring().await;
        let keys = keyring.published().filter_map(|key| match &key.public {
            PublicKey::Ed25519(public) => Some(PaserkKey {
                kid: key.id.to_string(),
                key: paserk::public_text(public.as_bytes()),
                status: Parsed(key.status),
            }),
            PublicKey::P256(_) => None,
        });
        found(PaserkSet { keys: keys.collect() })
    }
}

impl From<&SigningKeyEntry> for Jwk {
    fn from(key: &SigningKeyEntry) -> Self {
        let (kty, crv, x, y) = match &key.public {
            PublicKey::Ed25519(public) => {
                ("OKP", "Ed25519", Base64UrlUnpadded::encode_string(public.as_bytes()), None)
            }
            PublicKey::P256(public) => {
                let (x, y) = public.coordinates();
                ("EC", "P-256", x, Some(y))
            }
        };
        Self {
            kty: kty.into(),
            crv: crv.into(),
            r#use: "sig".into(),
            alg: key.id.algorithm().as_str().into(),
            kid: key.id.to_string(),
            x,
            y,
        }
    }
}

impl<S: Store> WellKnownApi<S> {
    fn describe(&self) -> Metadata {
        let issuer = &self.engine.rules.issuer;
        let or_none = texts(&["client_secret_basic", "client_secret_post", "none"]);
        let or_bearer = texts(&["client_secret_basic", "client_secret_post", "Bearer"]);
        Metadata {
            issuer: issuer.to_string(),
            authorization_endpoint: self.authorization_endpoint.as_deref().map(Into::into),
            token_endpoint: format!("{issuer}/oauth2/token"),
            introspection_endpoint: format!("{issuer}/oauth2/introspect"),
            revocation_endpoint: format!("{issuer}/oauth2/revoke"),
            jwks_uri: format!("{issuer}/.well-known/jwks.json"),
            paserk_keys_uri: format!("{issuer}/.well-known/paserk.json"),
            service_documentation: format!("{issuer}/docs"),
            grant_types_supported: texts(&["refresh_token", "client_credentials"]),
            response_types_supported: texts(&["none"]),
            token_endpoint_auth_methods_supported: or_none.clone(),
            introspection_endpoint_auth_methods_supported: or_bearer,
            revocation_endpoint_auth_methods_supported: or_none,
            subject_types_supported: None,
            id_token_signing_alg_values_supported: None,
        }
    }
}

fn found<T: poem_openapi::types::Type + Serialize>(document: T) -> Cacheable<T> {
    Cacheable::Found(Json(document), format!("public, max-age={}", KEY_SET_MAX_AGE.as_secs()))
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
