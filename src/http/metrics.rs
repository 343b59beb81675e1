//! `GET /metrics`: what was counted, for Prometheus. Nothing is counted here but requests and connections;
//! the rest is asked of whoever did it.

mod page;
mod process;
pub(crate) mod requests;

use std::sync::{Arc, OnceLock};

use poem::http::{HeaderValue, header};
use poem::{FromRequest, IntoResponse, Request, RequestBody, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, OpenApi};

use self::page::{Form, Page};
use self::requests::RequestCounters;
use crate::domain::caller::ReadMetrics;
use crate::engine::Engine;
use crate::engine::counts::EngineCounters;
use crate::http::document::Tag;
use crate::http::net::channel::Channel;
use crate::http::net::open_connections::Connections;
use crate::http::request::caller::{Origin, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::response::error::Problem;
use crate::store::{Figures, Store};

/// How many clients have a number of their own; the smaller ones beyond share one, under no name.
const CLIENTS_MAX: usize = 100;

/// What is counted at the wire, and whether everybody may read the metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    public: bool,
    requests: OnceLock<Vec<Arc<RequestCounters>>>,
    connections: [Arc<Connections>; 2],
}

impl Metrics {
    /// Nothing counted yet. `public`: whether they are told to whoever can reach the server.
    pub fn new(public: bool) -> Self {
        Self { public, ..Self::default() }
    }

    /// Sets the counters of all routes. They are known only when the routes are, and this page is one of them.
    pub fn watch(&self, requests: Vec<Arc<RequestCounters>>) {
        let _ = self.requests.set(requests);
    }

    /// The connections that come this way.
    pub fn connections(&self, channel: Channel) -> &Arc<Connections> {
        &self.connections[usize::from(channel == Channel::AdminSocket)]
    }

    fn print(&self, page: &mut Page) {
        requests::print(page, self.requests.get().map_or(&[], Vec::as_slice));
        let listeners = || ["public", "admin_socket"].into_iter().zip(&self.connections);
        let mut samples = page.gauge("keyfob_http_connections", "Open connections.");
        listeners().for_each(|(listener, of)| samples.sample(&[("listener", listener)], of.open_now().get()));
        let mut samples = page.counter("keyfob_http_connections_accepted_total", "Connections accepted.");
        listeners().for_each(|(listener, of)| samples.sample(&[("listener", listener)], of.accepted().get()));
    }
}

/// The metrics over HTTP.
pub struct MetricsApi<S> {
    pub engine: Arc<Engine<S>>,
    pub metrics: Arc<Metrics>,
}

#[OpenApi]
impl<S: Store> MetricsApi<S> {
    /// What is going on?
    ///
    /// Metrics for Prometheus: as text, or as OpenMetrics for who accepts that. Needs the permission
    /// `metrics`, unless `[server] metrics_public` tells them to everybody. There is no token, secret,
    /// subject or address in them.
    #[oai(path = "/metrics", method = "get", tag = "Tag::Operation", operation_id = "metrics")]
    async fn metrics(
        &self,
        authorization: Authorization<BasicOrBearer>,
        origin: Origin,
        form: Accepted,
    ) -> Result<Exposition, Problem> {
        if !self.metrics.public {
            caller::<_, ReadMetrics>(&self.engine, authorization, &origin).await?;
        }
        let mut page = Page::new(form.0);
        page.gauge("keyfob_build_info", "Always 1; the label is the version.")
            .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        self.metrics.print(&mut page);
        print_counts(&mut page, self.engine.counts());
        page.one(
            "keyfob_store_ready",
            "1 if the store can commit, else 0.",
            u8::from(self.engine.ready().is_ok()),
        );
        page.one("keyfob_event_log_head", "The position of the last event.", self.engine.head().0);
        match self.engine.figures() {
            Ok(figures) => {
                print_sessions(&mut page, &figures);
                print_store(&mut page, &figures);
                let now = self.engine.clock().now().wall;
                let lag = figures.due.map_or(0.0, |due| now.since(due).as_secs_f64());
                page.one(
                    "keyfob_sweep_lag_seconds",
                    "Time since the earliest deadline that the sweep has not processed.",
                    lag,
                );
            }
            // A store that cannot be read is when the rest is needed most.
            Err(error) => tracing::error!(%error, "the metrics are without those of the store"),
        }
        process::print(&mut page);
        Ok(Exposition(form.0, page.finish()))
    }
}

