//! `/v1/sessions/{id}/families`: further refresh-token families in one session, for single sign-on.

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};

use crate::domain::refusal::Refusal;
use crate::engine::Engine;
use crate::engine::families::OpenFamily;
use crate::http::document::Tag;
use crate::http::request::caller::{RequestSource, caller};
use crate::http::request::credentials::{Authorization, BasicOrBearer};
use crate::http::request::json::OptionalJsonBody;
use crate::http::request::parameters::session_id;
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::Store;

/// Families.
pub struct FamiliesApi<S>(pub Arc<Engine<S>>);

/// For whom the family is.
#[derive(Default, Object)]
#[oai(deny_unknown_fields)]
struct OpenFamilyBody {
    /// The client; the caller itself if left out. The caller must administer, or name it in its `opens_for`.
    client_id: Option<String>,
    /// Less than what the client may ask for; everything if left out.
    scope: Option<String>,
    /// For whom the access tokens are; the client's only audience if left out.
    audience: Option<String>,
}

/// A family just opened, with its tokens, which are told once.
#[derive(Serialize, Deserialize, Object)]
pub struct OpenedFamilyBody {
    /// Its number in the session.
    pub family: u16,
    /// For the resources that the audience names.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: i64,
    /// For `POST /oauth2/token`.
    pub refresh_token: String,
    /// What was granted.
    pub scope: String,
}

#[derive(ApiResponse)]
enum OpenFamilyResponse {
    /// Open, and on the disk.
    #[oai(status = 201)]
    Opened(Json<OpenedFamilyBody>),
}

#[derive(ApiResponse)]
enum EndFamilyResponse {
    /// It is ended, now or before; the session lives on.
    #[oai(status = 204)]
    Ended,
}

#[OpenApi]
impl<S: Store> FamiliesApi<S> {
    /// Open a further family.
    ///
    /// For another client, scope or audience in the same session (single sign-on). It ends with the session,
    /// and gives its client no right to the session. For the session's opener and administrators.
    #[oai(
        path = "/v1/sessions/:id/families",
        method = "post",
        tag = "Tag::Sessions",
        operation_id = "openFamily"
    )]
    async fn open(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// The session's identifier.
        id: Path<String>,
        body: OptionalJsonBody<OpenFamilyBody>,
    ) -> Result<OpenFamilyResponse, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        let OpenFamilyBody { client_id, scope, audience } = body.read()?;
        let opened = self
            .0
            .open_family(&caller, session_id(&id.0)?, OpenFamily { client_id, scope, audience })
            .await?;
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
    /// Its refresh token and its access tokens are dead when the answer comes; the session lives on.
    #[oai(
        path = "/v1/sessions/:id/families/:family",
        method = "delete",
        tag = "Tag::Sessions",
        operation_id = "endFamily"
    )]
    async fn end(
        &self,
        authorization: Authorization<BasicOrBearer>,
        source: RequestSource,
        /// The session's identifier.
        id: Path<String>,
        /// Its number in the session.
        family: Path<String>,
    ) -> Result<EndFamilyResponse, Problem> {
        let caller = caller(&self.0, authorization, &source).await?;
        self.0.end_family(&caller, session_id(&id.0)?, number(&family.0)?).await?;
        Ok(EndFamilyResponse::Ended)
    }
}

/// A number has one way to be written; what is written otherwise names nothing.
fn number(text: &str) -> Result<u16, Problem> {
    let number = text.parse().ok().filter(|number: &u16| number.to_string() == text);
    number.ok_or_else(|| Refusal::NotFound.because("there is no such family").into())
}
