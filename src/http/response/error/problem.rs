//! Errors at `/v1/*` and all other paths outside `/oauth2/*` (RFC 9457).

use std::borrow::Cow;
use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

use super::{
    BearerChallenge, PROBLEM_JSON, STORE_RETRY_AFTER, UNAVAILABLE, bearer_challenge, json_response, log,
    meta, named, put_headers, retry_after, row,
};
use crate::domain::refusal::{Refusal, Refused};
use crate::engine;
use crate::store::StoreError;

/// An error at `/v1/*` (RFC 9457). Its `type` is `about:blank`: the status gives the kind, `detail` and `field`
/// what to fix.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    basic: bool,
    bearer: Option<BearerChallenge>,
    challenge: Option<HeaderValue>,
    retry_after: Option<Duration>,
}

/// The body of an error at `/v1/*` (RFC 9457).
#[derive(Object, Serialize)]
#[oai(rename = "Problem")]
struct ProblemBody {
    /// Always `about:blank`: the status says what it is.
    #[serde(rename = "type")]
    #[oai(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong and what would be right, for a person.
    detail: String,
    /// The field of the request that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

impl Problem {
    /// A problem of this status.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(STORE_RETRY_AFTER);
        Self {
            status,
            detail: detail.into(),
            field: None,
            basic: false,
            bearer: None,
            challenge: None,
            retry_after,
        }
    }

    /// A problem with a `Bearer` challenge that has these parameters besides the realm (RFC 6750 §3, RFC 9470 §3).
    /// Characters that a quoted string cannot contain are left out.
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
        Self { challenge: HeaderValue::try_from(challenge).ok(), ..Self::new(status, detail) }
    }

    /// A 400 about one field of the request.
    pub fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        let field = field.into();
        let detail = named(&field, detail.into());
        Self { field: Some(field), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (field, detail) = match refused.refusal {
            Refusal::Invalid { field } => (Some(Cow::Borrowed(field)), named(field, refused.detail)),
            Refusal::InvalidScope => (Some("scope".into()), refused.detail),
            Refusal::InvalidTarget => (Some("audience".into()), refused.detail),
            _ => (None, refused.detail),
        };
        let status = row(&refused.refusal).v1;
        Self {
            status,
            field,
            basic: refused.refusal == Refusal::InvalidClient,
            bearer: bearer_challenge(&refused.refusal)
                .or((status == StatusCode::UNAUTHORIZED).then_some(BearerChallenge::Accepted)),
            challenge: None,
            retry_after: retry_after(&refused.refusal),
            detail,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        log(&error);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE)
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Refused(refused) => refused.into(),
            engine::Error::Store(error) => error.into(),
        }
    }
}

impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        Self::from_response(problem.into_response())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = ProblemBody {
            kind: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.into_owned(),
            field: self.field.map(Cow::into_owned),
        };
        let mut response = json_response(self.status, PROBLEM_JSON, &body);
        put_headers(&mut response, self.basic, self.bearer, self.retry_after);
        if let Some(challenge) = self.challenge {
            response.headers_mut().append(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let statuses = [
            (400, "The request is not valid; `field` names what is wrong"),
            (401, "Not authenticated"),
            (403, "The caller may not do this"),
            (404, "There is no such thing, or it is not the caller's to see"),
            (408, "The request did not arrive in time"),
            (409, "It exists already, is kept by the configuration file, or there is no room"),
            (410, "It was there and has been forgotten"),
            (412, "`If-Match` named another version"),
            (413, "The body is larger than the limit"),
            (415, "The body is not JSON"),
            (429, "Too many failed attempts"),
            (500, "A bug"),
            (503, "The store cannot answer"),
        ];
        meta(PROBLEM_JSON, ProblemBody::schema_ref(), &statuses)
    }

    fn register(registry: &mut Registry) {
        ProblemBody::register(registry);
    }
}
