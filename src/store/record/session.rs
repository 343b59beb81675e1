//! A session's record: first, in clear and compact, what every request needs; then, sealed, what is personal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::fields::{AddedFields, AuthenticationFields, ClearFields, EndFields, FamilyFields, Offset};
use super::packed::{pack, unpack};
use super::squeeze::{expand, squeeze};
use super::{Codec, Decoded, RecordFault, frame_as, name, postcard, take, unframe_up_to, unpostcard};
use crate::domain::access::{Authentication, Claims};
use crate::domain::end::End;
use crate::domain::family::Family;
use crate::domain::id::{ClientId, Position, SessionId};
use crate::domain::scope::ScopeSet;
use crate::domain::session::{Device, Revocation, Session};
use crate::domain::text::is_json_object;
use crate::domain::time::Timestamp;

/// Version 2 added [`AddedFields`]. Version 3 is the same, packed.
const SESSION_VERSION: u8 = 3;

/// A session as stored: without its retry windows, which have rows of their own.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// Its families have no windows yet.
    pub session: Session,
    /// The time of its entry in the expiry index.
    pub slot: Timestamp,
    /// The windows that were open when it was written. Their rows may have been removed since.
    pub windows: Vec<WindowRef>,
    /// Its sealed part, if that has the present version.
    pub sealed: Option<Box<[u8]>>,
}

/// Identifies the row of a family's retry window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowRef {
    pub family: u16,
    pub closes_at: Timestamp,
}

const REMEMBER: u8 = 1;
const EXPIRY_REPORTED: u8 = 2;

/// The sealed part before version 3: the subject, the device and the claims.
type PersonalFields<'a> = (&'a str, Device, Option<Claims>);

/// The sealed part: the subject, the user agent, the address, the label and the claims.
type PackedPersonal<'a> = (&'a str, Option<&'a [u8]>, Address<'a>, Option<&'a str>, Option<&'a [u8]>);

/// The address of a device, which is any text.
#[derive(Serialize, Deserialize)]
enum Address<'a> {
    None,
    Text(&'a str),
    V4([u8; 4]),
    V6([u8; 16]),
}

impl<'a> Address<'a> {
    /// Shorter only if it is written in the canonical form, so that it reads as it was.
    fn of(text: Option<&'a str>) -> Self {
        let Some(text) = text else { return Self::None };
        match text.parse::<IpAddr>() {
            Ok(address) if address.to_string() != text => Self::Text(text),
            Ok(IpAddr::V4(address)) => Self::V4(address.octets()),
            Ok(IpAddr::V6(address)) => Self::V6(address.octets()),
            Err(_) => Self::Text(text),
        }
    }

    fn text(self) -> Option<Box<str>> {
        match self {
            Self::None => None,
            Self::Text(text) => Some(text.into()),
            Self::V4(octets) => Some(Ipv4Addr::from(octets).to_string().into()),
            Self::V6(octets) => Some(Ipv6Addr::from(octets).to_string().into()),
        }
    }
}

fn pack_personal(session: &Session) -> Vec<u8> {
    let Device { user_agent, ip, label } = &session.device;
    let agent = user_agent.as_deref().map(squeeze);
    let claims = session.claims.as_ref().map(|claims| squeeze(&claims.0));
    let packed: PackedPersonal = (
        session.subject.as_str(),
        agent.as_deref(),
        Address::of(ip.as_deref()),
        label.as_deref(),
        claims.as_deref(),
    );
    postcard(&packed)
}

fn unpack_personal(bytes: &[u8]) -> Decoded<PersonalFields<'_>> {
    let (subject, agent, address, label, claims): PackedPersonal = unpostcard(bytes)?;
    let expanded = |squeezed: Option<&[u8]>| {
        squeezed.map(|text| expand(text).ok_or("a text in it cannot be expanded")).transpose()
    };
    let device = Device { user_agent: expanded(agent)?, ip: address.text(), label: label.map(Into::into) };
    Ok((subject, device, expanded(claims)?.map(Claims)))
}

impl Codec {
    /// `slot` is the time of its entry in the expiry index. `sealed` is its sealed part, if that is
    /// unchanged.
    pub fn encode_session(&self, session: &Session, slot: Timestamp, sealed: Option<&[u8]>) -> Vec<u8> {
        let name = name("sessions", &session.id.0);
        let added = AddedFields {
            revoked_in: session.revoked_tokens.iter().map(|revoked| revoked.family).collect(),
            revoked_until: session.revoked_until,
        };
        let mut body = pack(session.id, &clear(session, slot), &added);
        match sealed {
            Some(sealed) => body.extend(sealed),
            None => body.extend(self.sealer.seal(&name, &pack_personal(session))),
        }
        frame_as(SESSION_VERSION, &name, &body)
    }

