//! Compares every record and every index of one snapshot.

use std::collections::BTreeMap;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata, TableHandle};

use super::open::{has_active_index, read_state};
use super::tables::{
    ACTIVE, ACTIVE_COUNTS, CLIENTS, CUT_OFFS, DATA, Definition, EPOCHS, EVENTS, EXPIRY, FORMAT, HEAD,
    KEY_CHECK, KEYS, META, OPENED_BY_KEY, OPENING_KEYS, REPEATS, REVOKED, REVOKED_UNTIL, SESSIONS, SUBJECTS,
    WINDOWS, active_key_of, dated_key, id_at_end, open, subject_key,
};
use super::{Result, StoreError};
use crate::domain::cutoff::CutOffs;
use crate::domain::epoch::Epochs;
use crate::domain::id::{ClientId, Hash, Position, SessionId};
use crate::domain::time::Timestamp;
use crate::store::Hex;
use crate::store::check::{Checked, Find, Note, TableProgress, client_fault, cut_off_fault};
use crate::store::layout::position;
use crate::store::record::{self, Codec, RecordFault, SessionRecord, window_key};

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
    let (cuts, epochs) = state(read)?;
    let mut subjects = Index {
        definition: &SUBJECTS,
        table: open(read, &SUBJECTS)?,
        key: |codec, record| subject_key(codec.subject_index(&record.session.subject), record.session.id),
        must: |record| !record.session.may_be_active(),
        may: |_| true,
        missing: "missing: its session is not found by its subject",
        stray: "it belongs to no session",
        found: 0,
    };
    let mut expiry = Index {
        definition: &EXPIRY,
        table: open(read, &EXPIRY)?,
        key: |_, record| dated_key(record.slot.millis(), record.session.id.0),
        must: |_| true,
        may: |_| true,
        missing: "missing: the sweep does not find its session",
        stray: "it belongs to no session",
        found: 0,
    };
    let mut active = Index {
        definition: &ACTIVE,
        // A store of format 1 has none, or an incomplete one.
        table: if has_active_index(read)? { open(read, &ACTIVE)? } else { None },
        key: |codec, record| active_key_of(codec, &record.session),
        must: |record| record.session.may_be_active(),
        may: |record| record.session.may_be_active(),
        missing: "missing: its session is not found as an active one",
        stray: "it belongs to no active session",
        found: 0,
    };
    let sessions = read.open_table(SESSIONS)?;
    let done = Checked::default();
    let active_by_client = Some(BTreeMap::new());
    let mut checker = Checker { read, sessions, codec, now, cuts, epochs, done, active_by_client, report };
    checker.meta()?;
    checker.sessions(|checker, record| {
        subjects.expect(checker, record)?;
        expiry.expect(checker, record)?;
        active.expect(checker, record)
    })?;
    checker.data()?;
    subjects.check(&mut checker)?;
    expiry.check(&mut checker)?;
    active.check(&mut checker)?;
    checker.windows()?;
    checker.openings()?;
    checker.events()?;
    checker.clients()?;
    checker.cut_offs()?;
    checker.each(&REVOKED, |_, _, ()| Ok(()))?;
    checker.active_counts()?;
    checker.done.clients.sort_by(|(a, a_at), (b, b_at)| (b_at, a.as_str()).cmp(&(a_at, b.as_str())));
    let done = checker.done;
    report(Note::Done(done))
}

/// The cut-offs and epochs. Where they cannot be decoded, defaults: the check reports the invalid records.
fn state(read: &ReadTransaction) -> Result<(CutOffs, Epochs)> {
    match read_state(read) {
        Ok(state) => Ok((state.cuts, state.epochs)),
        Err(StoreError::Corrupt { .. }) => {
            let meta = read.open_table(META)?;
            let epochs = meta.get(EPOCHS)?.and_then(|bytes| record::decode_epochs(bytes.value()).ok());
            let head = meta.get(HEAD)?.and_then(|bytes| position(bytes.value()));
            let cuts = CutOffs { head: head.unwrap_or(Position(u64::MAX)), ..CutOffs::default() };
            Ok((cuts, epochs.unwrap_or_default()))
        }
        Err(error) => Err(error),
    }
}

/// An index of the sessions.
struct Index<const N: usize> {
    definition: &'static Definition<&'static [u8; N], ()>,
    /// `None` if the store has no such index.
    table: Option<ReadOnlyTable<&'static [u8; N], ()>>,
    /// The key of a session's entry.
    key: fn(&Codec, &SessionRecord) -> [u8; N],
    /// Whether a session must have an entry, and whether it may have one.
    must: fn(&SessionRecord) -> bool,
    may: fn(&SessionRecord) -> bool,
    /// What is wrong where an entry is missing.
    missing: &'static str,
    /// What is wrong with an entry without a session.
    stray: &'static str,
    /// How many sessions have their entry.
    found: u64,
}

