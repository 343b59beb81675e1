//! A session's record: what every request needs in clear, small because most of it repeats; then what is
//! personal, sealed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Codec, Decoded, frame, name, postcard, unframe};
use crate::domain::access::{Authentication, Claims};
use crate::domain::end::{End, EndReason};
use crate::domain::family::Family;
use crate::domain::id::{ClientId, Hash, Position, SessionId};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Device, RevokedToken, Session};
use crate::domain::time::Timestamp;

/// A session as it is kept: without its retry windows, which have rows of their own.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// The session; no family in it has its window yet.
    pub session: Session,
    /// Where it is in the expiry index.
    pub slot: Timestamp,
    /// The windows that were open when it was written. Their rows may be gone.
    pub windows: Vec<WindowRef>,
}

/// Where the row of a family's retry window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRef {
    /// The family's number.
    pub family: u16,
    /// When the window closes.
    pub closes_at: Timestamp,
}

/// Milliseconds after (or before) the session's creation: three bytes instead of seven.
type Offset = i64;

/// What is in clear. `None` in a family means: as the session has it.
#[derive(Serialize, Deserialize)]
struct Clear<'a> {
    created_at: i64,
    slot: Offset,
    flags: u8,
    issued: u64,
    client_id: &'a str,
    /// `None`: by its own client.
    opened_by: Option<&'a str>,
    #[serde(borrow)]
    authentication: Authenticated<'a>,
    last_used_at: Offset,
    idle_timeout: Duration,
    expires_at: Offset,
    scope: &'a str,
    audience: &'a str,
    renewals: u32,
    token: Hash,
    version: u32,
    claims_version: u32,
    next_family: u16,
    own_family: Option<u16>,
    revoked_tokens: Vec<RevokedToken>,
    end: Option<Ended<'a>>,
    families: Vec<Chain<'a>>,
}

const REMEMBER: u8 = 1;
const EXPIRY_REPORTED: u8 = 2;

#[derive(Serialize, Deserialize, PartialEq)]
struct Authenticated<'a> {
    at: Offset,
    acr: Option<&'a str>,
    #[serde(borrow)]
    amr: Vec<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Ended<'a> {
    at: Offset,
    reason: EndReason,
    by: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Chain<'a> {
    number: u16,
    client_id: Option<&'a str>,
    scope: Option<&'a str>,
    audience: Option<&'a str>,
    #[serde(borrow)]
    authentication: Option<Authenticated<'a>>,
    /// Positions after the session's own.
    issued: u64,
    end: Option<Ended<'a>>,
    generation: u32,
    current: Hash,
    previous: Option<Hash>,
    refreshed_at: Offset,
    window_closes_at: Option<Offset>,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Personal<'a> {
    subject: &'a str,
    user_agent: Option<&'a str>,
    ip: Option<&'a str>,
    label: Option<&'a str>,
    claims: Option<&'a str>,
}

impl Codec {
    /// A session's record, with its place in the expiry index.
    pub fn encode_session(&self, session: &Session, slot: Timestamp) -> Vec<u8> {
        let name = name("sessions", &session.id.0);
        let mut body = postcard(&clear(session, slot));
        body.extend(self.sealer.seal(&name, &postcard(&personal(session))));
        frame(&name, &body)
    }

    /// The reverse of [`Self::encode_session`].
    pub fn decode_session(&self, id: SessionId, bytes: &[u8]) -> Decoded<SessionRecord> {
        let name = name("sessions", &id.0);
        let body = unframe(&name, bytes)?;
        let (clear, sealed) =
            postcard::take_from_bytes::<Clear>(body).map_err(|_| "its clear part does not read")?;
        let opened = self
            .sealer
            .open(&name, sealed)
            .ok_or("its sealed part does not open under its name and the master key")?;
        let personal =
            postcard::from_bytes::<Personal>(&opened).map_err(|_| "its sealed part does not read")?;
        restore(id, &clear, &personal)
    }
}

fn clear(s: &Session, slot: Timestamp) -> Clear<'_> {
    let base = s.created_at;
    Clear {
        created_at: base.millis(),
        slot: offset(slot, base),
        flags: if s.remember { REMEMBER } else { 0 } | if s.expiry_reported { EXPIRY_REPORTED } else { 0 },
        issued: s.issued.0,
        client_id: s.client_id.as_str(),
        opened_by: (*s.opened_by != *s.client_id.as_str()).then_some(&*s.opened_by),
        authentication: authenticated(&s.authentication, base),
        last_used_at: offset(s.last_used_at, base),
        idle_timeout: s.idle_timeout,
        expires_at: offset(s.expires_at, base),
        scope: s.scope.as_str(),
        audience: &s.audience,
        renewals: s.renewals,
        token: s.token,
        version: s.version,
        claims_version: s.claims_version,
        next_family: s.next_family,
        own_family: s.own_family,
        revoked_tokens: s.revoked_tokens.clone(),
        end: s.end.as_ref().map(|end| ended(end, base)),
        families: s.families.iter().map(|family| chain(family, s)).collect(),
    }
}

