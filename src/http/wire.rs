//! The pipeline of a request: limits, route, endpoint, headers. One function instead of layers, for speed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use poem::endpoint::make_sync;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, IntoResponse, Request, Response};
use tokio::time::timeout;

use crate::engine::clock::Clock;
use crate::http::document::LazyDocument;
use crate::http::fallback;
use crate::http::net::at_once;
use crate::http::net::connection::Answers;
use crate::http::net::peer::TrustedProxies;
use crate::http::request::LastCredentials;
use crate::http::request::admission::AdmissionRequest;
use crate::http::request::head_check::HeadCheck;
use crate::http::request::json::is_json;
use crate::http::request::limits::Limits;
use crate::http::request::origin::{self, Origins};
use crate::http::request::request_id::RequestIds;
use crate::http::response::error::Problem;
use crate::http::response::headers;
use crate::http::routes::{Handler, Operation, RouteMatch, Routes};
use crate::http::surface::Surface;
use crate::token::text_names::TextNames;

/// How long the rest of the body of a rejected request is read and dropped: a connection that is closed with
/// unread input is reset, and the answer may be lost.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers requests. It always answers: errors and panics of endpoints become responses.
pub struct Service {
    routes: Routes,
    document: Arc<LazyDocument>,
    origins: Origins,
    limits: Limits,
    /// The proxies whose forwarding headers are accepted: none at first.
    pub(crate) proxies: TrustedProxies,
    pub(crate) request_ids: RequestIds,
    /// Names the last credentials of connections: under a random key in a server.
    pub(crate) names: TextNames,
    /// Whether `Strict-Transport-Security` is sent with answers over TLS.
    pub(crate) is_strict: bool,
    /// Checks credentials in the head before a body that has not arrived yet is read.
    pub(crate) head_check: Option<HeadCheck>,
    /// Dates answers by a clock that can be moved.
    dates: Option<Clock>,
}

impl Service {
    /// Serves `routes`, and `document`, which describes them.
    pub fn new(mut routes: Routes, document: LazyDocument, origins: Origins, limits: Limits) -> Self {
        let document = Arc::new(document);
        let json = document.clone();
        routes.add("/openapi.json", Method::GET, make_sync(move |_| json.json()));
        for path in ["/docs", "/docs/"] {
            let page = document.clone();
            routes.add(path, Method::GET, make_sync(move |request| page.page(request.headers())));
        }
        routes.add("/", Method::GET, make_sync(|_| root(false)));
        for path in ["/", "*"] {
            routes.add(path, Method::OPTIONS, make_sync(|_| StatusCode::NO_CONTENT));
        }
        Self {
            routes,
            document,
            origins,
            limits,
            proxies: TrustedProxies::default(),
            request_ids: RequestIds::default(),
            names: TextNames::new(&[0; 16]),
            is_strict: false,
            head_check: None,
            dates: None,
        }
    }

    /// Serves `/dev/clock`, and dates answers by the clock that it moves.
    pub fn with_dev_clock(
        mut self,
        clock: Clock,
        endpoint: impl Endpoint<Output = Response> + 'static,
    ) -> Self {
        self.routes.add("/dev/clock", Method::POST, endpoint);
        self.dates = Some(clock);
        self
    }

    /// Serves the routes that `add` adds for the operator's console, and the link to it.
    pub fn with_console(mut self, add: impl FnOnce(&mut Routes)) -> Self {
        add(&mut self.routes);
        self.routes.replace("/", &Method::GET, make_sync(|_| root(true)));
        self
    }

    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    pub fn document(&self) -> &serde_json::Value {
        &self.document.value
    }

    /// Answers a request on a connection of its own.
    pub async fn respond(&self, request: Request) -> Response {
        self.respond_on(&self.no_credentials(), request).await
    }

