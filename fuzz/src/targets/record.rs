//! Stored records: any bytes, and any content behind a valid checksum and seal. What is read is written as
//! what is read again.

use std::fmt::Debug;
use std::sync::LazyLock;

use keyfob::domain::id::{Hash, Position, SessionId};
use keyfob::store::record::fuzzing::framed;
use keyfob::store::record::{self, Codec, Decoded};

use crate::server::keys;

static CODEC: LazyLock<Codec> = LazyLock::new(|| Codec::new(keys()));
const ID: SessionId = SessionId([0x11; 16]);
const HASH: Hash = Hash([0x22; 32]);
const WINDOW: record::WindowKey = [0x33; 26];
const CLIENT: &str = "app";

/// Kind, version, length of the clear part, the clear part, and the sealed part.
pub fn run(input: &[u8]) {
    let [kind, version, length, rest @ ..] = input else { return };
    let (clear, sealed) = rest.split_at(usize::from(*length).min(rest.len()));
    let kind = kind % 9;
    read(kind, rest);
    read(kind, &wrapped(kind, *version, clear, sealed));
}

/// A record of this kind with a valid checksum and seal.
fn wrapped(kind: u8, version: u8, clear: &[u8], sealed: &[u8]) -> Vec<u8> {
    let named = |table: &str, key: &[u8]| [table.as_bytes(), b"/", key].concat();
    let seal = |name: &[u8]| CODEC.sealed(name, sealed);
    let whole = [clear, sealed].concat();
    match kind {
        0 => {
            let name = named("sessions", &ID.0);
            framed(&name, version, &[clear, &seal(&name)].concat())
        }
        1 => [&[version][..], &seal(&named("data", &ID.0))].concat(),
        2 => [&[version][..], &seal(&named("windows", &WINDOW))].concat(),
        3 => {
            // The clear part of an event is its time, of six bytes, or seven and a version.
            let at = [&[0, 0][..], clear].concat();
            let at = at.first_chunk::<8>().copied().unwrap_or_default();
            let name = named("events", &[at, 7_u64.to_be_bytes()].concat());
            let head = if version < 3 { [&at[..], &[version]].concat() } else { [&[3], &at[2..]].concat() };
            [head, seal(&name)].concat()
        }
        4 => framed(&named("clients", CLIENT.as_bytes()), version, &whole),
        5 => framed(&named("cut_offs", CLIENT.as_bytes()), version, &whole),
        6 => framed(&named("opening_keys", &HASH.0), version, &whole),
        7 => framed(b"epochs", version, &whole),
        _ => framed(b"keys", version, &whole),
    }
}

fn read(kind: u8, bytes: &[u8]) {
    match kind {
        0 => session(bytes),
        1 => same(bytes, |bytes| CODEC.decode_data(ID, bytes), |data| CODEC.encode_data(ID, data)),
        2 => same(
            bytes,
            |bytes| CODEC.decode_window(&WINDOW, bytes),
            |window| CODEC.encode_window(&WINDOW, window),
        ),
        3 => {
            let time = record::event_time(bytes);
            let event = CODEC.decode_event(7, bytes);
            // Before version 3 the time is in the sealed part too.
            assert!(bytes.first() != Some(&3) || event.is_err() || time == event.map(|event| event.at));
            same(bytes, |bytes| CODEC.decode_event(7, bytes), |event| CODEC.encode_event(7, event));
        }
        4 => same(
            bytes,
            // A client's name is its key in the table, and in its record too.
            |bytes| {
                record::decode_client(CLIENT, bytes, Position(9))
                    .and_then(|client| if client.id.as_str() == CLIENT { Ok(client) } else { Err("another") })
            },
            record::encode_client,
        ),
        5 => same(
            bytes,
            |bytes| record::decode_cut_off(CLIENT, bytes),
            |cut| record::encode_cut_off(CLIENT, cut),
        ),
        6 => same(
            bytes,
            |bytes| record::decode_key_use(&HASH, bytes),
            |used| record::encode_key_use(&HASH, used),
        ),
        7 => same(bytes, record::decode_epochs, record::encode_epochs),
        _ => {
            same(bytes, record::decode_keys, |keys| record::encode_keys(keys));
            if let Ok(keys) = record::decode_keys(bytes) {
                let _ = CODEC.keyring_fault(&keys);
            }
        }
    }
}

/// A record is written again as one that reads the same, and that is written as it is.
fn same<T: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Decoded<T>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    let Ok(value) = decode(bytes) else { return };
    let written = encode(&value);
    let again = decode(&written).unwrap_or_else(|fault| panic!("{value:?}: {fault}"));
    assert_eq!(again, value);
    assert!(encode(&again) == written, "{value:?}");
}

/// A session's windows have records of their own, so it is written without them.
fn session(bytes: &[u8]) {
    let Ok(read) = CODEC.decode_session(ID, bytes) else { return };
    assert!(read.windows.len() <= read.session.families.len());
    let written = CODEC.encode_session(&read.session, read.slot, None);
    let again = CODEC.decode_session(ID, &written).unwrap_or_else(|fault| panic!("{read:?}: {fault}"));
    assert_eq!((&again.session, again.slot, again.windows.len()), (&read.session, read.slot, 0));
    let sealed = again.sealed.as_deref();
    assert!(sealed.is_some(), "it has the present version");
    assert!(CODEC.encode_session(&again.session, again.slot, sealed) == written, "{read:?}");
}
