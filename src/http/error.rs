//! The one table from a refusal to what travels: its status, its code, its headers and its body.

use std::borrow::Cow;
use std::time::Duration;

use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object};
use serde::Serialize;

use crate::domain::refusal::{Refusal, Refused};
use crate::engine;
use crate::store::StoreError;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// How we ask for client credentials.
const BASIC_CHALLENGE: &str = r#"Basic realm="keyfob", charset="UTF-8""#;
/// What says that a person need not look at it again before this many seconds: a store that is closing takes a moment.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// What a 401 or 403 says about bearer tokens (RFC 6750 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerChallenge {
    /// A bearer token is accepted here; none was presented.
    Accepted,
    /// The one presented is not good.
    InvalidToken,
    /// The one presented does not carry the privilege.
    InsufficientScope,
}

impl BearerChallenge {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => r#"Bearer realm="keyfob""#,
            Self::InvalidToken => r#"Bearer realm="keyfob", error="invalid_token""#,
            Self::InsufficientScope => r#"Bearer realm="keyfob", error="insufficient_scope""#,
        }
    }
}

/// What a refusal is on both surfaces: THE table.
struct Row {
    /// The status at `/oauth2/*`, and the code that goes with it.
    oauth: (StatusCode, &'static str),
    /// The status at `/v1/*`.
    v1: StatusCode,
}

fn row(refusal: &Refusal) -> Row {
    use StatusCode as S;
    let row = |oauth_status, code, v1| Row { oauth: (oauth_status, code), v1 };
    match refusal {
        Refusal::InvalidRequest | Refusal::Invalid { .. } => row(S::BAD_REQUEST, "invalid_request", S::BAD_REQUEST),
        Refusal::InvalidClient => row(S::UNAUTHORIZED, "invalid_client", S::UNAUTHORIZED),
        Refusal::UnauthorizedClient => row(S::BAD_REQUEST, "unauthorized_client", S::FORBIDDEN),
        Refusal::InvalidToken => row(S::UNAUTHORIZED, "invalid_token", S::UNAUTHORIZED),
        Refusal::InsufficientScope => row(S::UNAUTHORIZED, "insufficient_scope", S::FORBIDDEN),
        Refusal::UnsupportedGrantType => row(S::BAD_REQUEST, "unsupported_grant_type", S::BAD_REQUEST),
        Refusal::InvalidGrant => row(S::BAD_REQUEST, "invalid_grant", S::BAD_REQUEST),
        Refusal::InvalidScope => row(S::BAD_REQUEST, "invalid_scope", S::BAD_REQUEST),
        Refusal::InvalidTarget => row(S::BAD_REQUEST, "invalid_target", S::BAD_REQUEST),
        Refusal::Forbidden => row(S::FORBIDDEN, "unauthorized_client", S::FORBIDDEN),
        Refusal::NotFound => row(S::BAD_REQUEST, "invalid_request", S::NOT_FOUND),
        Refusal::Conflict | Refusal::SessionsFull => row(S::BAD_REQUEST, "invalid_request", S::CONFLICT),
        Refusal::PreconditionFailed => row(S::BAD_REQUEST, "invalid_request", S::PRECONDITION_FAILED),
        Refusal::TooMany { .. } => row(S::TOO_MANY_REQUESTS, "temporarily_unavailable", S::TOO_MANY_REQUESTS),
    }
}

/// An error at `/oauth2/*` (RFC 6749 §5.2).
#[derive(Debug, PartialEq, Eq)]
pub struct OAuthError {
    status: StatusCode,
    code: &'static str,
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

