//! The cookie of the operator's console. It counts only in requests that the console's own pages send.

use std::sync::LazyLock;

use poem::Request;

use crate::domain::console::CONSOLE_COOKIE_NAME;
use crate::engine::authenticate::PresentedCredentials;
use crate::http::request::cookie::Cookie;
use crate::http::request::origin::is_same_origin;
use crate::token::opaque::SecretText;

/// The cookie.
pub static CONSOLE_COOKIE: LazyLock<Cookie> =
    LazyLock::new(|| Cookie { name: CONSOLE_COOKIE_NAME.to_owned(), same_site: "Strict" });

/// What the pages request by themselves, again and again: it does not keep a session active that no operator
/// uses.
const BACKGROUND: [&str; 2] = ["/v1/events", "/console/figures"];

/// The token in the cookie of a request.
pub struct ConsoleToken {
    token: SecretText,
    is_use: bool,
}

impl ConsoleToken {
    /// The token, not checked; `None` unless the request says that a page of this origin sent it.
    pub fn of(request: &Request) -> Option<Self> {
        if !is_same_origin(request.headers()) {
            return None;
        }
        let token = SecretText::new(CONSOLE_COOKIE.read(request.headers())?.to_owned());
        Some(Self { token, is_use: !BACKGROUND.contains(&request.uri().path()) })
    }

    /// The token as credentials.
    pub fn credentials(&self) -> PresentedCredentials<'_> {
        PresentedCredentials::Console { token: self.token.expose(), is_use: self.is_use }
    }

    /// The token, not checked.
    pub fn expose(&self) -> &str {
        self.token.expose()
    }
}
