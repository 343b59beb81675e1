//! The tables, and what reads and writes have in common. Keys and values are bytes that `record` encodes.

use std::ops::Bound;

use redb::{
    ReadTransaction, ReadableTable, Table, TableDefinition, TableError, TableHandle, WriteTransaction,
};

use super::Result;
use crate::domain::event::Event;
use crate::domain::id::{Position, SessionId};
use crate::domain::key::KeyRecord;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::check::COUNTS;
use crate::store::corrupt;
pub(super) use crate::store::layout::{
    EPOCHS, FORMAT, HEAD, KEY_CHECK, KEYS, RESTORED, REVOKED_UNTIL, active_key, dated_key, subject_key,
};
use crate::store::record::{self, Codec, WindowRef, window_key};

type Fixed<const N: usize> = &'static [u8; N];
type Bytes = &'static [u8];
type Name = &'static str;
pub(super) type Definition<K, V> = TableDefinition<'static, K, V>;

/// Defines the tables, each with its field, its name in the file, and the types of its keys and values.
macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident $field:ident $name:expr, $key:ty => $value:ty;)+) => {
        $($(#[$doc])* pub(super) const $table: Definition<$key, $value> = Definition::new($name);)+

        pub(super) const NAMES: &[&str] = &[$($name),+];

        /// Visits [`META`] first, because a restore identifies the store by it, then the others.
        pub(super) fn each(visit: &mut impl Visit) -> Result<()> {
            visit.visit(&META)?;
            $(if $name != META.name() { visit.visit(&$table)?; })+
            Ok(())
        }

        /// Every table, for writing in one transaction.
        pub(super) struct Tables<'t> { $(pub $field: OnUse<'t, $key, $value>),+ }

        impl<'t> Tables<'t> {
            pub fn of(transaction: &'t WriteTransaction) -> Self {
                Self { $($field: OnUse { transaction, definition: $table, table: None }),+ }
            }

            /// Creates the tables that do not exist.
            pub fn create(transaction: &WriteTransaction) -> Result<()> {
                $(transaction.open_table($table)?;)+
                Ok(())
            }
        }
    };
}

tables! {
    /// Session id -> record.
    SESSIONS sessions "sessions", Fixed<16> => Bytes;
    /// Session id -> private data, sealed.
    DATA data "data", Fixed<16> => Bytes;
    /// Keyed hash of the subject, session id -> nothing: at least the sessions that are not in
    /// [`ACTIVE`]. Entries of active sessions are from before format 3, and stay as long as their sessions.
    SUBJECTS subjects "subjects", Fixed<32> => ();
    /// Keyed hash of the subject, keyed hash of the client, session id -> nothing: the sessions that
    /// [`Session::may_be_active`].
    ACTIVE active "active", Fixed<48> => ();
    /// Time at which the session is due for the sweep, session id -> nothing. The time may be too early but
    /// is never later than the session's due time.
    EXPIRY expiry "expiry", Fixed<24> => ();
    /// Closing time, session id, family -> retry window, sealed.
    WINDOWS windows "windows", Fixed<26> => Bytes;
    /// Name of a repeatable opening -> its session and the hash of the request.
    OPENING_KEYS opening_keys "opening_keys", Fixed<32> => Bytes;
    /// Session id -> name of its opening in [`OPENING_KEYS`], to remove that with the session.
    OPENED_BY_KEY opened_by_key "opened_by_key", Fixed<16> => Fixed<32>;
    /// Session id, which starts with the time of the opening -> window for its repetition, sealed.
    REPEATS repeats "repeats", Fixed<16> => Bytes;
    /// Position -> time in clear, event sealed.
    EVENTS events "events", u64 => Bytes;
    /// Client id -> client.
    CLIENTS clients "clients", Name => Bytes;
    /// Client id, the empty string for everything, or [`RESTORED`] -> cut-off. Kept after the client's
    /// deletion.
    CUT_OFFS cut_offs "cut_offs", Name => Bytes;
    /// Expiry of the token in seconds, token id -> nothing.
    REVOKED revoked "revoked", Fixed<24> => ();
    /// Client id -> number of its active sessions; a client without any has no row.
    ACTIVE_COUNTS active_counts COUNTS, Name => Bytes;
    /// Single values, under the keys below.
    META meta "meta", Name => Bytes;
}

/// A table that is opened when it is first used: most transactions need only a few.
pub(super) struct OnUse<'t, K: redb::Key + 'static, V: redb::Value + 'static> {
    transaction: &'t WriteTransaction,
    definition: Definition<K, V>,
    table: Option<Table<'t, K, V>>,
}

impl<'t, K: redb::Key + 'static, V: redb::Value + 'static> OnUse<'t, K, V> {
    pub fn open(&mut self) -> Result<&mut Table<'t, K, V>> {
        match &mut self.table {
            Some(table) => Ok(table),
            unopened => Ok(unopened.insert(self.transaction.open_table(self.definition)?)),
        }
    }
}

/// Visits every table, whatever its types.
pub(super) trait Visit {
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: &'static Definition<K, V>,
    ) -> Result<()>;
}

