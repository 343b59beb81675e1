//! Which pages may change something: requests that a browser sends by itself are refused (ASVS 3.5.1).

use poem::Request;
use poem::http::{HeaderMap, HeaderValue, Method, header};

/// The one path that a page of a further origin has leave for (the Fetch standard's CORS): who am I, and log
/// out.
const OPEN_TO_FURTHER: &str = "/v1/session";

/// The origins whose pages may change things: the issuer, and those configured besides.
#[derive(Clone, Debug)]
pub struct Origins {
    issuer: String,
    further: Vec<String>,
}

impl Origins {
    /// The issuer and `further` ones.
    pub fn new(issuer: &str, further: &[String]) -> Self {
        Self { issuer: issuer.to_owned(), further: further.to_vec() }
    }

    /// The further origin whose page asks where it has leave to (ASVS 3.4.2): its answer is for that page to
    /// read.
    pub fn reader_of(&self, request: &Request) -> Option<HeaderValue> {
        if self.further.is_empty() || request.uri().path() != OPEN_TO_FURTHER {
            return None;
        }
        let origin = once(request.headers(), header::ORIGIN.as_str())?;
        self.further.iter().any(|known| known == origin).then(|| request.headers()[header::ORIGIN].clone())
    }

    /// Whether a change that only a cookie vouches for is one that our own pages asked for (SES-21).
    pub fn vouch_for(&self, headers: &HeaderMap) -> bool {
        once(headers, "sec-fetch-site") == Some("same-origin") || self.has(headers)
    }

    /// Whether a foreign page sent the request. Refused whatever the credentials: browsers remember Basic.
    pub fn are_crossed_by(&self, headers: &HeaderMap) -> bool {
        once(headers, "sec-fetch-site") == Some("cross-site") && !self.has(headers)
    }

    fn has(&self, headers: &HeaderMap) -> bool {
        once(headers, "origin")
            .is_some_and(|origin| self.issuer == origin || self.further.iter().any(|known| known == origin))
    }
}

/// Whether a browser asks, before it sends what a page wants sent.
pub fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// A header that is there once.
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    /// SES-21.
    #[test]
    fn only_our_own_pages_vouch_for_a_cookie() {
        let origins = Origins::new("https://id.example", &["https://app.example".to_owned()]);
        assert!(origins.vouch_for(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(origins.vouch_for(&headers(&[("origin", "https://id.example")])));
        assert!(
            origins
                .vouch_for(&headers(&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]))
        );
        for bad in [
            &[][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null")],
            &[("origin", "https://id.example.evil")],
            &[("origin", "http://id.example")],
        ] {
            assert!(!origins.vouch_for(&headers(bad)), "{bad:?}");
        }
    }

    #[test]
    fn a_foreign_page_is_known_by_what_its_browser_says() {
        let origins = Origins::new("https://id.example", &[]);
        assert!(origins.are_crossed_by(&headers(&[
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example")
        ])));
        assert!(origins.are_crossed_by(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(!origins.are_crossed_by(&headers(&[])), "programs send no such header");
        assert!(!origins.are_crossed_by(&headers(&[("sec-fetch-site", "same-origin")])));
    }
}
