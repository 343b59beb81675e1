//! Holds every record and every index of one snapshot against each other.

use std::collections::BTreeMap;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableHandle};

use super::error::failed;
use super::open::read_state;
use super::tables::{
    CLIENTS, CUT_OFFS, DATA, Definition, EPOCHS, EVENTS, EXPIRY, FORMAT, HEAD, KEY_CHECK, KEYS, LIVE, META,
    RESTORED, REVOKED, SESSIONS, SUBJECTS, WINDOWS, dated_key, id_at_end, subject_key,
};
use super::walk::{hex, open};
use super::{Result, StoreError};
use crate::domain::cutoff::CutOffs;
use crate::domain::epoch::Epochs;
use crate::domain::id::{ClientId, Position, SessionId};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::check::{Checked, Find, Note, Progress};
use crate::store::record::{self, Codec, Fault, SessionRecord, window_key};

/// How many entries lie between two tellings of how far it is.
const TELL_EVERY: u64 = 4096;

/// Whom to tell.
pub(super) type Tell<'t> = dyn FnMut(Note) -> Result<()> + 't;

/// Checks the snapshot, and tells what it finds. `now` decides only how many sessions are counted as living.
pub(super) fn check(read: &ReadTransaction, codec: &Codec, now: Timestamp, tell: &mut Tell) -> Result<()> {
    let tables = Tables::open(read)?;
    let (cuts, epochs) = state(read, &tables)?;
    let mut walk = Walk {
        tables: &tables,
        codec,
        now,
        cuts,
        epochs,
        done: Checked::default(),
        live: Some(BTreeMap::new()),
        indexed: [0; 2],
        tell,
    };
    walk.meta()?;
    walk.sessions()?;
    walk.data()?;
    walk.indexes()?;
    walk.windows()?;
    walk.events()?;
    walk.clients()?;
    walk.cut_offs()?;
    walk.each(REVOKED, &tables.revoked, |_, _, ()| Ok(()))?;
    walk.live()?;
    walk.done.clients.sort_by(|(a, a_at), (b, b_at)| (b_at, a.as_str()).cmp(&(a_at, b.as_str())));
    let done = walk.done;
    tell(Note::Done(done))
}

struct Tables {
    sessions: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    data: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    subjects: ReadOnlyTable<&'static [u8; 32], ()>,
    expiry: ReadOnlyTable<&'static [u8; 24], ()>,
    windows: ReadOnlyTable<&'static [u8; 26], &'static [u8]>,
    events: ReadOnlyTable<u64, &'static [u8]>,
    clients: ReadOnlyTable<&'static str, &'static [u8]>,
    cut_offs: ReadOnlyTable<&'static str, &'static [u8]>,
    revoked: ReadOnlyTable<&'static [u8; 24], ()>,
    /// Absent in a store from before these numbers were kept.
    live: Option<ReadOnlyTable<&'static str, &'static [u8]>>,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
}

impl Tables {
    fn open(read: &ReadTransaction) -> Result<Self> {
        Ok(Self {
            sessions: read.open_table(SESSIONS).map_err(failed)?,
            data: read.open_table(DATA).map_err(failed)?,
            subjects: read.open_table(SUBJECTS).map_err(failed)?,
            expiry: read.open_table(EXPIRY).map_err(failed)?,
            windows: read.open_table(WINDOWS).map_err(failed)?,
            events: read.open_table(EVENTS).map_err(failed)?,
            clients: read.open_table(CLIENTS).map_err(failed)?,
            cut_offs: read.open_table(CUT_OFFS).map_err(failed)?,
            revoked: read.open_table(REVOKED).map_err(failed)?,
            live: open(read, LIVE)?,
            meta: read.open_table(META).map_err(failed)?,
        })
    }
}

