//! `/v1/session`: who am I, and log out; for the signed-in themselves.

use std::sync::Arc;

use poem::Request;
use poem::http::StatusCode;
use poem_openapi::{ApiResponse, OpenApi};

use crate::domain::gate::Gate;
use crate::domain::id::ClientId;
use crate::engine::Engine;
use crate::http::api::forward_auth::admit;
use crate::http::api::session_object::SessionObject;
use crate::http::document::Tag;
use crate::http::request::{
    Authorization, Cookie, CookieOrBearer, Origins, Parsed, Query, SessionCredential,
};
use crate::http::response::{Json, Problem};
use crate::store::Store;

/// The session of the person who sends the request.
pub struct SessionApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// Writes and reads the session cookie.
    pub cookie: Cookie,
    /// The origins whose pages may log out.
    pub origins: Origins,
}

#[derive(ApiResponse)]
enum LogOutResponse {
    /// The session has ended, and the cookie is deleted.
    #[oai(status = 204)]
    LoggedOut(
        /// Deletes the cookie.
        #[oai(header = "Set-Cookie")]
        String,
        /// Clears the browser's cache for this origin.
        #[oai(header = "Clear-Site-Data")]
        Option<String>,
    ),
}

#[OpenApi]
impl<S: Store> SessionApi<S> {
    /// Read the session of this request.
    ///
    /// By session cookie, session token, or access token whose audience is the issuer. Counts as activity, which
    /// restarts the idle timeout, unless `touch=false`.
    #[oai(path = "/v1/session", method = "get", tag = "Tag::People", operation_id = "whoAmI")]
    async fn who_am_i(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
        /// A client whose sessions are accepted; may be repeated. Default: the sessions of every client.
        client_id: Query<Vec<Parsed<ClientId>>>,
        /// `false`: does not count as activity.
        touch: Query<Option<bool>>,
    ) -> Result<Json<SessionObject>, Problem> {
        let credential = SessionCredential::read(request, &self.cookie)?;
        let clients = client_id.read()?.into_iter().map(|parsed| parsed.0).collect();
        let gate = Gate { clients, ..Gate::default() };
        let admitted = admit(&self.engine, &credential, &gate, None, touch.read()?.unwrap_or(true)).await?;
        Ok(Json(SessionObject::new(self.engine.view_with(admitted.session, None, admitted.at))?))
    }

    /// Log out.
    ///
    /// By session cookie or session token. Ends the session and all its tokens, and deletes the cookie, also
    /// if the session has already ended. With a cookie the request must come from a page of the issuer's
    /// origin or of a configured one.
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
                "a request with only a cookie must come from a page of this origin or of one in [cookie] \
                 origins",
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
