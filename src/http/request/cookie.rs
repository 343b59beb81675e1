//! The session cookie: its `Set-Cookie` header, and its value in a request (RFC 6265bis).

use poem::http::{HeaderMap, header};

use crate::domain::session::Session;
use crate::token::opaque::SecretText;

/// The settings of the session cookie.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// With its prefix, such as `__Host-`.
    pub name: String,
    /// `Strict`, `Lax` or `None`.
    pub same_site: &'static str,
}

impl Cookie {
    /// The value of `Set-Cookie` for a session token. Only the cookie of a remembered session has a `Max-Age`
    /// (CKE-13).
    pub fn set(&self, token: &SecretText, session: &Session) -> String {
        let mut header = self.header(token.expose());
        if session.remember {
            let seconds = session.expires_at.since(session.last_used_at).as_secs();
            header.push_str(&format!("; Max-Age={seconds}"));
        }
        header
    }

    /// The value of `Set-Cookie` that deletes the cookie: with the same attributes, else browsers ignore it
    /// (CKE-12).
    pub fn delete(&self) -> String {
        self.header("") + "; Max-Age=0"
    }

    fn header(&self, value: &str) -> String {
        format!("{}={value}; Path=/; Secure; HttpOnly; SameSite={}", self.name, self.same_site)
    }

    /// The value in a request. Two cookies of this name count as none: one of them may be planted (C-18).
    pub fn read<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        // As bytes: cookies of other applications may contain any.
        let pairs = headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let mut ours =
            pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(self.name.as_bytes())?.strip_prefix(b"="));
        let value = ours.next()?;
        if ours.next().is_some() { None } else { std::str::from_utf8(value).ok() }
    }
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    fn read(cookies: &[&str]) -> Option<String> {
        let headers = cookies
            .iter()
            .map(|cookie| (header::COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap()))
            .collect();
        Cookie { name: "__Host-sid".into(), same_site: "Lax" }.read(&headers).map(Into::into)
    }

    /// CKE-15, CKE-16, CKE-17.
    #[test]
    fn a_cookie_is_read_by_its_exact_name_and_only_once() {
        assert_eq!(read(&["a=b; __Host-sid=v; c=d"]).as_deref(), Some("v"));
        assert_eq!(read(&["__host-sid=v"]), None, "another case is another name");
        assert_eq!(read(&["__Host-sid=v; __Host-sid=v"]), None);
        assert_eq!(read(&["__Host-sid=v", "__Host-sid=w"]), None);
        assert_eq!(
            read(&["__Host-sid=\"v\""]).as_deref(),
            Some("\"v\""),
            "quotation marks are part of the value"
        );
        assert_eq!(read(&["__Host-sid2=v", "x__Host-sid=v", "__Host-sid"]), None);
        assert_eq!(read(&[]), None);
    }

    /// Browsers send what other applications of the host have stored, whatever its bytes.
    #[test]
    fn a_cookie_of_another_application_does_not_hide_ours() {
        assert_eq!(read(&["näme=wert; __Host-sid=v"]).as_deref(), Some("v"));
        assert_eq!(read(&["__Host-sid=v; __Host-sid=ö"]), None, "two of ours count as none");
    }

    /// CKE-04, CKE-06, CKE-07, CKE-12.
    #[test]
    fn the_deletion_has_the_attributes_of_the_cookie() {
        let cookie = Cookie { name: "__Host-sid".into(), same_site: "Strict" };
        assert_eq!(cookie.delete(), "__Host-sid=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0");
    }
}
