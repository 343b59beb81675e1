//! The tables, and what reads and writes have in common. Keys and values are bytes that `record` encodes.

use std::fmt::Write;
use std::ops::Bound;

use redb::{
    ReadTransaction, ReadableTable, Table, TableDefinition, TableError, TableHandle, WriteTransaction,
};

use super::Result;
use super::error::{corrupt, failed};
use crate::domain::event::Event;
use crate::domain::id::{Position, SessionId};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::check::COUNTS;
use crate::store::record::{Codec, WindowRef, ordered, window_key};

type Fixed<const N: usize> = &'static [u8; N];
type Bytes = &'static [u8];
pub(super) type Definition<K, V> = TableDefinition<'static, K, V>;

/// Session id -> record.
pub(super) const SESSIONS: Definition<Fixed<16>, Bytes> = Definition::new("sessions");
/// Session id -> private data, sealed.
pub(super) const DATA: Definition<Fixed<16>, Bytes> = Definition::new("data");
/// Keyed hash of the subject, session id -> nothing.
pub(super) const SUBJECTS: Definition<Fixed<32>, ()> = Definition::new("subjects");
/// Keyed hash of the subject, keyed hash of the client, session id -> nothing: the sessions that
/// [`Session::may_be_active`].
pub(super) const ACTIVE: Definition<Fixed<48>, ()> = Definition::new("active");
/// Time at which the session is due for the sweep, session id -> nothing. The time may be too early but is
/// never later than the session's due time.
pub(super) const EXPIRY: Definition<Fixed<24>, ()> = Definition::new("expiry");
/// Closing time, session id, family -> retry window, sealed.
pub(super) const WINDOWS: Definition<Fixed<26>, Bytes> = Definition::new("windows");
/// Position -> time in clear, event sealed.
pub(super) const EVENTS: Definition<u64, Bytes> = Definition::new("events");
/// Client id -> client.
pub(super) const CLIENTS: Definition<&str, Bytes> = Definition::new("clients");
/// Client id, the empty string for everything, or [`RESTORED`] -> cut-off. Kept after the client's deletion.
pub(super) const CUT_OFFS: Definition<&str, Bytes> = Definition::new("cut_offs");
/// Expiry of the token in seconds, token id -> nothing.
pub(super) const REVOKED: Definition<Fixed<24>, ()> = Definition::new("revoked");
/// Client id -> number of its active sessions; a client without any has no row.
pub(super) const ACTIVE_COUNTS: Definition<&str, Bytes> = Definition::new(COUNTS);
/// Single values, under the keys below.
pub(super) const META: Definition<&str, Bytes> = Definition::new("meta");

pub(super) const NAMES: [&str; 12] = [
    "sessions", "data", "subjects", "active", "expiry", "windows", "events", "clients", "cut_offs",
    "revoked", "live", "meta",
];

/// The file's format and its version.
pub(super) const FORMAT: &str = "format";
/// Identifies the master key.
pub(super) const KEY_CHECK: &str = "key_check";
/// The position of the last event ever written.
pub(super) const HEAD: &str = "head";
pub(super) const KEYS: &str = "keys";
/// The latest expiry, in seconds, of the revocations of clients' own tokens that the sweep removed. Every such token
/// that expires no later counts as revoked.
pub(super) const REVOKED_UNTIL: &str = "revoked_until";
/// The epochs that restores started; absent in a store that was never restored.
pub(super) const EPOCHS: &str = "epochs";

/// The name of the cut-off of the last restore. No client can have it.
pub(super) const RESTORED: &str = "/restored";

/// Visits every table, whatever its types.
pub(super) trait Visit {
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: Definition<K, V>,
    ) -> Result<()>;
}

/// Visits [`META`] first, because a restore identifies the store by it, then the others in the order of
/// [`NAMES`].
pub(super) fn each(visit: &mut impl Visit) -> Result<()> {
    visit.visit(META)?;
    visit.visit(SESSIONS)?;
    visit.visit(DATA)?;
    visit.visit(SUBJECTS)?;
    visit.visit(ACTIVE)?;
    visit.visit(EXPIRY)?;
    visit.visit(WINDOWS)?;
    visit.visit(EVENTS)?;
    visit.visit(CLIENTS)?;
    visit.visit(CUT_OFFS)?;
    visit.visit(REVOKED)?;
    visit.visit(ACTIVE_COUNTS)
}

