//! The requests of the mixed load on one session, with how often each is made.

use serde_json::{Value, json};

use super::credentials::{BACKEND, declared};
use super::line::Ask;

/// What a worker does at a time.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Introspect,
    IntrospectEnded,
    Refresh,
    Retry,
    Reuse,
    Check,
    Use,
    Open,
    Revoke,
    End,
    LogOut,
    Renew,
    Family,
    Change,
    List,
    Read,
    WrongSecret,
}

/// Times per second, of all workers together.
pub const MIX: [(Step, usize); 17] = [
    (Step::Introspect, 180),
    (Step::IntrospectEnded, 40),
    (Step::Refresh, 60),
    (Step::Retry, 6),
    (Step::Reuse, 1),
    (Step::Check, 30),
    (Step::Use, 20),
    (Step::Open, 25),
    (Step::Revoke, 6),
    (Step::End, 3),
    (Step::LogOut, 2),
    (Step::Renew, 4),
    (Step::Family, 2),
    (Step::Change, 4),
    (Step::List, 5),
    (Step::Read, 8),
    (Step::WrongSecret, 4),
];

pub fn open(subject: &str, authorization: &str, key: &str) -> Ask {
    let body = json!({
        "subject": subject, "acr": "aal1", "amr": ["pwd"],
        "device": {"user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)", "ip": "192.0.2.77"},
        "claims": {"tenant": "north", "roles": ["editor", "reviewer"]},
    });
    Ask::json("POST", "/v1/sessions", authorization, &body).idempotent(key)
}

pub fn introspect(token: &str, authorization: &str) -> Ask {
    Ask::form("/oauth2/introspect", authorization, format!("token={token}"))
}

pub fn refresh(token: &str) -> Ask {
    let body = format!("grant_type=refresh_token&refresh_token={token}");
    Ask::form("/oauth2/token", &declared(BACKEND), body)
}

pub fn revoke(token: &str) -> Ask {
    Ask::form("/oauth2/revoke", &declared(BACKEND), format!("token={token}"))
}

pub fn check(token: &str) -> Ask {
    Ask::json("POST", "/v1/sessions/check", &declared(BACKEND), &json!({"token": token, "touch": false}))
}

/// A text member of an answer; empty if there is none.
pub fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}
