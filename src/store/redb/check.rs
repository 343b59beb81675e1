//! Compares every record and every index of one snapshot.

use std::collections::BTreeMap;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableHandle};

use super::error::failed;
use super::open::{has_active_index, read_state};
use super::tables::{
    ACTIVE, ACTIVE_COUNTS, CLIENTS, CUT_OFFS, DATA, Definition, EPOCHS, EVENTS, EXPIRY, FORMAT, HEAD,
    KEY_CHECK, KEYS, META, RESTORED, REVOKED, REVOKED_UNTIL, SESSIONS, SUBJECTS, WINDOWS, active_key_of,
    dated_key, hex, id_at_end, open, subject_key,
};
use super::{Result, StoreError};
use crate::domain::cutoff::CutOffs;
use crate::domain::epoch::Epochs;
use crate::domain::id::{ClientId, Position, SessionId};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::check::{CheckProgress, Checked, Find, Note};
use crate::store::record::{self, Codec, Fault, SessionRecord, window_key};

/// Entries between two reports of progress.
const REPORT_EVERY: u64 = 4096;

pub(super) type Report<'t> = dyn FnMut(Note) -> Result<()> + 't;

/// Checks the snapshot. `now` matters only for the number of active sessions.
pub(super) fn check(
    read: &ReadTransaction,
    codec: &Codec,
    now: Timestamp,
    report: &mut Report,
) -> Result<()> {
    let tables = ReadTables::open(read)?;
    let (cuts, epochs) = state(read, &tables)?;
    let mut checker = Checker {
        tables: &tables,
        codec,
        now,
        cuts,
        epochs,
        done: Checked::default(),
        active: Some(BTreeMap::new()),
        indexed: [0; 3],
        report,
    };
    checker.meta()?;
    checker.sessions()?;
    checker.data()?;
    checker.indexes()?;
    checker.active_index()?;
    checker.windows()?;
    checker.events()?;
    checker.clients()?;
    checker.cut_offs()?;
    checker.each(REVOKED, &tables.revoked, |_, _, ()| Ok(()))?;
    checker.active()?;
    checker.done.clients.sort_by(|(a, a_at), (b, b_at)| (b_at, a.as_str()).cmp(&(a_at, b.as_str())));
    let done = checker.done;
    report(Note::Done(done))
}

struct ReadTables {
    sessions: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    data: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    subjects: ReadOnlyTable<&'static [u8; 32], ()>,
    /// Absent in a store of format 1.
    active_index: Option<ReadOnlyTable<&'static [u8; 48], ()>>,
    expiry: ReadOnlyTable<&'static [u8; 24], ()>,
    windows: ReadOnlyTable<&'static [u8; 26], &'static [u8]>,
    events: ReadOnlyTable<u64, &'static [u8]>,
    clients: ReadOnlyTable<&'static str, &'static [u8]>,
    cut_offs: ReadOnlyTable<&'static str, &'static [u8]>,
    revoked: ReadOnlyTable<&'static [u8; 24], ()>,
    /// Absent in a store from before these counts were kept.
    active: Option<ReadOnlyTable<&'static str, &'static [u8]>>,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
}

impl ReadTables {
    fn open(read: &ReadTransaction) -> Result<Self> {
        Ok(Self {
            sessions: read.open_table(SESSIONS).map_err(failed)?,
            data: read.open_table(DATA).map_err(failed)?,
            subjects: read.open_table(SUBJECTS).map_err(failed)?,
            active_index: if has_active_index(read)? { open(read, ACTIVE)? } else { None },
            expiry: read.open_table(EXPIRY).map_err(failed)?,
            windows: read.open_table(WINDOWS).map_err(failed)?,
            events: read.open_table(EVENTS).map_err(failed)?,
            clients: read.open_table(CLIENTS).map_err(failed)?,
            cut_offs: read.open_table(CUT_OFFS).map_err(failed)?,
            revoked: read.open_table(REVOKED).map_err(failed)?,
            active: open(read, ACTIVE_COUNTS)?,
            meta: read.open_table(META).map_err(failed)?,
        })
    }
}