    pub fn decode_session(&self, id: SessionId, bytes: &[u8]) -> Decoded<SessionRecord> {
        let name = name("sessions", &id.0);
        let (version, body) = unframe_up_to(SESSION_VERSION, &name, bytes)?;
        let undecodable = |_: RecordFault| "its clear part cannot be decoded";
        let (clear, added, sealed) = match version {
            3 => unpack(id, body, Timestamp::MAX.millis()).map_err(undecodable)?,
            _ => {
                let (clear, rest) = take(body).map_err(undecodable)?;
                let before_added = (AddedFields::default(), rest);
                let (added, sealed) =
                    if version == 1 { before_added } else { take(rest).map_err(undecodable)? };
                (clear, added, sealed)
            }
        };
        let opened = self
            .sealer
            .open(&name, sealed)
            .ok_or("its sealed part cannot be opened under its key and the master key")?;
        let personal = if version < 3 { unpostcard(&opened) } else { unpack_personal(&opened) };
        let personal = personal.map_err(|_| "its sealed part cannot be decoded")?;
        let record = restore(id, &clear, &added, personal)?;
        Ok(SessionRecord { sealed: (version == SESSION_VERSION).then(|| sealed.into()), ..record })
    }
}

fn clear(s: &Session, slot: Timestamp) -> ClearFields<'_> {
    let base = s.created_at;
    ClearFields {
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
        revoked_tokens: s.revoked_tokens.iter().map(|revoked| revoked.token).collect(),
        end: s.end.as_ref().map(|end| ended(end, base)),
        families: s.families.iter().map(|family| chain(family, s)).collect(),
    }
}

fn chain<'a>(f: &'a Family, s: &'a Session) -> FamilyFields<'a> {
    let base = s.created_at;
    FamilyFields {
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
        window_closes_at: f.window.as_ref().map(|window| offset(window.erased_at(), base)),
    }
}

fn authenticated(a: &Authentication, base: Timestamp) -> AuthenticationFields<'_> {
    AuthenticationFields {
        at: offset(a.at, base),
        acr: a.acr.as_deref(),
        amr: a.amr.iter().map(|method| &**method).collect(),
    }
}

fn ended(end: &End, base: Timestamp) -> EndFields<'_> {
    EndFields { at: offset(end.at, base), reason: end.reason, by: &end.by }
}

fn restore(
    id: SessionId,
    c: &ClearFields,
    added: &AddedFields,
    (subject, device, claims): PersonalFields,
) -> Decoded<SessionRecord> {
    if claims.as_ref().is_some_and(|claims| !is_json_object(&claims.0)) {
        return Err("its claims are not a JSON object");
    }
    let base = Timestamp::from_millis(c.created_at);
    let mut session = Session {
        id,
        subject: subject.parse().map_err(|_| "its subject is malformed")?,
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
        device,
        claims,
        version: c.version,
        claims_version: c.claims_version,
        families: Vec::with_capacity(c.families.len()),
        next_family: c.next_family,
        own_family: c.own_family,
        revoked_tokens: vec![],
        revoked_until: added.revoked_until,
        end: c.end.as_ref().map(|end| restore_end(end, base)),
        expiry_reported: c.flags & EXPIRY_REPORTED != 0,
    };
    let families = added.revoked_in.iter().copied().chain(std::iter::repeat(None));
    let revoked = c.revoked_tokens.iter().zip(families);
    session.revoked_tokens = revoked.map(|(token, family)| Revocation { token: *token, family }).collect();
    let mut windows = vec![];
    for chain in &c.families {
        session.families.push(restore_family(chain, &session)?);
        if let Some(closes_at) = chain.window_closes_at {
            windows.push(WindowRef { family: chain.number, closes_at: instant(closes_at, base) });
        }
    }
    Ok(SessionRecord { session, slot: instant(c.slot, base), windows, sealed: None })
}

fn restore_family(c: &FamilyFields, session: &Session) -> Decoded<Family> {
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

fn authentication(a: &AuthenticationFields, base: Timestamp) -> Authentication {
    Authentication {
        at: instant(a.at, base),
        acr: a.acr.map(Into::into),
        amr: a.amr.iter().map(|&method| method.into()).collect(),
    }
}

fn restore_end(end: &EndFields, base: Timestamp) -> End {
    End { at: instant(end.at, base), reason: end.reason, by: end.by.into() }
}

fn client_id(text: &str) -> Decoded<ClientId> {
    text.parse().map_err(|_| "a client_id in it is malformed")
}

fn scope(text: &str) -> Decoded<ScopeSet> {
    text.parse().map_err(|_| "a scope in it is malformed")
}

/// Times lie between the years 1970 and 10000, so their differences do not overflow.
fn offset(at: Timestamp, base: Timestamp) -> Offset {
    at.millis() - base.millis()
}

fn instant(offset: Offset, base: Timestamp) -> Timestamp {
    Timestamp::from_millis(base.millis().saturating_add(offset))
}
