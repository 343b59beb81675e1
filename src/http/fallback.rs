//! The answers when no endpoint answers: no such route, wrong method, unreadable request, timeout, panic.

use std::borrow::Cow;

use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{IntoResponse, Response};

use crate::http::request::limits::Unacceptable;
use crate::http::response::error::{OAuthError, Problem};
use crate::http::routes::Route;
use crate::http::surface::Surface;

/// An error in the form of the surface: RFC 6749 at `/oauth2/*`, RFC 9457 elsewhere.
pub fn shaped(surface: Surface, status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Response {
    match surface {
        Surface::OAuth => OAuthError::new(status, detail).into_response(),
        Surface::V1 | Surface::Other => Problem::new(status, detail).into_response(),
    }
}

/// 405 with `Allow` if the path is a route, else 404 (C-13, INT-03, INT-04).
pub fn no_operation(route: Option<&Route>, surface: Surface, method: &Method) -> Response {
    let Some(route) = route else {
        return shaped(surface, StatusCode::NOT_FOUND, "there is no such route; /docs lists them");
    };
    let allow = route.allow();
    let detail = format!("the method {method} is not allowed here; allowed: {allow}");
    let mut response = shaped(surface, StatusCode::METHOD_NOT_ALLOWED, detail);
    if let Ok(allow) = HeaderValue::try_from(allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The answer to an error of an endpoint: a response of ours, or a failure of poem's extractors.
pub fn failed(error: poem::Error, route: &str, surface: Surface, method: &Method) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    if status.is_server_error() {
        tracing::error!(%error, route, %method, "an endpoint failed");
        return internal_error(surface);
    }
    shaped(surface, status, "the request cannot be read")
}

/// 500. The cause is in the log, with the id of the request.
pub fn internal_error(surface: Surface) -> Response {
    let detail = "internal error; see the server log for this request id";
    shaped(surface, StatusCode::INTERNAL_SERVER_ERROR, detail)
}

/// 503: the endpoint exceeded `request_timeout`.
pub fn timed_out(surface: Surface) -> Response {
    let detail = "timed out; the operation may have completed";
    shaped(surface, StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// The answer to a rejected body. It closes the connection, since the rest of the body is not read.
pub fn unacceptable(surface: Surface, why: Unacceptable, body_bytes_max: usize) -> Response {
    closing(match why {
        Unacceptable::TooLarge => {
            let detail = format!("the body is larger than {body_bytes_max} bytes");
            shaped(surface, StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        Unacceptable::Broken => {
            shaped(surface, StatusCode::BAD_REQUEST, "the connection ended before the body was complete")
        }
    })
}

/// The answer to a body that did not arrive in time.
pub fn too_slow(surface: Surface) -> Response {
    closing(shaped(surface, StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))
}

/// The connection ends with this answer.
pub fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use poem::endpoint::make_sync;

    use super::*;
    use crate::http::access::Access;
    use crate::http::routes::Routes;

    #[test]
    fn an_unknown_route_and_a_wrong_method_have_the_shape_of_their_surface_c_13() {
        let mut routes = Routes::of((), |_, _| Access::Public);
        routes.add("/oauth2/token", Method::POST, make_sync(|_| ()));
        let answer =
            |surface, path| no_operation(routes.find(&Method::PUT, path).route, surface, &Method::PUT);
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
    fn the_failures_of_poem_become_problems() {
        for (error, status) in [
            (poem::Error::from_string("cannot read", StatusCode::BAD_REQUEST), 400),
            (poem::Error::from_status(StatusCode::UNAUTHORIZED), 401),
            (poem::Error::from_string("the disk /dev/sda1", StatusCode::INTERNAL_SERVER_ERROR), 500),
        ] {
            let response = failed(error, "/v1/sessions/{id}", Surface::V1, &Method::GET);
            assert_eq!(
                (response.status().as_u16(), response.content_type()),
                (status, Some("application/problem+json"))
            );
        }
    }
}