    async fn respond_on(&self, last: &LastCredentials, mut request: Request) -> Response {
        let surface = Surface::of(request.uri().path());
        let sender = self.proxies.sender_of(&request);
        let id = self.request_ids.of(request.headers(), sender.is_trusted);
        sender.mark(&mut request);
        let reader = self.origins.reader_of(&request);
        let admission = AdmissionRequest::reduce(&mut request);
        let strict = self.is_strict && *request.scheme() == Scheme::HTTPS;
        let target = self.routes.find(request.method(), request.uri().path());
        if target.is_head {
            request.set_method(Method::GET);
        }
        let mut pending = target.counters.start();
        let mut response = if reader.is_some() && origin::is_preflight(&request) {
            headers::preflight(request.headers())
        } else {
            // Boxed, so that a connection without a request does not reserve memory for it.
            id.clone().during(Box::pin(self.answer(surface, &mut request, target, last))).await
        };
        pending.answered(response.status());
        headers::put(surface, strict, id.into_header(), &mut response);
        if let Some(admission) = admission {
            admission.complete(&mut response);
        }
        if let Some(origin) = reader {
            headers::let_read(origin, &mut response);
        }
        if let Some(clock) = &self.dates
            && let Ok(date) = clock.now().wall.http_date().try_into()
        {
            response.headers_mut().insert(header::DATE, date);
        }
        if target.is_head {
            without_body(&mut response);
        }
        response
    }

    async fn answer(
        &self,
        surface: Surface,
        request: &mut Request,
        target: RouteMatch<'_>,
        last: &LastCredentials,
    ) -> Response {
        if surface == Surface::V1
            && !request.method().is_safe()
            && self.origins.are_crossed_by(request.uri().path(), request.headers())
        {
            return fallback::shaped(surface, StatusCode::FORBIDDEN, CROSSED);
        }
        let too_many = |what| {
            let detail = format!("more than {} {what}", self.limits.parameters_max);
            fallback::shaped(surface, StatusCode::BAD_REQUEST, detail)
        };
        if request.uri().query().is_some_and(|query| self.limits.too_many_parameters(query.as_bytes())) {
            return too_many("parameters in the query");
        }
        let fault = request.uri().query().zip(target.operation);
        if let Some((name, why)) = fault.and_then(|(query, operation)| operation.query.fault(query)) {
            return Problem::invalid(name, why).into_response();
        }
        let body = request.take_body();
        let is_post =
            surface == Surface::V1 && *request.method() == Method::POST && target.operation.is_some();
        if is_post && !is_json_or_nothing(request.headers(), body.is_empty()) {
            return fallback::shaped(surface, StatusCode::UNSUPPORTED_MEDIA_TYPE, NOT_JSON);
        }
        let mut bytes = Bytes::new();
        if !body.is_empty() {
            // Boxed, so that the future of an answer stays below the size from which allocations are slow.
            bytes = match Box::pin(self.read(surface, request, target.operation, body.into())).await {
                Ok(bytes) if surface == Surface::OAuth && self.limits.too_many_parameters(&bytes) => {
                    return too_many("parameters");
                }
                Ok(bytes) => bytes,
                Err(response) => return response,
            };
        }
        match target.operation {
            Some(operation) => self.call(surface, operation, request, bytes, last).await,
            None => fallback::no_operation(target.route, surface, request.method()),
        }
    }

    /// Reads the body. If it has not arrived with the head, the credentials in the head are checked first: a
    /// caller that is rejected cannot make the server hold its body.
    async fn read(
        &self,
        surface: Surface,
        request: &Request,
        operation: Option<&Operation>,
        mut body: BoxBody<Bytes, io::Error>,
    ) -> Result<Bytes, Response> {
        let bytes_max = self.limits.bytes_max(surface, request.headers());
        let unacceptable = |why| fallback::unacceptable(surface, why, bytes_max);
        // A caller that waits for 100 gets its rejection instead.
        let waits = request.headers().contains_key(header::EXPECT);
        let rejection = {
            let mut reading = pin!(self.limits.read(bytes_max, request.headers(), &mut body));
            let arrived = if waits { None } else { at_once(reading.as_mut()).await };
            if let Some(read) = arrived {
                return read.map_err(unacceptable);
            }
            let rejection = match (&self.head_check, operation) {
                (Some(check), Some(operation)) => check(request, operation.access).await,
                _ => None,
            };
            let Some(rejection) = rejection else {
                let read = timeout(self.limits.request_timeout, reading).await;
                return read.map_err(|_| fallback::too_slow(surface))?.map_err(unacceptable);
            };
            rejection
        };
        if !waits {
            let _ = timeout(DISCARD_TIMEOUT, self.limits.discard(&mut body)).await;
        }
        Err(fallback::closing(rejection))
    }

