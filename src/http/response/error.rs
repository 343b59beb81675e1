//! The one table from a refusal to a response: status, code, headers and body.

mod oauth;
mod problem;

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::Type;
use serde::Serialize;

pub use self::oauth::OAuthError;
pub use self::problem::{Problem, ProblemOr};
use crate::domain::refusal::{Refusal, Refused};
use crate::engine;
use crate::http::surface::Surface;
use crate::meter::RateLimitedLog;
use crate::store::StoreError;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The challenge for client credentials.
const BASIC: HeaderValue = HeaderValue::from_static(r#"Basic realm="keyfob", charset="UTF-8""#);
/// The challenges for a bearer token (RFC 6750 §3): for a request that had none, for one that had an invalid
/// one, and for one whose token does not have the privilege.
const BEARER: HeaderValue = HeaderValue::from_static(r#"Bearer realm="keyfob""#);
const INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="keyfob", error="invalid_token""#);
const INSUFFICIENT_SCOPE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="keyfob", error="insufficient_scope""#);
/// The challenge for an operator whose link is too old for a change (RFC 9470 §3).
const LINK_TOO_OLD: HeaderValue = HeaderValue::from_static(
    r#"Bearer realm="keyfob", error="insufficient_user_authentication", max_age="300""#,
);
/// `Retry-After` of a 503: enough for a write queue to drain, or a restart.
const STORE_RETRY_AFTER_S: u32 = 2;

/// An error that is answered with the body `B`.
#[derive(Debug)]
pub struct ErrorAnswer<B> {
    pub(crate) status: StatusCode,
    /// The code of RFC 6749.
    pub(crate) code: &'static str,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    basic: bool,
    bearer: Option<HeaderValue>,
    retry_after_s: Option<u32>,
    body: PhantomData<B>,
}

/// The body of an error.
pub trait ErrorBody: Type + Serialize + Sized {
    /// Where it is answered.
    const SURFACE: Surface;
    const MEDIA_TYPE: &'static str;
    /// The statuses that the document lists for each operation where they can occur.
    const STATUSES: &'static [(u16, &'static str)];

    fn of(error: ErrorAnswer<Self>) -> Self;
}

/// The status and the code at `/oauth2/*`, and the status at `/v1/*`.
fn row(refusal: &Refusal) -> (StatusCode, &'static str, StatusCode) {
    use StatusCode as S;
    match refusal {
        Refusal::InvalidRequest | Refusal::Invalid { .. } => {
            (S::BAD_REQUEST, "invalid_request", S::BAD_REQUEST)
        }
        Refusal::InvalidClient => (S::UNAUTHORIZED, "invalid_client", S::UNAUTHORIZED),
        Refusal::UnauthorizedClient => (S::BAD_REQUEST, "unauthorized_client", S::FORBIDDEN),
        Refusal::InvalidToken => (S::UNAUTHORIZED, "invalid_token", S::UNAUTHORIZED),
        Refusal::InsufficientScope => (S::UNAUTHORIZED, "insufficient_scope", S::FORBIDDEN),
        Refusal::UnsupportedGrantType => (S::BAD_REQUEST, "unsupported_grant_type", S::BAD_REQUEST),
        Refusal::InvalidGrant => (S::BAD_REQUEST, "invalid_grant", S::BAD_REQUEST),
        Refusal::InvalidScope => (S::BAD_REQUEST, "invalid_scope", S::BAD_REQUEST),
        Refusal::InvalidTarget => (S::BAD_REQUEST, "invalid_target", S::BAD_REQUEST),
        Refusal::Forbidden => (S::FORBIDDEN, "unauthorized_client", S::FORBIDDEN),
        Refusal::LinkTooOld => (S::FORBIDDEN, "insufficient_user_authentication", S::FORBIDDEN),
        Refusal::NotFound => (S::BAD_REQUEST, "invalid_request", S::NOT_FOUND),
        Refusal::Conflict | Refusal::SessionsFull => (S::BAD_REQUEST, "invalid_request", S::CONFLICT),
        Refusal::Gone => (S::BAD_REQUEST, "invalid_request", S::GONE),
        Refusal::PreconditionFailed => (S::BAD_REQUEST, "invalid_request", S::PRECONDITION_FAILED),
        Refusal::TooMany { .. } => (S::TOO_MANY_REQUESTS, "temporarily_unavailable", S::TOO_MANY_REQUESTS),
    }
}

/// The code at `/oauth2/*` of an error that is no refusal.
fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => "temporarily_unavailable",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request",
    }
}

