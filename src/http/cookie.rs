//! The session cookie, as the browser is to keep it (RFC 6265bis).

use crate::domain::session::Session;
use crate::token::opaque::SecretText;

/// How the session cookie is written.
#[derive(Clone, Debug)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// `Strict`, `Lax` or `None`.
    pub same_site: &'static str,
}

impl Cookie {
    /// The value of `Set-Cookie` that hands a session token out. Only a remembered session's cookie outlives the browser (CKE-13).
    pub fn set(&self, token: &SecretText, session: &Session) -> String {
        let mut header = format!("{}={}; Path=/; Secure; HttpOnly; SameSite={}", self.name, token.expose(), self.same_site);
        if session.remember {
            let seconds = session.expires_at.since(session.last_used_at).as_secs();
            header.push_str(&format!("; Max-Age={seconds}"));
        }
        header
    }
}
