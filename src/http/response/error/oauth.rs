//! Errors at `/oauth2/*` (RFC 6749 §5.2).

use poem::http::StatusCode;
use poem_openapi::Object;
use serde::Serialize;

use super::{BEARER, ErrorAnswer, ErrorBody, INSUFFICIENT_SCOPE};
use crate::engine::authenticate::PresentedCredentials;
use crate::http::surface::Surface;

/// An error at `/oauth2/*` (RFC 6749 §5.2).
pub type OAuthError = ErrorAnswer<OAuthErrorBody>;

/// The body of an error at `/oauth2/*` (RFC 6749 §5.2).
#[derive(Debug, Object, Serialize)]
#[oai(rename = "OAuthError")]
pub struct OAuthErrorBody {
    /// The code, for a program.
    error: String,
    /// What is wrong, for people.
    error_description: String,
}

impl OAuthError {
    /// The same at introspection: bearer tokens are accepted there too, and a bearer without the permission
    /// is 401, not 403 (RFC 7662 §2.3; INT-30, INT-34, INT-35).
    pub fn at_introspection(mut self, credentials: PresentedCredentials<'_>) -> Self {
        let by_bearer = matches!(credentials, PresentedCredentials::Bearer(_));
        if by_bearer && self.status == StatusCode::FORBIDDEN {
            (self.status, self.code) = (StatusCode::UNAUTHORIZED, "insufficient_scope");
            self.bearer = Some(INSUFFICIENT_SCOPE);
        } else if self.status == StatusCode::UNAUTHORIZED {
            self.bearer = self.bearer.or(Some(BEARER));
        }
        self
    }
}

impl ErrorBody for OAuthErrorBody {
    const SURFACE: Surface = Surface::OAuth;
    const MEDIA_TYPE: &'static str = "application/json";
    const STATUSES: &'static [(u16, &'static str)] = &[
        (400, "The request is not valid, or the grant is invalid"),
        (401, "No client authentication, or it failed"),
        (403, "Not authorized"),
        (408, "The request did not arrive in time"),
        (413, "The body is larger than the limit"),
        (429, "Too many failed attempts"),
        (500, "Internal error; see the server log for this request id"),
        (503, "The store cannot answer; nothing is known about the token"),
    ];

    fn of(error: ErrorAnswer<Self>) -> Self {
        Self { error: error.code.to_owned(), error_description: in_the_permitted_set(&error.detail) }
    }
}

/// `error_description` may contain only %x20-21, %x23-5B and %x5D-7E (RFC 6749 §5.2, TOK-16); other
/// characters become an apostrophe or a question mark.
fn in_the_permitted_set(text: &str) -> String {
    let permitted = |c| match c {
        '"' => '\'',
        '\\' => '?',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().map(permitted).collect()
}
