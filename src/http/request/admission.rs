//! The requests by which a proxy asks for admission: nginx with GET, others with the visitor's method and
//! path.

use poem::http::{HeaderValue, Method, Uri, header};
use poem::{Request, Response};

use crate::domain::gate::IdentityHeader;

const FORWARD_AUTH: &str = "/v1/forward-auth";
const GATES: &str = "/v1/gates/";

/// A request for admission, after [`AdmissionRequest::reduce`].
pub struct AdmissionRequest {
    /// Whether it announces a body, which is never read.
    has_body: bool,
}

impl AdmissionRequest {
    /// Whether requests to a route are requests for admission: they take every method.
    pub fn is_at(template: &str) -> bool {
        template == FORWARD_AUTH || template.starts_with(GATES)
    }

    /// Makes a request for admission a GET (or HEAD) without a body, and of a gate without what is the
    /// visitor's: the rest of the path, and the query. `None` for every other request, which stays as it is.
    pub fn reduce(request: &mut Request) -> Option<Self> {
        let path = request.uri().path();
        if let Some(rest) = path.strip_prefix(GATES) {
            let name = rest.split('/').next().unwrap_or_default();
            let gate: Uri = format!("{GATES}{name}").parse().ok()?;
            *request.uri_mut() = gate;
        } else if path != FORWARD_AUTH {
            return None;
        }
        if *request.method() != Method::HEAD {
            request.set_method(Method::GET);
        }
        Some(Self { has_body: !request.take_body().is_empty() })
    }

    /// Completes the answer: the headers without a value are sent empty, so that they overwrite those of the
    /// visitor, and the connection ends if there is a body that was not read.
    pub fn complete(&self, response: &mut Response) {
        let headers = response.headers_mut();
        for name in IdentityHeader::ALL {
            headers.entry(name.as_str()).or_insert(HeaderValue::from_static(""));
        }
        if self.has_body {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_visitors_is_not_looked_at() {
        for (method, uri, reduced) in [
            ("POST", "/v1/forward-auth?acr=a", Some("GET /v1/forward-auth?acr=a")),
            ("HEAD", "/v1/forward-auth", Some("HEAD /v1/forward-auth")),
            ("DELETE", "/v1/gates/api", Some("GET /v1/gates/api")),
            ("GET", "/v1/gates/api/../b/%2e%2e/c?client_id=x&a=%zz", Some("GET /v1/gates/api")),
            ("GET", "/v1/gates/api//", Some("GET /v1/gates/api")),
            ("PROPFIND", "/v1/gates/", Some("GET /v1/gates/")),
            ("POST", "/v1/forward-auth/", None),
            ("POST", "/v1/gates", None),
        ] {
            let mut request = Request::builder()
                .method(Method::from_bytes(method.as_bytes()).unwrap())
                .uri(uri.parse().unwrap())
                .body("body");
            let found = AdmissionRequest::reduce(&mut request)
                .map(|_| format!("{} {}", request.method(), request.uri()));
            assert_eq!(found.as_deref(), reduced, "{method} {uri}");
            assert_eq!(request.take_body().is_empty(), reduced.is_some(), "{method} {uri}");
        }
    }
}
