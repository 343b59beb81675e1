//! `POST /oauth2/token`: refresh and client credentials (RFC 6749 §4.4, §6).

use std::sync::Arc;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::caller::Caller;
use crate::domain::client::Grant;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::scope::ScopeSet;
use crate::engine::Engine;
use crate::engine::issue::Issued;
use crate::http::direct::OAuthEndpoint;
use crate::http::document::Tag;
use crate::http::request::{Authorization, BasicOrForm, Form, FromForm, OAuthForm, Text, merge};
use crate::http::response::{Json, OAuthError};
use crate::store::Store;

/// The token endpoint.
pub struct TokenApi<S>(pub Arc<Engine<S>>);

/// A token request (RFC 6749 §4.4.2, §6).
#[derive(Object)]
pub struct TokenForm {
    /// `refresh_token` or `client_credentials`.
    grant_type: Text<Grant>,
    /// The refresh token, for `refresh_token`.
    refresh_token: Option<String>,
    /// Scope names joined by spaces. Default: everything granted. A refresh narrows only the access token.
    scope: Option<Text<ScopeSet>>,
    /// The audience (RFC 8707); at most one.
    resource: Option<String>,
    /// The client, if it does not authenticate by header; a public client sends only this.
    client_id: Option<String>,
    /// The secret of the client, if it does not authenticate by header.
    client_secret: Option<String>,
}

impl FromForm for TokenForm {
    const NAMES: &'static [&'static str] = &["grant_type", "refresh_token", "scope", "resource"];

    fn from_form(form: &mut Form) -> Result<Self, Refused> {
        if form.is_repeated("resource") {
            return Err(
                Refusal::InvalidTarget.because("resource is repeated; an access token has one audience")
            );
        }
        Ok(Self {
            grant_type: form.require("grant_type")?.into(),
            refresh_token: form.take("refresh_token")?,
            scope: form.take("scope")?.map(Into::into),
            resource: form.take("resource")?,
            client_id: None,
            client_secret: None,
        })
    }
}

/// Tokens (RFC 6749 §5.1).
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct Tokens {
    /// The access token.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// The refresh token for the next refresh.
    pub refresh_token: Option<String>,
    /// The granted scope: names joined by spaces; absent if it is empty.
    pub scope: Option<String>,
}

impl Tokens {
    /// An access token, and the refresh token that goes with it.
    pub fn new(access: Issued, refresh_token: Option<String>) -> Self {
        let scope = (!access.scope.is_empty()).then(|| access.scope.as_str().into());
        Self {
            access_token: access.access_token,
            token_type: "Bearer".into(),
            expires_in: access.expires_in,
            refresh_token,
            scope,
        }
    }
}

#[OpenApi]
impl<S: Store> TokenApi<S> {
    /// Refresh tokens, or issue a token for the client itself.
    ///
    /// `refresh_token`: rotates the refresh token; the rotation is durable when the answer arrives. A retry
    /// within the retry window of the policy gets the same tokens; a spent refresh token after that is reuse
    /// and ends the session, unless `late_retry` says otherwise. What the client may not request any more is
    /// left out of the scope; `invalid_scope` (nothing is left) and `invalid_target` (the audience) consume
    /// nothing. `client_credentials`: issues an access token for the client itself, which authorizes it at
    /// the management routes if its audience is the issuer.
    #[oai(path = "/oauth2/token", method = "post", tag = "Tag::OAuth", operation_id = "token")]
    async fn token(
        &self,
        authorization: Authorization<BasicOrForm>,
        form: OAuthForm<TokenForm>,
    ) -> Result<Json<Tokens>, OAuthError> {
        self.answer_for(&authorization, &form).await
    }
}

impl<S: Store> OAuthEndpoint for TokenApi<S> {
    type Schemes = BasicOrForm;
    type Form = TokenForm;
    type Answer = Json<Tokens>;

    async fn answer_for(
        &self,
        authorization: &Authorization<BasicOrForm>,
        form: &OAuthForm<TokenForm>,
    ) -> Result<Json<Tokens>, OAuthError> {
        let credentials = merge(&authorization.header, &form.client)?;
        let Caller::Client(client) = self.0.identify(credentials, authorization.source).await? else {
            let why = "tokens are issued to clients: authenticate as a client";
            return Err(Refusal::InvalidClient.because(why).into());
        };
        let form = &form.fields;
        let (scope, resource) = (form.scope.as_ref().map(|scope| &*scope.0), form.resource.as_deref());
        match form.grant_type.0.parse() {
            Ok(Grant::RefreshToken) => {
                let missing = || Refusal::Invalid { field: "refresh_token" }.because("is missing");
                let token = form.refresh_token.as_deref().ok_or_else(missing)?;
                let refreshed = self.0.refresh(&client, token, scope, resource, authorization.source).await?;
                Ok(Json(Tokens::new(refreshed.access, Some(refreshed.refresh_token.expose().into()))))
            }
            Ok(Grant::ClientCredentials) => {
                Ok(Json(Tokens::new(self.0.client_credentials(&client, scope, resource)?, None)))
            }
            Err(_) => Err(Refusal::UnsupportedGrantType
                .because("grant_type must be refresh_token or client_credentials")
                .into()),
        }
    }
}
