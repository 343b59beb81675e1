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
enum Admission {
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
    /// May this request pass?
    ///
    /// By session cookie, session token or access token. Counts as activity. Reads no header of those that it
    /// answers with. 401 when nobody is signed in, or a step-up is asked for (RFC 9470); 403 when the scope
    /// or the client is not enough. A question that is not understood is 400, an unknown parameter included:
    /// proxies then let nobody in.
    #[oai(path = "/v1/forward-auth", method = "get", tag = "Tag::People", operation_id = "forwardAuth")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the route")]
    async fn forward_auth(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
        /// Scopes that must all be there, joined by spaces.
        scope: Query<Option<String>>,
        /// For whom an access token must be; without it, for the issuer. A cookie or session token has none.
        audience: Query<Option<String>>,
        /// The clients whose sessions are let in, once for each; without it every client's.
        client_id: Query<Vec<String>>,
        /// The levels of which it must be one, joined by spaces.
        acr: Query<Option<String>>,
        /// How many seconds ago the subject may have authenticated.
        max_age: Query<Option<u64>>,
    ) -> Result<Admission, Problem> {
        let credential = SessionCredential::read(request, &self.cookie)?;
        let token = credential.token().ok_or_else(|| credential.refused())?;
        let audience = audience.0.as_deref().unwrap_or(&self.engine.rules().issuer);
        let present = self.engine.signed_in(token, audience).await?.ok_or_else(|| credential.refused())?;
        let gate = gate(scope.0.as_deref(), &client_id.0, acr.0.as_deref(), max_age.0)?;
        let now = self.engine.clock().now().wall;
        match gate.admit(&present.client_id, &present.scope, &present.authentication, now) {
            Ok(()) => Ok(admitted(&present)),
            Err(turned) => Err(turned_away(turned, &gate)),
        }
    }
}

fn gate(
    scope: Option<&str>,
    clients: &[String],
    acr: Option<&str>,
    max_age: Option<u64>,
) -> Result<Gate, Problem> {
    let clients = clients
        .iter()
        .map(|id| id.parse().map_err(|_| Problem::invalid("client_id", "client_id is malformed")));
    Ok(Gate {
        scope: scope
            .unwrap_or_default()
            .parse()
            .map_err(|_| Problem::invalid("scope", "scope must be names joined by single spaces"))?,
        clients: clients.collect::<Result<_, _>>()?,
        acr: acr.unwrap_or_default().split(' ').filter(|acr| !acr.is_empty()).map(Into::into).collect(),
        max_age: max_age.map(Duration::from_secs),
    })
}

fn admitted(present: &SignedIn) -> Admission {
    let session = &present.session;
    Admission::Admitted(
        visible(session.subject.as_str()),
        session.id.to_string(),
        present.client_id.to_string(),
        visible(present.scope.as_str()),
        visible(present.authentication.acr.as_deref().unwrap_or_default()),
    )
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
