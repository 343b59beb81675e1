//! The origins whose pages may send changes; requests that other pages cause are rejected (ASVS 3.5.1).

use poem::Request;
use poem::http::{HeaderMap, HeaderValue, Method, header};

/// The one path that pages of the further origins may read, by CORS: who am I, and log out.
const OPEN_TO_FURTHER: &str = "/v1/session";

/// The origins whose pages may send changes: the issuer, and the configured ones.
#[derive(Clone, Debug)]
pub struct Origins {
    issuer: String,
    further: Vec<String>,
}

impl Origins {
    /// The origin of the issuer, and `further` ones.
    pub fn new(issuer: &str, further: &[String]) -> Self {
        Self { issuer: issuer.to_owned(), further: further.to_vec() }
    }

    /// The further origin whose page may read the answer to `request` (ASVS 3.4.2).
    pub fn reader_of(&self, request: &Request) -> Option<HeaderValue> {
        if self.further.is_empty() || request.uri().path() != OPEN_TO_FURTHER {
            return None;
        }
        let origin = once(request.headers(), header::ORIGIN.as_str())?;
        self.further.iter().any(|known| known == origin).then(|| request.headers()[header::ORIGIN].clone())
    }

    /// Whether a change that is authenticated by cookie alone comes from a page of these origins (SES-21).
    pub fn vouch_for(&self, headers: &HeaderMap) -> bool {
        is_same_origin(headers) || self.has(headers)
    }

    /// Whether a page that may not do so can have sent this change. The credentials do not matter: browsers
    /// add Basic, too. Exactly `/v1/session` is open to the further origins.
    pub fn are_crossed_by(&self, path: &str, headers: &HeaderMap) -> bool {
        let is_listed = || {
            if path == OPEN_TO_FURTHER {
                self.has(headers)
            } else {
                once(headers, "origin") == Some(&self.issuer)
            }
        };
        if headers.contains_key("sec-fetch-site") {
            !matches!(once(headers, "sec-fetch-site"), Some("same-origin" | "none")) && !is_listed()
        } else {
            headers.contains_key(header::ORIGIN) && !is_listed()
        }
    }

    fn has(&self, headers: &HeaderMap) -> bool {
        once(headers, "origin")
            .is_some_and(|origin| self.issuer == origin || self.further.iter().any(|known| known == origin))
    }
}

/// Whether a browser says that a page of this server's origin sent the request.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    once(headers, "sec-fetch-site") == Some("same-origin")
}

/// Whether a request is a CORS preflight.
pub fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The value of a header that is not repeated.
fn once<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    /// SES-21.
    #[test]
    fn a_cookie_counts_only_from_the_configured_origins() {
        let origins = Origins::new("https://id.example", &["https://app.example".to_owned()]);
        assert!(origins.vouch_for(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(origins.vouch_for(&headers(&[("origin", "https://id.example")])));
        assert!(
            origins
                .vouch_for(&headers(&[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]))
        );
        for invalid in [
            &[][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null")],
            &[("origin", "https://id.example.evil")],
            &[("origin", "http://id.example")],
        ] {
            assert!(!origins.vouch_for(&headers(invalid)), "{invalid:?}");
        }
    }

    /// Finding: only `Sec-Fetch-Site: cross-site`, sent once, was recognised. Browsers omit it towards http
    /// origins.
    #[test]
    fn a_change_by_a_page_of_another_origin_is_recognised_by_the_headers_of_its_browser() {
        let origins = Origins::new("https://id.example", &["https://app.example".to_owned()]);
        let crossed = |path, pairs: &[(&'static str, &str)]| origins.are_crossed_by(path, &headers(pairs));
        let (site, origin) = ("sec-fetch-site", "origin");
        let (ours, further) = ("https://id.example", "https://app.example");
        for allowed in [
            vec![],
            vec![(site, "same-origin")],
            vec![(site, "none")],
            vec![(site, "none"), (origin, "https://evil.example")],
            vec![(origin, ours)],
            vec![(site, "cross-site"), (origin, ours)],
            vec![(site, "same-origin"), (site, "same-origin"), (origin, ours)],
        ] {
            assert!(
                !crossed("/v1/keys/rotate", &allowed) && !crossed("/v1/session", &allowed),
                "{allowed:?}"
            );
        }
        for foreign in [
            vec![(site, "cross-site")],
            vec![(site, "same-site")],
            vec![(site, "")],
            vec![(site, "same-origin"), (site, "same-origin")],
            vec![(site, "same-site"), (origin, "https://other.id.example")],
            vec![(origin, "https://evil.example")],
            vec![(origin, "null")],
            vec![(origin, "")],
            vec![(origin, ours), (origin, ours)],
        ] {
            assert!(crossed("/v1/keys/rotate", &foreign) && crossed("/v1/session", &foreign), "{foreign:?}");
        }
        let by_app = [(site, "same-site"), (origin, further)];
        assert!(!crossed("/v1/session", &by_app) && !crossed("/v1/session", &by_app[1..]));
        assert!(crossed("/v1/sessions", &by_app) && crossed("/v1/session/", &by_app[1..]));
    }
}