/// The detail with the name of the field, for clients that show only the detail.
fn named(field: &str, detail: Cow<'static, str>) -> Cow<'static, str> {
    if detail.contains(field) { detail } else { format!("{field} {detail}").into() }
}

/// Whole seconds, at least one, so that a retry is not too early.
fn rounded_up(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

/// A full queue is load, the rest is breakage. Whatever meets every request is logged once a minute, with its
/// number; a corrupt record each time.
fn log(error: &StoreError) {
    static BUSY: RateLimitedLog = RateLimitedLog::new();
    static FULL: RateLimitedLog = RateLimitedLog::new();
    static BROKEN: RateLimitedLog = RateLimitedLog::new();
    match error {
        StoreError::Busy => {
            if let Some(requests) = BUSY.record_now() {
                tracing::warn!(%error, requests, "requests were rejected; at most one line a minute");
            }
        }
        StoreError::Full => {
            if let Some(requests) = FULL.record_now() {
                tracing::warn!(%error, requests, "requests were rejected; at most one line a minute");
            }
        }
        StoreError::Unavailable(_)
        | StoreError::Outage(_)
        | StoreError::GoneBack(_)
        | StoreError::Failed(_) => {
            if let Some(requests) = BROKEN.record_now() {
                tracing::error!(%error, requests, "requests failed; at most one line a minute");
            }
        }
        StoreError::Corrupt { .. } => tracing::error!(%error, "a request failed"),
    }
}

/// An answer with a JSON body.
pub fn json_response(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("a body has only text for keys");
    let mut response = Response::from(body);
    response.set_status(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

impl<B: ErrorBody> ErrorAnswer<B> {
    /// An error of this status.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code: code(status),
            detail: detail.into(),
            field: None,
            basic: false,
            bearer: None,
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(STORE_RETRY_AFTER_S),
            body: PhantomData,
        }
    }
}

impl<B: ErrorBody> From<Refused> for ErrorAnswer<B> {
    fn from(Refused { refusal, detail }: Refused) -> Self {
        let is_oauth = B::SURFACE == Surface::OAuth;
        let (oauth_status, code, v1_status) = row(&refusal);
        let status = if is_oauth { oauth_status } else { v1_status };
        let (field, detail) = match refusal {
            Refusal::Invalid { field } => (Some(field), named(field, detail)),
            Refusal::InvalidScope => (Some("scope"), detail),
            Refusal::InvalidTarget => (Some("audience"), detail),
            _ => (None, detail),
        };
        let bearer = match refusal {
            Refusal::InvalidToken => Some(INVALID_TOKEN),
            Refusal::InsufficientScope => Some(INSUFFICIENT_SCOPE),
            Refusal::LinkTooOld => Some(LINK_TOO_OLD),
            _ => (!is_oauth && status == StatusCode::UNAUTHORIZED).then_some(BEARER),
        };
        let retry_after_s = match refusal {
            Refusal::TooMany { retry_after } => Some(rounded_up(retry_after)),
            _ => None,
        };
        let (field, basic) = (field.map(Cow::Borrowed), refusal == Refusal::InvalidClient);
        Self { status, code, detail, field, basic, bearer, retry_after_s, body: PhantomData }
    }
}

impl<B: ErrorBody> From<StoreError> for ErrorAnswer<B> {
    /// The cause is in the log.
    fn from(error: StoreError) -> Self {
        log(&error);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable; try again later")
    }
}

impl<B: ErrorBody> From<engine::Error> for ErrorAnswer<B> {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Refused(refused) => refused.into(),
            engine::Error::Store(error) => error.into(),
        }
    }
}

impl<B: ErrorBody> From<ErrorAnswer<B>> for poem::Error {
    fn from(error: ErrorAnswer<B>) -> Self {
        Self::from_response(error.into_response())
    }
}

