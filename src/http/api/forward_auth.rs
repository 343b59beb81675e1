//! `GET /v1/forward-auth`: may this request pass? For nginx `auth_request`, Caddy `forward_auth`, Traefik
//! `ForwardAuth`.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use poem::Request;
use poem::http::StatusCode;
use poem_openapi::param::Query;
use poem_openapi::{ApiResponse, OpenApi};

use crate::domain::gate::{Denied, Gate};
use crate::domain::id::ClientId;
use crate::engine::Engine;
use crate::engine::signed_in::SignedIn;
use crate::http::document::Tag;
use crate::http::request::cookie::Cookie;
use crate::http::request::credentials::{Authorization, CookieOrBearer};
use crate::http::request::session_credential::SessionCredential;
use crate::http::response::error::Problem;
use crate::store::Store;

/// The proxy's question.
pub struct ForwardAuthApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// How the session cookie is read.
    pub cookie: Cookie,
}

/// Everything but visible ASCII, and the percent sign itself, so that nothing can be mistaken.
const OUTSIDE_VISIBLE_ASCII: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

#[derive(ApiResponse)]
pub(super) enum Admission {
    /// Let it pass. The headers are percent-encoded outside visible ASCII.
    #[oai(status = 200)]
    Admitted(
        /// Who it is.
        #[oai(header = "X-Keyfob-Subject")]
        String,
        /// The session.
        #[oai(header = "X-Keyfob-Session")]
        String,
        /// The client that the cookie or token was given to.
        #[oai(header = "X-Keyfob-Client")]
        String,
        /// What it allows: names joined by spaces (`%20`); empty if nothing.
        #[oai(header = "X-Keyfob-Scope")]
        String,
        /// To which level the subject authenticated; empty if nobody said. Never absent: some versions of
        /// Caddy hand on their own placeholder for a header that is.
        #[oai(header = "X-Keyfob-Acr")]
        String,
    ),
}

#[OpenApi]
impl<S: Store> ForwardAuthApi<S> {
    /// Admit a request?
    ///
    /// By session cookie, session token or access token. Counts as activity unless `touch=false`. Any method is
    /// answered like GET, and a body is not read. 401: not signed in, or a step-up is required (RFC 9470). 403: the
    /// scope or the client is not sufficient. 400: a parameter is unknown, repeated or empty. All `X-Keyfob-*`
    /// headers are in every answer, empty without a value, and are never read.
    #[oai(path = "/v1/forward-auth", method = "get", tag = "Tag::People", operation_id = "forwardAuth")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the route")]
    async fn forward_auth(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
        /// The required scopes, joined by spaces.
        scope: Query<Option<String>>,
        /// The audience that an access token must have; the issuer by default. A session has none.
        audience: Query<Option<String>>,
        /// The clients whose sessions are admitted, each once; all clients by default.
        client_id: Query<Vec<String>>,
        /// The permitted authentication context classes, joined by spaces.
        acr: Query<Option<String>>,
        /// The maximum age of the authentication in seconds.
        max_age: Query<Option<u64>>,
        /// `false`: does not count as activity.
        touch: Query<Option<bool>>,
    ) -> Result<Admission, Problem> {
        let gate = gate(scope.0.as_deref(), &client_id.0, acr.0.as_deref(), max_age.0)?;
        let (audience, is_use) = (audience.0.as_deref(), touch.0.unwrap_or(true));
        let credential =
            SessionCredential::read_passed_on(request, &self.cookie, &self.engine.rules().issuer)?;
        let admitted = admit(&self.engine, &credential, &gate, audience, is_use).await?;
        Ok(Admission::of(&admitted))
    }
}

/// The subject of `credential`, if it meets the requirements.
pub(super) async fn admit<S: Store>(
    engine: &Engine<S>,
    credential: &SessionCredential,
    gate: &Gate,
    audience: Option<&str>,
    is_use: bool,
) -> Result<SignedIn, Problem> {
    let token = credential.token().ok_or_else(|| credential.refused())?;
    let audience = audience.unwrap_or(&engine.rules().issuer);
    let signed_in = engine.signed_in(token, audience, is_use).await?.ok_or_else(|| credential.refused())?;
    let now = engine.clock().now().wall;
    gate.admit(&signed_in.client_id, &signed_in.scope, &signed_in.authentication, now)
        .map_err(|denied| turned_away(denied, gate))?;
    Ok(signed_in)
}

fn gate(
    scope: Option<&str>,
    clients: &[String],
    acr: Option<&str>,
    max_age: Option<u64>,
) -> Result<Gate, Problem> {
    Ok(Gate {
        scope: scope
            .unwrap_or_default()
            .parse()
            .map_err(|_| Problem::invalid("scope", "scope must be names joined by single spaces"))?,
        clients: self::clients(clients)?,
        acr: acr.unwrap_or_default().split(' ').filter(|acr| !acr.is_empty()).map(Into::into).collect(),
        max_age: max_age.map(Duration::from_secs),
    })
}

/// The clients that `client_id` names.
pub(super) fn clients(names: &[String]) -> Result<Vec<ClientId>, Problem> {
    let malformed = |_| Problem::invalid("client_id", "client_id is malformed");
    names.iter().map(|name| name.parse().map_err(malformed)).collect()
}

impl Admission {
    pub(super) fn of(signed_in: &SignedIn) -> Self {
        let session = &signed_in.session;
        Self::Admitted(
            visible(session.subject.as_str()),
            session.id.to_string(),
            signed_in.client_id.to_string(),
            visible(signed_in.scope.as_str()),
            visible(signed_in.authentication.acr.as_deref().unwrap_or_default()),
        )
    }
}

fn turned_away(turned: Denied, gate: &Gate) -> Problem {
    match turned {
        Denied::Client => Problem::new(StatusCode::FORBIDDEN, "sessions of this client are not let in"),
        Denied::Scope => {
            let challenge = [("error", "insufficient_scope"), ("scope", gate.scope.as_str())];
            Problem::challenged(StatusCode::FORBIDDEN, "the scope is not enough", &challenge)
        }
        Denied::StepUp => {
            let acr = visible_list(&gate.acr);
            let max_age = gate.max_age.map(|max_age| max_age.as_secs().to_string());
            let mut challenge = vec![("error", "insufficient_user_authentication")];
            challenge.extend((!acr.is_empty()).then_some(("acr_values", &*acr)));
            challenge.extend(max_age.as_deref().map(|max_age| ("max_age", max_age)));
            Problem::challenged(
                StatusCode::UNAUTHORIZED,
                "the subject must authenticate again, or more strongly",
                &challenge,
            )
        }
    }
}

fn visible(text: &str) -> String {
    utf8_percent_encode(text, OUTSIDE_VISIBLE_ASCII).to_string()
}

fn visible_list(list: &[Box<str>]) -> String {
    list.iter().map(|text| visible(text)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// None of these gets into a subject or a level; should one ever, it still makes no line of its own.
    #[test]
    fn control_characters_never_travel_as_they_are() {
        assert_eq!(
            visible("a\r\nX-Keyfob-Subject: root\0\u{7f}\u{85}"),
            "a%0D%0AX-Keyfob-Subject:%20root%00%7F%C2%85"
        );
    }
}
