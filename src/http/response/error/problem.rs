//! Errors at `/v1/*` and all other paths outside `/oauth2/*` (RFC 9457).

use std::borrow::Cow;

use poem::http::{HeaderValue, StatusCode};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;
use serde_with_macros::skip_serializing_none;

use super::{ErrorAnswer, ErrorBody, PROBLEM_JSON, described, named};
use crate::http::surface::Surface;

/// An error at `/v1/*` (RFC 9457). Its `type` is `about:blank`: the status gives the kind, `detail` and
/// `field` what to fix.
pub type Problem = ErrorAnswer<ProblemBody>;

/// The body of an error at `/v1/*` (RFC 9457).
#[skip_serializing_none]
#[derive(Debug, Object, Serialize)]
#[oai(rename = "Problem")]
pub struct ProblemBody {
    /// Always `about:blank`: the status says what it is.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong and what would be right, for people.
    detail: String,
    /// The field of the request that it is about.
    field: Option<String>,
}

/// The statuses that only some operations have: those that answer with [`ProblemOr`].
const DECLARED: [(u16, &str); 2] = [
    (409, "In conflict with what is stored; `detail` says with what"),
    (410, "The position is no longer in the event log"),
];

/// A problem of an operation that can also have the status `S`, one of [`DECLARED`].
#[derive(Debug)]
pub struct ProblemOr<const S: u16>(Problem);

impl Problem {
    /// What is wrong, and what would be right.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// A problem with a `Bearer` challenge that has these parameters besides the realm (RFC 6750 §3, RFC 9470
    /// §3). Characters that a quoted string cannot contain are left out.
    pub fn challenged(
        status: StatusCode,
        detail: impl Into<Cow<'static, str>>,
        parameters: &[(&str, &str)],
    ) -> Self {
        let mut challenge = r#"Bearer realm="keyfob""#.to_owned();
        for (name, value) in parameters {
            let value: String =
                value.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
            challenge.push_str(&format!(r#", {name}="{value}""#));
        }
        Self { bearer: HeaderValue::try_from(challenge).ok(), ..Self::new(status, detail) }
    }

    /// A 400 about one field of the request.
    pub fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        let field = field.into();
        let detail = named(&field, detail.into());
        Self { field: Some(field), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }
}

impl ErrorBody for ProblemBody {
    const SURFACE: Surface = Surface::V1;
    const MEDIA_TYPE: &'static str = PROBLEM_JSON;
    const STATUSES: &'static [(u16, &'static str)] = &[
        (400, "The request is not valid; `field` names what is wrong"),
        (401, "Not authenticated"),
        (403, "Not authorized"),
        (404, "Not found, or not visible to the caller"),
        (408, "The request did not arrive in time"),
        (412, "`If-Match` names another version"),
        (413, "The body is larger than the limit"),
        (415, "The body is not JSON"),
        (429, "Too many failed attempts"),
        (500, "Internal error; see the server log for this request id"),
        (503, "The store cannot answer"),
    ];

    fn of(error: ErrorAnswer<Self>) -> Self {
        Self {
            r#type: "about:blank".to_owned(),
            title: error.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: error.status.as_u16(),
            detail: error.detail.into_owned(),
            field: error.field.map(Cow::into_owned),
        }
    }
}

impl<E: Into<Problem>, const S: u16> From<E> for ProblemOr<S> {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl<const S: u16> From<ProblemOr<S>> for poem::Error {
    fn from(error: ProblemOr<S>) -> Self {
        error.0.into()
    }
}

impl<const S: u16> ApiResponse for ProblemOr<S> {
    fn meta() -> MetaResponses {
        let declared = DECLARED.iter().filter(|(status, _)| *status == S);
        let all = ProblemBody::STATUSES.iter().chain(declared);
        MetaResponses { responses: all.map(described::<ProblemBody>).collect() }
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
    }
}