/// What sessions and events are judged by. Where it does not read, as much of it as does: the walk finds the
/// rest.
fn state(read: &ReadTransaction, tables: &Tables) -> Result<(CutOffs, Epochs)> {
    match read_state(read) {
        Ok(state) => Ok((state.cuts, state.epochs)),
        Err(StoreError::Corrupt { .. }) => {
            let epochs = tables
                .meta
                .get(EPOCHS)
                .map_err(failed)?
                .and_then(|bytes| record::decode_epochs(bytes.value()).ok());
            let head = tables.meta.get(HEAD).map_err(failed)?.and_then(|bytes| position(bytes.value()));
            let cuts = CutOffs { head: head.unwrap_or(Position(u64::MAX)), ..CutOffs::default() };
            Ok((cuts, epochs.unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

fn position(bytes: &[u8]) -> Option<Position> {
    bytes.try_into().ok().map(|bytes| Position(u64::from_be_bytes(bytes)))
}

struct Walk<'w, 't> {
    tables: &'w Tables,
    codec: &'w Codec,
    now: Timestamp,
    cuts: CutOffs,
    epochs: Epochs,
    done: Checked,
    /// How many sessions of each client live; not known once a record does not read.
    live: Option<BTreeMap<ClientId, u64>>,
    /// How many sessions have found their own entry: in the index of subjects, and in that of expiry.
    indexed: [u64; 2],
    tell: &'w mut Tell<'t>,
}

impl Walk<'_, '_> {
    fn find(&mut self, table: &'static str, key: impl ToString, cause: Fault) -> Result<()> {
        self.done.finds += 1;
        (self.tell)(Note::Find(Find { table, key: key.to_string().into(), cause }))
    }

    /// Judges every entry of a table.
    fn each<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        definition: Definition<K, V>,
        table: &ReadOnlyTable<K, V>,
        mut judge: impl FnMut(&mut Self, K::SelfType<'_>, V::SelfType<'_>) -> Result<()>,
    ) -> Result<()> {
        let (name, of) = (static_name(definition), table.len().map_err(failed)?);
        for (done, entry) in (0..).zip(table.iter().map_err(failed)?) {
            if done % TELL_EVERY == 0 {
                (self.tell)(Note::Progress(Progress { table: name, done, of }))?;
            }
            let (key, value) = entry.map_err(failed)?;
            judge(self, key.value(), value.value())?;
            self.done.entries += 1;
        }
        (self.tell)(Note::Progress(Progress { table: name, done: of, of }))
    }

    fn meta(&mut self) -> Result<()> {
        let tables = self.tables;
        for name in [FORMAT, KEY_CHECK, HEAD] {
            if tables.meta.get(name).map_err(failed)?.is_none() {
                self.find(META.name(), name, "absent")?;
            }
        }
        let last = tables.events.last().map_err(failed)?.map(|(position, _)| Position(position.value()));
        self.each(META, &tables.meta, |walk, key, bytes| {
            let fault = match key {
                FORMAT | KEY_CHECK => None,
                HEAD if position(bytes).is_none() => Some("not a number"),
                HEAD if last.is_some() && position(bytes) != last => {
                    Some("not the position of the last event")
                }
                HEAD => None,
                KEYS => record::decode_keys(bytes).map_or_else(Some, |keys| walk.codec.keyring_fault(&keys)),
                EPOCHS => record::decode_epochs(bytes).err(),
                _ => Some("nobody knows what it is"),
            };
            fault.map_or(Ok(()), |fault| walk.find(META.name(), key, fault))
        })
    }

    fn sessions(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(SESSIONS, &tables.sessions, |walk, id, bytes| {
            let id = SessionId(*id);
            walk.done.sessions += 1;
            match walk.codec.decode_session(id, bytes) {
                Ok(record) => walk.session(id, &record),
                Err(fault) => {
                    walk.live = None;
                    walk.find(SESSIONS.name(), id, fault)
                }
            }
        })
    }

    /// A record that reads, and the entries of the indexes that it must have.
    fn session(&mut self, id: SessionId, record: &SessionRecord) -> Result<()> {
        let Session { subject, issued, families, .. } = &record.session;
        self.done.live += u64::from(record.session.is_active(self.now, &self.cuts));
        if let Some(live) = self.live.as_mut().filter(|_| record.session.counts_as_live(&self.cuts)) {
            *live.entry(record.session.client_id.clone()).or_default() += 1;
        }
        let index = subject_key(self.codec.subject_index(subject), id);
        if self.tables.subjects.get(&index).map_err(failed)?.is_some() {
            self.indexed[0] += 1;
        } else {
            self.find(SUBJECTS.name(), hex(&index), "absent: its session is not found by its subject")?;
        }
        let slot = dated_key(record.slot.millis(), id.0);
        if self.tables.expiry.get(&slot).map_err(failed)?.is_some() {
            self.indexed[1] += 1;
        } else {
            self.find(EXPIRY.name(), hex(&slot), "absent: the sweep does not find its session")?;
        }
        if *issued > self.cuts.head || families.iter().any(|family| family.issued > self.cuts.head) {
            self.find(SESSIONS.name(), id, "issued at a position that the log has not reached")?;
        }
        Ok(())
    }

    fn data(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(DATA, &tables.data, |walk, id, bytes| {
            let id = SessionId(*id);
            if let Err(fault) = walk.codec.decode_data(id, bytes) {
                walk.find(DATA.name(), id, fault)?;
            }
            if tables.sessions.get(&id.0).map_err(failed)?.is_none() {
                walk.find(DATA.name(), id, "its session is not there")
            } else {
                Ok(())
            }
        })
    }

    /// Entries that belong to no session. Each session has found its own already; so if there are no more
    /// than that, all belong.
    fn indexes(&mut self) -> Result<()> {
        let tables = self.tables;
        let strays = tables.subjects.len().map_err(failed)? != self.indexed[0];
        self.each(SUBJECTS, &tables.subjects, |walk, key, ()| {
            let id = id_at_end(key);
            let own = |record: &SessionRecord| {
                subject_key(walk.codec.subject_index(&record.session.subject), id) == *key
            };
            if strays && !walk.belongs(id, own)? {
                walk.find(SUBJECTS.name(), hex(key), "it belongs to no session")
            } else {
                Ok(())
            }
        })?;
        let strays = tables.expiry.len().map_err(failed)? != self.indexed[1];
        self.each(EXPIRY, &tables.expiry, |walk, key, ()| {
            let id = id_at_end(key);
            let own = |record: &SessionRecord| dated_key(record.slot.millis(), id.0) == *key;
            if strays && !walk.belongs(id, own)? {
                walk.find(EXPIRY.name(), hex(key), "it belongs to no session")
            } else {
                Ok(())
            }
        })
    }

    fn windows(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(WINDOWS, &tables.windows, |walk, key, bytes| {
            if let Err(fault) = walk.codec.decode_window(key, bytes) {
                walk.find(WINDOWS.name(), hex(key), fault)?;
            }
            let id = id_at_end(&key[..24]);
            let belongs = |record: &SessionRecord| {
                record.windows.iter().any(|at| window_key(at.closes_at, id, at.family) == *key)
            };
            if walk.belongs(id, belongs)? {
                Ok(())
            } else {
                walk.find(WINDOWS.name(), hex(key), "it belongs to no session")
            }
        })
    }

    /// Whether an entry belongs to a session. One whose record does not read was found before, and keeps what
    /// may be its own.
    fn belongs(&self, id: SessionId, belongs: impl Fn(&SessionRecord) -> bool) -> Result<bool> {
        let Some(bytes) = self.tables.sessions.get(&id.0).map_err(failed)? else { return Ok(false) };
        Ok(self.codec.decode_session(id, bytes.value()).as_ref().map_or(true, belongs))
    }

    fn events(&mut self) -> Result<()> {
        let (tables, mut next) = (self.tables, None);
        self.each(EVENTS, &tables.events, |walk, position, bytes| {
            if let Err(fault) = walk.codec.decode_event(position, bytes) {
                walk.find(EVENTS.name(), position, fault)?;
            }
            if next.is_some_and(|next| next != Some(Position(position))) {
                walk.find(EVENTS.name(), position, "there is a gap in front of it")?;
            }
            next = Some(walk.epochs.next(Position(position)));
            Ok(())
        })
    }

    fn clients(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(CLIENTS, &tables.clients, |walk, name, bytes| match record::decode_client(name, bytes) {
            Ok(client) if client.id.as_str() == name => {
                walk.done.clients.push((client.id, client.updated_at));
                Ok(())
            }
            Ok(_) => walk.find(CLIENTS.name(), name, "it is the record of another client"),
            Err(fault) => walk.find(CLIENTS.name(), name, fault),
        })
    }

    /// The numbers of those that live are what counting has said.
    fn live(&mut self) -> Result<()> {
        let Some(table) = &self.tables.live else { return Ok(()) };
        let Some(mut counted) = self.live.take() else { return Ok(()) };
        self.each(LIVE, table, |walk, name, bytes| {
            let number = bytes.try_into().ok().map(u64::from_be_bytes);
            let sessions = name.parse::<ClientId>().ok().and_then(|client| counted.remove(&client));
            if number == sessions {
                Ok(())
            } else {
                walk.find(LIVE.name(), name, "not the number of the sessions that live")
            }
        })?;
        for client in counted.into_keys() {
            self.find(LIVE.name(), client.as_str(), "absent: the sessions that live are not counted")?;
        }
        Ok(())
    }

    fn cut_offs(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(CUT_OFFS, &tables.cut_offs, |walk, name, bytes| {
            let fault = match record::decode_cut_off(name, bytes) {
                Ok(cut) if cut.position > walk.cuts.head => {
                    Some("at a position that the log has not reached")
                }
                Ok(_) if !["", RESTORED].contains(&name) && name.parse::<ClientId>().is_err() => {
                    Some("its name is malformed")
                }
                Ok(_) => None,
                Err(fault) => Some(fault),
            };
            fault.map_or(Ok(()), |fault| walk.find(CUT_OFFS.name(), name, fault))
        })
    }
}

fn static_name<K: redb::Key + 'static, V: redb::Value + 'static>(
    definition: Definition<K, V>,
) -> &'static str {
    super::tables::NAMES.into_iter().find(|name| *name == definition.name()).unwrap_or("?")
}
