//! Rows of the table of sessions: the record, and beside it the open retry windows, sealed.

use uuid::Uuid;

use crate::domain::id::{ClientId, SessionId};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::Result;
use crate::store::corrupt;
use crate::store::layout::REVOKED_UNTIL;
use crate::store::record::{Codec, Decoded, WindowKey, window_key};

/// The length of a key and of the length of a sealed window.
const HEAD_BYTES: usize = size_of::<WindowKey>() + size_of::<u16>();

/// The keyed index of a subject or of a client.
pub(super) type KeyedIndex = [u8; 16];

/// A session as it is stored.
pub(super) struct StoredSession {
    /// With its windows.
    pub session: Session,
    /// The time in the column `due`.
    pub slot: Timestamp,
    sealed: Option<Box<[u8]>>,
}

impl StoredSession {
    /// Decodes a row.
    pub fn decode(codec: &Codec, id: SessionId, record: &[u8], windows: &[u8]) -> Result<Self> {
        let decoded = decode(codec, id, record, windows);
        decoded.map_err(|fault| corrupt("sessions", id, fault))
    }

    /// Its sealed part, if that of `after` is the same.
    pub fn sealed_for(&self, after: &Session) -> Option<&[u8]> {
        let personal = |s: &Session| {
            (&s.subject, &s.device, &s.claims) == (&after.subject, &after.device, &after.claims)
        };
        self.sealed.as_deref().filter(|_| personal(&self.session))
    }
}

fn decode(codec: &Codec, id: SessionId, record: &[u8], windows: &[u8]) -> Decoded<StoredSession> {
    let record = codec.decode_session(id, record)?;
    let mut session = record.session;
    for (key, sealed) in split_windows(windows)? {
        let window = codec.decode_window(&key, sealed)?;
        let number = u16::from_be_bytes([key[24], key[25]]);
        let family = session.families.iter_mut().find(|family| family.number == number);
        family.ok_or("it has a retry window of a family that it has not")?.window = Some(window);
    }
    Ok(StoredSession { session, slot: record.slot, sealed: record.sealed })
}

/// The windows of a session: each its key, the length of the sealed bytes, and those.
pub(super) fn encode_windows(codec: &Codec, session: &Session) -> Vec<u8> {
    let mut bytes = vec![];
    for family in &session.families {
        let Some(window) = &family.window else { continue };
        let key = window_key(window.erased_at(), session.id, family.number);
        append_window(&mut bytes, &key, &codec.encode_window(&key, window));
    }
    bytes
}

/// Adds a sealed window to those of its session.
pub(super) fn append_window(bytes: &mut Vec<u8>, key: &WindowKey, sealed: &[u8]) {
    let length = u16::try_from(sealed.len()).expect("a window has a few hundred bytes");
    bytes.extend(key);
    bytes.extend(length.to_be_bytes());
    bytes.extend(sealed);
}

/// The windows of a session, still sealed.
pub(super) fn split_windows(mut bytes: &[u8]) -> Decoded<Vec<(WindowKey, &[u8])>> {
    let mut windows = vec![];
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or("its windows are too short")?;
        let (key, length) = head.split_first_chunk::<26>().expect("the head begins with a key");
        let length = u16::from_be_bytes([length[0], length[1]]);
        let (sealed, rest) = rest.split_at_checked(length.into()).ok_or("its windows are too short")?;
        windows.push((*key, sealed));
        bytes = rest;
    }
    Ok(windows)
}

/// An id as PostgreSQL has it.
pub(super) fn uuid(id: SessionId) -> Uuid {
    Uuid::from_bytes(id.0)
}

pub(super) fn session_id(id: Uuid) -> SessionId {
    SessionId(id.into_bytes())
}

/// The name of the lease of the sweep.
pub(super) const SWEEP_LEASE: &str = "sweep";
/// The number under [`REVOKED_UNTIL`].
pub(super) fn revoked_until(bytes: &[u8]) -> Result<i64> {
    bytes.try_into().map(i64::from_be_bytes).map_err(|_| corrupt("meta", REVOKED_UNTIL, "not a number"))
}

/// A client's name in a column.
pub(super) fn client_id(table: &'static str, name: &str) -> Result<ClientId> {
    name.parse().map_err(|_| corrupt(table, name, "its client_id is malformed"))
}
