//! `POST /v1/sessions/check`: a backend asks whether a token is valid and its session meets the requirements.

use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Object, OpenApi, Union};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::gate::{Denied, Gate};
use crate::domain::scope::ScopeSet;
use crate::engine::Engine;
use crate::engine::check::CheckedToken;
use crate::engine::read::View;
use crate::http::api::forward_auth::{accepted_classes, explained};
use crate::http::api::session_object::SessionObject;
use crate::http::document::Tag;
use crate::http::request::{
    AcrValues, Authorization, BasicOrBearer, DateTime, JsonBody, Parsed, RawObject, RequiredScope, Text,
    WHOLE_MAX, Whole, names_nothing,
};
use crate::http::response::{Json, PROBLEM_JSON, Problem, json_response};
use crate::store::{Store, StoreError};

/// The check of a token.
pub struct CheckApi<S>(pub Arc<Engine<S>>);

/// A token, and what its session must meet.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct CheckBody {
    /// A session token or an access token.
    token: String,
    /// Required scope names, joined by spaces; all must be granted.
    scope: Option<Text<RequiredScope>>,
    /// Accepted authentication context classes, joined by spaces.
    acr: Option<Text<AcrValues>>,
    /// The largest number of seconds since the subject authenticated.
    max_age: Option<Whole<0, WHOLE_MAX>>,
    /// `false`: does not count as activity.
    touch: Option<bool>,
}

/// The answer to a check: `active` alone unless the token is valid and the caller may check it.
#[skip_serializing_none]
#[derive(Default, Serialize, Deserialize, Object)]
pub struct CheckAnswer {
    /// Whether the token is valid and the caller may check it.
    pub active: bool,
    /// The session.
    pub session: Option<CheckedSession>,
    /// The token.
    pub token: Option<TokenObject>,
    /// The position in the event log at which this answer was true: a cursor.
    pub feed_seq: Option<String>,
}

/// The facts of a checked token.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
#[oai(rename = "CheckedToken")]
pub struct TokenObject {
    /// `session` or `access`.
    pub kind: String,
    /// The granted scope: names joined by spaces.
    pub scope: String,
    /// The audience of an access token.
    pub audience: Option<String>,
    /// The family of an access token, if it was issued in one.
    pub family: Option<u16>,
    /// When the token expires; for a session token, when its session does without further activity.
    pub expires_at: DateTime,
}

/// A session as a caller may see it: as a read shows it, or what its tokens contain.
#[derive(Serialize, Deserialize, Union)]
#[serde(untagged)]
pub enum CheckedSession {
    Whole(Box<SessionObject>),
    Part(SessionPart),
}

/// The part of a session that is shown to a caller that may not read the whole.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct SessionPart {
    /// Its identifier, `sid` in tokens.
    pub id: String,
    /// The subject that signed in.
    pub subject: String,
    /// The client that the session was opened for.
    pub client_id: String,
    /// The authentication context class that the subject reached (RFC 9470).
    pub acr: Option<String>,
    /// The methods that the subject authenticated with (RFC 8176).
    pub amr: Vec<String>,
    /// When the subject last authenticated.
    pub authenticated_at: DateTime,
    /// When it expires without further activity.
    pub idle_expires_at: DateTime,
    /// When it expires at the latest; only a renewal moves it.
    pub expires_at: DateTime,
    /// Included in its tokens and in introspection.
    pub claims: RawObject,
}

/// A problem that may be an unmet requirement: then it has `error`, the requirements, and the session.
#[skip_serializing_none]
#[derive(Serialize, Object)]
struct UnmetRequirement {
    /// Always `about:blank`: the status says what it is.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong and what would be right, for people.
    detail: String,
    /// `insufficient_user_authentication` (RFC 9470) or `insufficient_scope` (RFC 6750). Absent if the caller
    /// itself lacks the permission.
    error: Option<String>,
    /// The accepted authentication context classes, as the request named them.
    acr_values: Option<String>,
    /// The largest number of seconds since the subject authenticated, as the request named it.
    max_age: Option<u64>,
    /// The required scope.
    scope: Option<String>,
    /// The session, which is valid: it can be renewed.
    session: Option<CheckedSession>,
}

/// An error of a check: a [`Problem`], or an unmet requirement.
struct CheckError(poem::Error);