impl<B: ErrorBody> IntoResponse for ErrorAnswer<B> {
    fn into_response(mut self) -> Response {
        let (status, basic) = (self.status, self.basic.then_some(BASIC));
        let (bearer, retry_after_s) = (self.bearer.take(), self.retry_after_s);
        let mut response = json_response(status, B::MEDIA_TYPE, &B::of(self));
        let headers = response.headers_mut();
        for challenge in basic.into_iter().chain(bearer) {
            headers.append(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The entry in the document of an error with this status.
fn described<B: ErrorBody>((status, description): &(u16, &'static str)) -> MetaResponse {
    let one_header = |name: &str, description: &str, schema| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema,
    };
    let headers = match status {
        401 => vec![one_header("WWW-Authenticate", "The schemes that are accepted", String::schema_ref())],
        429 | 503 => vec![one_header("Retry-After", "Seconds to wait", u32::schema_ref())],
        _ => vec![],
    };
    let content = vec![MetaMediaType { content_type: B::MEDIA_TYPE, schema: B::schema_ref() }];
    MetaResponse { description, status: Some(*status), status_range: None, content, headers }
}

impl<B: ErrorBody> ApiResponse for ErrorAnswer<B> {
    fn meta() -> MetaResponses {
        MetaResponses { responses: B::STATUSES.iter().map(described::<B>).collect() }
    }

    fn register(registry: &mut Registry) {
        B::register(registry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::authenticate::PresentedCredentials;

    async fn sent(response: Response) -> (u16, serde_json::Value) {
        let status = response.status().as_u16();
        let body = response.into_body().into_vec().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn challenges(response: &Response) -> Vec<&str> {
        response.headers().get_all(header::WWW_AUTHENTICATE).iter().map(|v| v.to_str().unwrap()).collect()
    }

    #[test]
    fn a_401_names_each_accepted_scheme_int_30_int_31() {
        let refused = || OAuthError::from(Refusal::InvalidClient.because("no"));
        assert_eq!(challenges(&refused().into_response()), [r#"Basic realm="keyfob", charset="UTF-8""#]);
        assert_eq!(
            challenges(&refused().at_introspection(PresentedCredentials::None).into_response()),
            [r#"Basic realm="keyfob", charset="UTF-8""#, r#"Bearer realm="keyfob""#]
        );
        let problem = Problem::from(Refusal::InvalidClient.because("no"));
        assert_eq!(
            challenges(&problem.into_response()),
            [r#"Basic realm="keyfob", charset="UTF-8""#, r#"Bearer realm="keyfob""#]
        );
    }

    #[test]
    fn an_invalid_bearer_at_introspection_gets_invalid_token_int_34() {
        let error = OAuthError::from(Refusal::InvalidToken.because("no"))
            .at_introspection(PresentedCredentials::Bearer("t"));
        assert_eq!(error.status, 401);
        assert_eq!(challenges(&error.into_response()), [r#"Bearer realm="keyfob", error="invalid_token""#]);
    }

    #[test]
    fn a_bearer_that_may_not_introspect_is_401_and_a_client_403_int_35_int_37() {
        let error =
            |credentials| OAuthError::from(Refusal::Forbidden.because("no")).at_introspection(credentials);
        let (bearer, client) = (PresentedCredentials::Bearer("t"), PresentedCredentials::None);
        assert_eq!((error(bearer).status.as_u16(), error(bearer).code), (401, "insufficient_scope"));
        assert_eq!(
            challenges(&error(bearer).into_response()),
            [r#"Bearer realm="keyfob", error="insufficient_scope""#]
        );
        assert_eq!((error(client).status.as_u16(), error(client).code), (403, "unauthorized_client"));
        assert!(challenges(&error(client).into_response()).is_empty());
    }

    #[test]
    fn a_bearer_without_the_privilege_is_403_at_v1_ber_07() {
        let problem = Problem::from(Refusal::InsufficientScope.because("no"));
        assert_eq!(problem.status, 403);
        assert_eq!(
            challenges(&problem.into_response()),
            [r#"Bearer realm="keyfob", error="insufficient_scope""#]
        );
    }

    #[tokio::test]
    async fn a_broken_store_is_503_and_never_a_verdict_on_the_token_int_115_tok_20() {
        for error in [StoreError::Busy, StoreError::Failed("disk /dev/sda1 is gone".into())] {
            let response = OAuthError::from(error.clone()).into_response();
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            let (status, body) = sent(response).await;
            assert_eq!((status, &body["error"]), (503, &"temporarily_unavailable".into()));
            assert!(!body.to_string().contains("sda1"), "an internal cause travelled");

            let response = Problem::from(engine::Error::Store(error)).into_response();
            assert!(response.headers().contains_key(header::RETRY_AFTER));
            let (status, body) = sent(response).await;
            assert_eq!(status, 503);
            assert!(!body.to_string().contains("sda1"), "an internal cause travelled");
        }
    }

    #[tokio::test]
    async fn a_description_has_only_permitted_characters_tok_16() {
        let refused = Refusal::InvalidRequest.because("say \"a\\b\"\r\nŻółw\u{7f}");
        let (_, body) = sent(OAuthError::from(refused).into_response()).await;
        assert_eq!(body["error_description"], "say 'a?b'?????w?");
    }

    #[tokio::test]
    async fn a_problem_names_its_field_and_has_what_rfc_9457_requires() {
        let response =
            Problem::from(Refusal::Invalid { field: "subject" }.because("must have 1 to 256 bytes"))
                .into_response();
        assert_eq!(response.content_type(), Some("application/problem+json"));
        let (_, body) = sent(response).await;
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400,
            "detail": "subject must have 1 to 256 bytes", "field": "subject",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_wait_is_answered_in_whole_seconds_rounded_up_int_41() {
        let response =
            OAuthError::from(Refusal::TooMany { retry_after: Duration::from_millis(1_001) }.because("wait"))
                .into_response();
        assert_eq!((response.status().as_u16(), response.header("retry-after")), (429, Some("2")));
    }
}
