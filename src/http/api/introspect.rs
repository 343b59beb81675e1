//! `POST /oauth2/introspect` (RFC 7662).

use std::sync::Arc;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::access::Authentication;
use crate::domain::caller::Caller;
use crate::domain::refusal::Refused;
use crate::engine::Engine;
use crate::engine::introspect::ActiveAt;
use crate::http::direct::OAuthEndpoint;
use crate::http::document::Tag;
use crate::http::request::{Authorization, BasicFormOrBearer, Form, FromForm, OAuthForm, RawObject, merge};
use crate::http::response::{Json, OAuthError};
use crate::store::{Store, StoreError};

/// The introspection endpoint.
pub struct IntrospectApi<S>(pub Arc<Engine<S>>);

/// An introspection request (RFC 7662 §2.1).
#[derive(Debug, Default, Object)]
pub struct IntrospectForm {
    /// An access token, a refresh token or a session token.
    #[oai(validator(min_length = 1))]
    token: String,
    /// `access_token` or `refresh_token`. It changes nothing: the form of the token shows its type.
    token_type_hint: Option<String>,
    /// Through the admin socket: answer as for this client, with the reason for an inactive token. Elsewhere
    /// it is ignored.
    #[oai(skip)]
    r#as: Option<String>,
    /// The client, if it does not authenticate by header.
    client_id: Option<String>,
    /// The secret of the client, if it does not authenticate by header.
    client_secret: Option<String>,
}

impl FromForm for IntrospectForm {
    const NAMES: &'static [&'static str] = &["token", "token_type_hint", "as"];

    fn from_form(form: &mut Form) -> Result<Self, Refused> {
        Ok(Self { token: form.require("token")?, r#as: form.take("as")?, ..Self::default() })
    }
}

/// The state of a token (RFC 7662 §2.2): `active` alone unless the token is valid and the caller may introspect
/// it. Times are seconds since 1970.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize, Deserialize, Object)]
pub struct Introspection {
    /// Whether the token is valid and the caller may introspect it.
    pub active: bool,
    /// Through the admin socket with `as`: a word for why the token is inactive, and a sentence.
    #[oai(skip)]
    pub reason: Option<String>,
    #[oai(skip)]
    pub explanation: Option<String>,
    /// The issuer.
    pub iss: Option<String>,
    /// The subject that signed in; the client itself for a token without a session.
    pub sub: Option<String>,
    /// The same as `sub`, for a token of a session.
    pub username: Option<String>,
    /// The client that the token was issued to.
    pub client_id: Option<String>,
    /// The audience, for access tokens.
    pub aud: Option<String>,
    /// The granted scope: names joined by spaces.
    pub scope: Option<String>,
    /// `Bearer`, for access tokens.
    pub token_type: Option<String>,
    /// When the token expires.
    pub exp: Option<i64>,
    /// When the token was issued, for access tokens.
    pub iat: Option<i64>,
    /// From when the token is valid, for access tokens.
    pub nbf: Option<i64>,
    /// The identifier of the access token.
    pub jti: Option<String>,
    /// The identifier of the session.
    pub sid: Option<String>,
    /// The authentication context class that the subject authenticated with (RFC 9470).
    pub acr: Option<String>,
    /// The methods that the subject authenticated with (RFC 8176).
    pub amr: Option<Vec<String>>,
    /// When the subject authenticated.
    pub auth_time: Option<i64>,
    /// The claims of the session.
    pub claims: Option<RawObject>,
    /// The position in the event log at which this answer was true: a cursor.
    pub feed_seq: Option<String>,
}

#[OpenApi]
impl<S: Store> IntrospectApi<S> {
    /// Introspect a token.
    ///
    /// Answers from the current state of the store: a revoked token is inactive in the next answer. Needs the
    /// permission `introspect`. A client can introspect access tokens that were issued to it or whose
    /// audience it serves, and refresh and session tokens that were issued to it or whose session it opened.
    /// For every other token the answer is exactly `{"active":false}`.
    #[oai(path = "/oauth2/introspect", method = "post", tag = "Tag::OAuth", operation_id = "introspect")]
    async fn introspect(
        &self,
        authorization: Authorization<BasicFormOrBearer>,
        form: OAuthForm<IntrospectForm>,
    ) -> Result<Json<Introspection>, OAuthError> {
        self.answer_for(&authorization, &form).await
    }
}

impl<S: Store> OAuthEndpoint for IntrospectApi<S> {
    type Schemes = BasicFormOrBearer;
    type Form = IntrospectForm;
    type Answer = Json<Introspection>;

    async fn answer_for(
        &self,
        authorization: &Authorization<BasicFormOrBearer>,
        form: &OAuthForm<IntrospectForm>,
    ) -> Result<Json<Introspection>, OAuthError> {
        let credentials = merge(&authorization.header, &form.client)?;
        let failed = |error| OAuthError::from(error).at_introspection(credentials);
        let who = self.0.authenticate(credentials, authorization.source).await.map_err(failed)?;
        if let (Caller::AdminSocket, Some(client)) = (&who.caller, &form.fields.r#as) {
            let operator = who.caller.require().map_err(|refused| failed(refused.into()))?;
            return Ok(Json(
                match self.0.introspect_as(&operator, client, &form.fields.token).await.map_err(failed)? {
                    Err(why) => Introspection {
                        reason: Some(why.code().into()),
                        explanation: Some(why.to_string()),
                        ..Introspection::default()
                    },
                    Ok(live) => Introspection::active(live, &self.0.rules.issuer)?,
                },
            ));
        }
        let caller = self.0.may_introspect(&who).map_err(|refused| failed(refused.into()))?;
        let live = self.0.introspect(&caller, &form.fields.token).await.map_err(failed)?;
        Ok(Json(match live {
            None => Introspection::default(),
            Some(live) => Introspection::active(live, &self.0.rules.issuer)?,
        }))
    }
}

impl Introspection {
    pub(crate) fn active(live: ActiveAt, issuer: &str) -> Result<Self, StoreError> {
        let active = live.active;
        let (acr, amr, auth_time) = match active.authentication {
            Some(Authentication { acr, amr, at }) => (acr, amr, Some(at.seconds())),
            None => (None, vec![], None),
        };
        let claims = active.claims.zip(active.session);
        let claims = claims
            .map(|(claims, session)| RawObject::stored(Some(&claims.0), session, "its claims are not JSON"));
        let sid = active.session.map(|id| id.to_string());
        let sub = String::from(active.subject);
        Ok(Self {
            active: true,
            reason: None,
            explanation: None,
            iss: Some(issuer.into()),
            username: sid.is_some().then(|| sub.clone()),
            sub: Some(sub),
            client_id: Some(active.client_id.into()),
            token_type: active.audience.is_some().then(|| "Bearer".into()),
            aud: active.audience.map(String::from),
            scope: (!active.scope.is_empty()).then(|| active.scope.into()),
            exp: Some(active.expires_at),
            iat: active.issued_at,
            nbf: active.not_before,
            jti: active.id.map(|id| id.to_string()),
            sid,
            acr: acr.map(String::from),
            amr: (!amr.is_empty()).then(|| amr.into_iter().map(String::from).collect()),
            auth_time,
            claims: claims.transpose()?,
            feed_seq: Some(live.as_of.to_string()),
        })
    }
}