#[OpenApi]
impl<S: Store> CheckApi<S> {
    /// Check a token.
    ///
    /// Whether a token is valid for the caller and its session meets the requirements. Session tokens: for the
    /// client that opened the session and the one it was opened for. Access tokens of a session: as at
    /// introspection. Every other token, also a client's own, is exactly `{"active":false}`. Needs the permission
    /// `introspect`. Counts as activity when the requirements are met, unless `touch` is false. 403 with `error`: a
    /// requirement is not met. Callers that may not read the session get fewer members of it.
    #[oai(path = "/v1/sessions/check", method = "post", tag = "Tag::Sessions", operation_id = "checkSession")]
    async fn check(
        &self,
        authorization: Authorization<BasicOrBearer>,
        body: JsonBody<CheckBody>,
    ) -> Result<Json<CheckAnswer>, CheckError> {
        let caller = authorization.caller(&self.0).await?;
        let body = body.read()?;
        let gate = body.gate()?;
        let checked = self.0.check(&caller, &body.token, &gate, body.touch.unwrap_or(true)).await;
        let Some(checked) = checked.map_err(Problem::from)? else { return Ok(Json(CheckAnswer::default())) };
        let session = CheckedSession::new(checked.view, checked.may_read).map_err(Problem::from)?;
        if let Some(denied) = checked.denied {
            return Err(UnmetRequirement::new(denied, body, &gate, session).into());
        }
        Ok(Json(CheckAnswer {
            active: true,
            session: Some(session),
            token: Some(checked.token.into()),
            feed_seq: Some(checked.as_of.to_string()),
        }))
    }
}

impl CheckBody {
    fn gate(&self) -> Result<Gate, Problem> {
        if self.acr.as_deref().is_some_and(names_nothing) {
            return Err(Problem::invalid("acr", "names no class; leave it out to require none"));
        }
        Ok(Gate {
            scope: self.scope.as_deref().map(ScopeSet::required).transpose()?.unwrap_or_default(),
            clients: vec![],
            acr: self.acr.as_deref().map(accepted_classes).unwrap_or_default(),
            max_age: self.max_age.map(|max_age| Duration::from_secs(max_age.0)),
        })
    }
}

impl CheckedSession {
    fn new(view: View, may_read: bool) -> Result<Self, StoreError> {
        let session = SessionObject::new(view)?;
        if may_read {
            return Ok(Self::Whole(Box::new(session)));
        }
        let SessionObject { id, subject, client_id, acr, amr, authenticated_at, .. } = session;
        let SessionObject { idle_expires_at, expires_at, claims, .. } = session;
        let part = SessionPart {
            id,
            subject,
            client_id,
            acr,
            amr,
            authenticated_at,
            idle_expires_at,
            expires_at,
            claims,
        };
        Ok(Self::Part(part))
    }
}

impl From<CheckedToken> for TokenObject {
    fn from(token: CheckedToken) -> Self {
        Self {
            kind: if token.audience.is_some() { "access" } else { "session" }.into(),
            scope: token.scope.to_string(),
            audience: token.audience.map(Into::into),
            family: token.family,
            expires_at: Parsed(token.expires_at),
        }
    }
}

impl UnmetRequirement {
    fn new(denied: Denied, required: CheckBody, gate: &Gate, session: CheckedSession) -> Self {
        let (error, detail) = explained(denied);
        Self {
            r#type: "about:blank".into(),
            title: "Forbidden".into(),
            status: StatusCode::FORBIDDEN.as_u16(),
            detail: detail.into(),
            error: Some(error.into()),
            acr_values: required.acr.map(|text| text.0),
            max_age: required.max_age.map(|max_age| max_age.0),
            scope: required.scope.map(|_| gate.scope.to_string()),
            session: Some(session),
        }
    }
}

impl From<Problem> for CheckError {
    fn from(problem: Problem) -> Self {
        Self(problem.into())
    }
}

impl From<UnmetRequirement> for CheckError {
    fn from(body: UnmetRequirement) -> Self {
        let response = json_response(StatusCode::FORBIDDEN, PROBLEM_JSON, &body);
        Self(poem::Error::from_response(response))
    }
}

impl From<CheckError> for poem::Error {
    fn from(error: CheckError) -> Self {
        error.0
    }
}

impl ApiResponse for CheckError {
    /// The problems of every route; that of 403 has further members.
    fn meta() -> MetaResponses {
        let mut meta = Problem::meta();
        let forbidden = meta.responses.iter_mut().filter(|answer| answer.status == Some(403));
        for content in forbidden.flat_map(|answer| &mut answer.content) {
            content.schema = UnmetRequirement::schema_ref();
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Problem::register(registry);
        UnmetRequirement::register(registry);
    }
}
