//! What is said when no endpoint answers: no such route, wrong method, a request that poem could not read, a
//! timeout, a panic.

use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::error::{ParseParamError, ParsePathError, ParseRequestPayloadError};
use serde_json::Value;

use crate::http::request::json::plain_words;
use crate::http::request::limits::Unacceptable;
use crate::http::response::error::{OAuthError, Problem};
use crate::http::surface::Surface;

/// Which methods each path has: for `Allow` (RFC 9110 §15.5.6), for `HEAD`, and for what is counted of it.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// In order of their templates.
    routes: Vec<(Box<str>, Vec<Method>)>,
}

impl RouteTable {
    /// The routes of an OpenAPI document, and those of the document itself.
    pub fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let mut routes: Vec<(Box<str>, Vec<Method>)> =
            paths.map(|(path, operations)| (path.as_str().into(), methods(operations))).collect();
        routes.extend(["/docs", "/openapi.json"].map(|path| (path.into(), vec![Method::GET])));
        routes.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self { routes }
    }

    /// Every route by its template, with its methods.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &[Method])> {
        self.routes.iter().map(|(template, methods)| (&**template, &**methods))
    }

    /// The place of the route of `path` among [`Self::routes`], if it is one. A route that is no template is
    /// found without looking at each.
    pub fn place(&self, path: &str) -> Option<usize> {
        let exact = self.routes.binary_search_by(|(template, _)| (**template).cmp(path)).ok();
        exact.or_else(|| self.routes.iter().position(|(template, _)| fits(template, path)))
    }

    /// Whether `path` has `method`.
    pub fn has(&self, method: &Method, path: &str) -> bool {
        self.matching(path).any(|(_, methods)| methods.contains(method))
    }

    /// The methods of `path`, as `Allow` lists them; `None` if it is not a route. Where there is `GET` there
    /// is `HEAD`.
    pub fn allow(&self, path: &str) -> Option<String> {
        let mut names: Vec<&str> =
            self.matching(path).flat_map(|(_, methods)| methods).map(Method::as_str).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.sort_unstable();
        names.dedup();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// Only the most exact route counts, as it does for the router: `/v1/keys/rotate` is not a `{kid}`.
    fn matching<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a (Box<str>, Vec<Method>)> {
        let exact = self.routes.iter().any(|(template, _)| **template == *path);
        self.routes
            .iter()
            .filter(move |(template, _)| if exact { **template == *path } else { fits(template, path) })
    }
}

fn methods(operations: &Value) -> Vec<Method> {
    let names = operations.as_object().into_iter().flatten().map(|(name, _)| name);
    names.filter_map(|name| Method::from_bytes(name.to_ascii_uppercase().as_bytes()).ok()).collect()
}

/// Whether `path` is one of those that `template` stands for.
pub(crate) fn fits(template: &str, path: &str) -> bool {
    let fits = |(t, p): (&str, &str)| if t.starts_with('{') { !p.is_empty() } else { t == p };
    template.split('/').zip(path.split('/')).all(fits)
        && template.split('/').count() == path.split('/').count()
}

/// An error in the shape of the surface: RFC 6749 at `/oauth2/*`, RFC 9457 elsewhere.
pub fn shaped(surface: Surface, status: StatusCode, detail: String) -> Response {
    match surface {
        Surface::OAuth => OAuthError::new(status, oauth_code(status), detail).into_response(),
        Surface::V1 | Surface::Other => Problem::new(status, detail).into_response(),
    }
}

fn oauth_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    }
}

/// 405 with `Allow`, or 404 (C-13, INT-03, INT-04).
pub fn no_route(routes: &RouteTable, surface: Surface, method: &Method, path: &str) -> Response {
    match routes.allow(path) {
        Some(allow) => {
            let mut response = shaped(
                surface,
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method} is not served here, but {allow}"),
            );
            if let Ok(allow) = HeaderValue::try_from(allow) {
                response.headers_mut().insert(header::ALLOW, allow);
            }
            response
        }
        None => shaped(surface, StatusCode::NOT_FOUND, "there is no such route; /docs lists them".to_owned()),
    }
}

