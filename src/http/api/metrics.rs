//! `GET /metrics`: the metrics for Prometheus.

use std::sync::Arc;

use poem::http::header;
use poem::{IntoResponse, Request, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, OpenApi};

use crate::domain::caller::ReadMetrics;
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::metrics::page::{ExpositionFormat, Page};
use crate::http::metrics::{Metrics, figures, process};
use crate::http::request::credentials::AuthorizationHeader;
use crate::http::request::{Authorization, BasicOrBearer};
use crate::http::response::{Problem, answer::done};
use crate::store::Store;

/// The endpoint of the metrics.
pub struct MetricsApi<S> {
    pub engine: Arc<Engine<S>>,
    pub metrics: Arc<Metrics>,
}

#[OpenApi]
impl<S: Store> MetricsApi<S> {
    /// Read the metrics.
    ///
    /// Metrics for Prometheus: as text, or as OpenMetrics if `Accept` asks for it. Needs the permission
    /// `metrics`, unless `[server] metrics_public` makes the page public. There is no token, secret,
    /// subject or address in them.
    #[oai(path = "/metrics", method = "get", tag = "Tag::Operation", operation_id = "metrics")]
    async fn metrics(
        &self,
        authorization: Authorization<BasicOrBearer>,
        request: &Request,
    ) -> Result<Exposition, Problem> {
        // The admin socket proves an administrator without the store, and when that fails the page is needed
        // most.
        let is_administrator =
            authorization.source.admin_socket && matches!(authorization.header, AuthorizationHeader::Absent);
        if !self.metrics.is_public && !is_administrator {
            authorization.caller::<_, ReadMetrics>(&self.engine).await?;
        }
        let format = ExpositionFormat::accepted(request.header(header::ACCEPT).unwrap_or_default());
        let mut page = Page::new(format);
        page.gauge("keyfob_build_info", "Always 1; the label is the version.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.metrics.print(&mut page);
        figures::print_counts(&mut page, &self.engine.counts);
        page.one(
            "keyfob_store_ready",
            "1 if the store can commit, else 0.",
            u8::from(self.engine.ready().is_ok()),
        );
        page.one("keyfob_event_log_head", "The position of the last event.", self.engine.head().0);
        if let Some(replica) = self.engine.replica_figures() {
            figures::print_replica(&mut page, &replica);
        }
        match self.engine.figures().await {
            Ok(figures) => {
                figures::print_figures(&mut page, &figures);
                let now = self.engine.clock.now().wall;
                let lag = figures.due.map_or(0.0, |due| now.since(due).as_secs_f64());
                page.one(
                    "keyfob_sweep_lag_seconds",
                    "Time since the earliest deadline that the sweep has not processed.",
                    lag,
                );
            }
            // A store that cannot be read is when the rest is needed most.
            Err(error) => {
                tracing::error!(%error, "the store cannot be read; its metrics are missing from the answer")
            }
        }
        process::print(&mut page);
        Ok(Exposition(format, page.finish()))
    }
}

/// A finished page.
struct Exposition(ExpositionFormat, String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        Response::builder().content_type(self.0.content_type()).body(self.1)
    }
}

impl ApiResponse for Exposition {
    fn meta() -> MetaResponses {
        let types = ["text/plain", "application/openmetrics-text"];
        let content = types.map(|content_type| MetaMediaType { content_type, schema: String::schema_ref() });
        done(content.into())
    }

    fn register(_: &mut Registry) {}
}
