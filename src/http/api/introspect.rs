//! `POST /oauth2/introspect` (RFC 7662).

use std::sync::Arc;

use poem::{Endpoint, IntoResponse, Request, Response};
use poem_openapi::{Object, OpenApi, Union};
use serde::Serialize;

use crate::domain::refusal::Refused;
use crate::engine::Engine;
use crate::engine::introspect::Live;
use crate::http::document::Tag;
use crate::http::request::caller::Origin;
use crate::http::request::credentials::{Authorization, BasicFormOrBearer, merge};
use crate::http::request::form::{Form, FromForm, OAuthForm};
use crate::http::request::types::RawObject;
use crate::http::response::answer::Json;
use crate::http::response::error::OAuthError;
use crate::store::Store;

/// The introspection endpoint.
pub struct IntrospectApi<S>(pub Arc<Engine<S>>);

/// What to introspect.
#[derive(Debug, Object)]
struct IntrospectForm {
    /// An access token, a refresh token or a session token.
    token: String,
    /// `access_token` or `refresh_token`; a wrong hint does no harm.
    token_type_hint: Option<String>,
    /// The client's name, if it does not authenticate by header.
    client_id: Option<String>,
    /// The client's secret, if it does not authenticate by header.
    client_secret: Option<String>,
}

impl FromForm for IntrospectForm {
    const NAMES: &'static [&'static str] = &["token", "token_type_hint"];

    fn from_form(form: &mut Form) -> Result<Self, Refused> {
        Ok(Self {
            token: form.require("token")?,
            token_type_hint: form.take("token_type_hint")?,
            client_id: None,
            client_secret: None,
        })
    }
}

/// What is told of a token.
#[derive(Debug, Serialize, Union)]
#[serde(untagged)]
enum Introspection {
    /// It is good.
    Active(Box<ActiveToken>),
    /// It is not, or it is not for the caller; which of the many reasons is not told.
    Inactive(InactiveToken),
}

/// A token that is not good, or not for the caller.
#[derive(Debug, Serialize, Object)]
#[oai(deny_unknown_fields)]
struct InactiveToken {
    /// Always false.
    active: bool,
}

/// A good token. Times are seconds since 1970.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "snake_case")]
struct ActiveToken {
    /// Always true.
    active: bool,
    /// Who issued it.
    iss: String,
    /// Whom it speaks for.
    sub: String,
    /// The same as `sub`, for a person's token.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    /// To whom it was issued.
    client_id: String,
    /// For whom it is meant; only access tokens have it.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    /// What it allows: names joined by spaces.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    /// `Bearer`, for access tokens.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    /// When it expires.
    exp: i64,
    /// When it was issued, for access tokens.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    /// From when it is good, for access tokens.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<i64>,
    /// Its name, for access tokens.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// The session it lives by.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    /// How its subject authenticated.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    /// By which methods.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    amr: Option<Vec<String>>,
    /// When its subject authenticated.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    /// The session's own claims.
    #[oai(skip_serializing_if_is_none)]
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<RawObject>,
    /// The position in the event log at which this was true: a cursor.
    feed_seq: String,
}

#[OpenApi]
impl<S: Store> IntrospectApi<S> {
    /// Is this token good?
    ///
    /// Answers from the store at this moment: what was revoked is inactive in the next answer. Needs the
    /// permission `introspect`; a client learns only of tokens issued to it or meant for a resource that it
    /// serves, and of refresh and session tokens of sessions that it opened. Everything else looks the same:
    /// exactly `{"active":false}`.
    #[oai(path = "/oauth2/introspect", method = "post", tag = "Tag::OAuth", operation_id = "introspect")]
    async fn introspect(
        &self,
        authorization: Authorization<BasicFormOrBearer>,
        form: OAuthForm<IntrospectForm>,
        origin: Origin,
    ) -> Result<Json<Introspection>, OAuthError> {
        let credentials = merge(authorization.presented, form.client)?;
        let by_bearer = credentials.is_bearer();
        let failed = |error| OAuthError::from(error).at_introspection(by_bearer);
        let who = self.0.authenticate(credentials.as_engine(), origin.0).await.map_err(failed)?;
        let live = self.0.introspect(&who, &form.fields.token).await.map_err(failed)?;
        Ok(Json(match live {
            None => Introspection::Inactive(InactiveToken { active: false }),
            Some(live) => Introspection::Active(Box::new(ActiveToken::new(live, &self.0.rules().issuer))),
        }))
    }
}

/// The same without the router, for [`crate::http::wire::Wire::without_router`].
impl<S: Store> Endpoint for IntrospectApi<S> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let (request, mut body) = request.split();
        let authorization = Authorization::<BasicFormOrBearer>::of(&request);
        let form = OAuthForm::<IntrospectForm>::take(&request, &mut body).await?;
        let origin = Origin::of(&request);
        Ok(self.introspect(authorization, form, origin).await?.into_response())
    }
}

impl ActiveToken {
    fn new(live: Live, issuer: &str) -> Self {
        let active = live.active;
        let (acr, amr, auth_time) = match active.authentication {
            None => (None, None, None),
            Some(authentication) => {
                let amr: Vec<String> = authentication.amr.into_iter().map(String::from).collect();
                (
                    authentication.acr.map(String::from),
                    (!amr.is_empty()).then_some(amr),
                    Some(authentication.at.seconds()),
                )
            }
        };
        let sub = String::from(active.subject.as_str());
        Self {
            active: true,
            iss: issuer.into(),
            username: active.session.is_some().then(|| sub.clone()),
            sub,
            client_id: active.client_id.as_str().into(),
            token_type: active.audience.is_some().then(|| "Bearer".into()),
            aud: active.audience.map(String::from),
            scope: (!active.scope.is_empty()).then(|| active.scope.as_str().into()),
            exp: active.expires_at,
            iat: active.issued_at,
            nbf: active.not_before,
            jti: active.id.map(|id| id.to_string()),
            sid: active.session.map(|id| id.to_string()),
            acr,
            amr,
            auth_time,
            claims: active.claims.and_then(|claims| RawObject::from_text(claims.0.into())),
            feed_seq: live.as_of.to_string(),
        }
    }
}
