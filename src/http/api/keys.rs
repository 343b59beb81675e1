//! `/v1/keys`: administration of the signing keys.

use std::sync::Arc;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::algorithm::Algorithm;
use crate::domain::id::KeyId;
use crate::domain::key::{KeyRecord, KeyStatus};
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::{Authorization, DateTime, Management, Parsed, Path, Query};
use crate::http::response::{Json, NoContent, Problem, ProblemOr};
use crate::store::Store;
use crate::token::paserk;

/// Signing keys.
pub struct KeysApi<S>(pub Arc<Engine<S>>);

/// A signing key without its secret half, which never leaves the store.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct Key {
    /// PASERK identifier of an Ed25519 key, or JWK thumbprint (RFC 7638) of a P-256 key.
    pub kid: String,
    /// `EdDSA` (Ed25519) or `ES256` (P-256).
    pub alg: String,
    /// The public key as PASERK; absent for P-256, whose keys are in the JWKS.
    pub key: Option<String>,
    /// `active` signs, `next` will sign next, `retired` still verifies.
    pub status: Parsed<KeyStatus>,
    /// When it was created.
    pub created_at: DateTime,
    /// When it became active.
    pub active_since: Option<DateTime>,
    /// When it was retired.
    pub retired_at: Option<DateTime>,
}

/// All keys.
#[derive(Serialize, Deserialize, Object)]
pub struct KeyList {
    /// The keys, oldest first.
    pub items: Vec<Key>,
}

/// The active key after a rotation.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct Rotated {
    /// PASERK identifier of the Ed25519 key.
    pub kid: String,
    /// JWK thumbprint of the P-256 key, while a client has the format `jwt_es256`.
    pub es256_kid: Option<String>,
}

#[OpenApi]
impl<S: Store> KeysApi<S> {
    /// List the signing keys.
    ///
    /// Oldest first. The public halves are also at `/.well-known/paserk.json` and `/.well-known/jwks.json`.
    #[oai(path = "/v1/keys", method = "get", tag = "Tag::Keys", operation_id = "listKeys")]
    async fn list(&self, authorization: Authorization<Management>) -> Result<Json<KeyList>, Problem> {
        let caller = authorization.caller(&self.0).await?;
        Ok(Json(KeyList { items: self.0.keys(&caller).iter().map(Key::from).collect() }))
    }

    /// Rotate the signing key.
    ///
    /// The next key of each algorithm becomes active, the active one is retired, and a new next one is
    /// published. No session ends. Keys also rotate automatically every `[keys] rotate_every`. While a next key
    /// has been published for less than the `max-age` of the JWKS, verifiers may not know it, and the answer is
    /// 409, unless `force` is true.
    #[oai(path = "/v1/keys/rotate", method = "post", tag = "Tag::Keys", operation_id = "rotateKey")]
    async fn rotate(
        &self,
        authorization: Authorization<Management>,
        /// Rotates even if cached copies of the JWKS may not have the next key yet.
        #[oai(default)]
        force: Query<bool>,
    ) -> Result<Json<Rotated>, ProblemOr<409>> {
        let caller = authorization.caller(&self.0).await?;
        let signing = self.0.rotate_keys(&caller, force.read()?).await?;
        let kid = |algorithm| signing.iter().find(|id| id.algorithm() == algorithm).map(ToString::to_string);
        let (kid, es256_kid) = (kid(Algorithm::EdDsa).unwrap_or_default(), kid(Algorithm::Es256));
        Ok(Json(Rotated { kid, es256_kid }))
    }

    /// Revoke a compromised key.
    ///
    /// Every token that it signed is invalid when the answer arrives; sessions and refresh tokens stay valid
    /// and get tokens of another key.
    #[oai(path = "/v1/keys/:kid", method = "delete", tag = "Tag::Keys", operation_id = "revokeKey")]
    async fn revoke(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the key.
        kid: Path<Parsed<KeyId>>,
    ) -> Result<NoContent, Problem> {
        let caller = authorization.caller(&self.0).await?;
        self.0.revoke_key(&caller, kid.named("key")?.0).await?;
        Ok(NoContent::Done)
    }
}

impl From<&KeyRecord> for Key {
    fn from(key: &KeyRecord) -> Self {
        Self {
            kid: key.id.to_string(),
            alg: key.id.algorithm().as_str().into(),
            key: match key.id {
                KeyId::Ed25519(_) => key.public.as_ref().try_into().ok().map(paserk::public_text),
                KeyId::P256(_) => None,
            },
            status: Parsed(key.status),
            created_at: Parsed(key.created_at),
            active_since: key.active_since.map(Parsed),
            retired_at: key.retired_at.map(Parsed),
        }
    }
}