impl<const N: usize> Index<N> {
    /// Finds the entry of a session.
    fn expect(&mut self, checker: &mut Checker, record: &SessionRecord) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        if !(self.may)(record) {
            return Ok(());
        }
        let key = (self.key)(checker.codec, record);
        let found = table.get(&key)?.is_some();
        self.found += u64::from(found);
        let missing = !found && (self.must)(record);
        checker.find(self.definition.name(), Hex(&key), missing.then_some(self.missing))
    }

    /// Finds entries that belong to no session. Every session was counted with its own entry, so if there are
    /// no more entries than that, all belong.
    fn check(&self, checker: &mut Checker) -> Result<()> {
        let Some(table) = &self.table else { return Ok(()) };
        let strays = table.len()? != self.found;
        checker.each(self.definition, |checker, key, ()| {
            let own =
                |record: &SessionRecord| (self.may)(record) && (self.key)(checker.codec, record) == *key;
            let stray = strays && !checker.belongs(id_at_end(key), own)?;
            checker.find(self.definition.name(), Hex(key), stray.then_some(self.stray))
        })
    }
}

struct Checker<'w, 't> {
    read: &'w ReadTransaction,
    sessions: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    codec: &'w Codec,
    now: Timestamp,
    cuts: CutOffs,
    epochs: Epochs,
    done: Checked,
    /// Active sessions; unknown once a record cannot be decoded.
    active_by_client: Option<BTreeMap<ClientId, u64>>,
    report: &'w mut Report<'t>,
}

impl Checker<'_, '_> {
    /// Reports an invalid entry, if there is a cause.
    fn find(
        &mut self,
        table: &'static str,
        key: impl ToString,
        cause: impl Into<Option<RecordFault>>,
    ) -> Result<()> {
        let Some(cause) = cause.into() else { return Ok(()) };
        self.done.finds += 1;
        (self.report)(Note::Find(Find { table, key: key.to_string().into(), cause }))
    }

    /// Judges every entry of a table, if the store has it.
    fn each<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        definition: &'static Definition<K, V>,
        mut judge: impl FnMut(&mut Self, K::SelfType<'_>, V::SelfType<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(entries) = open(self.read, definition)? else { return Ok(()) };
        let (table, of) = (definition.name(), entries.len()?);
        for (done, entry) in (0..).zip(entries.iter()?) {
            if done % REPORT_EVERY == 0 {
                (self.report)(Note::Progress(TableProgress { table, done, of }))?;
            }
            let (key, value) = entry?;
            judge(self, key.value(), value.value())?;
            self.done.entries += 1;
        }
        (self.report)(Note::Progress(TableProgress { table, done: of, of }))
    }

    /// Whether an entry belongs to a session. A corrupt session was reported already, and counts as its
    /// owner.
    fn belongs(&self, id: SessionId, belongs: impl Fn(&SessionRecord) -> bool) -> Result<bool> {
        let Some(bytes) = self.sessions.get(&id.0)? else { return Ok(false) };
        Ok(self.codec.decode_session(id, bytes.value()).as_ref().map_or(true, belongs))
    }

    fn meta(&mut self) -> Result<()> {
        let meta = self.read.open_table(META)?;
        for name in [FORMAT, KEY_CHECK, HEAD] {
            self.find(META.name(), name, meta.get(name)?.is_none().then_some("absent"))?;
        }
        let last = self.read.open_table(EVENTS)?.last()?.map(|(position, _)| Position(position.value()));
        self.each(&META, |checker, key, bytes| {
            let fault = match key {
                FORMAT | KEY_CHECK => None,
                HEAD | REVOKED_UNTIL if position(bytes).is_none() => Some("not a number"),
                HEAD if last.is_some() && position(bytes) != last => {
                    Some("not the position of the last event")
                }
                HEAD | REVOKED_UNTIL => None,
                KEYS => {
                    record::decode_keys(bytes).map_or_else(Some, |keys| checker.codec.keyring_fault(&keys))
                }
                EPOCHS => record::decode_epochs(bytes).err(),
                _ => Some("unknown key"),
            };
            checker.find(META.name(), key, fault)
        })
    }

