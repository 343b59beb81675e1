//! Events as they are stored: the time in clear, so that the sweep need not open them, and the rest sealed.

use crate::domain::event::{Event, Reach};
use crate::domain::time::Timestamp;

use super::packed::{Packed, Unpacked, when};
use super::{Codec, Decoded, name, postcard, unpostcard, versioned};

/// Version 2 added the reach, at the end. Version 3 starts with its version and omits what is absent.
const EVENT_VERSION: u8 = 3;
/// Before version 3 an event starts with eight bytes of its time, of which the first is 0.
const TIME_FIRST: u8 = 0;

const SESSION: u16 = 1;
const SUBJECT: u16 = 1 << 1;
const CLIENT: u16 = 1 << 2;
/// The actor is not the client.
const ACTOR: u16 = 1 << 3;
const REASON: u16 = 1 << 4;
const REACH: u16 = 1 << 5;
const FAMILY: u16 = 1 << 6;
const TOKEN: u16 = 1 << 7;
const KEY: u16 = 1 << 8;
const BEHIND: u16 = 1 << 9;
const ADDRESS: u16 = 1 << 10;
const NOTE: u16 = 1 << 11;

impl Codec {
    pub fn encode_event(&self, position: u64, event: &Event) -> Vec<u8> {
        let at = event.at.millis().to_be_bytes();
        let mut bytes = vec![EVENT_VERSION];
        bytes.extend(&at[2..]);
        bytes.extend(self.sealer.seal(&event_name(at, position), &pack(event)));
        bytes
    }

    /// An event of version 1 has no reach.
    pub fn decode_event(&self, position: u64, bytes: &[u8]) -> Decoded<Event> {
        let (at, rest) = split_time(bytes)?;
        let name = event_name(at.millis().to_be_bytes(), position);
        if bytes[0] != TIME_FIRST {
            return unpack(at, &self.unseal(&name, rest)?);
        }
        let (version, sealed) = versioned(2, rest)?;
        let mut opened = self.unseal(&name, sealed)?;
        if version == 1 {
            opened.extend(postcard(&None::<Reach>));
        }
        unpostcard(&opened)
    }
}

/// The time of an event, without opening it.
pub fn event_time(bytes: &[u8]) -> Decoded<Timestamp> {
    split_time(bytes).map(|(at, _)| at)
}

/// The time, and the bytes after it.
fn split_time(bytes: &[u8]) -> Decoded<(Timestamp, &[u8])> {
    let (head, rest) =
        bytes.split_at_checked(if bytes.first() == Some(&TIME_FIRST) { 8 } else { 7 }).ok_or("too short")?;
    if ![TIME_FIRST, EVENT_VERSION].contains(&head[0]) {
        return Err("of an unknown version");
    }
    let millis = head[1..].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte));
    Ok((Timestamp::from_millis(millis), rest))
}

fn event_name(at: [u8; 8], position: u64) -> Vec<u8> {
    name("events", &[at, position.to_be_bytes()].concat())
}

fn pack(event: &Event) -> Vec<u8> {
    let by_client = event.client.as_ref().is_some_and(|client| client.as_str() == &*event.by);
    let flags = when(SESSION, event.session.is_some())
        | when(SUBJECT, event.subject.is_some())
        | when(CLIENT, event.client.is_some())
        | when(ACTOR, !by_client)
        | when(REASON, event.reason.is_some())
        | when(REACH, event.reach.is_some())
        | when(FAMILY, event.family.is_some())
        | when(TOKEN, event.token.is_some())
        | when(KEY, event.key.is_some())
        | when(BEHIND, event.generations_behind.is_some())
        | when(ADDRESS, event.address.is_some())
        | when(NOTE, event.note.is_some());
    let mut out = Packed(postcard(&(flags, event.kind)));
    event.session.iter().for_each(|session| out.put(session));
    event.subject.iter().for_each(|subject| out.put(subject));
    event.client.iter().for_each(|client| out.put(client));
    out.put_if(flags & ACTOR, &event.by);
    event.reason.iter().for_each(|reason| out.put(reason));
    event.reach.iter().for_each(|reach| out.put(reach));
    event.family.iter().for_each(|family| out.put(family));
    event.token.iter().for_each(|token| out.put(token));
    event.key.iter().for_each(|key| out.put(key));
    event.generations_behind.iter().for_each(|behind| out.put(behind));
    event.address.iter().for_each(|address| out.put(address));
    event.note.iter().for_each(|note| out.put(note));
    out.0
}

fn unpack(at: Timestamp, bytes: &[u8]) -> Decoded<Event> {
    let mut from = Unpacked(bytes);
    let flags: u16 = from.get()?;
    let mut event = Event::new(from.get()?, at, "");
    event.session = from.get_if(flags & SESSION)?;
    event.subject = from.get_if(flags & SUBJECT)?;
    event.client = from.get_if(flags & CLIENT)?;
    event.by = match from.get_if(flags & ACTOR)? {
        Some(by) => by,
        None => event.client.as_ref().ok_or("it has no actor")?.as_str().into(),
    };
    event.reason = from.get_if(flags & REASON)?;
    event.reach = from.get_if(flags & REACH)?;
    event.family = from.get_if(flags & FAMILY)?;
    event.token = from.get_if(flags & TOKEN)?;
    event.key = from.get_if(flags & KEY)?;
    event.generations_behind = from.get_if(flags & BEHIND)?;
    event.address = from.get_if(flags & ADDRESS)?;
    event.note = from.get_if(flags & NOTE)?;
    if from.0.is_empty() { Ok(event) } else { Err("has bytes after its end") }
}