/// Opens a table of a snapshot; `None` if the store is from before the table was introduced.
pub(super) fn open<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: Definition<K, V>,
) -> Result<Option<redb::ReadOnlyTable<K, V>>> {
    match read.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// A binary key in hexadecimal, for messages.
pub(super) fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// Every table, open for writing in one transaction.
pub(super) struct Tables<'t> {
    pub sessions: Table<'t, Fixed<16>, Bytes>,
    pub data: Table<'t, Fixed<16>, Bytes>,
    pub subjects: Table<'t, Fixed<32>, ()>,
    pub active: Table<'t, Fixed<48>, ()>,
    pub expiry: Table<'t, Fixed<24>, ()>,
    pub windows: Table<'t, Fixed<26>, Bytes>,
    pub events: Table<'t, u64, Bytes>,
    pub clients: Table<'t, &'static str, Bytes>,
    pub cut_offs: Table<'t, &'static str, Bytes>,
    pub revoked: Table<'t, Fixed<24>, ()>,
    pub active_counts: Table<'t, &'static str, Bytes>,
    pub meta: Table<'t, &'static str, Bytes>,
}

impl<'t> Tables<'t> {
    /// Creates the tables that do not exist.
    pub fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            sessions: transaction.open_table(SESSIONS).map_err(failed)?,
            data: transaction.open_table(DATA).map_err(failed)?,
            subjects: transaction.open_table(SUBJECTS).map_err(failed)?,
            active: transaction.open_table(ACTIVE).map_err(failed)?,
            expiry: transaction.open_table(EXPIRY).map_err(failed)?,
            windows: transaction.open_table(WINDOWS).map_err(failed)?,
            events: transaction.open_table(EVENTS).map_err(failed)?,
            clients: transaction.open_table(CLIENTS).map_err(failed)?,
            cut_offs: transaction.open_table(CUT_OFFS).map_err(failed)?,
            revoked: transaction.open_table(REVOKED).map_err(failed)?,
            active_counts: transaction.open_table(ACTIVE_COUNTS).map_err(failed)?,
            meta: transaction.open_table(META).map_err(failed)?,
        })
    }
}

/// A session with its open windows.
pub(super) struct Loaded {
    pub session: Session,
    /// The time of its entry in the expiry index.
    pub slot: Timestamp,
    /// The windows named in its record. Their rows may have been removed.
    pub windows: Vec<WindowRef>,
}

/// Reads a session with those of its retry windows that still have a row.
pub(super) fn load(
    codec: &Codec,
    sessions: &impl ReadableTable<Fixed<16>, Bytes>,
    windows: &impl ReadableTable<Fixed<26>, Bytes>,
    id: SessionId,
) -> Result<Option<Loaded>> {
    let Some(bytes) = sessions.get(&id.0).map_err(failed)? else { return Ok(None) };
    decode(codec, windows, id, bytes.value()).map(Some)
}

/// Decodes a session with those of its retry windows that still have a row.
pub(super) fn decode(
    codec: &Codec,
    windows: &impl ReadableTable<Fixed<26>, Bytes>,
    id: SessionId,
    bytes: &[u8],
) -> Result<Loaded> {
    let record = codec.decode_session(id, bytes).map_err(|fault| corrupt(SESSIONS.name(), id, fault))?;
    let mut session = record.session;
    for at in &record.windows {
        let key = window_key(at.closes_at, id, at.family);
        if let Some(row) = windows.get(&key).map_err(failed)? {
            let window =
                codec.decode_window(&key, row.value()).map_err(|fault| corrupt(WINDOWS.name(), id, fault))?;
            if let Some(family) = session.families.iter_mut().find(|family| family.number == at.family) {
                family.window = Some(window);
            }
        }
    }
    Ok(Loaded { session, slot: record.slot, windows: record.windows })
}

/// The ids of a subject's sessions after `after`, in order.
pub(super) fn of_subject(
    subjects: &impl ReadableTable<Fixed<32>, ()>,
    index: [u8; 16],
    after: Option<SessionId>,
) -> Result<impl Iterator<Item = Result<SessionId>>> {
    let first = subject_key(index, after.unwrap_or(SessionId([0; 16])));
    let last = subject_key(index, SessionId([0xff; 16]));
    let range = subjects.range::<&[u8; 32]>(&first..=&last).map_err(failed)?;
    let ids = range.map(|entry| entry.map(|(key, _)| id_at_end(key.value())).map_err(failed));
    Ok(ids.filter(move |id| !matches!((id, after), (Ok(id), Some(after)) if *id == after)))
}

