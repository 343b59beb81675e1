//! What clients ask for, and the request that says so.

use http::Method;
use serde_json::{Value, json};

use crate::facts::{Facts, Kind};
use crate::server::{Auth, Body, Request};

#[derive(Clone, Debug)]
pub enum Operation {
    /// An opening, or its repetition, by its number.
    Open(u64),
    Refresh(usize),
    Introspect(usize),
    /// A token of a session, and the route that answers whether it is valid.
    Use(usize, Route),
    Revoke(usize),
    /// A log-out by a session token, as a cookie or not.
    LogOut(usize, bool),
    EndSession(usize),
    EndFamily(usize, u16),
    /// A family for a client in a session.
    OpenFamily(usize, usize),
    Renew(usize),
    EndSubject(usize),
    EndAll,
    Create {
        name: usize,
        format: &'static str,
    },
    Delete(usize),
    /// Removes what a creation without an answer may have left.
    DeleteName(usize),
    RotateSecret {
        incarnation: usize,
        keep_old: bool,
    },
    OwnToken(usize),
    /// A token, and the secret that is no longer valid.
    DeadSecret {
        incarnation: usize,
        secret: String,
        token: usize,
    },
    /// A request that its caller is not authorized to make.
    Denied(Box<Request>),
    RotateKey,
    RevokeKey(String),
    Events,
    Sweep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Check,
    ForwardAuth { cookie: bool },
    WhoAmI { cookie: bool },
}

impl Route {
    /// Those that take an access token.
    pub const BEARER: &[Self] =
        &[Self::Check, Self::ForwardAuth { cookie: false }, Self::WhoAmI { cookie: false }];
    pub const ALL: &[Self] = &[
        Self::Check,
        Self::ForwardAuth { cookie: false },
        Self::ForwardAuth { cookie: true },
        Self::WhoAmI { cookie: false },
        Self::WhoAmI { cookie: true },
    ];
}

/// An opening and what is known of it.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The client that it is for.
    pub incarnation: usize,
    /// The client that sends it; `None` for the administrator.
    pub opener: Option<usize>,
    pub subject: usize,
    pub has_key: bool,
    /// The ticks of the first request and of the last answer.
    pub from: u64,
    pub until: u64,
    pub requests: usize,
    /// Requests in progress, or without an answer since the last audit.
    pub unanswered: usize,
    /// Whether an audit has found a session that may be active without an answer.
    pub adopted: bool,
    pub session: Option<usize>,
    /// The answer, for comparison with that of a repetition.
    pub answer: Value,
    pub before_restore: bool,
}

impl Opening {
    pub fn is_repeatable(&self) -> bool {
        self.has_key && !self.before_restore
    }
}

pub const NAMES: [&str; 3] = ["app", "shop", "mobile"];
/// The name of the public client. The others may open sessions for it.
pub const PUBLIC: usize = 2;
pub const SUBJECTS: [&str; 3] = ["alice", "bob", "carol"];

impl Operation {
    /// Whether it can change something.
    pub fn is_change(&self) -> bool {
        !matches!(
            self,
            Self::Introspect(_) | Self::Use(..) | Self::DeadSecret { .. } | Self::Denied(_) | Self::Events
        )
    }

