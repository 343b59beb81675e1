//! The session cookie: read by its exact name, and only if it is there once.

use keyfob::http::request::cookie::Cookie;
use poem::http::{HeaderMap, HeaderValue, header};

const NAME: &str = "__Host-keyfob";

/// Each line is a `Cookie` header.
pub fn run(input: &[u8]) {
    let cookie = Cookie { name: NAME.into(), same_site: "Lax" };
    let lines = input.split(|byte| *byte == b'\n');
    let mut headers: HeaderMap =
        lines.filter_map(|line| Some((header::COOKIE, HeaderValue::from_bytes(line).ok()?))).collect();
    let value = cookie.read(&headers).map(str::to_owned);
    if let Some(value) = &value {
        assert!(!value.contains([';', '\n']));
        let sent = format!("{NAME}={value}");
        assert!(input.windows(sent.len()).any(|part| part == sent.as_bytes()));
    }
    // Cookies of other names change nothing, and a second one of this name hides both.
    for (another, read) in [("a=b; __Host-keyfo=c", value.as_deref()), ("__Host-keyfob=", None)] {
        headers.append(header::COOKIE, HeaderValue::from_static(another));
        assert!(value.is_none() || cookie.read(&headers) == read);
    }
}
