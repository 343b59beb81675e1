//! The one table from a refusal to a response: status, code, headers and body.

mod oauth;
mod problem;

use std::borrow::Cow;
use std::time::Duration;

use poem::Response;
use poem::http::{HeaderValue, StatusCode, header};
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, MetaSchemaRef};
use poem_openapi::types::Type;
use serde::Serialize;

pub use self::oauth::OAuthError;
pub use self::problem::Problem;
use crate::domain::refusal::Refusal;
use crate::meter::RateLimitedLog;
use crate::store::StoreError;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The challenge for client credentials.
const BASIC_CHALLENGE: &str = r#"Basic realm="keyfob", charset="UTF-8""#;
/// `Retry-After` of a 503: enough for a write queue to drain, or a restart.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// The `Bearer` challenge of a 401 or 403 (RFC 6750 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerChallenge {
    /// A bearer token is accepted; the request had none.
    Accepted,
    /// The token is invalid.
    InvalidToken,
    /// The token does not have the privilege.
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

/// The response to a refusal on both surfaces.
struct Row {
    /// The status at `/oauth2/*`, and the code that goes with it.
    oauth: (StatusCode, &'static str),
    /// The status at `/v1/*`.
    v1: StatusCode,
}

/// The detail with the name of the field, for clients that show only the detail.
fn named(field: &str, detail: Cow<'static, str>) -> Cow<'static, str> {
    if detail.contains(field) { detail } else { format!("{field} {detail}").into() }
}

fn row(refusal: &Refusal) -> Row {
    use StatusCode as S;
    let row = |oauth_status, code, v1| Row { oauth: (oauth_status, code), v1 };
    match refusal {
        Refusal::InvalidRequest | Refusal::Invalid { .. } => {
            row(S::BAD_REQUEST, "invalid_request", S::BAD_REQUEST)
        }
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
        Refusal::Gone => row(S::BAD_REQUEST, "invalid_request", S::GONE),
        Refusal::PreconditionFailed => row(S::BAD_REQUEST, "invalid_request", S::PRECONDITION_FAILED),
        Refusal::TooMany { .. } => row(S::TOO_MANY_REQUESTS, "temporarily_unavailable", S::TOO_MANY_REQUESTS),
    }
}

/// The detail of a 503 of the store. The cause is in the log.
const UNAVAILABLE: &str = "the store is unavailable; try again later";

/// A full queue is load, the rest is breakage. Whatever meets every request is logged once a minute, with its
/// number; a corrupt record each time.
fn log(error: &StoreError) {
    static BUSY: RateLimitedLog = RateLimitedLog::new();
    static BROKEN: RateLimitedLog = RateLimitedLog::new();
    match error {
        StoreError::Busy => {
            if let Some(requests) = BUSY.record_now() {
                tracing::warn!(%error, requests, "requests were rejected; at most one line a minute");
            }
        }
        StoreError::Unavailable(_) | StoreError::Failed(_) => {
            if let Some(requests) = BROKEN.record_now() {
                tracing::error!(%error, requests, "requests failed; at most one line a minute");
            }
        }
        StoreError::Corrupt { .. } => tracing::error!(%error, "a request failed"),
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

/// An answer with a JSON body.
pub(crate) fn json_response(status: StatusCode, media_type: &'static str, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("a body has only text for keys");
    let mut response = Response::from(body);
    response.set_status(status);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

fn put_headers(
    response: &mut Response,
    basic: bool,
    bearer: Option<BearerChallenge>,
    retry_after: Option<Duration>,
) {
    let headers = response.headers_mut();
    if basic {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(BASIC_CHALLENGE));
    }
    if let Some(bearer) = bearer {
        headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(bearer.as_str()));
    }
    if let Some(after) = retry_after {
        // Whole seconds, rounded up, so that a retry is not too early.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
}

fn meta(
    content_type: &'static str,
    schema: MetaSchemaRef,
    statuses: &[(u16, &'static str)],
) -> MetaResponses {
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
    use poem::IntoResponse;

    use super::*;
    use crate::engine;
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
    fn a_bad_bearer_at_introspection_is_told_so_int_34() {
        let error = OAuthError::from(Refusal::InvalidToken.because("no"))
            .at_introspection(PresentedCredentials::Bearer("t"));
        assert_eq!(error.status(), 401);
        assert_eq!(challenges(&error.into_response()), [r#"Bearer realm="keyfob", error="invalid_token""#]);
    }

    #[test]
    fn a_bearer_that_may_not_introspect_is_401_and_a_client_403_int_35_int_37() {
        let error =
            |credentials| OAuthError::from(Refusal::Forbidden.because("no")).at_introspection(credentials);
        let (bearer, client) = (PresentedCredentials::Bearer("t"), PresentedCredentials::None);
        assert_eq!((error(bearer).status().as_u16(), error(bearer).code), (401, "insufficient_scope"));
        assert_eq!(
            challenges(&error(bearer).into_response()),
            [r#"Bearer realm="keyfob", error="insufficient_scope""#]
        );
        assert_eq!((error(client).status().as_u16(), error(client).code), (403, "unauthorized_client"));
        assert!(challenges(&error(client).into_response()).is_empty());
    }

    #[test]
    fn a_bearer_without_the_privilege_is_403_at_v1_ber_07() {
        let problem = Problem::from(Refusal::InsufficientScope.because("no"));
        assert_eq!(problem.status(), 403);
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
    async fn a_problem_names_its_field_and_tells_what_rfc_9457_asks_for() {
        let response =
            Problem::from(Refusal::Invalid { field: "subject" }.because("must have 1 to 256 bytes"))
                .into_response();
        assert_eq!(response.content_type(), Some("application/problem+json"));
        let (_, body) = sent(response).await;
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Bad Request", "status": 400, "detail": "subject must have 1 to 256 bytes", "field": "subject",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_wait_is_told_in_whole_seconds_rounded_up_int_41() {
        let response =
            OAuthError::from(Refusal::TooMany { retry_after: Duration::from_millis(1_001) }.because("wait"))
                .into_response();
        assert_eq!((response.status().as_u16(), response.header("retry-after")), (429, Some("2")));
    }
}