/// What a failure that is not one of our own answers becomes.
pub fn failed(
    error: poem::Error,
    routes: &RouteTable,
    surface: Surface,
    method: &Method,
    path: &str,
) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    if error.is::<NotFoundError>() || error.is::<MethodNotAllowedError>() {
        return no_route(routes, surface, method, path);
    }
    if let Some(error) = error.downcast_ref::<ParseParamError>() {
        let words = plain_words(&error.reason);
        return match surface {
            Surface::OAuth => shaped(surface, StatusCode::BAD_REQUEST, format!("{}: {words}", error.name)),
            Surface::V1 | Surface::Other => Problem::invalid(error.name, words).into_response(),
        };
    }
    if error.is::<ParsePathError>() {
        return shaped(surface, StatusCode::NOT_FOUND, "there is no such thing".to_owned());
    }
    let status = error.status();
    if status.is_server_error() {
        let route =
            routes.place(path).and_then(|place| routes.routes().nth(place)).map(|(template, _)| template);
        tracing::error!(%error, route, %method, "an endpoint failed");
        return shaped(surface, status, "a bug; the log says more".to_owned());
    }
    let detail = error.downcast_ref::<ParseRequestPayloadError>().map(|error| plain_words(&error.reason));
    shaped(surface, status, detail.unwrap_or_else(|| "the request cannot be read".to_owned()))
}

/// What an unacceptable body is answered. The connection ends with it: what is left of the body is not read.
pub fn unacceptable(surface: Surface, why: Unacceptable, body_bytes_max: usize) -> Response {
    closing(match why {
        Unacceptable::TooLarge => shaped(
            surface,
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {body_bytes_max} bytes"),
        ),
        Unacceptable::Broken => {
            shaped(surface, StatusCode::BAD_REQUEST, "the body ended in the middle".to_owned())
        }
    })
}

/// What a body is answered that did not arrive in time.
pub fn too_slow(surface: Surface) -> Response {
    closing(shaped(surface, StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".to_owned()))
}

fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn table() -> RouteTable {
        RouteTable::of(&json!({"paths": {
            "/oauth2/token": {"post": {}},
            "/v1/sessions/{id}": {"get": {}, "patch": {}, "delete": {}},
            "/v1/keys/{kid}": {"delete": {}},
            "/v1/keys/rotate": {"post": {}},
        }}))
    }

    #[test]
    fn allow_lists_the_methods_of_the_route() {
        let table = table();
        assert_eq!(table.allow("/oauth2/token").as_deref(), Some("POST"));
        assert_eq!(table.allow("/v1/sessions/abc").as_deref(), Some("DELETE, GET, HEAD, PATCH"));
        assert_eq!(table.allow("/v1/keys/rotate").as_deref(), Some("POST"), "the exact route wins");
        assert_eq!(table.allow("/docs").as_deref(), Some("GET, HEAD"));
        for unknown in ["/", "/v1/sessions", "/v1/sessions/", "/v1/sessions/a/b", "/oauth2/token/", "*", ""] {
            assert_eq!(table.allow(unknown), None, "{unknown}");
        }
        let template = |path| {
            table.place(path).and_then(|place| table.routes().nth(place)).map(|(template, _)| template)
        };
        assert_eq!(template("/v1/keys/rotate"), Some("/v1/keys/rotate"));
        assert_eq!(template("/v1/keys/abc"), Some("/v1/keys/{kid}"));
        assert_eq!(template("/v1/keys/abc/d"), None);
        assert!(table.has(&Method::GET, "/v1/sessions/abc") && !table.has(&Method::GET, "/oauth2/token"));
    }

    #[test]
    fn an_unknown_route_and_a_wrong_method_have_the_shape_of_their_surface_c_13() {
        let answer = |surface, path| no_route(&table(), surface, &Method::PUT, path);
        let oauth = answer(Surface::OAuth, "/oauth2/token");
        assert_eq!(
            (oauth.status().as_u16(), oauth.header("allow"), oauth.content_type()),
            (405, Some("POST"), Some("application/json"))
        );
        let v1 = answer(Surface::V1, "/v1/nothing");
        assert_eq!(
            (v1.status().as_u16(), v1.header("allow"), v1.content_type()),
            (404, None, Some("application/problem+json"))
        );
    }

    #[test]
    fn poems_own_failures_lose_their_plain_text() {
        let failed = |error: poem::Error| {
            super::failed(error, &table(), Surface::V1, &Method::GET, "/v1/sessions/abc")
        };
        let parameter = ParseParamError {
            name: "limit",
            reason: "failed to parse \"integer\": invalid digit".to_owned(),
        };
        for (error, status) in [
            (poem::Error::from(parameter), 400),
            (ParsePathError { name: "id", reason: String::new() }.into(), 404),
            (poem::Error::from_status(StatusCode::UNAUTHORIZED), 401),
            (poem::Error::from_string("the disk /dev/sda1", StatusCode::INTERNAL_SERVER_ERROR), 500),
            (MethodNotAllowedError.into(), 405),
        ] {
            let response = failed(error);
            assert_eq!(
                (response.status().as_u16(), response.content_type()),
                (status, Some("application/problem+json"))
            );
        }
    }
}
