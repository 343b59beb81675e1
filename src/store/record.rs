//! The encoding of records, for every backend: versioned, with a checksum, and sealed where they are personal
//! or secret.

use hmac::{Hmac, KeyInit, Mac};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::client::Client;
use crate::domain::cutoff::CutOff;
use crate::domain::epoch::Epochs;
use crate::domain::family::RetryWindow;
use crate::domain::id::{ClientId, Hash, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::session::{Data, KeyUse};
use crate::domain::text::is_json_object;
use crate::domain::time::Timestamp;
use crate::token::keyring::Keyring;
use crate::token::keys::{Keys, SecretKey};
use crate::token::seal::Sealer;

mod event;
mod fields;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod keys;
mod packed;
mod session;
mod squeeze;

pub use event::event_time;
pub use keys::{decode_keys, encode_keys};
pub use session::{SessionRecord, WindowRef};

/// The first byte of every record; another encoding gets another version.
const VERSION: u8 = 1;
/// Version 2 added the incarnation at the end, version 3 the position of its own tokens after it.
const CLIENT_VERSION: u8 = 3;
/// Version 2 added the three flags at the end.
const WINDOW_VERSION: u8 = 2;
/// Version (1) and checksum (4).
const FRAME_BYTES: usize = 5;
/// Most records have fewer bytes: what is allocated for one.
const RECORD_BYTES: usize = 512;
/// The text whose MAC identifies the master key.
const CHECK_LABEL: &[u8] = b"kf/store/check/v1";

/// Why a record is invalid.
pub type RecordFault = &'static str;
/// A record, or why it is invalid.
pub type Decoded<T> = Result<T, RecordFault>;

/// The key of a retry window's row. The closing time comes first, so that closed windows sort first.
pub type WindowKey = [u8; 26];

/// Encodes and decodes the domain's types.
#[derive(Clone)]
pub struct Codec {
    pub keys: Keys,
    sealer: Sealer,
    index: SecretKey,
    check: [u8; 32],
}

impl Codec {
    pub fn new(keys: &Keys) -> Self {
        Self {
            keys: keys.clone(),
            sealer: Sealer::new(&keys.seal),
            index: keys.index.clone(),
            check: mac(&keys.check, CHECK_LABEL),
        }
    }

    /// A value that identifies the master key, and is stored to recognise it.
    pub fn key_check(&self) -> [u8; 32] {
        self.check
    }

    /// A subject's name in the index: a keyed hash, so that the index does not reveal it.
    pub fn subject_index(&self, subject: &Subject) -> [u8; 16] {
        half(mac(&self.index, subject.as_str().as_bytes()))
    }

    /// A client's name in the index of active sessions.
    pub fn client_index(&self, client: &ClientId) -> [u8; 16] {
        half(mac(&self.index, &[b"client/", client.as_str().as_bytes()].concat()))
    }

    /// Why these signing keys cannot be used, if they cannot.
    pub fn keyring_fault(&self, records: &[KeyRecord]) -> Option<RecordFault> {
        Keyring::open(records, &self.keys)
            .err()
            .map(|_| "the keys are invalid, or were sealed under another master key")
    }

    pub fn encode_data(&self, id: SessionId, data: &Data) -> Vec<u8> {
        self.seal(VERSION, &name("data", &id.0), data)
    }

    pub fn decode_data(&self, id: SessionId, bytes: &[u8]) -> Decoded<Data> {
        let data: Data = self.open(&name("data", &id.0), bytes)?;
        if is_json_object(&data.0) { Ok(data) } else { Err("it is not a JSON object") }
    }

    /// Sealed, because the window and the spent token together give the current token.
    pub fn encode_window(&self, key: &WindowKey, window: &RetryWindow) -> Vec<u8> {
        self.seal(WINDOW_VERSION, &name("windows", key), window)
    }

    pub fn decode_window(&self, key: &WindowKey, bytes: &[u8]) -> Decoded<RetryWindow> {
        self.open_window(&name("windows", key), bytes)
    }

    /// Sealed, because the window and the caller's key together give the tokens.
    pub fn encode_repeat(&self, id: SessionId, window: &RetryWindow) -> Vec<u8> {
        self.seal(WINDOW_VERSION, &name("repeats", &id.0), window)
    }

    pub fn decode_repeat(&self, id: SessionId, bytes: &[u8]) -> Decoded<RetryWindow> {
        self.open_window(&name("repeats", &id.0), bytes)
    }

    /// A window of version 1 has no flags.
    fn open_window(&self, name: &[u8], bytes: &[u8]) -> Decoded<RetryWindow> {
        let (version, sealed) = versioned(WINDOW_VERSION, bytes)?;
        let mut opened = self.unseal(name, sealed)?;
        if version == 1 {
            opened.extend(postcard(&[false; 3]));
        }
        unpostcard(&opened)
    }

    fn seal(&self, version: u8, name: &[u8], value: &impl Serialize) -> Vec<u8> {
        let mut bytes = vec![version];
        bytes.extend(self.sealer.seal(name, &postcard(value)));
        bytes
    }

    fn open<T: DeserializeOwned>(&self, name: &[u8], bytes: &[u8]) -> Decoded<T> {
        let (_, sealed) = versioned(VERSION, bytes)?;
        unpostcard(&self.unseal(name, sealed)?)
    }

    fn unseal(&self, name: &[u8], sealed: &[u8]) -> Decoded<Vec<u8>> {
        self.sealer.open(name, sealed).ok_or("cannot be opened under its key and the master key")
    }
}

/// The key of a retry window's row.
pub fn window_key(closes_at: Timestamp, session: SessionId, family: u16) -> WindowKey {
    let mut key = [0; 26];
    key[..8].copy_from_slice(&ordered(closes_at.millis()));
    key[8..24].copy_from_slice(&session.0);
    key[24..].copy_from_slice(&family.to_be_bytes());
    key
}

/// A number whose bytes sort as it does. Times are never before 1970.
pub fn ordered(number: i64) -> [u8; 8] {
    u64::try_from(number).unwrap_or(0).to_be_bytes()
}

pub fn encode_client(client: &Client) -> Vec<u8> {
    frame_as(CLIENT_VERSION, &name("clients", client.id.as_str().as_bytes()), &postcard(client))
}

/// A record of version 1 has no incarnation: it gets `deleted`, the position of the last deletion of its
/// name, or 0. Before version 3 no client had ended its own tokens.
pub fn decode_client(id: &str, bytes: &[u8], deleted: Position) -> Decoded<Client> {
    match unframe_up_to(CLIENT_VERSION, &name("clients", id.as_bytes()), bytes)? {
        (1, body) => unpostcard(&[body, &postcard(&(deleted, Position::default()))].concat()),
        (2, body) => unpostcard(&[body, &postcard(&Position::default())].concat()),
        (_, body) => unpostcard(body),
    }
}

/// `client` is a client's name, or a name that no client can have for a cut-off of everything.
pub fn encode_cut_off(client: &str, cut: &CutOff) -> Vec<u8> {
    frame(&name("cut_offs", client.as_bytes()), &postcard(cut))
}

pub fn decode_cut_off(client: &str, bytes: &[u8]) -> Decoded<CutOff> {
    unpostcard(unframe(&name("cut_offs", client.as_bytes()), bytes)?)
}

pub fn encode_key_use(key: &Hash, used: &KeyUse) -> Vec<u8> {
    frame(&name("opening_keys", &key.0), &postcard(used))
}

pub fn decode_key_use(key: &Hash, bytes: &[u8]) -> Decoded<KeyUse> {
    unpostcard(unframe(&name("opening_keys", &key.0), bytes)?)
}

pub fn encode_epochs(epochs: &Epochs) -> Vec<u8> {
    frame(b"epochs", &postcard(epochs))
}

pub fn decode_epochs(bytes: &[u8]) -> Decoded<Epochs> {
    unpostcard(unframe(b"epochs", bytes)?)
}

/// The name that a record is bound to: moved to another table or key, it is corrupt.
fn name(table: &str, key: &[u8]) -> Vec<u8> {
    [table.as_bytes(), b"/", key].concat()
}

fn frame(name: &[u8], body: &[u8]) -> Vec<u8> {
    frame_as(VERSION, name, body)
}

fn frame_as(version: u8, name: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES + body.len());
    bytes.push(version);
    bytes.extend(checksum(version, name, body));
    bytes.extend(body);
    bytes
}