    /// The clients of which one sends it; `None` is the administrator.
    pub fn callers(&self, facts: &Facts, openings: &[Opening]) -> Vec<Option<usize>> {
        let opener = |session: usize| facts.sessions[session].opener;
        match self {
            Self::Open(number) => vec![openings[usize::try_from(*number).unwrap()].opener],
            Self::Refresh(index) => vec![Some(facts.tokens[*index].incarnation)],
            Self::OwnToken(index) => vec![Some(*index)],
            Self::Introspect(index) | Self::Use(index, Route::Check) => {
                let token = &facts.tokens[*index];
                let issued_to = Some(token.incarnation).filter(|index| !facts.incarnations[*index].public);
                match (self, &token.kind) {
                    // A session token is checked for its opener; an administrator is not asked.
                    (Self::Use(..), Kind::Session { .. }) => vec![opener(token.session.unwrap())],
                    (_, Kind::Access { .. }) => vec![None, issued_to],
                    _ => vec![None, opener(token.session.unwrap())],
                }
            }
            Self::Revoke(index) => {
                let token = &facts.tokens[*index];
                vec![None, Some(token.incarnation), token.session.and_then(opener)]
            }
            Self::EndSession(index) | Self::EndFamily(index, _) | Self::Renew(index) => {
                vec![None, opener(*index), opener(*index)]
            }
            Self::OpenFamily(session, incarnation) => {
                let opener = opener(*session);
                let may_open_for = facts.incarnations[*incarnation].public || opener == Some(*incarnation);
                vec![None, opener.filter(|_| may_open_for)]
            }
            Self::EndSubject(_) => {
                let clients = (0..facts.incarnations.len()).filter(|index| facts.can_call(*index));
                clients.map(Some).chain([None]).collect()
            }
            _ => vec![None],
        }
    }

    /// The request, sent by `caller`, or by the administrator `root`.
    pub fn request(
        &self,
        facts: &Facts,
        openings: &[Opening],
        root: &Auth,
        caller: Option<usize>,
    ) -> Request {
        let auth = caller.map_or_else(|| root.clone(), |caller| facts.basic(caller));
        let token = |index: usize| facts.tokens[index].text.clone();
        let id = |session: usize| facts.sessions[session].id;
        let name = |incarnation: usize| &facts.incarnations[incarnation].name;
        let get = |path: &str, auth| Request::new(Method::GET, path, auth, Body::None);
        let delete = |path: String| Request::new(Method::DELETE, &path, auth.clone(), Body::None);
        let post = |path: &str, body| Request::new(Method::POST, path, auth.clone(), Body::Json(body));
        let form = |path: &str, fields| Request::new(Method::POST, path, auth.clone(), Body::Form(fields));
        match self {
            Self::Open(number) => {
                let opening = &openings[usize::try_from(*number).unwrap()];
                let label = json!({"label": number.to_string()});
                let mut body = json!({"subject": SUBJECTS[opening.subject], "device": label});
                if opening.opener != Some(opening.incarnation) {
                    body["client_id"] = json!(name(opening.incarnation));
                }
                let key = opening.has_key.then(|| format!("key-{number}"));
                Request { key, ..post("/v1/sessions", body) }
            }
            Self::Refresh(index) => {
                let grant = ("grant_type", "refresh_token".into());
                form("/oauth2/token", vec![grant, ("refresh_token", token(*index))])
            }
            Self::OwnToken(_) => form("/oauth2/token", vec![("grant_type", "client_credentials".into())]),
            Self::Introspect(index) => form("/oauth2/introspect", vec![("token", token(*index))]),
            Self::DeadSecret { incarnation, secret, token: index } => {
                let dead = Auth::Basic(name(*incarnation).clone(), secret.clone());
                Request { auth: dead, ..form("/oauth2/introspect", vec![("token", token(*index))]) }
            }
            Self::Use(index, Route::Check) => post("/v1/sessions/check", json!({"token": token(*index)})),
            Self::Use(index, Route::ForwardAuth { cookie }) => {
                get("/v1/forward-auth", Auth::of_person(token(*index), *cookie))
            }
            Self::Use(index, Route::WhoAmI { cookie }) => {
                get("/v1/session", Auth::of_person(token(*index), *cookie))
            }
            Self::Revoke(index) => form("/oauth2/revoke", vec![("token", token(*index))]),
            Self::LogOut(index, cookie) => {
                let auth = Auth::of_person(token(*index), *cookie);
                Request::new(Method::DELETE, "/v1/session", auth, Body::None)
            }
            Self::EndSession(session) => delete(format!("/v1/sessions/{}", id(*session))),
            Self::EndFamily(session, family) => {
                delete(format!("/v1/sessions/{}/families/{family}", id(*session)))
            }
            Self::OpenFamily(session, incarnation) => {
                let body = json!({ "client_id": name(*incarnation) });
                post(&format!("/v1/sessions/{}/families", id(*session)), body)
            }
            Self::Renew(session) => post(&format!("/v1/sessions/{}/renew", id(*session)), json!({})),
            Self::EndSubject(subject) => delete(format!("/v1/subjects/{}/sessions", SUBJECTS[*subject])),
            Self::EndAll => delete("/v1/sessions?all=true".into()),
            Self::Create { name: PUBLIC, format } => {
                let body = json!({
                    "client_id": NAMES[PUBLIC], "kind": "public", "grants": ["refresh_token"],
                    "access_token_format": format,
                });
                post("/v1/clients", body)
            }
            Self::Create { name, format } => {
                let body = json!({
                    "client_id": NAMES[*name], "permissions": ["sessions", "introspect"],
                    "grants": ["refresh_token", "client_credentials"], "opens_for": [NAMES[PUBLIC]],
                    "access_token_format": format,
                });
                post("/v1/clients", body)
            }
            Self::Delete(incarnation) => delete(format!("/v1/clients/{}", name(*incarnation))),
            Self::DeleteName(name) => delete(format!("/v1/clients/{}", NAMES[*name])),
            Self::RotateSecret { incarnation, keep_old } => {
                let keep = if *keep_old { "1h" } else { "0s" };
                let path = format!("/v1/clients/{}/secret", name(*incarnation));
                post(&path, json!({ "keep_old_for": keep }))
            }
            Self::Denied(request) => (**request).clone(),
            Self::RotateKey => {
                Request::new(Method::POST, "/v1/keys/rotate?force=true", auth.clone(), Body::None)
            }
            Self::RevokeKey(kid) => delete(format!("/v1/keys/{kid}")),
            Self::Events | Self::Sweep => {
                get(&format!("/v1/events?after={}&limit=200", facts.cursor()), auth.clone())
            }
        }
    }
}