fn print_counts(page: &mut Page, counts: &EngineCounters) {
    let mut samples =
        page.counter("keyfob_introspections_total", "Introspections answered, by form of token and result.");
    for ((token, outcome), count) in counts.introspections.read() {
        samples.sample(&[("token", token.as_str()), ("outcome", outcome.as_str())], count);
    }
    let mut samples = page.counter("keyfob_refreshes_total", "Refresh tokens presented, by result.");
    for (outcome, count) in counts.refreshes.read() {
        samples.sample(&[("outcome", outcome.as_str())], count);
    }
    let mut samples = page.counter("keyfob_access_tokens_issued_total", "Access tokens issued, by form.");
    for (format, count) in counts.tokens.read() {
        samples.sample(&[("format", format.as_str())], count);
    }
    let mut samples =
        page.counter("keyfob_authentication_failures_total", "Failed authentications of clients, by cause.");
    for (cause, count) in counts.auth_failures.read() {
        samples.sample(&[("cause", cause.as_str())], count);
    }
    page.counter("keyfob_authentications_throttled_total", "Failed authentications that were answered 429.")
        .sample(&[], counts.throttled.get());
    let mut samples = page.counter("keyfob_sweep_removed_total", "Entries deleted by the sweep.");
    for (what, count) in counts.removed.read() {
        samples.sample(&[("what", what.as_str())], count);
    }
}

fn print_sessions(page: &mut Page, figures: &Figures) {
    page.one(
        "keyfob_sessions_live",
        "Active sessions, and expired ones until the sweep has recorded the expiry.",
        figures.active,
    );
    let mut by_client: Vec<_> = figures.active_by_client.iter().collect();
    by_client.sort_by_key(|(client, number)| (std::cmp::Reverse(**number), *client));
    let beyond: u64 = by_client.iter().skip(CLIENTS_MAX).map(|(_, number)| **number).sum();
    let mut samples = page.gauge(
        "keyfob_client_sessions_live",
        "The same by client; clients beyond a hundred share an empty label.",
    );
    by_client
        .iter()
        .take(CLIENTS_MAX)
        .for_each(|(client, number)| samples.sample(&[("client", client.as_str())], number));
    if beyond > 0 {
        samples.sample(&[("client", "")], beyond);
    }
    page.one(
        "keyfob_sessions_stored",
        "Sessions in the database, including ended ones during the retention.",
        figures.sessions,
    );
    let mut samples = page.counter(
        "keyfob_sessions_ended_total",
        "Sessions ended, by reason; without expired ones, which are events.",
    );
    figures
        .sessions_ended
        .iter()
        .for_each(|(reason, count)| samples.sample(&[("reason", reason.as_str())], count));
    let mut samples = page.counter("keyfob_events_total", "Events written to the event log, by type.");
    figures.events_written.iter().for_each(|(kind, count)| samples.sample(&[("type", kind.as_str())], count));
    page.one("keyfob_event_log_entries", "Events in the database.", figures.events);
}

fn print_store(page: &mut Page, figures: &Figures) {
    page.counter("keyfob_store_commits_total", "Transactions committed.").sample(&[], figures.commits);
    page.counter(
        "keyfob_store_commit_failures_total",
        "Failed commits. The process exits after the first one.",
    )
    .sample(&[], figures.failures);
    page.counter("keyfob_store_decisions_total", "Decisions run in transactions, with or without a change.")
        .sample(&[], figures.decisions);
    page.histogram(
        "keyfob_store_commit_duration_seconds",
        "Duration of a commit, including the sync to the disk.",
    )
    .distribution(&[], &figures.commit_nanos, 1e9);
    page.histogram("keyfob_store_batch_decisions", "Decisions in each commit.").distribution(
        &[],
        &figures.batches,
        1.0,
    );
    page.one("keyfob_store_queue_depth", "Queued writes.", figures.waiting);
    page.one(
        "keyfob_store_queue_capacity",
        "Maximum of queued writes; revocations have further places.",
        figures.places,
    );
    let mut samples =
        page.counter("keyfob_store_busy_total", "Writes rejected with 503 because the queue was full.");
    for (lane, count) in ["ordinary", "revocation"].into_iter().zip(figures.busy) {
        samples.sample(&[("lane", lane)], count);
    }
    if let Some(bytes) = figures.file_bytes {
        page.one("keyfob_store_file_bytes", "Size of the database file.", bytes);
    }
    if let Some(bytes) = figures.free_bytes {
        page.one("keyfob_store_free_bytes", "Free space in the file system of the database.", bytes);
    }
    let mut samples =
        page.gauge("keyfob_store_table_bytes", "Size of each table, measured at intervals of minutes.");
    figures.table_bytes.iter().for_each(|(table, bytes)| samples.sample(&[("table", table)], bytes));
}

/// The form that a request asks for.
struct Accepted(Form);

impl<'a> FromRequest<'a> for Accepted {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Form::accepted(request.header(header::ACCEPT).unwrap_or_default())))
    }
}

/// A finished page.
struct Exposition(Form, String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        let mut response = Response::from(self.1);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.0.content_type()));
        response
    }
}

impl ApiResponse for Exposition {
    fn meta() -> MetaResponses {
        let content = ["text/plain", "application/openmetrics-text"];
        let content =
            content.map(|content_type| MetaMediaType { content_type, schema: String::schema_ref() }).into();
        let response = MetaResponse {
            description: "The metrics",
            status: Some(200),
            status_range: None,
            content,
            headers: vec![],
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(_: &mut Registry) {}
}
