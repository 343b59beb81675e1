//! `GET /healthz` and `GET /readyz`.

use std::sync::Arc;

use poem::http::StatusCode;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::response::{Json, Problem};
use crate::store::Store;

/// Liveness and readiness.
pub struct HealthApi<S>(pub Arc<Engine<S>>);

/// The server can answer.
#[derive(Serialize, Deserialize, Object)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}

/// The process serves requests.
#[derive(Serialize, Deserialize, Object)]
pub struct Liveness {
    /// Always `ok`.
    pub status: String,
    /// The version of keyfob.
    pub version: String,
}

#[OpenApi]
impl<S: Store> HealthApi<S> {
    /// Check liveness.
    ///
    /// 200 while the process serves requests. Does not depend on the store.
    #[oai(path = "/healthz", method = "get", tag = "Tag::Operation", operation_id = "health")]
    async fn healthz(&self) -> Json<Liveness> {
        let version = env!("CARGO_PKG_VERSION").into();
        Json(Liveness { status: "ok".into(), version })
    }

    /// Check readiness.
    ///
    /// 503 if the store cannot commit (after a failed commit no write is acknowledged until the next start), or if
    /// the server is stopping and should get no further requests.
    #[oai(path = "/readyz", method = "get", tag = "Tag::Operation", operation_id = "ready")]
    async fn readyz(&self) -> Result<Json<Health>, Problem> {
        self.0.ready()?;
        if self.0.is_draining() {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"));
        }
        Ok(Json(Health { status: "ok".into() }))
    }
}