    async fn call(
        &self,
        surface: Surface,
        operation: &Operation,
        request: &mut Request,
        body: Bytes,
        last: &LastCredentials,
    ) -> Response {
        let answered = match &operation.endpoint {
            Handler::Direct(endpoint) => {
                self.bounded(endpoint.answer(request, &body, last)).await.map(|answer| answer.map(Ok))
            }
            Handler::Described(endpoint) => {
                if !body.is_empty() {
                    request.set_body(Body::from_bytes(body));
                }
                self.bounded(Box::pin(endpoint.call(std::mem::take(request)))).await
            }
        };
        let (route, method) = (operation.route(), &operation.method);
        match answered {
            Some(Some(Ok(response))) => response,
            Some(Some(Err(error))) => fallback::failed(error, route, surface, method),
            Some(None) => {
                tracing::error!(route, %method, "an endpoint panicked");
                fallback::internal_error(surface)
            }
            None => {
                tracing::error!(route, %method, "an endpoint took longer than request_timeout");
                fallback::timed_out(surface)
            }
        }
    }

    /// The answer of an endpoint, unless it takes too long (`None`) or panics (`Some(None)`).
    async fn bounded<F: Future + Unpin>(&self, mut answering: F) -> Option<Option<F::Output>> {
        let answering = pin!(catch_panic(Pin::new(&mut answering)));
        within(self.limits.request_timeout, answering).await
    }
}

impl Answers for Service {
    async fn answer(&self, request: Request, last: &LastCredentials) -> Response {
        self.respond_on(last, request).await
    }

    fn no_credentials(&self) -> LastCredentials {
        LastCredentials::new(self.names)
    }
}

/// The output of a future, unless it takes longer than `limit`. Most are ready when they are first polled and
/// need no timer. The caller pins it, since the future of an endpoint is large to move.
async fn within<F: Future>(limit: Duration, mut future: Pin<&mut F>) -> Option<F::Output> {
    match at_once(future.as_mut()).await {
        Some(output) => Some(output),
        None => timeout(limit, future).await.ok(),
    }
}

const HTML: &str = "text/html; charset=utf-8";
/// What a person finds at the address of the server.
fn root(has_console: bool) -> Response {
    let console = if has_console { "<li><a href=\"/console\">Console</a>" } else { "" };
    Response::builder().content_type(HTML).body(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>keyfob</title><h1>keyfob</h1><ul>{console}<li><a \
         href=\"/docs\">API documentation</a><li><a \
         href=\"/.well-known/oauth-authorization-server\">Metadata</a></ul></html>\n"
    ))
}

const CROSSED: &str = "changes from pages of another origin are rejected";
const NOT_JSON: &str = "send a body as Content-Type application/json, or neither a body nor a Content-Type";

/// Whether a POST has JSON, or neither a body nor a type: pages of other origins cannot send the first
/// without a preflight.
fn is_json_or_nothing(headers: &HeaderMap, is_empty: bool) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => is_empty,
        (Some(value), None) => value.to_str().is_ok_and(is_json),
        (Some(_), Some(_)) => false,
    }
}

