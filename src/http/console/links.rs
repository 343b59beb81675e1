//! `POST /console/links`: makes a one-time link, for `keyfob console`; only through the admin socket.

use poem::http::StatusCode;
use poem::{IntoResponse, Request, Response};
use serde::{Deserialize, Serialize};

use super::{Console, Handling};
use crate::domain::caller::Caller;
use crate::domain::console::ConsoleRole;
use crate::http::request::{
    AuthorizationHeader, ClientFormFields, DateTime, Parsed, merge, read_body, source_of,
};
use crate::http::response::{Json, Problem};
use crate::store::Store;

/// The link to make.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkBody {
    role: Parsed<ConsoleRole>,
}

/// A new link, which no later answer contains.
#[derive(Serialize, Deserialize)]
pub struct LinkAnswer {
    /// The address to open in a browser. The secret is in its fragment, which no server receives.
    pub url: String,
    pub role: Parsed<ConsoleRole>,
    /// The latest time at which it can be used.
    pub expires_at: DateTime,
}

impl<S: Store> Console<S> {
    pub(super) fn make_link(&self, request: Request) -> Handling<'_> {
        Box::pin(self.make_link_for(request))
    }

    async fn make_link_for(&self, mut request: Request) -> Result<Response, Problem> {
        let (header, form) = (AuthorizationHeader::read(request.headers()), ClientFormFields::default());
        let credentials = merge(&header, &form)?;
        let caller = self.engine.authenticate(credentials, source_of(&request)).await?.caller;
        if !matches!(caller, Caller::AdminSocket) {
            let why = "links to the console are made through the admin socket only: run `keyfob console`";
            return Err(Problem::new(StatusCode::FORBIDDEN, why));
        }
        let media_type = request.content_type().map(str::to_owned);
        let body = request.take_body().into_bytes().await.unwrap_or_default();
        let LinkBody { role } = read_body(media_type.as_deref(), &body)?;
        let made = self.engine.make_console_link(role.0).await?;
        let url = format!("{}/console#{}", self.engine.rules.issuer, made.secret.expose());
        let mut response =
            Json(LinkAnswer { url, role, expires_at: Parsed(made.expires_at) }).into_response();
        response.set_status(StatusCode::CREATED);
        Ok(response)
    }
}