fn chain<'a>(f: &'a Family, s: &'a Session) -> Chain<'a> {
    let base = s.created_at;
    Chain {
        number: f.number,
        client_id: (f.client_id != s.client_id).then(|| f.client_id.as_str()),
        scope: (f.scope != s.scope).then(|| f.scope.as_str()),
        audience: (f.audience != s.audience).then_some(&*f.audience),
        authentication: (f.authentication != s.authentication)
            .then(|| authenticated(&f.authentication, base)),
        issued: f.issued.0.wrapping_sub(s.issued.0),
        end: f.end.as_ref().map(|end| ended(end, base)),
        generation: f.generation,
        current: f.current,
        previous: f.previous,
        refreshed_at: offset(f.refreshed_at, base),
        window_closes_at: f.window.as_ref().map(|window| offset(window.closes_at(), base)),
    }
}

fn personal(s: &Session) -> Personal<'_> {
    Personal {
        subject: s.subject.as_str(),
        user_agent: s.device.user_agent.as_deref(),
        ip: s.device.ip.as_deref(),
        label: s.device.label.as_deref(),
        claims: s.claims.as_ref().map(|claims| &*claims.0),
    }
}

fn authenticated(a: &Authentication, base: Timestamp) -> Authenticated<'_> {
    Authenticated {
        at: offset(a.at, base),
        acr: a.acr.as_deref(),
        amr: a.amr.iter().map(|method| &**method).collect(),
    }
}

fn ended(end: &End, base: Timestamp) -> Ended<'_> {
    Ended { at: offset(end.at, base), reason: end.reason, by: &end.by }
}

fn restore(id: SessionId, c: &Clear, p: &Personal) -> Decoded<SessionRecord> {
    let base = Timestamp::from_millis(c.created_at);
    let mut session = Session {
        id,
        subject: p.subject.parse().map_err(|_| "its subject is malformed")?,
        client_id: client_id(c.client_id)?,
        opened_by: c.opened_by.unwrap_or(c.client_id).into(),
        issued: Position(c.issued),
        created_at: base,
        authentication: authentication(&c.authentication, base),
        last_used_at: instant(c.last_used_at, base),
        idle_timeout: c.idle_timeout,
        expires_at: instant(c.expires_at, base),
        remember: c.flags & REMEMBER != 0,
        scope: scope(c.scope)?,
        audience: c.audience.into(),
        renewals: c.renewals,
        token: c.token,
        device: Device {
            user_agent: p.user_agent.map(Into::into),
            ip: p.ip.map(Into::into),
            label: p.label.map(Into::into),
        },
        claims: p.claims.map(|claims| Claims(claims.into())),
        version: c.version,
        claims_version: c.claims_version,
        families: Vec::with_capacity(c.families.len()),
        next_family: c.next_family,
        own_family: c.own_family,
        revoked_tokens: c.revoked_tokens.clone(),
        end: c.end.as_ref().map(|end| restore_end(end, base)),
        expiry_reported: c.flags & EXPIRY_REPORTED != 0,
    };
    let mut windows = vec![];
    for chain in &c.families {
        session.families.push(restore_family(chain, &session)?);
        if let Some(closes_at) = chain.window_closes_at {
            windows.push(WindowRef { family: chain.number, closes_at: instant(closes_at, base) });
        }
    }
    Ok(SessionRecord { session, slot: instant(c.slot, base), windows })
}

fn restore_family(c: &Chain, session: &Session) -> Decoded<Family> {
    let base = session.created_at;
    Ok(Family {
        number: c.number,
        client_id: c.client_id.map_or_else(|| Ok(session.client_id.clone()), client_id)?,
        scope: c.scope.map_or_else(|| Ok(session.scope.clone()), scope)?,
        audience: c.audience.map_or_else(|| session.audience.clone(), Into::into),
        authentication: c
            .authentication
            .as_ref()
            .map_or_else(|| session.authentication.clone(), |a| authentication(a, base)),
        issued: Position(session.issued.0.wrapping_add(c.issued)),
        end: c.end.as_ref().map(|end| restore_end(end, base)),
        generation: c.generation,
        current: c.current,
        previous: c.previous,
        refreshed_at: instant(c.refreshed_at, base),
        window: None,
    })
}

fn authentication(a: &Authenticated, base: Timestamp) -> Authentication {
    Authentication {
        at: instant(a.at, base),
        acr: a.acr.map(Into::into),
        amr: a.amr.iter().map(|&method| method.into()).collect(),
    }
}

fn restore_end(end: &Ended, base: Timestamp) -> End {
    End { at: instant(end.at, base), reason: end.reason, by: end.by.into() }
}

fn client_id(text: &str) -> Decoded<ClientId> {
    text.parse().map_err(|_| "a client's name in it is malformed")
}

fn scope(text: &str) -> Decoded<ScopeSet> {
    text.parse().map_err(|_| "a scope in it is malformed")
}

/// Instants lie between 1970 and 10000, so their differences never overflow.
fn offset(at: Timestamp, base: Timestamp) -> Offset {
    at.millis() - base.millis()
}

fn instant(offset: Offset, base: Timestamp) -> Timestamp {
    Timestamp::from_millis(base.millis().saturating_add(offset))
}
