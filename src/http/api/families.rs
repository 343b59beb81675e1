//! `/v1/sessions/{id}/families`: further refresh-token families in one session, for single sign-on.

use std::sync::Arc;

use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::id::{ClientId, SessionId};
use crate::domain::scope::ScopeSet;
use crate::engine::Engine;
use crate::engine::families::OpenFamily;
use crate::http::document::Tag;
use crate::http::request::{
    Audience, Authorization, BasicOrBearer, Management, OptionalJsonBody, Parsed, Path, Text, Whole,
};
use crate::http::response::{Json, NoContent, Problem, ProblemOr};
use crate::store::Store;

/// Families.
pub struct FamiliesApi<S>(pub Arc<Engine<S>>);

/// The client and the grant of a family.
#[derive(Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct OpenFamilyBody {
    /// The client that the family is for. Default: the caller. For another client the caller must be an
    /// administrator or name it in its `opens_for`.
    client_id: Option<Text<ClientId>>,
    /// Scope names joined by spaces. Default: all scopes of the client.
    scope: Option<Text<ScopeSet>>,
    /// The audience of the access tokens. Default: the only audience of the client.
    audience: Option<Text<Audience>>,
}

/// An opened family with its tokens, which no later answer contains.
#[derive(Serialize, Deserialize, Object)]
pub struct OpenedFamilyBody {
    /// The number of the family in the session.
    pub family: u16,
    /// The access token.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// The refresh token, for `POST /oauth2/token`.
    pub refresh_token: String,
    /// The granted scope: names joined by spaces.
    pub scope: String,
}

#[derive(ApiResponse)]
enum OpenFamilyResponse {
    /// The family is open and durable.
    #[oai(status = 201)]
    Opened(Json<OpenedFamilyBody>),
}

#[OpenApi]
impl<S: Store> FamiliesApi<S> {
    /// Open a further family.
    ///
    /// For another client, scope or audience in the same session (single sign-on). It ends with the session,
    /// and gives its client no right to the session. For the client that opened the session and
    /// administrators.
    #[oai(
        path = "/v1/sessions/:id/families",
        method = "post",
        tag = "Tag::Sessions",
        operation_id = "openFamily"
    )]
    async fn open(
        &self,
        authorization: Authorization<BasicOrBearer>,
        /// The identifier of the session.
        id: Path<Parsed<SessionId>>,
        body: OptionalJsonBody<OpenFamilyBody>,
    ) -> Result<OpenFamilyResponse, ProblemOr<409>> {
        let caller = authorization.caller(&self.0).await?;
        let OpenFamilyBody { client_id, scope, audience } = body.read()?;
        let request = OpenFamily {
            client_id: client_id.map(|text| text.0),
            scope: scope.map(|text| text.0),
            audience: audience.map(|text| text.0),
        };
        let opened = self.0.open_family(&caller, id.named("session")?.0, request).await?;
        Ok(OpenFamilyResponse::Opened(Json(OpenedFamilyBody {
            family: opened.number,
            token_type: "Bearer".into(),
            expires_in: opened.access.expires_in,
            scope: opened.access.scope.to_string(),
            access_token: opened.access.access_token,
            refresh_token: opened.refresh_token.expose().into(),
        })))
    }

    /// End a family.
    ///
    /// Its refresh token and access tokens are invalid when the answer arrives; the session stays active. A
    /// repetition gets the same answer.
    #[oai(
        path = "/v1/sessions/:id/families/:family",
        method = "delete",
        tag = "Tag::Sessions",
        operation_id = "endFamily"
    )]
    async fn end(
        &self,
        authorization: Authorization<Management>,
        /// The identifier of the session.
        id: Path<Parsed<SessionId>>,
        /// The number of the family in the session.
        family: Path<Whole<1, 65535>>,
    ) -> Result<NoContent, Problem> {
        let caller = authorization.caller(&self.0).await?;
        let family = u16::try_from(family.named("family")?.0).expect("the type ends at 65535");
        self.0.end_family(&caller, id.named("session")?.0, family).await?;
        Ok(NoContent::Done)
    }
}
