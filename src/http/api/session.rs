//! `/v1/session`: who am I, and log out; for the signed-in themselves.

use std::sync::Arc;

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::param::Query;
use poem_openapi::{ApiResponse, OpenApi};

use crate::domain::gate::Gate;
use crate::engine::Engine;
use crate::http::api::forward_auth::{admit, clients};
use crate::http::api::session_object::SessionObject;
use crate::http::document::Tag;
use crate::http::request::cookie::Cookie;
use crate::http::request::credentials::{Authorization, CookieOrBearer};
use crate::http::request::origin::Origins;
use crate::http::request::session_credential::SessionCredential;
use crate::http::response::answer::Json;
use crate::http::response::error::Problem;
use crate::store::Store;

/// The session of whoever asks.
pub struct SessionApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// How the session cookie is written and read.
    pub cookie: Cookie,
    /// Whose pages may log out.
    pub origins: Origins,
}

#[derive(ApiResponse)]
enum LogOutResponse {
    /// Logged out: the session is over, and a browser forgets the cookie.
    #[oai(status = 204)]
    LoggedOut(
        /// Deletes the cookie.
        #[oai(header = "Set-Cookie")]
        String,
        /// Empties the browser's cache of our pages.
        #[oai(header = "Clear-Site-Data")]
        Option<String>,
    ),
}

#[OpenApi]
impl<S: Store> SessionApi<S> {
    /// Who am I?
    ///
    /// By session cookie, session token, or access token whose audience is the issuer. Counts as activity, which
    /// restarts the idle timeout, unless `touch=false`.
    #[oai(path = "/v1/session", method = "get", tag = "Tag::People", operation_id = "whoAmI")]
    async fn who_am_i(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
        /// The clients whose sessions are admitted, each once; all clients by default.
        client_id: Query<Vec<String>>,
        /// `false`: does not count as activity.
        touch: Query<Option<bool>>,
    ) -> Result<Json<SessionObject>, Problem> {
        let credential = SessionCredential::read(request, &self.cookie)?;
        let gate = Gate { clients: clients(&client_id.0)?, ..Gate::default() };
        let admitted = admit(&self.engine, &credential, &gate, None, touch.0.unwrap_or(true)).await?;
        Ok(Json(SessionObject::new(self.engine.view_without_data(admitted.session))?))
    }

    /// Log out.
    ///
    /// By session cookie or session token. Ends the session and all that it issued, and takes the cookie
    /// away; a cookie whose session is over already is taken away all the same. With a cookie the request
    /// must come from a page of our own origin or a configured one.
    #[oai(path = "/v1/session", method = "delete", tag = "Tag::People", operation_id = "logOut")]
    async fn log_out(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
    ) -> Result<LogOutResponse, Problem> {
        let credential = SessionCredential::read(request, &self.cookie)?;
        let token = credential.token().ok_or_else(|| credential.refused())?;
        let browser = matches!(credential, SessionCredential::Cookie(_));
        if browser && !self.origins.vouch_for(request.headers()) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "a cookie alone ends a session only from a page of this origin, or of one in [cookie] origins",
            ));
        }
        let ended = self.engine.log_out(token).await?;
        match (browser, ended) {
            (true, _) => Ok(LogOutResponse::LoggedOut(self.cookie.delete(), Some(r#""cache""#.into()))),
            (false, true) => Ok(LogOutResponse::LoggedOut(self.cookie.delete(), None)),
            (false, false) => Err(credential.refused()),
        }
    }
}