    /// Checks every session; `indexed` checks that it has its entries in the indexes.
    fn sessions(&mut self, mut indexed: impl FnMut(&mut Self, &SessionRecord) -> Result<()>) -> Result<()> {
        self.each(&SESSIONS, |checker, id, bytes| {
            let id = SessionId(*id);
            checker.done.sessions += 1;
            let record = match checker.codec.decode_session(id, bytes) {
                Ok(record) => record,
                Err(fault) => {
                    checker.active_by_client = None;
                    return checker.find(SESSIONS.name(), id, fault);
                }
            };
            indexed(checker, &record)?;
            let (session, head) = (&record.session, checker.cuts.head);
            checker.done.active += u64::from(session.is_active(checker.now, &checker.cuts));
            if session.counts_as_live(&checker.cuts)
                && let Some(active) = &mut checker.active_by_client
            {
                *active.entry(session.client_id.clone()).or_default() += 1;
            }
            let late = session.issued > head || session.families.iter().any(|family| family.issued > head);
            let fault = late.then_some("issued at a position after the end of the event log");
            checker.find(SESSIONS.name(), id, fault)
        })
    }

    fn data(&mut self) -> Result<()> {
        self.each(&DATA, |checker, id, bytes| {
            let id = SessionId(*id);
            checker.find(DATA.name(), id, checker.codec.decode_data(id, bytes).err())?;
            let stray = checker.sessions.get(&id.0)?.is_none();
            checker.find(DATA.name(), id, stray.then_some("its session does not exist"))
        })
    }

    fn windows(&mut self) -> Result<()> {
        self.each(&WINDOWS, |checker, key, bytes| {
            checker.find(WINDOWS.name(), Hex(key), checker.codec.decode_window(key, bytes).err())?;
            let id = id_at_end(&key[..24]);
            let own = |record: &SessionRecord| {
                record.windows.iter().any(|at| window_key(at.closes_at, id, at.family) == *key)
            };
            let stray = !checker.belongs(id, own)?;
            checker.find(WINDOWS.name(), Hex(key), stray.then_some("it belongs to no session"))
        })
    }

    fn openings(&mut self) -> Result<()> {
        let names = open(self.read, &OPENED_BY_KEY)?;
        self.each(&OPENING_KEYS, |checker, name, bytes| {
            let used = record::decode_key_use(&Hash(*name), bytes);
            let own = |id: SessionId| -> Result<bool> {
                let Some(names) = &names else { return Ok(false) };
                Ok(names.get(&id.0)?.is_some_and(|own| own.value() == name))
            };
            let fault = match used {
                Ok((id, _)) => (!own(id)?).then_some("it belongs to no session"),
                Err(fault) => Some(fault),
            };
            checker.find(OPENING_KEYS.name(), Hex(name), fault)
        })?;
        self.each(&OPENED_BY_KEY, |checker, id, _| {
            let stray = checker.sessions.get(id)?.is_none();
            checker.find(OPENED_BY_KEY.name(), SessionId(*id), stray.then_some("its session does not exist"))
        })?;
        self.each(&REPEATS, |checker, id, bytes| {
            let id = SessionId(*id);
            checker.find(REPEATS.name(), id, checker.codec.decode_repeat(id, bytes).err())?;
            let stray = checker.sessions.get(&id.0)?.is_none();
            checker.find(REPEATS.name(), id, stray.then_some("its session does not exist"))
        })
    }

    fn events(&mut self) -> Result<()> {
        let mut next = None;
        self.each(&EVENTS, |checker, position, bytes| {
            checker.find(EVENTS.name(), position, checker.codec.decode_event(position, bytes).err())?;
            let gap = next.is_some_and(|next| next != Some(Position(position)));
            next = Some(checker.epochs.next(Position(position)));
            checker.find(EVENTS.name(), position, gap.then_some("there is a gap before it"))
        })
    }

    fn clients(&mut self) -> Result<()> {
        self.each(&CLIENTS, |checker, name, bytes| {
            let fault = client_fault(name, bytes, checker.cuts.head, &mut checker.done);
            checker.find(CLIENTS.name(), name, fault)
        })
    }

    fn cut_offs(&mut self) -> Result<()> {
        self.each(&CUT_OFFS, |checker, name, bytes| {
            let fault = cut_off_fault(name, bytes, checker.cuts.head);
            checker.find(CUT_OFFS.name(), name, fault)
        })
    }

    /// Compares the stored counts of active sessions with the counted ones. A store from before these counts
    /// were kept has no such table.
    fn active_counts(&mut self) -> Result<()> {
        let stored = open(self.read, &ACTIVE_COUNTS)?;
        let (Some(_), Some(mut counted)) = (stored, self.active_by_client.take()) else { return Ok(()) };
        self.each(&ACTIVE_COUNTS, |checker, name, bytes| {
            let number = bytes.try_into().ok().map(u64::from_be_bytes);
            let sessions = name.parse::<ClientId>().ok().and_then(|client| counted.remove(&client));
            let differs = (number != sessions).then_some("not the number of active sessions");
            checker.find(ACTIVE_COUNTS.name(), name, differs)
        })?;
        for client in counted.into_keys() {
            self.find(ACTIVE_COUNTS.name(), client.as_str(), "missing: the active sessions are not counted")?;
        }
        Ok(())
    }
}