/// The output of a future, unless it panics: that fails one request, never its connection. The message was
/// printed by the panic hook; it may contain anything, so it is dropped.
async fn catch_panic<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// Removes the body and keeps its length as `Content-Length`.
fn without_body(response: &mut Response) {
    let body: BoxBody<Bytes, io::Error> = response.take_body().into();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use poem::http::Uri;
    use poem_openapi::{Object, OpenApi, OpenApiService};
    use serde_json::Value;

    use super::*;
    use crate::domain::refusal::{Refusal, Refused};
    use crate::http::access::Access;
    use crate::http::document::Document;
    use crate::http::net::channel::Channel;
    use crate::http::request::credentials::{Authorization, BasicFormOrBearer, BasicOrBearer, merge};
    use crate::http::request::form::{Form, FromForm, OAuthForm};
    use crate::http::request::json::{JsonBody, OptionalJsonBody};
    use crate::http::request::parameters::{Path, Query};
    use crate::http::request::{ShortText, Text, Whole};
    use crate::http::response::answer::Json;
    use crate::http::response::error::OAuthError;

    /// Endpoints like the real ones, for the tests of what is in front of them.
    struct Demo;

    #[derive(Object)]
    struct Introspect {
        token: String,
        client_id: Option<String>,
    }

    impl FromForm for Introspect {
        const NAMES: &'static [&'static str] = &["token"];
        fn from_form(form: &mut Form) -> Result<Self, Refused> {
            Ok(Self { token: form.require("token")?, client_id: None })
        }
    }

    #[derive(serde::Deserialize, Object)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        name: String,
    }

    #[derive(serde::Deserialize, Object)]
    struct Options {
        keep: Option<String>,
    }

    #[OpenApi]
    impl Demo {
        #[oai(path = "/oauth2/introspect", method = "post")]
        async fn introspect(
            &self,
            auth: Authorization<BasicFormOrBearer>,
            form: OAuthForm<Introspect>,
        ) -> Result<Json<String>, OAuthError> {
            let credentials = merge(&auth.header, &form.client)?;
            if form.fields.token == "refuse" {
                return Err(
                    OAuthError::from(Refusal::InvalidClient.because("no")).at_introspection(credentials)
                );
            }
            Ok(Json(form.fields.token))
        }

        #[oai(path = "/v1/things", method = "post")]
        async fn create(
            &self,
            _auth: Authorization<BasicOrBearer>,
            thing: JsonBody<Thing>,
        ) -> Result<Json<String>, Problem> {
            match thing.read()?.name.as_str() {
                "panic" => panic!("a bug"),
                "slow" => std::future::pending().await,
                name => Ok(Json(name.to_owned())),
            }
        }

        #[oai(path = "/v1/things/:id", method = "get")]
        async fn read(
            &self,
            id: Path<Text<ShortText>>,
            limit: Query<Option<Whole<1, 200>>>,
            request: &Request,
        ) -> Result<Json<String>, Problem> {
            let channel: Channel = request.extensions().get().copied().unwrap_or_default();
            let limit = limit.read()?.map(|limit| limit.0);
            Ok(Json(format!("{} {limit:?} {channel:?}", id.named("thing")?.0)))
        }

        #[oai(path = "/v1/things/:id/options", method = "post")]
        async fn options(
            &self,
            _id: Path<Text<ShortText>>,
            options: OptionalJsonBody<Options>,
        ) -> Result<Json<String>, Problem> {
            Ok(Json(options.read()?.keep.unwrap_or_default()))
        }
    }

    /// The wire in front of them.
    pub fn wire() -> Service {
        let service = OpenApiService::new(Demo, "demo", "1");
        let document = move || Document::new(&service, "https://id.example", "__Host-keyfob");
        let limits = Limits {
            body_bytes_max: 1024,
            form_bytes_max: 1024,
            parameters_max: 4,
            request_timeout: Duration::from_secs(30),
        };
        Service::new(
            Routes::of(Demo, |_, _| Access::Public),
            LazyDocument::new(Box::new(document)),
            Origins::new("http://127.0.0.1:8080", &[]),
            limits,
        )
    }

    fn request(method: Method, path: &str) -> poem::RequestBuilder {
        Request::builder().method(method).uri(path.parse::<Uri>().unwrap())
    }

    fn form(path: &str, body: impl Into<String>) -> Request {
        request(Method::POST, path).content_type("application/x-www-form-urlencoded").body(body.into())
    }

    fn json(body: &str) -> Request {
        request(Method::POST, "/v1/things").content_type("application/json").body(body.to_owned())
    }

    /// The status, the media type and the body, after asserting what every answer carries.
    async fn answer(request: Request) -> (u16, String, Value) {
        let response = wire().respond(request).await;
        for (name, value) in
            [("cache-control", "no-store"), ("pragma", "no-cache"), ("x-content-type-options", "nosniff")]
        {
            assert_eq!(response.header(name), Some(value), "{name}");
        }
        for name in ["etag", "last-modified", "access-control-allow-origin"] {
            assert_eq!(response.header(name), None, "{name}");
        }
        let (status, media_type) =
            (response.status().as_u16(), response.content_type().unwrap_or_default().to_owned());
        (
            status,
            media_type,
            serde_json::from_slice(&response.into_body().into_vec().await.unwrap()).unwrap_or_default(),
        )
    }

    const PROBLEM: &str = "application/problem+json";

    #[tokio::test]
    async fn a_form_is_answered() {
        let (status, _, body) = answer(form("/oauth2/introspect", "token=a+b&client_id=app")).await;
        assert_eq!((status, body), (200, "a b".into()));
    }

    #[tokio::test]
    async fn every_refusal_of_oauth_has_its_shape() {
        let too_many = form("/oauth2/introspect", "token=a&b&c&d&e");
        let not_a_form =
            request(Method::POST, "/oauth2/introspect").content_type("application/json").body("{}");
        let no_content_type = request(Method::POST, "/oauth2/introspect").body("token=a");
        let two_headers = request(Method::POST, "/oauth2/introspect")
            .content_type("application/x-www-form-urlencoded")
            .header("authorization", "Basic YTpi")
            .header("authorization", "Basic YTpi")
            .body("token=a");
        for (request, status, code) in [
            (too_many, 400, "invalid_request"),
            (not_a_form, 400, "invalid_request"),
            (no_content_type, 400, "invalid_request"),
            (two_headers, 400, "invalid_request"),
            (form("/oauth2/introspect?token=a", ""), 400, "invalid_request"),
            (form("/oauth2/introspect", "token=refuse"), 401, "invalid_client"),
            (form("/oauth2/introspect", "token=".to_owned() + &"a".repeat(1024)), 413, "invalid_request"),
            (request(Method::GET, "/oauth2/introspect?token=a").finish(), 405, "invalid_request"),
            (
                request(Method::OPTIONS, "/oauth2/introspect")
                    .header("origin", "https://evil.example")
                    .finish(),
                405,
                "invalid_request",
            ),
            (request(Method::HEAD, "/oauth2/nothing").finish(), 404, "invalid_request"),
        ] {
            let shown = format!("{request:?}");
            let (got, media_type, body) = answer(request).await;
            assert_eq!(
                (got, media_type.as_str(), &body["error"]),
                (status, "application/json", &code.into()),
                "{shown}"
            );
            assert!(body["error_description"].is_string());
        }
    }

    #[tokio::test]
    async fn every_refusal_of_v1_is_a_problem() {
        for (request, status) in [
            (json(r#"{"name":5}"#), 400),
            (json(r#"{"name":"a","nmae":"b"}"#), 400),
            (json("{"), 400),
            (request(Method::POST, "/v1/things").body(r#"{"name":"a"}"#), 415),
            (json(&format!("\"{}\"", "a".repeat(1024))), 413),
            (json(r#"{"name":"panic"}"#), 500),
            (request(Method::GET, "/v1/things/a?limit=x").finish(), 400),
            (request(Method::GET, "/v1/things/a?a&b&c&d&e").finish(), 400),
            (request(Method::GET, "/v1/things/a?limit=1&limit=1").finish(), 400),
            (request(Method::PUT, "/v1/things/a").finish(), 405),
            (request(Method::TRACE, "/v1/things/a").finish(), 405),
            (request(Method::GET, "/v1/nothing").finish(), 404),
            (request(Method::GET, "/v1/things/").finish(), 404),
            (request(Method::GET, "/nothing").finish(), 404),
        ] {
            let shown = format!("{request:?}");
            let (got, media_type, body) = answer(request).await;
            assert_eq!(
                (got, media_type.as_str(), &body["status"]),
                (status, PROBLEM, &status.into()),
                "{shown}"
            );
        }
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named_in_plain_words() {
        let (_, _, body) = answer(request(Method::GET, "/v1/things/a?limit=hunter2").finish()).await;
        assert_eq!(
            (&body["field"], &body["detail"]),
            (&"limit".into(), &"limit must be a whole number from 1 to 200".into())
        );
    }

    #[tokio::test]
    async fn an_absent_body_may_do() {
        let post = || request(Method::POST, "/v1/things/a/options");
        assert_eq!(answer(post().finish()).await.2, "");
        assert_eq!(answer(post().content_type("application/json").body(r#"{"keep":"1h"}"#)).await.2, "1h");
        assert_eq!(answer(post().body(r#"{"keep":"1h"}"#)).await.0, 415);
    }

    #[tokio::test]
    async fn the_channel_is_what_the_listener_marked() {
        assert_eq!(answer(request(Method::GET, "/v1/things/a").finish()).await.2, "a None Public");
        let marked = request(Method::GET, "/v1/things/a").extension(Channel::AdminSocket).finish();
        assert_eq!(answer(marked).await.2, "a None AdminSocket");
    }

    #[tokio::test]
    async fn head_is_get_without_the_body_met_12() {
        let get = wire().respond(request(Method::GET, "/openapi.json").finish()).await;
        let head = wire().respond(request(Method::HEAD, "/openapi.json").finish()).await;
        assert_eq!(head.header("content-type"), get.header("content-type"));
        let length = get.into_body().into_vec().await.unwrap().len().to_string();
        assert_eq!(head.header("content-length"), Some(length.as_str()));
        assert!(head.into_body().is_empty());
    }

    #[tokio::test]
    async fn a_405_says_what_is_allowed_int_03_tok_01() {
        let response = wire().respond(request(Method::DELETE, "/oauth2/introspect").finish()).await;
        assert_eq!(response.header("allow"), Some("POST"));
        let response = wire().respond(request(Method::POST, "/v1/things/a").finish()).await;
        assert_eq!(response.header("allow"), Some("GET, HEAD"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_takes_too_long_is_503_with_a_time_to_come_back() {
        let response = wire().respond(json(r#"{"name":"slow"}"#)).await;
        assert_eq!((response.status().as_u16(), response.content_type()), (503, Some(PROBLEM)));
        assert!(response.header("retry-after").is_some());
    }

    #[test]
    fn the_extractors_document_what_they_read() {
        let wire = wire();
        let operation = &wire.document.value["paths"]["/oauth2/introspect"]["post"];
        assert_eq!(operation["security"].to_string(), r#"[{"basic":[]},{"bearer":[]},{}]"#);
        assert!(operation["requestBody"]["content"]["application/x-www-form-urlencoded"].is_object());
        assert!(operation["responses"]["401"]["headers"]["WWW-Authenticate"].is_object());
        let operation = &wire.document.value["paths"]["/v1/things"]["post"];
        assert_eq!(operation["security"].to_string(), r#"[{"basic":[]},{"bearer":[]}]"#);
        assert!(operation["responses"]["400"]["content"]["application/problem+json"].is_object());
        let schemes = wire.document.value["components"]["securitySchemes"].as_object().unwrap();
        assert_eq!(schemes.len(), 2);
    }
}
