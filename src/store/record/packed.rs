//! The clear part of a session's record since version 3: what is absent or usual takes no bytes, and what a
//! refresh changes in a family has a fixed length.
//! The times of the session take up to two bytes more as it ages.

use serde::{Deserialize, Serialize};

use super::fields::{AddedFields, ClearFields, FamilyFields, Offset};
use super::{Decoded, RECORD_BYTES, append, take};
use crate::domain::id::{Hash, SessionId};

/// Flags of a session, after those of [`ClearFields`].
const OTHER_OPENER: u8 = 1 << 2;
/// It was not created at the time in its id.
const CREATED_AT: u8 = 1 << 3;
/// It was changed or renewed.
const COUNTS: u8 = 1 << 4;
const REVOKED: u8 = 1 << 5;
const ENDED: u8 = 1 << 6;
/// Its families are not only the one that its opening issued.
const FAMILIES: u8 = 1 << 7;

/// Flags of a family. Without them its values are those of the session.
const CLIENT: u8 = 1;
const SCOPE: u8 = 1 << 1;
const AUDIENCE: u8 = 1 << 2;
const AUTHENTICATION: u8 = 1 << 3;
const FAMILY_ENDED: u8 = 1 << 4;
const ROTATED: u8 = 1 << 5;
const REFRESHED_AT: u8 = 1 << 6;
const ISSUED: u8 = 1 << 7;

/// What a refresh changes in a family: its generation, its hashes, and the time of its window in milliseconds
/// after the refresh, or one of the values below. The previous hash has its place before there is one.
type Chain = ([u8; 4], Hash, Hash, [u8; 4]);
const NO_WINDOW: u32 = 0;
const KEPT: u32 = u32::MAX;
/// The offset of a window that is kept is larger than any other.
const KEPT_FROM: Offset = u32::MAX as Offset;

pub(super) fn pack(id: SessionId, c: &ClearFields, added: &AddedFields) -> Vec<u8> {
    let counts = (c.renewals, c.version, c.claims_version);
    let is_own = |f: &FamilyFields| f.number == 1;
    let usual = (c.next_family, c.own_family) == (2, Some(1)) && matches!(&*c.families, [own] if is_own(own));
    let flags = c.flags
        | when(OTHER_OPENER, c.opened_by.is_some())
        | when(CREATED_AT, c.created_at != id.millis())
        | when(COUNTS, counts != (0, 1, 1))
        | when(REVOKED, !c.revoked_tokens.is_empty() || added.revoked_until != 0)
        | when(ENDED, c.end.is_some())
        | when(FAMILIES, !usual);
    let mut out = Packed(append(Vec::with_capacity(RECORD_BYTES), &flags));
    out.put_if(flags & CREATED_AT, &c.created_at);
    out.put(&(c.slot, c.issued, c.client_id, &c.authentication, c.last_used_at, c.idle_timeout));
    out.put(&(c.expires_at, c.scope, c.audience, c.token));
    out.put_if(flags & OTHER_OPENER, &c.opened_by.unwrap_or_default());
    out.put_if(flags & COUNTS, &counts);
    out.put_if(flags & REVOKED, &(&c.revoked_tokens, added));
    c.end.iter().for_each(|end| out.put(end));
    out.put_if(flags & FAMILIES, &(c.next_family, c.own_family, c.families.len()));
    for family in &c.families {
        out.put_if(flags & FAMILIES, &family.number);
        pack_family(&mut out, family, c.last_used_at);
    }
    out.0
}

fn pack_family(out: &mut Packed, f: &FamilyFields, last_used_at: Offset) {
    let flags = when(CLIENT, f.client_id.is_some())
        | when(SCOPE, f.scope.is_some())
        | when(AUDIENCE, f.audience.is_some())
        | when(AUTHENTICATION, f.authentication.is_some())
        | when(FAMILY_ENDED, f.end.is_some())
        | when(ROTATED, f.previous.is_some())
        | when(REFRESHED_AT, f.refreshed_at != last_used_at)
        | when(ISSUED, f.issued != 0);
    out.put(&flags);
    [f.client_id, f.scope, f.audience].iter().flatten().for_each(|text| out.put(text));
    f.authentication.iter().for_each(|authentication| out.put(authentication));
    f.end.iter().for_each(|end| out.put(end));
    out.put_if(flags & REFRESHED_AT, &f.refreshed_at);
    out.put_if(flags & ISSUED, &f.issued);
    let after = |closes_at: Offset| closes_at.saturating_sub(f.refreshed_at).clamp(1, KEPT_FROM);
    let window = f.window_closes_at.map_or(NO_WINDOW, |at| u32::try_from(after(at)).unwrap_or(KEPT));
    let previous = f.previous.unwrap_or(Hash([0; 32]));
    let chain: Chain = (f.generation.to_le_bytes(), f.current, previous, window.to_le_bytes());
    out.put(&chain);
}

