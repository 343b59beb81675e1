//! Errors at `/oauth2/*` (RFC 6749 §5.2).

use std::borrow::Cow;
use std::time::Duration;

use poem::http::StatusCode;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

use super::{
    BearerChallenge, STORE_RETRY_AFTER, UNAVAILABLE, bearer_challenge, json_response, log, meta, named,
    put_headers, retry_after, row,
};
use crate::domain::refusal::{Refusal, Refused};
use crate::engine;
use crate::engine::authenticate::PresentedCredentials;
use crate::store::StoreError;

/// An error at `/oauth2/*` (RFC 6749 §5.2).
#[derive(Debug, PartialEq, Eq)]
pub struct OAuthError {
    status: StatusCode,
    pub(crate) code: &'static str,
    description: Cow<'static, str>,
    basic: bool,
    bearer: Option<BearerChallenge>,
    retry_after: Option<Duration>,
}

/// The body of an error at `/oauth2/*` (RFC 6749 §5.2).
#[derive(Object, Serialize)]
#[oai(rename = "OAuthError")]
struct OAuthErrorBody {
    /// The code, for a program.
    error: String,
    /// The sentence, for a person.
    error_description: String,
}

impl OAuthError {
    /// An error of this status and code.
    pub fn new(status: StatusCode, code: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(STORE_RETRY_AFTER);
        Self { status, code, description: description.into(), basic: false, bearer: None, retry_after }
    }

    /// The same at introspection: bearer tokens are accepted there too, and a bearer without the permission is
    /// 401, not 403 (RFC 7662 §2.3; INT-30, INT-34, INT-35).
    pub fn at_introspection(mut self, credentials: PresentedCredentials<'_>) -> Self {
        if matches!(credentials, PresentedCredentials::Bearer(_)) && self.status == StatusCode::FORBIDDEN {
            (self.status, self.code) = (StatusCode::UNAUTHORIZED, "insufficient_scope");
            self.bearer = Some(BearerChallenge::InsufficientScope);
        } else if self.status == StatusCode::UNAUTHORIZED && self.bearer.is_none() {
            self.bearer = Some(BearerChallenge::Accepted);
        }
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refused> for OAuthError {
    fn from(refused: Refused) -> Self {
        let (status, code) = row(&refused.refusal).oauth;
        let description = match refused.refusal {
            Refusal::Invalid { field } => named(field, refused.detail),
            _ => refused.detail,
        };
        Self {
            status,
            code,
            description,
            basic: refused.refusal == Refusal::InvalidClient,
            bearer: bearer_challenge(&refused.refusal),
            retry_after: retry_after(&refused.refusal),
        }
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        log(&error);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", UNAVAILABLE)
    }
}

impl From<engine::Error> for OAuthError {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Refused(refused) => refused.into(),
            engine::Error::Store(error) => error.into(),
        }
    }
}

impl From<OAuthError> for poem::Error {
    fn from(error: OAuthError) -> Self {
        Self::from_response(error.into_response())
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let body = OAuthErrorBody {
            error: self.code.to_owned(),
            error_description: in_the_permitted_set(&self.description),
        };
        let mut response = json_response(self.status, "application/json", &body);
        put_headers(&mut response, self.basic, self.bearer, self.retry_after);
        response
    }
}

impl ApiResponse for OAuthError {
    fn meta() -> MetaResponses {
        let statuses = [
            (400, "The request is not valid, or the grant is not good"),
            (401, "No client authentication, or it failed"),
            (403, "The client may not use this endpoint"),
            (408, "The request did not arrive in time"),
            (413, "The body is larger than the limit"),
            (429, "Too many failed attempts"),
            (500, "A bug"),
            (503, "The store cannot answer; nothing is known about the token"),
        ];
        meta("application/json", OAuthErrorBody::schema_ref(), &statuses)
    }

    fn register(registry: &mut Registry) {
        OAuthErrorBody::register(registry);
    }
}

/// `error_description` may contain only %x20-21, %x23-5B and %x5D-7E (RFC 6749 §5.2, TOK-16); other characters
/// become an apostrophe or a question mark.
fn in_the_permitted_set(text: &str) -> String {
    let permitted = |c| match c {
        '"' => '\'',
        '\\' => '?',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().map(permitted).collect()
}