    /// The same, as introspection says it: bearer tokens are accepted there too, and a bearer whose client may not introspect is 401, not 403
    /// (RFC 7662 §2.3; INT-30, INT-34, INT-35).
    pub fn at_introspection(mut self, by_bearer: bool) -> Self {
        if by_bearer && self.status == StatusCode::FORBIDDEN {
            (self.status, self.code) = (StatusCode::UNAUTHORIZED, "insufficient_scope");
            self.bearer = Some(BearerChallenge::InsufficientScope);
        } else if self.status == StatusCode::UNAUTHORIZED && self.bearer.is_none() {
            self.bearer = Some(BearerChallenge::Accepted);
        }
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refused> for OAuthError {
    fn from(refused: Refused) -> Self {
        let (status, code) = row(&refused.refusal).oauth;
        let description = match refused.refusal {
            Refusal::Invalid { field } if !refused.detail.starts_with(field) => format!("{field}: {}", refused.detail).into(),
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
        let body = OAuthErrorBody { error: self.code.to_owned(), error_description: in_the_permitted_set(&self.description) };
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

/// An error at `/v1/*` (RFC 9457). Its `type` is `about:blank`: the status says what it is, `detail` and `field` say what to mend.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    basic: bool,
    bearer: Option<BearerChallenge>,
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
        Self { status, detail: detail.into(), field: None, basic: false, bearer: None, retry_after }
    }

    /// A 400 about one field of the request.
    pub fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// The same, asking for a bearer token as well.
    pub fn or_bearer(mut self) -> Self {
        if self.status == StatusCode::UNAUTHORIZED {
            self.bearer = self.bearer.or(Some(BearerChallenge::Accepted));
        }
        self
    }

    /// The same, asking only for a bearer token: browsers open a password window when they are asked for Basic.
    pub fn only_bearer(mut self) -> Self {
        self.basic = false;
        self.or_bearer()
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let field = match refused.refusal {
            Refusal::Invalid { field } => Some(Cow::Borrowed(field)),
            _ => None,
        };
        let status = row(&refused.refusal).v1;
        Self {
            status,
            field,
            basic: refused.refusal == Refusal::InvalidClient,
            bearer: bearer_challenge(&refused.refusal).or((status == StatusCode::UNAUTHORIZED).then_some(BearerChallenge::Accepted)),
            retry_after: retry_after(&refused.refusal),
            detail: refused.detail,
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

/// What a caller learns when the store cannot answer. The cause is in the log.
const UNAVAILABLE: &str = "the store cannot answer now; try again";

/// A full queue is load, the rest is breakage.
fn log(error: &StoreError) {
    match error {
        StoreError::Busy => tracing::warn!(%error, "a request was turned away"),
        _ => tracing::error!(%error, "a request failed"),
    }
}

fn bearer_challenge(refusal: &Refusal) -> Option<BearerChallenge> {
    match refusal {
        Refusal::InvalidToken => Some(BearerChallenge::InvalidToken),
        Refusal::InsufficientScope => Some(BearerChallenge::InsufficientScope),
        _ => None,
    }
}

fn retry_after(refusal: &Refusal) -> Option<Duration> {
    match refusal {
        Refusal::TooMany { retry_after } => Some(*retry_after),
        _ => None,
    }
}

/// `error_description` holds only %x20-21, %x23-5B and %x5D-7E (RFC 6749 §5.2, TOK-16); all else becomes an apostrophe or a question mark.
fn in_the_permitted_set(text: &str) -> String {
    let permitted = |c| match c {
        '"' => '\'',
        '\\' => '?',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().map(permitted).collect()
}

/// An answer with a JSON body.
pub(super) fn json_response(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("a body has only text for keys");
    let mut response = Response::from(body);
    response.set_status(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn put_headers(response: &mut Response, basic: bool, bearer: Option<BearerChallenge>, retry_after: Option<Duration>) {
    let headers = response.headers_mut();
    if basic {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(BASIC_CHALLENGE));
    }
    if let Some(bearer) = bearer {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(bearer.as_str()));
    }
    if let Some(after) = retry_after {
        // Whole seconds, rounded up: who comes back then is not too early.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
}

fn meta(content_type: &'static str, schema: MetaSchemaRef, statuses: &[(u16, &'static str)]) -> MetaResponses {
    let one_header = |name: &str, description: &str, schema| MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema,
    };
    let headers = |status| match status {
        401 => vec![one_header("WWW-Authenticate", "The schemes that are accepted", String::schema_ref())],
        429 | 503 => vec![one_header("Retry-After", "Seconds to wait", u32::schema_ref())],
        _ => vec![],
    };
    let response = |(status, description): &(u16, &'static str)| MetaResponse {
        description,
        status: Some(*status),
        status_range: None,
        content: vec![MetaMediaType { content_type, schema: schema.clone() }],
        headers: headers(*status),
    };
    MetaResponses { responses: statuses.iter().map(response).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            challenges(&refused().at_introspection(false).into_response()),
            [r#"Basic realm="keyfob", charset="UTF-8""#, r#"Bearer realm="keyfob""#]
        );
        let problem = Problem::from(Refusal::InvalidClient.because("no"));
        assert_eq!(challenges(&problem.into_response()), [r#"Basic realm="keyfob", charset="UTF-8""#, r#"Bearer realm="keyfob""#]);
    }

    #[test]
    fn a_bad_bearer_at_introspection_is_told_so_int_34() {
        let error = OAuthError::from(Refusal::InvalidToken.because("no")).at_introspection(true);
        assert_eq!(error.status(), 401);
        assert_eq!(challenges(&error.into_response()), [r#"Bearer realm="keyfob", error="invalid_token""#]);
    }

    #[test]
    fn a_bearer_that_may_not_introspect_is_401_and_a_client_403_int_35_int_37() {
        let error = |by_bearer| OAuthError::from(Refusal::Forbidden.because("no")).at_introspection(by_bearer);
        assert_eq!((error(true).status().as_u16(), error(true).code), (401, "insufficient_scope"));
        assert_eq!(challenges(&error(true).into_response()), [r#"Bearer realm="keyfob", error="insufficient_scope""#]);
        assert_eq!((error(false).status().as_u16(), error(false).code), (403, "unauthorized_client"));
        assert!(challenges(&error(false).into_response()).is_empty());
    }

    #[test]
    fn a_bearer_without_the_privilege_is_403_at_v1_ber_07() {
        let problem = Problem::from(Refusal::InsufficientScope.because("no"));
        assert_eq!(problem.status(), 403);
        assert_eq!(challenges(&problem.into_response()), [r#"Bearer realm="keyfob", error="insufficient_scope""#]);
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
    async fn a_problem_names_its_field_and_tells_what_rfc_9457_asks_for() {
        let response = Problem::from(Refusal::Invalid { field: "subject" }.because("1 to 256 bytes")).into_response();
        assert_eq!(response.content_type(), Some("application/problem+json"));
        let (_, body) = sent(response).await;
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "1 to 256 bytes", "field": "subject",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up_int_41() {
        let response = OAuthError::from(Refusal::TooMany { retry_after: Duration::from_millis(1_001) }.because("wait")).into_response();
        assert_eq!((response.status().as_u16(), response.header("retry-after")), (429, Some("2")));
    }
}
