//! `GET /v1/forward-auth`: may this request pass? For nginx `auth_request`, Caddy `forward_auth`, Traefik
//! `ForwardAuth`.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use poem::Request;
use poem::http::StatusCode;
use poem_openapi::{ApiResponse, OpenApi};

use crate::domain::gate::{Denied, Gate, IdentityHeader};
use crate::domain::id::ClientId;
use crate::domain::scope::ScopeSet;
use crate::engine::Engine;
use crate::engine::signed_in::{NotSignedIn, SignedIn};
use crate::http::document::Tag;
use crate::http::request::{
    AcrValues, AudienceParameter, Authorization, Cookie, CookieOrBearer, Parsed, Query, SessionCredential,
    Text, WHOLE_MAX, Whole,
};
use crate::http::response::Problem;
use crate::store::Store;

/// The authorization request of a proxy.
pub struct ForwardAuthApi<S> {
    /// The engine.
    pub engine: Arc<Engine<S>>,
    /// Reads the session cookie.
    pub cookie: Cookie,
}

/// The bytes that are encoded: all but visible ASCII, and the percent sign itself.
const OUTSIDE_VISIBLE_ASCII: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

#[derive(ApiResponse)]
pub(super) enum Admission {
    /// The request is authorized. The headers are percent-encoded outside visible ASCII.
    #[oai(status = 200)]
    Admitted(
        /// The subject.
        #[oai(header = "X-Keyfob-Subject")]
        String,
        /// The identifier of the session.
        #[oai(header = "X-Keyfob-Session")]
        String,
        /// The client that the cookie or token was issued to.
        #[oai(header = "X-Keyfob-Client")]
        String,
        /// The granted scope: names joined by spaces (`%20`); may be empty.
        #[oai(header = "X-Keyfob-Scope")]
        String,
        /// The authentication context class; empty if none is known. Never absent: some versions of Caddy
        /// forward their own placeholder for an absent header.
        #[oai(header = "X-Keyfob-Acr")]
        String,
    ),
}

#[OpenApi]
impl<S: Store> ForwardAuthApi<S> {
    /// Authorize a request for a proxy.
    ///
    /// By session cookie, session token or access token. Counts as activity unless `touch=false`. Any method is
    /// answered like GET, and a body is not read. 401: not signed in, or a step-up is required (RFC 9470). 403: the
    /// scope or the client does not meet the requirements. 400: a parameter is unknown, repeated, empty or invalid,
    /// and proxies reject the request. All `X-Keyfob-*` headers are in every answer, empty without a value, and are
    /// never read.
    #[oai(path = "/v1/forward-auth", method = "get", tag = "Tag::People", operation_id = "forwardAuth")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the route")]
    async fn forward_auth(
        &self,
        _authorization: Authorization<CookieOrBearer>,
        request: &Request,
        /// Required scope names, joined by spaces; all must be granted.
        scope: Query<Option<Parsed<ScopeSet>>>,
        /// The required audience of an access token. Default: the issuer. Cookies and session tokens have no
        /// audience.
        audience: Query<Option<Text<AudienceParameter>>>,
        /// A client whose sessions are accepted; may be repeated. Default: the sessions of every client.
        client_id: Query<Vec<Parsed<ClientId>>>,
        /// Accepted authentication context classes, joined by spaces.
        acr: Query<Option<Text<AcrValues>>>,
        /// The largest number of seconds since the subject authenticated.
        max_age: Query<Option<Whole<0, WHOLE_MAX>>>,
        /// `false`: does not count as activity.
        touch: Query<Option<bool>>,
    ) -> Result<Admission, Problem> {
        let acr = acr.read()?.map(|text| text.0).unwrap_or_default();
        let gate = Gate {
            scope: scope.read()?.unwrap_or_default().0,
            clients: client_id.read()?.into_iter().map(|parsed| parsed.0).collect(),
            acr: accepted_classes(&acr),
            max_age: max_age.read()?.map(|max_age| Duration::from_secs(max_age.0)),
        };
        let (audience, is_use) = (audience.read()?, touch.read()?.unwrap_or(true));
        let credential = SessionCredential::read_passed_on(request, &self.cookie, &self.engine.rules.issuer)?;
        let admitted = admit(&self.engine, &credential, &gate, audience.as_deref(), is_use).await?;
        Ok(Admission::of(&admitted, IdentityHeader::ALL))
    }
}

