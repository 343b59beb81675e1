//! What clients ask for, and the request that says so.

use http::Method;
use serde_json::{Value, json};

use crate::facts::{Facts, Incarnation};
use crate::server::{Auth, Body, Request};

#[derive(Clone, Debug)]
pub enum Operation {
    /// An opening, or its repetition, by its number.
    Open(u64),
    Refresh(usize),
    Introspect(usize),
    Revoke(usize),
    EndSession(usize),
    EndFamily(usize, u16),
    /// A family for a client in a session.
    OpenFamily(usize, usize),
    EndSubject(usize),
    EndAll,
    Create(usize),
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
    RotateKey,
    RevokeKey(String),
    Events,
    Sweep,
}

/// An opening and what is known of it.
#[derive(Clone, Debug)]
pub struct Opening {
    pub incarnation: usize,
    pub subject: usize,
    pub has_key: bool,
    /// The tick of the first request.
    pub from: u64,
    /// Requests in progress or without an answer.
    pub unanswered: usize,
    pub session: Option<usize>,
    /// The answer, for comparison with that of a repetition.
    pub answer: Value,
}

pub const NAMES: [&str; 3] = ["app", "shop", "mobile"];
pub const SUBJECTS: [&str; 3] = ["alice", "bob", "carol"];

impl Operation {
    /// The request, sent by `caller` (the administrator if `None`).
    pub fn request(&self, facts: &Facts, openings: &[Opening], root: &Auth, by_root: bool) -> Request {
        let basic = |at: &Incarnation| Auth::Basic(at.name.clone(), at.secret.clone());
        let client = |incarnation: usize| basic(&facts.incarnations[incarnation]);
        let owner = |session: usize| {
            if by_root { root.clone() } else { client(facts.sessions[session].incarnation) }
        };
        let token = |index: usize| facts.tokens[index].text.clone();
        let id = |session: usize| facts.sessions[session].id;
        let form = |path: &str, auth, fields: Vec<(&'static str, String)>| Request {
            method: Method::POST,
            path: path.into(),
            auth,
            key: None,
            body: Body::Form(fields),
        };
        let plain = |method, path: String, auth| Request { method, path, auth, key: None, body: Body::None };
        let posted = |path: String, auth, body| Request {
            method: Method::POST,
            path,
            auth,
            key: None,
            body: Body::Json(body),
        };
        match self {
            Self::Open(number) => {
                let opening = &openings[usize::try_from(*number).unwrap()];
                let label = json!({"label": number.to_string()});
                let body = json!({"subject": SUBJECTS[opening.subject], "device": label});
                let key = opening.has_key.then(|| format!("key-{number}"));
                Request { key, ..posted("/v1/sessions".into(), client(opening.incarnation), body) }
            }
            Self::Refresh(index) => {
                let grant = ("grant_type", "refresh_token".into());
                let client = client(facts.tokens[*index].incarnation);
                form("/oauth2/token", client, vec![grant, ("refresh_token", token(*index))])
            }
            Self::OwnToken(incarnation) => {
                let grant = ("grant_type", "client_credentials".into());
                form("/oauth2/token", client(*incarnation), vec![grant])
            }
            Self::Introspect(index) => {
                form("/oauth2/introspect", root.clone(), vec![("token", token(*index))])
            }
            Self::DeadSecret { incarnation, secret, token: index } => {
                let dead = Auth::Basic(facts.incarnations[*incarnation].name.clone(), secret.clone());
                form("/oauth2/introspect", dead, vec![("token", token(*index))])
            }
            Self::Revoke(index) => {
                let auth = if by_root { root.clone() } else { client(facts.tokens[*index].incarnation) };
                form("/oauth2/revoke", auth, vec![("token", token(*index))])
            }
            Self::EndSession(session) => {
                plain(Method::DELETE, format!("/v1/sessions/{}", id(*session)), owner(*session))
            }
            Self::EndFamily(session, family) => {
                let path = format!("/v1/sessions/{}/families/{family}", id(*session));
                plain(Method::DELETE, path, owner(*session))
            }
            Self::OpenFamily(session, incarnation) => {
                let name = &facts.incarnations[*incarnation].name;
                let path = format!("/v1/sessions/{}/families", id(*session));
                posted(path, root.clone(), json!({ "client_id": name }))
            }
            Self::EndSubject(subject) => {
                let path = format!("/v1/subjects/{}/sessions", SUBJECTS[*subject]);
                plain(Method::DELETE, path, root.clone())
            }
            Self::EndAll => plain(Method::DELETE, "/v1/sessions?all=true".into(), root.clone()),
            Self::Create(name) => {
                let body = json!({
                    "client_id": NAMES[*name], "permissions": ["sessions", "introspect"],
                    "grants": ["refresh_token", "client_credentials"],
                });
                posted("/v1/clients".into(), root.clone(), body)
            }
            Self::Delete(incarnation) => {
                let name = &facts.incarnations[*incarnation].name;
                plain(Method::DELETE, format!("/v1/clients/{name}"), root.clone())
            }
            Self::DeleteName(name) => {
                plain(Method::DELETE, format!("/v1/clients/{}", NAMES[*name]), root.clone())
            }
            Self::RotateSecret { incarnation, keep_old } => {
                let path = format!("/v1/clients/{}/secret", facts.incarnations[*incarnation].name);
                let keep = if *keep_old { "1h" } else { "0s" };
                posted(path, root.clone(), json!({ "keep_old_for": keep }))
            }
            Self::RotateKey => plain(Method::POST, "/v1/keys/rotate?force=true".into(), root.clone()),
            Self::RevokeKey(kid) => plain(Method::DELETE, format!("/v1/keys/{kid}"), root.clone()),
            Self::Events | Self::Sweep => {
                let after = facts.head_seen.saturating_sub(50);
                plain(Method::GET, format!("/v1/events?after={after}&limit=200"), root.clone())
            }
        }
    }
}