/// The fields, and the bytes after them. `kept` is the time of a window that no clock closes.
pub(super) fn unpack(
    id: SessionId,
    bytes: &[u8],
    kept: i64,
) -> Decoded<(ClearFields<'_>, AddedFields, &[u8])> {
    let mut from = Unpacked(bytes);
    let flags: u8 = from.get()?;
    let created_at = from.get_if(flags & CREATED_AT)?.unwrap_or(id.millis());
    let (slot, issued, client_id, authentication, last_used_at, idle_timeout) = from.get()?;
    let (expires_at, scope, audience, token) = from.get()?;
    let opened_by = from.get_if(flags & OTHER_OPENER)?;
    let (renewals, version, claims_version) = from.get_if(flags & COUNTS)?.unwrap_or((0, 1, 1));
    let (revoked_tokens, added) = from.get_if(flags & REVOKED)?.unwrap_or_default();
    let end = from.get_if(flags & ENDED)?;
    let families = from.get_if::<(u16, Option<u16>, usize)>(flags & FAMILIES)?;
    let (next_family, own_family, number) = families.unwrap_or((2, Some(1), 1));
    let mut families = vec![];
    for _ in 0..number {
        let number = from.get_if(flags & FAMILIES)?.unwrap_or(1);
        families.push(unpack_family(&mut from, number, last_used_at, kept.saturating_sub(created_at))?);
    }
    let fields = ClearFields {
        created_at,
        slot,
        flags,
        issued,
        client_id,
        opened_by,
        authentication,
        last_used_at,
        idle_timeout,
        expires_at,
        scope,
        audience,
        renewals,
        token,
        version,
        claims_version,
        next_family,
        own_family,
        revoked_tokens,
        end,
        families,
    };
    Ok((fields, added, from.0))
}

fn unpack_family<'a>(
    from: &mut Unpacked<'a>,
    number: u16,
    last_used_at: Offset,
    kept: Offset,
) -> Decoded<FamilyFields<'a>> {
    let flags: u8 = from.get()?;
    let client_id = from.get_if(flags & CLIENT)?;
    let scope = from.get_if(flags & SCOPE)?;
    let audience = from.get_if(flags & AUDIENCE)?;
    let authentication = from.get_if(flags & AUTHENTICATION)?;
    let end = from.get_if(flags & FAMILY_ENDED)?;
    let refreshed_at: Offset = from.get_if(flags & REFRESHED_AT)?.unwrap_or(last_used_at);
    let issued = from.get_if(flags & ISSUED)?.unwrap_or(0);
    let (generation, current, previous, window): Chain = from.get()?;
    let window_closes_at = match u32::from_le_bytes(window) {
        NO_WINDOW => None,
        KEPT => Some(kept),
        after => Some(refreshed_at.saturating_add(after.into())),
    };
    Ok(FamilyFields {
        number,
        client_id,
        scope,
        audience,
        authentication,
        issued,
        end,
        generation: u32::from_le_bytes(generation),
        current,
        previous: (flags & ROTATED != 0).then_some(previous),
        refreshed_at,
        window_closes_at,
    })
}

/// `flag` if the condition holds.
pub(super) fn when<F: Default>(flag: F, condition: bool) -> F {
    if condition { flag } else { F::default() }
}

pub(super) struct Packed(pub Vec<u8>);

impl Packed {
    pub fn put(&mut self, value: &impl Serialize) {
        self.0 = append(std::mem::take(&mut self.0), value);
    }

    pub fn put_if<F: Default + PartialEq>(&mut self, flag: F, value: &impl Serialize) {
        if flag != F::default() {
            self.put(value);
        }
    }
}

pub(super) struct Unpacked<'a>(pub &'a [u8]);

impl<'a> Unpacked<'a> {
    pub fn get<T: Deserialize<'a>>(&mut self) -> Decoded<T> {
        let (value, rest) = take(self.0)?;
        self.0 = rest;
        Ok(value)
    }

    pub fn get_if<T: Deserialize<'a>>(&mut self, flag: impl Default + PartialEq) -> Decoded<Option<T>> {
        (flag != Default::default()).then(|| self.get()).transpose()
    }
}