/// The cut-offs and epochs. Where they cannot be decoded, defaults: the check reports the invalid records.
fn state(read: &ReadTransaction, tables: &ReadTables) -> Result<(CutOffs, Epochs)> {
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

struct Checker<'w, 't> {
    tables: &'w ReadTables,
    codec: &'w Codec,
    now: Timestamp,
    cuts: CutOffs,
    epochs: Epochs,
    done: Checked,
    /// Active sessions by client; unknown once a record cannot be decoded.
    active: Option<BTreeMap<ClientId, u64>>,
    /// How many sessions have an entry in the indexes of subjects, of expiry and of active
    /// sessions.
    indexed: [u64; 3],
    report: &'w mut Report<'t>,
}

impl Checker<'_, '_> {
    fn find(&mut self, table: &'static str, key: impl ToString, cause: Fault) -> Result<()> {
        self.done.finds += 1;
        (self.report)(Note::Find(Find { table, key: key.to_string().into(), cause }))
    }

    fn each<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        definition: Definition<K, V>,
        table: &ReadOnlyTable<K, V>,
        mut judge: impl FnMut(&mut Self, K::SelfType<'_>, V::SelfType<'_>) -> Result<()>,
    ) -> Result<()> {
        let (name, of) = (static_name(definition), table.len().map_err(failed)?);
        for (done, entry) in (0..).zip(table.iter().map_err(failed)?) {
            if done % REPORT_EVERY == 0 {
                (self.report)(Note::Progress(CheckProgress { table: name, done, of }))?;
            }
            let (key, value) = entry.map_err(failed)?;
            judge(self, key.value(), value.value())?;
            self.done.entries += 1;
        }
        (self.report)(Note::Progress(CheckProgress { table: name, done: of, of }))
    }

    fn meta(&mut self) -> Result<()> {
        let tables = self.tables;
        for name in [FORMAT, KEY_CHECK, HEAD] {
            if tables.meta.get(name).map_err(failed)?.is_none() {
                self.find(META.name(), name, "absent")?;
            }
        }
        let last = tables.events.last().map_err(failed)?.map(|(position, _)| Position(position.value()));
        self.each(META, &tables.meta, |checker, key, bytes| {
            let fault = match key {
                FORMAT | KEY_CHECK => None,
                HEAD if position(bytes).is_none() => Some("not a number"),
                HEAD if last.is_some() && position(bytes) != last => {
                    Some("not the position of the last event")
                }
                HEAD => None,
                KEYS => {
                    record::decode_keys(bytes).map_or_else(Some, |keys| checker.codec.keyring_fault(&keys))
                }
                EPOCHS => record::decode_epochs(bytes).err(),
                REVOKED_UNTIL if position(bytes).is_none() => Some("not a number"),
                REVOKED_UNTIL => None,
                _ => Some("unknown key"),
            };
            fault.map_or(Ok(()), |fault| checker.find(META.name(), key, fault))
        })
    }

    fn sessions(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(SESSIONS, &tables.sessions, |checker, id, bytes| {
            let id = SessionId(*id);
            checker.done.sessions += 1;
            match checker.codec.decode_session(id, bytes) {
                Ok(record) => checker.session(id, &record),
                Err(fault) => {
                    checker.active = None;
                    checker.find(SESSIONS.name(), id, fault)
                }
            }
        })
    }

    /// Checks a decoded session and its entries in the indexes.
    fn session(&mut self, id: SessionId, record: &SessionRecord) -> Result<()> {
        let Session { subject, issued, families, .. } = &record.session;
        self.done.active += u64::from(record.session.is_active(self.now, &self.cuts));
        if let Some(active) = self.active.as_mut().filter(|_| record.session.counts_as_live(&self.cuts)) {
            *active.entry(record.session.client_id.clone()).or_default() += 1;
        }
        let index = subject_key(self.codec.subject_index(subject), id);
        if self.tables.subjects.get(&index).map_err(failed)?.is_some() {
            self.indexed[0] += 1;
        } else {
            self.find(SUBJECTS.name(), hex(&index), "missing: its session is not found by its subject")?;
        }
        let slot = dated_key(record.slot.millis(), id.0);
        if self.tables.expiry.get(&slot).map_err(failed)?.is_some() {
            self.indexed[1] += 1;
        } else {
            self.find(EXPIRY.name(), hex(&slot), "missing: the sweep does not find its session")?;
        }
        if let Some(index) = self.tables.active_index.as_ref().filter(|_| record.session.may_be_active()) {
            let key = active_key_of(self.codec, &record.session);
            if index.get(&key).map_err(failed)?.is_some() {
                self.indexed[2] += 1;
            } else {
                self.find(ACTIVE.name(), hex(&key), "missing: its session is not found as an active one")?;
            }
        }
        if *issued > self.cuts.head || families.iter().any(|family| family.issued > self.cuts.head) {
            self.find(SESSIONS.name(), id, "issued at a position after the end of the event log")?;
        }
        Ok(())
    }

    fn data(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(DATA, &tables.data, |checker, id, bytes| {
            let id = SessionId(*id);
            if let Err(fault) = checker.codec.decode_data(id, bytes) {
                checker.find(DATA.name(), id, fault)?;
            }
            if tables.sessions.get(&id.0).map_err(failed)?.is_none() {
                checker.find(DATA.name(), id, "its session does not exist")
            } else {
                Ok(())
            }
        })
    }

    /// Finds entries that belong to no session. Every session was counted with its own entry, so if there are
    /// no more entries than that, all belong.
    fn indexes(&mut self) -> Result<()> {
        let tables = self.tables;
        let strays = tables.subjects.len().map_err(failed)? != self.indexed[0];
        self.each(SUBJECTS, &tables.subjects, |checker, key, ()| {
            let id = id_at_end(key);
            let own = |record: &SessionRecord| {
                subject_key(checker.codec.subject_index(&record.session.subject), id) == *key
            };
            if strays && !checker.belongs(id, own)? {
                checker.find(SUBJECTS.name(), hex(key), "it belongs to no session")
            } else {
                Ok(())
            }
        })?;
        let strays = tables.expiry.len().map_err(failed)? != self.indexed[1];
        self.each(EXPIRY, &tables.expiry, |checker, key, ()| {
            let id = id_at_end(key);
            let own = |record: &SessionRecord| dated_key(record.slot.millis(), id.0) == *key;
            if strays && !checker.belongs(id, own)? {
                checker.find(EXPIRY.name(), hex(key), "it belongs to no session")
            } else {
                Ok(())
            }
        })
    }

    /// The same for the index of active sessions.
    fn active_index(&mut self) -> Result<()> {
        let Some(index) = &self.tables.active_index else { return Ok(()) };
        let strays = index.len().map_err(failed)? != self.indexed[2];
        self.each(ACTIVE, index, |checker, key, ()| {
            let id = id_at_end(key);
            let own = |record: &SessionRecord| {
                record.session.may_be_active() && active_key_of(checker.codec, &record.session) == *key
            };
            if strays && !checker.belongs(id, own)? {
                checker.find(ACTIVE.name(), hex(key), "it belongs to no active session")
            } else {
                Ok(())
            }
        })
    }

    fn windows(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(WINDOWS, &tables.windows, |checker, key, bytes| {
            if let Err(fault) = checker.codec.decode_window(key, bytes) {
                checker.find(WINDOWS.name(), hex(key), fault)?;
            }
            let id = id_at_end(&key[..24]);
            let belongs = |record: &SessionRecord| {
                record.windows.iter().any(|at| window_key(at.closes_at, id, at.family) == *key)
            };
            if checker.belongs(id, belongs)? {
                Ok(())
            } else {
                checker.find(WINDOWS.name(), hex(key), "it belongs to no session")
            }
        })
    }

    /// Whether an entry belongs to a session. A corrupt session was reported already, and counts as its
    /// owner.
    fn belongs(&self, id: SessionId, belongs: impl Fn(&SessionRecord) -> bool) -> Result<bool> {
        let Some(bytes) = self.tables.sessions.get(&id.0).map_err(failed)? else { return Ok(false) };
        Ok(self.codec.decode_session(id, bytes.value()).as_ref().map_or(true, belongs))
    }

    fn events(&mut self) -> Result<()> {
        let (tables, mut next) = (self.tables, None);
        self.each(EVENTS, &tables.events, |checker, position, bytes| {
            if let Err(fault) = checker.codec.decode_event(position, bytes) {
                checker.find(EVENTS.name(), position, fault)?;
            }
            if next.is_some_and(|next| next != Some(Position(position))) {
                checker.find(EVENTS.name(), position, "there is a gap before it")?;
            }
            next = Some(checker.epochs.next(Position(position)));
            Ok(())
        })
    }

    fn clients(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(CLIENTS, &tables.clients, |checker, name, bytes| {
            match record::decode_client(name, bytes, Position(0)) {
                Ok(client) if client.incarnation > checker.cuts.head => {
                    checker.find(CLIENTS.name(), name, "created at a position after the end of the event log")
                }
                Ok(client) if client.id.as_str() == name => {
                    checker.done.clients.push((client.id, client.updated_at));
                    Ok(())
                }
                Ok(_) => checker.find(CLIENTS.name(), name, "it is the record of another client"),
                Err(fault) => checker.find(CLIENTS.name(), name, fault),
            }
        })
    }

    /// Compares the stored counts of active sessions with the counted ones.
    fn active(&mut self) -> Result<()> {
        let Some(table) = &self.tables.active else { return Ok(()) };
        let Some(mut counted) = self.active.take() else { return Ok(()) };
        self.each(ACTIVE_COUNTS, table, |checker, name, bytes| {
            let number = bytes.try_into().ok().map(u64::from_be_bytes);
            let sessions = name.parse::<ClientId>().ok().and_then(|client| counted.remove(&client));
            if number == sessions {
                Ok(())
            } else {
                checker.find(ACTIVE_COUNTS.name(), name, "not the number of active sessions")
            }
        })?;
        for client in counted.into_keys() {
            self.find(ACTIVE_COUNTS.name(), client.as_str(), "missing: the active sessions are not counted")?;
        }
        Ok(())
    }

    fn cut_offs(&mut self) -> Result<()> {
        let tables = self.tables;
        self.each(CUT_OFFS, &tables.cut_offs, |checker, name, bytes| {
            let fault = match record::decode_cut_off(name, bytes) {
                Ok(cut) if cut.position > checker.cuts.head => {
                    Some("at a position after the end of the event log")
                }
                Ok(_) if !["", RESTORED].contains(&name) && name.parse::<ClientId>().is_err() => {
                    Some("its client_id is malformed")
                }
                Ok(_) => None,
                Err(fault) => Some(fault),
            };
            fault.map_or(Ok(()), |fault| checker.find(CUT_OFFS.name(), name, fault))
        })
    }
}

fn static_name<K: redb::Key + 'static, V: redb::Value + 'static>(
    definition: Definition<K, V>,
) -> &'static str {
    super::tables::NAMES.into_iter().find(|name| *name == definition.name()).unwrap_or("?")
}