fn unframe<'a>(name: &[u8], bytes: &'a [u8]) -> Decoded<&'a [u8]> {
    unframe_up_to(VERSION, name, bytes).map(|(_, body)| body)
}

/// The version, which is at most `newest`, and the body.
fn unframe_up_to<'a>(newest: u8, name: &[u8], bytes: &'a [u8]) -> Decoded<(u8, &'a [u8])> {
    let (version, rest) = versioned(newest, bytes)?;
    let (sum, body) = rest.split_first_chunk::<4>().ok_or("too short")?;
    if *sum == checksum(version, name, body) { Ok((version, body)) } else { Err("its checksum is wrong") }
}

fn versioned(newest: u8, bytes: &[u8]) -> Decoded<(u8, &[u8])> {
    match bytes {
        [version, rest @ ..] if (1..=newest).contains(version) => Ok((*version, rest)),
        [] => Err("empty"),
        _ => Err("of an unknown version"),
    }
}

/// Detects accidental damage, not forgery. redb does not verify pages when it reads them.
fn checksum(version: u8, name: &[u8], body: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

fn postcard(value: &impl Serialize) -> Vec<u8> {
    append(Vec::with_capacity(RECORD_BYTES), value)
}

/// The value after these bytes.
fn append(bytes: Vec<u8>, value: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(value, bytes).expect("postcard can encode every record type, and the buffer grows")
}

fn unpostcard<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Decoded<T> {
    match take(bytes)? {
        (value, []) => Ok(value),
        _ => Err("has bytes after its end"),
    }
}

/// A value, and the bytes after it.
fn take<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Decoded<(T, &'b [u8])> {
    postcard::take_from_bytes(bytes).map_err(|_| "cannot be decoded")
}

fn mac(key: &SecretKey, text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_bytes()).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

fn half(mac: [u8; 32]) -> [u8; 16] {
    *mac.first_chunk().expect("it is longer")
}

#[cfg(test)]
mod tests;