/// The requests at which a caller without permissions, or one that the session does not belong to, is
/// rejected.
pub fn requests_about_session(id: &str, auth: &Auth) -> Vec<Request> {
    let session = format!("/v1/sessions/{id}");
    let request = |method, path: &str, body| Request::new(method, path, auth.clone(), body);
    let post = |path: String, body| request(Method::POST, &path, Body::Json(body));
    vec![
        request(Method::GET, &session, Body::None),
        request(Method::DELETE, &session, Body::None),
        request(Method::PATCH, &session, Body::Json(json!({"claims": {"of": "another"}}))),
        request(Method::DELETE, &format!("{session}/families/1"), Body::None),
        post(format!("{session}/renew"), json!({})),
        post(format!("{session}/families"), json!({})),
    ]
}

/// The requests that only administrators may send.
pub fn requests_of_administrators(kid: &str, auth: &Auth) -> Vec<Request> {
    let request = |method, path: &str| Request::new(method, path, auth.clone(), Body::None);
    let post = |path, body| Request::new(Method::POST, path, auth.clone(), Body::Json(body));
    vec![
        request(Method::DELETE, "/v1/sessions?all=true"),
        post("/v1/clients", json!({"client_id": "mine", "permissions": ["admin"]})),
        post("/v1/clients/app/secret", json!({})),
        request(Method::DELETE, "/v1/clients/app"),
        request(Method::POST, "/v1/clients/app/tokens/revoke"),
        request(Method::POST, "/v1/keys/rotate?force=true"),
        request(Method::DELETE, &format!("/v1/keys/{kid}")),
        request(Method::GET, "/v1/events"),
        request(Method::GET, "/v1/db/backup"),
    ]
}
