//! The headers of every answer, with any status (ASVS 5.0, 3.4.1, 3.4.3 to 3.4.6 and 14.3.2;
//! INT-120 to INT-123).

use std::sync::LazyLock;

use poem::Response;
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::request::request_id::X_REQUEST_ID;
use crate::http::surface::Surface;

/// A year, for the host and its subdomains.
const STRICT: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
/// No scripts and no framing. The documentation page sets its own policy.
const NOTHING_RUNS: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The media type of most answers (RFC 8259).
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The capacity of the index of an answer's headers: beyond it, all of them are hashed anew.
const HEADERS: usize = 12;
/// The headers of every answer of the API; copying a map is faster than filling one. The last two have values
/// that are replaced: a copy has no room for more entries, and making room is slow.
static ALWAYS: LazyLock<HeaderMap> = LazyLock::new(|| {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.extend([
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
        (header::CONTENT_SECURITY_POLICY, NOTHING_RUNS),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
        (header::CONTENT_TYPE, JSON),
        (X_REQUEST_ID, HeaderValue::from_static("")),
    ]);
    headers
});

/// Sets them on an answer. None names the server. `strict` is for answers over TLS.
pub fn put(surface: Surface, strict: bool, id: HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    let own = std::mem::replace(headers, ALWAYS.clone());
    headers.insert(X_REQUEST_ID, id);
    // Outside the API an endpoint may have its own policy, and allow caching (the metadata, the keys).
    let may_replace = |name: &HeaderName| {
        *name == header::CONTENT_TYPE
            || surface == Surface::Other
                && [header::CONTENT_SECURITY_POLICY, header::CACHE_CONTROL].contains(name)
    };
    if !own.contains_key(header::CONTENT_TYPE) {
        headers.remove(header::CONTENT_TYPE);
    }
    for (name, value) in &own {
        if may_replace(name) {
            headers.insert(name, value.clone());
        } else if !ALWAYS.contains_key(name) {
            headers.append(name, value.clone());
        }
    }
    if surface == Surface::Other && own.contains_key(header::CACHE_CONTROL) {
        headers.remove(header::PRAGMA);
    }
    if strict {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT);
    }
    // poem adds a charset, which JSON does not have (RFC 8259 §11).
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json; charset=utf-8") {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
}

/// Lets pages of `origin` read an answer to a request with the cookie. No other answer has CORS headers. For
/// requests by CORS, browsers ignore `Cross-Origin-Resource-Policy`.
pub fn let_read(origin: HeaderValue, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
}

/// The answer to a preflight. Browsers may cache it for ten minutes.
pub fn preflight(request: &HeaderMap) -> Response {
    let response = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, DELETE")
        .header(header::ACCESS_CONTROL_MAX_AGE, "600");
    match allowed_names(request) {
        Some(names) => response.header(header::ACCESS_CONTROL_ALLOW_HEADERS, names).finish(),
        None => response.finish(),
    }
}

/// The header names that the preflight asks for, except `Authorization`: pages authenticate by cookie.
/// Libraries add harmless ones, for tracing.
fn allowed_names(request: &HeaderMap) -> Option<HeaderValue> {
    let asked = request.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = asked.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    let names: Vec<HeaderName> = names.filter(|name| *name != header::AUTHORIZATION).collect();
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    if names.is_empty() { None } else { HeaderValue::try_from(names.join(", ")).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HeaderValue = HeaderValue::from_static("the id");

    #[test]
    fn every_answer_of_oauth_and_v1_is_not_to_be_stored_even_if_it_says_otherwise_int_120() {
        for surface in [Surface::OAuth, Surface::V1] {
            for status in [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::SERVICE_UNAVAILABLE] {
                let mut response =
                    Response::builder().status(status).header("cache-control", "max-age=60").finish();
                put(surface, false, ID, &mut response);
                assert_eq!(
                    (response.header("cache-control"), response.header("pragma")),
                    (Some("no-store"), Some("no-cache"))
                );
                assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
            }
        }
    }

    #[test]
    fn json_is_sent_without_a_charset_int_01() {
        let mut response = Response::builder().content_type("application/json; charset=utf-8").finish();
        put(Surface::V1, false, ID, &mut response);
        assert_eq!(response.content_type(), Some("application/json"));
    }

    #[test]
    fn elsewhere_an_answer_may_be_cached_if_its_endpoint_says_so_met_12() {
        let mut cached = Response::builder().header("cache-control", "max-age=60").finish();
        put(Surface::Other, false, ID, &mut cached);
        assert_eq!((cached.header("cache-control"), cached.header("pragma")), (Some("max-age=60"), None));
        let mut silent = Response::builder().finish();
        put(Surface::Other, false, ID, &mut silent);
        assert_eq!(silent.header("cache-control"), Some("no-store"));
    }

    /// CKE-21: `max-age` is at least a year, and the header is sent only with answers over TLS.
    #[test]
    fn only_an_answer_by_tls_tells_browsers_to_stay_with_https() {
        for (strict, value) in [(true, Some("max-age=31536000; includeSubDomains")), (false, None)] {
            let mut response = Response::builder().finish();
            put(Surface::V1, strict, ID, &mut response);
            assert_eq!(response.header("strict-transport-security"), value);
        }
    }

    #[test]
    fn an_answer_is_no_page_and_a_page_keeps_its_own_policy() {
        let mut response = Response::builder().finish();
        put(Surface::V1, false, ID, &mut response);
        assert_eq!(
            response.header("content-security-policy"),
            Some("default-src 'none'; frame-ancestors 'none'")
        );
        assert_eq!(response.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(response.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(response.header("server"), None);
        let mut page = Response::builder().header("content-security-policy", "script-src 'self'").finish();
        put(Surface::Other, false, ID, &mut page);
        assert_eq!(page.header("content-security-policy"), Some("script-src 'self'"));
    }

    #[test]
    fn an_answer_has_its_own_media_type_or_none_and_the_id_of_its_request() {
        for own in [Some("application/problem+json"), None] {
            let mut response = Response::builder().finish();
            own.map(|own| response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(own)));
            put(Surface::V1, false, ID, &mut response);
            let types: Vec<_> = response.headers().get_all(header::CONTENT_TYPE).iter().collect();
            assert_eq!(types, own.as_slice());
            assert_eq!(response.header(X_REQUEST_ID), Some("the id"));
        }
    }
}
