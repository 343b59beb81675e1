//! `/console/session`: signing in by a link, the state of the session, and signing out.

use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{IntoResponse, Request, Response};
use serde::{Deserialize, Serialize};

use super::{Console, Handling};
use crate::domain::console::{ConsoleRole, Operator};
use crate::domain::session::{Device, Session, USER_AGENT_BYTES_MAX};
use crate::engine::console::OpenedConsole;
use crate::http::request::{
    CONSOLE_COOKIE, ConsoleToken, DateTime, Parsed, is_same_origin, read_body, source_of,
};
use crate::http::response::{Json, Problem};
use crate::store::Store;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    /// The secret of the link.
    link: String,
}

/// The session of the console, for its pages.
#[derive(Serialize)]
struct ConsoleState {
    role: Parsed<ConsoleRole>,
    session_id: String,
    subject: String,
    authenticated_at: DateTime,
    /// Until when changes are accepted; null for a role that may only read.
    changes_until: Option<DateTime>,
    idle_expires_at: DateTime,
    expires_at: DateTime,
    now: DateTime,
    issuer: String,
    version: &'static str,
}

impl<S: Store> Console<S> {
    pub(super) fn sign_in(&self, request: Request) -> Handling<'_> {
        Box::pin(self.sign_in_by(request))
    }

    async fn sign_in_by(&self, mut request: Request) -> Result<Response, Problem> {
        if !is_same_origin(request.headers()) {
            let why =
                "only the page of the console at this origin may sign in: Sec-Fetch-Site must be same-origin";
            return Err(Problem::new(StatusCode::FORBIDDEN, why));
        }
        let source = source_of(&request);
        let device = Device {
            user_agent: user_agent(request.headers()),
            ip: source.address.map(|address| address.to_string().into()),
            label: Some("console".into()),
        };
        let before = ConsoleToken::of(&request);
        let media_type = request.content_type().map(str::to_owned);
        let body = request.take_body().into_bytes().await.unwrap_or_default();
        let SignIn { link } = read_body(media_type.as_deref(), &body)?;
        let before = before.as_ref().map(ConsoleToken::expose);
        let opened = self.engine.open_console(&link, device, before, source).await?;
        let OpenedConsole { session, operator, token } = opened;
        let mut response = Json(self.state(&session, &operator)).into_response();
        response.set_status(StatusCode::CREATED);
        put_cookie(&mut response, CONSOLE_COOKIE.set(&token, &session));
        Ok(response)
    }

    pub(super) fn read_session(&self, request: Request) -> Handling<'_> {
        Box::pin(async move {
            let operator = self.operator(&request).await?;
            let session = self.engine.console_session(&operator).await?;
            Ok(Json(self.state(&session, &operator)).into_response())
        })
    }

    /// The cookie is deleted also if the session has ended already.
    pub(super) fn sign_out(&self, request: Request) -> Handling<'_> {
        Box::pin(async move {
            let mut response = match self.operator(&request).await {
                Ok(operator) => {
                    self.engine.close_console(&operator).await?;
                    StatusCode::NO_CONTENT.into_response()
                }
                Err(problem) => problem.into_response(),
            };
            if is_same_origin(request.headers()) {
                put_cookie(&mut response, CONSOLE_COOKIE.delete());
            }
            Ok(response)
        })
    }

    fn state(&self, session: &Session, operator: &Operator) -> ConsoleState {
        ConsoleState {
            role: Parsed(operator.role),
            session_id: session.id.to_string(),
            subject: session.subject.as_str().into(),
            authenticated_at: Parsed(session.authentication.at),
            changes_until: operator.changes_until.map(Parsed),
            idle_expires_at: Parsed(session.idle_expires_at()),
            expires_at: Parsed(session.expires_at),
            now: Parsed(operator.now),
            issuer: self.engine.rules.issuer.to_string(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

fn put_cookie(response: &mut Response, cookie: String) {
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// What the browser says it is, in the form of `device.user_agent`: without control characters, cut to its
/// length.
fn user_agent(headers: &HeaderMap) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(headers.get(header::USER_AGENT)?.as_bytes());
    let mut kept = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if kept.len() + c.len_utf8() > USER_AGENT_BYTES_MAX {
            break;
        }
        kept.push(c);
    }
    (!kept.is_empty()).then(|| kept.into())
}
