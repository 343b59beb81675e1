//! `POST /oauth2/revoke` (RFC 7009).

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi};

use crate::domain::refusal::Refused;
use crate::engine::Engine;
use crate::http::document::Tag;
use crate::http::request::{Authorization, BasicOrForm, Form, FromForm, OAuthForm, merge};
use crate::http::response::OAuthError;
use crate::store::Store;

/// The revocation endpoint.
pub struct RevokeApi<S>(pub Arc<Engine<S>>);

/// A revocation request (RFC 7009 §2.1).
#[derive(Default, Object)]
struct RevokeForm {
    /// A refresh token, a session token or an access token.
    #[oai(validator(min_length = 1))]
    token: String,
    /// `access_token` or `refresh_token`. It changes nothing: the form of the token shows its type.
    token_type_hint: Option<String>,
    /// The client, if it does not authenticate by header; a public client sends only this.
    client_id: Option<String>,
    /// The secret of the client, if it does not authenticate by header.
    client_secret: Option<String>,
}

impl FromForm for RevokeForm {
    const NAMES: &'static [&'static str] = &["token", "token_type_hint"];

    fn from_form(form: &mut Form) -> Result<Self, Refused> {
        Ok(Self { token: form.require("token")?, ..Self::default() })
    }
}

#[derive(ApiResponse)]
enum Revoked {
    /// The token is revoked, by this request or before, or it was never valid.
    #[oai(status = 200)]
    Done,
}

#[OpenApi]
impl<S: Store> RevokeApi<S> {
    /// Revoke a token.
    ///
    /// A refresh token: its family and the family's access tokens end, and the session if no family remains.
    /// A session token: the session ends. An access token: only that token. Unknown, expired and revoked
    /// tokens get the same answer; a token of another client is rejected with `invalid_grant`. The revocation
    /// is durable when the answer arrives.
    #[oai(path = "/oauth2/revoke", method = "post", tag = "Tag::OAuth", operation_id = "revoke")]
    async fn revoke(
        &self,
        authorization: Authorization<BasicOrForm>,
        form: OAuthForm<RevokeForm>,
    ) -> Result<Revoked, OAuthError> {
        let credentials = merge(&authorization.header, &form.client)?;
        let caller = self.0.identify(credentials, authorization.source).await?;
        self.0.revoke(&caller, &form.fields.token).await?;
        Ok(Revoked::Done)
    }
}
