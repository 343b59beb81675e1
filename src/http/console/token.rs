//! `POST /console/introspect`: what a token is, and why it is not active.

use poem::{IntoResponse, Request, Response};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use super::{Console, Handling};
use crate::domain::caller::Inspect;
use crate::engine::introspect::Explained;
use crate::http::api::introspect::Introspection;
use crate::http::request::read_body;
use crate::http::response::{Json, Problem};
use crate::store::Store;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenBody {
    token: String,
    /// Answers as for this client.
    r#as: Option<String>,
}

/// What a token is. The members about its session are those of a genuine token, active or not.
#[skip_serializing_none]
#[derive(Serialize)]
struct TokenAnswer {
    /// `access`, `refresh`, `session` or `unknown`.
    kind: &'static str,
    active: bool,
    /// A word for why it is not active, and a sentence.
    reason: Option<&'static str>,
    explanation: Option<String>,
    session_id: Option<String>,
    family: Option<u16>,
    /// The generation of a refresh token: how many rotations led to it.
    generation: Option<u32>,
    client_id: Option<String>,
    /// The answer of RFC 7662.
    introspection: Option<Introspection>,
}

impl<S: Store> Console<S> {
    pub(super) fn introspect(&self, request: Request) -> Handling<'_> {
        Box::pin(self.introspect_for(request))
    }

    async fn introspect_for(&self, mut request: Request) -> Result<Response, Problem> {
        let operator = self.granted::<Inspect>(&request).await?;
        let media_type = request.content_type().map(str::to_owned);
        let body = request.take_body().into_bytes().await.unwrap_or_default();
        let TokenBody { token, r#as } = read_body(media_type.as_deref(), &body)?;
        let Explained { kind, identity, answer } =
            self.engine.explain(&operator, r#as.as_deref(), token.trim()).await?;
        let (reason, explanation) = match &answer {
            Err(why) => (Some(why.code()), Some(why.to_string())),
            Ok(_) => (None, None),
        };
        let introspection = answer.ok().map(|live| Introspection::active(live, &self.engine.rules.issuer));
        Ok(Json(TokenAnswer {
            kind: kind.as_str(),
            active: introspection.is_some(),
            reason,
            explanation,
            session_id: identity.session.map(|id| id.to_string()),
            family: identity.family,
            generation: identity.generation,
            client_id: identity.client.map(|id| id.to_string()),
            introspection: introspection.transpose()?,
        })
        .into_response())
    }
}
