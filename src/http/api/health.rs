//! `GET /healthz` and `GET /readyz`.

use std::sync::Arc;

use poem::http::StatusCode;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::Store;

/// Liveness and readiness.
pub struct HealthApi<S>(pub Arc<Engine<S>>);

/// All is well.
#[derive(Serialize, Deserialize, Object)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
}

/// The process is alive.
#[derive(Serialize, Deserialize, Object)]
pub struct Liveness {
    /// Always `ok`.
    pub status: String,
    /// The version of keyfob.
    pub version: String,
}

#[derive(ApiResponse)]
enum LivenessResponse {
    /// It is.
    #[oai(status = 200)]
    Ok(Json<Liveness>),
}

#[derive(ApiResponse)]
enum HealthResponse {
    /// It is.
    #[oai(status = 200)]
    Ok(Json<Health>),
}

#[OpenApi]
impl<S: Store> HealthApi<S> {
    /// Is the process alive?
    ///
    /// Answers as long as the process does; says nothing of the store.
    #[oai(path = "/healthz", method = "get", tag = "Tag::Operation", operation_id = "health")]
    async fn healthz(&self) -> LivenessResponse {
        let version = env!("CARGO_PKG_VERSION").into();
        LivenessResponse::Ok(Json(Liveness { status: "ok".into(), version }))
    }

    /// Can the store commit, and is the server not stopping?
    ///
    /// 503 if not: after a failed commit nothing is acknowledged until the next start, and a stopping server
    /// should get no further requests.
    #[oai(path = "/readyz", method = "get", tag = "Tag::Operation", operation_id = "ready")]
    async fn readyz(&self) -> Result<HealthResponse, Problem> {
        self.0.ready()?;
        if self.0.is_draining() {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping"));
        }
        Ok(HealthResponse::Ok(Json(Health { status: "ok".into() })))
    }
}
