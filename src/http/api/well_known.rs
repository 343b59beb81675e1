//! The three documents under `/.well-known`: metadata (RFC 8414) and the public keys, as JWKs (RFC 8037) and
//! as PASERK.

use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::key::KeyStatus;
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::types::Wire;
use crate::http::response::answer::Json;
use crate::store::Store;
use crate::token::paserk;

/// How long the documents may be kept. A key is published much longer before it signs.
const MAX_AGE: &str = "public, max-age=300";

/// The documents.
pub struct WellKnownApi<S>(pub Arc<Engine<S>>);

/// An answer that may be kept for a while.
#[derive(ApiResponse)]
enum Document<T: poem_openapi::types::Type + Serialize> {
    /// The document.
    #[oai(status = 200)]
    Found(
        Json<T>,
        /// How long it may be kept.
        #[oai(header = "Cache-Control")]
        String,
    ),
}

/// Authorization server metadata (RFC 8414). There is no authorization endpoint: the caller authenticates
/// people.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct Metadata {
    pub issuer: String,
    pub token_endpoint: String,
    pub introspection_endpoint: String,
    pub revocation_endpoint: String,
    pub jwks_uri: String,
    /// The same keys as PASERK.
    pub paserk_keys_uri: String,
    /// The API's documentation.
    pub service_documentation: String,
    pub grant_types_supported: Vec<String>,
    pub response_types_supported: Vec<String>,
    pub token_endpoint_auth_methods_supported: Vec<String>,
    pub introspection_endpoint_auth_methods_supported: Vec<String>,
    pub revocation_endpoint_auth_methods_supported: Vec<String>,
}

/// A set of JSON Web Keys (RFC 7517).
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct JwkSet {
    /// The keys: the one that signs now, the next one and the retired.
    pub keys: Vec<Jwk>,
}

/// An Ed25519 public key (RFC 8037).
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct Jwk {
    /// Always `OKP`.
    pub kty: String,
    /// Always `Ed25519`.
    pub crv: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    #[oai(rename = "use")]
    pub usage: String,
    /// Always `EdDSA`.
    pub alg: String,
    /// The key's PASERK identifier.
    pub kid: String,
    /// The public key.
    pub x: String,
}

/// The public keys as PASERK.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct PaserkSet {
    /// The keys.
    pub keys: Vec<PaserkKey>,
}

/// One public key.
#[derive(Debug, Serialize, Deserialize, Object)]
pub struct PaserkKey {
    /// Its identifier.
    pub kid: String,
    /// The key itself.
    pub key: String,
    /// Whether it signs now, will, or did.
    pub status: Wire<KeyStatus>,
}

#[OpenApi]
impl<S: Store> WellKnownApi<S> {
    /// What this server is and can do.
    ///
    /// Authorization server metadata (RFC 8414). May be kept for five minutes.
    #[oai(
        path = "/.well-known/oauth-authorization-server",
        method = "get",
        tag = "Tag::Discovery",
        operation_id = "metadata"
    )]
    async fn metadata(&self) -> Document<Metadata> {
        let issuer = &self.0.rules().issuer;
        let or_none = texts(&["client_secret_basic", "client_secret_post", "none"]);
        let or_bearer = texts(&["client_secret_basic", "client_secret_post", "Bearer"]);
        found(Metadata {
            issuer: issuer.to_string(),
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
        })
    }

    /// The public keys, as JSON Web Keys.
    ///
    /// Ed25519 keys as RFC 8037 writes them; `kid` is the PASERK identifier that stands in the footer of a
    /// token. May be kept for five minutes.
    #[oai(path = "/.well-known/jwks.json", method = "get", tag = "Tag::Discovery", operation_id = "jwks")]
    async fn jwks(&self) -> Document<JwkSet> {
        let keyring = self.0.keyring();
        let jwk = |key: &[u8; 32], kid: String| Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            usage: "sig".into(),
            alg: "EdDSA".into(),
            kid,
            x: Base64UrlUnpadded::encode_string(key),
        };
        found(JwkSet {
            keys: keyring.published().map(|(kid, public, _)| jwk(public, kid.to_string())).collect(),
        })
    }

    /// The public keys, as PASERK.
    ///
    /// The same keys in the form that PASETO libraries read, with the one that signs now, the next one and
    /// the retired. May be kept for five minutes.
    #[oai(path = "/.well-known/paserk.json", method = "get", tag = "Tag::Discovery", operation_id = "paserk")]
    async fn paserk(&self) -> Document<PaserkSet> {
        let keyring = self.0.keyring();
        let keys = keyring.published().map(|(kid, public, status)| PaserkKey {
            kid: kid.to_string(),
            key: paserk::public_text(public),
            status: Wire(status),
        });
        found(PaserkSet { keys: keys.collect() })
    }
}

fn found<T: poem_openapi::types::Type + Serialize>(document: T) -> Document<T> {
    Document::Found(Json(document), MAX_AGE.into())
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