pub(super) fn decode_event(codec: &Codec, position: u64, bytes: &[u8]) -> Result<(Position, Event)> {
    let event =
        codec.decode_event(position, bytes).map_err(|fault| corrupt(EVENTS.name(), position, fault))?;
    Ok((Position(position), event))
}

/// The value of [`REVOKED_UNTIL`].
pub(super) fn revoked_until(meta: &impl ReadableTable<&'static str, Bytes>) -> Result<i64> {
    let Some(bytes) = meta.get(REVOKED_UNTIL).map_err(failed)? else { return Ok(i64::MIN) };
    let number = bytes.value().try_into().map(i64::from_be_bytes);
    number.map_err(|_| corrupt(META.name(), REVOKED_UNTIL, "not a number"))
}

pub(super) fn subject_key(index: [u8; 16], id: SessionId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&index);
    key[16..].copy_from_slice(&id.0);
    key
}

/// The ids in the index of active sessions of a subject, and of a client if one is given, after `after`, in order.
pub(super) fn active_of_subject(
    active: &impl ReadableTable<Fixed<48>, ()>,
    subject: [u8; 16],
    client: Option<[u8; 16]>,
    after: Option<SessionId>,
    limit: usize,
) -> Result<Vec<SessionId>> {
    let last = active_key(subject, [0xff; 16], SessionId([0xff; 16]));
    let mut clients = Vec::from_iter(client);
    let mut from = active_key(subject, [0; 16], SessionId([0; 16]));
    while client.is_none() {
        let range = (Bound::Excluded(&from), Bound::Included(&last));
        let Some(entry) = active.range::<&[u8; 48]>(range).map_err(failed)?.next() else { break };
        let mut next = [0; 16];
        next.copy_from_slice(&entry.map_err(failed)?.0.value()[16..32]);
        clients.push(next);
        from = active_key(subject, next, SessionId([0xff; 16]));
    }
    let mut ids = vec![];
    for client in clients {
        let first = active_key(subject, client, after.unwrap_or(SessionId([0; 16])));
        let last = active_key(subject, client, SessionId([0xff; 16]));
        let range = (Bound::Excluded(&first), Bound::Included(&last));
        for entry in active.range::<&[u8; 48]>(range).map_err(failed)?.take(limit) {
            ids.push(id_at_end(entry.map_err(failed)?.0.value()));
        }
    }
    ids.sort_unstable();
    ids.truncate(limit);
    Ok(ids)
}

pub(super) fn active_key(subject: [u8; 16], client: [u8; 16], id: SessionId) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(&subject);
    key[16..32].copy_from_slice(&client);
    key[32..].copy_from_slice(&id.0);
    key
}

/// The key of a session in the index of active sessions.
pub(super) fn active_key_of(codec: &Codec, session: &Session) -> [u8; 48] {
    active_key(codec.subject_index(&session.subject), codec.client_index(&session.client_id), session.id)
}

/// A number that sorts, then 16 bytes: the keys of the expiry index and of revoked tokens.
pub(super) fn dated_key(number: i64, name: [u8; 16]) -> [u8; 24] {
    let mut key = [0; 24];
    key[..8].copy_from_slice(&ordered(number));
    key[8..].copy_from_slice(&name);
    key
}

/// The session id at the end of an index key.
pub(super) fn id_at_end(key: &[u8]) -> SessionId {
    let mut id = [0; 16];
    id.copy_from_slice(&key[key.len() - 16..]);
    SessionId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seen(Vec<String>);

    impl Visit for Seen {
        fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
            &mut self,
            table: Definition<K, V>,
        ) -> Result<()> {
            self.0.push(table.name().to_owned());
            Ok(())
        }
    }

    /// A table that is not visited would be missing in every backup.
    #[test]
    fn every_table_is_visited_once() {
        let mut seen = Seen(vec![]);
        each(&mut seen).unwrap();
        let mut names = NAMES.map(str::to_owned).to_vec();
        seen.0.sort();
        names.sort();
        assert_eq!(seen.0, names);
    }
}
