//! The one middleware, flat for speed: what goes in front of every endpoint and what becomes of every answer.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Body, Endpoint, IntoEndpoint, Request, Response, Result};

use super::document::Document;
use super::fallback::{self, RouteTable};
use super::headers;
use super::limits::Limits;

/// Which family of routes a path belongs to: it decides the shape of errors, and what may be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/oauth2/*`.
    OAuth,
    /// `/v1/*`.
    V1,
    /// The rest.
    Other,
}

impl Surface {
    /// The family of `path`.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/oauth2/") {
            Self::OAuth
        } else if path.starts_with("/v1/") {
            Self::V1
        } else {
            Self::Other
        }
    }
}

/// Every endpoint, behind the limits and in front of the headers. A request in, an answer out, never an error.
pub struct Wire {
    endpoints: BoxEndpoint<'static, Response>,
    document: Document,
    routes: RouteTable,
    limits: Limits,
}

impl Wire {
    /// Serves `endpoints`, which `document` describes.
    pub fn new<E>(endpoints: E, document: Document, limits: Limits) -> Self
    where
        E: IntoEndpoint<Endpoint = BoxEndpoint<'static, Response>>,
    {
        Self { endpoints: endpoints.into_endpoint(), routes: RouteTable::of(document.value()), document, limits }
    }

    /// Answers a request.
    pub async fn respond(&self, mut request: Request) -> Response {
        let surface = Surface::of(request.uri().path());
        // HEAD is GET without the body (RFC 9110 §9.3.2), where there is GET.
        let head = request.method() == Method::HEAD && self.routes.has(&Method::GET, request.uri().path());
        if head {
            request.set_method(Method::GET);
        }
        let mut response = self.answer(surface, request).await;
        headers::put(surface, &mut response);
        if head {
            without_body(&mut response);
        }
        response
    }

    async fn answer(&self, surface: Surface, mut request: Request) -> Response {
        let too_many = |what| fallback::shaped(surface, StatusCode::BAD_REQUEST, format!("more than {} {what}", self.limits.parameters_max));
        if request.uri().query().is_some_and(|query| self.limits.too_many_parameters(query.as_bytes())) {
            return too_many("parameters in the query");
        }
        let body = request.take_body();
        if !body.is_empty() {
            let reading = self.limits.read(request.headers(), body);
            match tokio::time::timeout(self.limits.request_timeout, reading).await {
                Ok(Ok(body)) if surface == Surface::OAuth && self.limits.too_many_parameters(&body) => return too_many("parameters"),
                Ok(Ok(body)) => request.set_body(Body::from_bytes(body)),
                Ok(Err(why)) => return fallback::unacceptable(surface, why, self.limits.body_bytes_max),
                Err(_) => return fallback::too_slow(surface),
            }
        }
        if surface == Surface::Other && request.method() == Method::GET {
            if let Some(response) = self.document.serve(request.uri().path()) {
                return response;
            }
        }
        self.call(surface, request).await
    }

    async fn call(&self, surface: Surface, request: Request) -> Response {
        let method = request.method().clone();
        let uri = request.uri().clone();
        match tokio::time::timeout(self.limits.request_timeout, unwound(self.endpoints.call(request))).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(error))) => fallback::failed(error, &self.routes, surface, &method, uri.path()),
            Ok(Err(panic)) => {
                // What the panic says is printed by the panic hook; it is not repeated, for nobody has looked at what it may hold.
                drop(panic);
                tracing::error!(%method, "an endpoint panicked");
                fallback::shaped(surface, StatusCode::INTERNAL_SERVER_ERROR, "a bug; the log says more".to_owned())
            }
            Err(_) => {
                tracing::error!(%method, "an endpoint took longer than request_timeout");
                fallback::shaped(surface, StatusCode::SERVICE_UNAVAILABLE, "no answer in time; it may have been done".to_owned())
            }
        }
    }
}

impl Endpoint for Wire {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        Ok(self.respond(request).await)
    }
}

/// Runs a future and catches its panic: a bug costs one request a 500, never the connection.
async fn unwound<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    })
    .await
}

/// Keeps the length that the body would have had.
fn without_body(response: &mut Response) {
    let body: http_body_util::combinators::BoxBody<bytes::Bytes, std::io::Error> = response.take_body().into();
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