/// Authentication context classes, as a request joins them by spaces.
pub(super) fn accepted_classes(joined: &str) -> Vec<Box<str>> {
    joined.split(' ').filter(|acr| !acr.is_empty()).map(Into::into).collect()
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
    let audience = audience.unwrap_or(&engine.rules.issuer);
    let signed_in = engine.signed_in(token, audience, is_use).await?.map_err(|why| match why {
        NotSignedIn::Invalid => credential.refused(),
        NotSignedIn::OtherAudience => credential.for_another_audience(),
    })?;
    let now = engine.clock.now().wall;
    gate.admit(&signed_in.client_id, &signed_in.scope, &signed_in.authentication, now)
        .map_err(|denied| turned_away(denied, gate, &signed_in.client_id))?;
    Ok(signed_in)
}

impl Admission {
    /// The subject in the chosen headers; the others are empty.
    pub(super) fn of(signed_in: &SignedIn, chosen: &[IdentityHeader]) -> Self {
        let value = |name, value| if chosen.contains(&name) { value } else { String::new() };
        let session = &signed_in.session;
        let acr = signed_in.authentication.acr.as_deref().unwrap_or_default();
        Self::Admitted(
            value(IdentityHeader::Subject, visible(session.subject.as_str())),
            value(IdentityHeader::Session, session.id.to_string()),
            value(IdentityHeader::Client, signed_in.client_id.to_string()),
            value(IdentityHeader::Scope, visible(signed_in.scope.as_str())),
            value(IdentityHeader::Acr, visible(acr)),
        )
    }
}

/// The code of a denial (RFC 6750 §3.1, RFC 9470 §3), and the sentence for people.
pub(super) fn explained(denied: Denied) -> (&'static str, &'static str) {
    match denied {
        Denied::Scope | Denied::Client => {
            ("insufficient_scope", "the granted scope does not include the required one")
        }
        Denied::StepUp => {
            ("insufficient_user_authentication", "the subject must authenticate again, or at a higher level")
        }
    }
}

fn turned_away(denied: Denied, gate: &Gate, client: &ClientId) -> Problem {
    let (code, detail) = explained(denied);
    match denied {
        Denied::Client => {
            let detail = format!("sessions of the client {client} are not accepted here");
            Problem::new(StatusCode::FORBIDDEN, detail)
        }
        Denied::Scope => {
            let challenge = [("error", code), ("scope", gate.scope.as_str())];
            Problem::challenged(StatusCode::FORBIDDEN, detail, &challenge)
        }
        Denied::StepUp => {
            let acr = visible_list(&gate.acr);
            let max_age = gate.max_age.map(|max_age| max_age.as_secs().to_string());
            let mut challenge = vec![("error", code)];
            challenge.extend((!acr.is_empty()).then_some(("acr_values", &*acr)));
            challenge.extend(max_age.as_deref().map(|max_age| ("max_age", max_age)));
            Problem::challenged(StatusCode::UNAUTHORIZED, detail, &challenge)
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

    /// Subjects and classes cannot contain these; if one did, it could still not start a header line.
    #[test]
    fn control_characters_never_travel_as_they_are() {
        assert_eq!(
            visible("a\r\nX-Keyfob-Subject: root\0\u{7f}\u{85}"),
            "a%0D%0AX-Keyfob-Subject:%20root%00%7F%C2%85"
        );
    }
}
