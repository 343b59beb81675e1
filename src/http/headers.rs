//! The headers that every answer carries, whatever its status (ASVS 5.0, 3.4.4 and 14.3.2; INT-120 to INT-123).

use poem::Response;
use poem::http::{HeaderValue, header};

use super::wire::Surface;

/// Puts them on an answer. There is never a CORS header: the routes are for servers, and for pages of the same origin.
pub fn put(surface: Surface, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // JSON has no charset (RFC 8259 §11), whatever poem says; so the answer is what the document promises.
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json; charset=utf-8") {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    // Elsewhere an endpoint may allow caching (the metadata, the keys).
    if surface != Surface::Other || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
}

#[cfg(test)]
mod tests {
    use poem::http::StatusCode;

    use super::*;

    #[test]
    fn every_answer_of_oauth_and_v1_is_not_to_be_stored_even_if_it_says_otherwise_int_120() {
        for surface in [Surface::OAuth, Surface::V1] {
            for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE] {
                let mut response = Response::builder().status(status).header("cache-control", "max-age=60").finish();
                put(surface, &mut response);
                assert_eq!((response.header("cache-control"), response.header("pragma")), (Some("no-store"), Some("no-cache")));
                assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
            }
        }
    }

    #[test]
    fn json_is_sent_without_a_charset_int_01() {
        let mut response = Response::builder().content_type("application/json; charset=utf-8").finish();
        put(Surface::V1, &mut response);
        assert_eq!(response.content_type(), Some("application/json"));
    }

    #[test]
    fn elsewhere_an_answer_may_be_cached_if_its_endpoint_says_so_met_12() {
        let mut cached = Response::builder().header("cache-control", "max-age=60").finish();
        put(Surface::Other, &mut cached);
        assert_eq!((cached.header("cache-control"), cached.header("pragma")), (Some("max-age=60"), None));
        let mut silent = Response::builder().finish();
        put(Surface::Other, &mut silent);
        assert_eq!(silent.header("cache-control"), Some("no-store"));
    }
}