/// Opens a table of a snapshot; `None` if the store is from before the table was introduced.
pub(super) fn open<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: &Definition<K, V>,
) -> Result<Option<redb::ReadOnlyTable<K, V>>> {
    match read.open_table(*table) {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

/// A session with its open windows.
pub(super) struct Loaded {
    pub session: Session,
    /// The time of its entry in the expiry index.
    pub slot: Timestamp,
    /// The windows named in its record. Their rows may have been removed.
    pub windows: Vec<WindowRef>,
    sealed: Option<Box<[u8]>>,
}

impl Loaded {
    /// The sealed part of its record, if that of `after` is the same.
    pub fn sealed_for(&self, after: &Session) -> Option<&[u8]> {
        let personal = |s: &Session| {
            (&s.subject, &s.device, &s.claims) == (&after.subject, &after.device, &after.claims)
        };
        self.sealed.as_deref().filter(|_| personal(&self.session))
    }
}

/// Reads a session with those of its retry windows that still have a row.
pub(super) fn load(
    codec: &Codec,
    sessions: &impl ReadableTable<Fixed<16>, Bytes>,
    windows: &impl ReadableTable<Fixed<26>, Bytes>,
    id: SessionId,
) -> Result<Option<Loaded>> {
    let Some(bytes) = sessions.get(&id.0)? else { return Ok(None) };
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
        if let Some(row) = windows.get(&key)? {
            let window =
                codec.decode_window(&key, row.value()).map_err(|fault| corrupt(WINDOWS.name(), id, fault))?;
            if let Some(family) = session.families.iter_mut().find(|family| family.number == at.family) {
                family.window = Some(window);
            }
        }
    }
    Ok(Loaded { session, slot: record.slot, windows: record.windows, sealed: record.sealed })
}

/// The ids of a subject's sessions after `after`, in order.
pub(super) fn of_subject(
    subjects: &impl ReadableTable<Fixed<32>, ()>,
    active: &impl ReadableTable<Fixed<48>, ()>,
    index: [u8; 16],
    after: Option<SessionId>,
    limit: usize,
) -> Result<Vec<SessionId>> {
    let first = subject_key(index, after.unwrap_or(SessionId([0; 16])));
    let last = subject_key(index, SessionId([0xff; 16]));
    let mut ids = active_of_subject(active, index, None, after, limit)?;
    let range = (Bound::Excluded(&first), Bound::Included(&last));
    for entry in subjects.range::<&[u8; 32]>(range)?.take(limit) {
        ids.push(id_at_end(entry?.0.value()));
    }
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(limit);
    Ok(ids)
}

pub(super) fn decode_event(codec: &Codec, position: u64, bytes: &[u8]) -> Result<(Position, Event)> {
    let event =
        codec.decode_event(position, bytes).map_err(|fault| corrupt(EVENTS.name(), position, fault))?;
    Ok((Position(position), event))
}

/// The value of [`KEYS`].
pub(super) fn signing_keys(meta: &impl ReadableTable<Name, Bytes>) -> Result<Vec<KeyRecord>> {
    let Some(bytes) = meta.get(KEYS)? else { return Ok(vec![]) };
    record::decode_keys(bytes.value()).map_err(|fault| corrupt(META.name(), KEYS, fault))
}

/// The value of [`REVOKED_UNTIL`].
pub(super) fn revoked_until(meta: &impl ReadableTable<Name, Bytes>) -> Result<i64> {
    let Some(bytes) = meta.get(REVOKED_UNTIL)? else { return Ok(i64::MIN) };
    let number = bytes.value().try_into().map(i64::from_be_bytes);
    number.map_err(|_| corrupt(META.name(), REVOKED_UNTIL, "not a number"))
}

/// The ids in the index of active sessions of a subject, and of a client if one is given, after `after`, in
/// order.
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
        let Some(entry) = active.range::<&[u8; 48]>(range)?.next() else { break };
        let (key, _) = entry?;
        let next = *key.value()[16..].first_chunk().expect("the client precedes the session id");
        clients.push(next);
        from = active_key(subject, next, SessionId([0xff; 16]));
    }
    let mut ids = vec![];
    for client in clients {
        let first = active_key(subject, client, after.unwrap_or(SessionId([0; 16])));
        let last = active_key(subject, client, SessionId([0xff; 16]));
        let range = (Bound::Excluded(&first), Bound::Included(&last));
        for entry in active.range::<&[u8; 48]>(range)?.take(limit) {
            ids.push(id_at_end(entry?.0.value()));
        }
    }
    ids.sort_unstable();
    ids.truncate(limit);
    Ok(ids)
}

/// The key of a session in the index of active sessions.
pub(super) fn active_key_of(codec: &Codec, session: &Session) -> [u8; 48] {
    active_key(codec.subject_index(&session.subject), codec.client_index(&session.client_id), session.id)
}

/// The number at the start of a [`dated_key`].
pub(super) fn number_at_start(key: &[u8; 24]) -> i64 {
    i64::from_be_bytes(*key.first_chunk().expect("the key is longer"))
}

/// The session id at the end of an index key.
pub(super) fn id_at_end(key: &[u8]) -> SessionId {
    SessionId(*key.last_chunk().expect("every key of an index ends with a session id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::layout::BACKUP_TABLES;

    struct Seen(Vec<String>);

    impl Visit for Seen {
        fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
            &mut self,
            table: &'static Definition<K, V>,
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
        let mut names: Vec<_> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        seen.0.sort();
        names.sort();
        assert_eq!(seen.0, names);
        let mut of_backups = BACKUP_TABLES.to_vec();
        of_backups.sort_unstable();
        assert_eq!(of_backups, names, "other backends write and read the same tables");
    }
}
