//! The decisions of one transaction, on the rows that were read for it. Nothing is written here: what they
//! change is collected, so they can be run again on a later state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::changes::{RowChanges, SessionRow};
use super::known::{WriterRegistry, number_of};
use super::reads::FoundRows;
use super::rows::{KeyedIndex, StoredSession, encode_windows, uuid};
use crate::domain::client::{Client, Party};
use crate::domain::cutoff::{CutOff, CutOffs};
use crate::domain::end::EndReason;
use crate::domain::event::Event;
use crate::domain::id::{ClientId, Hash, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::names::ENGINE;
use crate::domain::refusal::Refused;
use crate::domain::session::{
    Data, Decision, NotOpened, Repeatable, Repeated, RevokedToken, Session, make_room,
};
use crate::domain::time::Timestamp;
use crate::store::counters::UncommittedCounts;
use crate::store::layout::KEYS;
use crate::store::record::{self, Codec};
use crate::store::{Hex, Opening, Result, StoreError, corrupt};

/// A session, as it was read and as it is decided to be.
struct DecidedSession {
    subject: KeyedIndex,
    client: KeyedIndex,
    /// As it is stored; `None` for one that is opened.
    stored: Option<StoredSession>,
    /// As it is decided to be; `None` for one that is purged.
    session: Option<Session>,
    slot: Timestamp,
}

/// The rows of one transaction, and what its decisions change.
pub(super) struct Decisions<'a> {
    pub codec: &'a Codec,
    pub registry: &'a mut WriterRegistry,
    sessions: BTreeMap<SessionId, DecidedSession>,
    /// Rows that cannot be decoded, with their subjects.
    damaged: BTreeMap<SessionId, (KeyedIndex, StoreError)>,
    opening_keys: BTreeMap<[u8; 32], Vec<u8>>,
    /// The windows of repeatable openings; `None` for one that is erased.
    repeats: BTreeMap<SessionId, Option<Vec<u8>>>,
    revoked: BTreeSet<(i64, Uuid)>,
    pub revoked_until: i64,
    pub oldest_events: Vec<(i64, Vec<u8>)>,
    pub due_revoked: Vec<(i64, Uuid)>,
    /// Whether another process holds the lease of the sweep.
    pub is_leased: bool,
    live: BTreeMap<ClientId, i64>,
    live_changes: BTreeMap<ClientId, i64>,
    /// The rows besides those of sessions.
    pub rows: RowChanges,
    pub counts: UncommittedCounts,
    holds_head: bool,
}

impl<'a> Decisions<'a> {
    pub fn new(
        codec: &'a Codec,
        registry: &'a mut WriterRegistry,
        found: FoundRows,
        holds_head: bool,
    ) -> Self {
        let (mut sessions, mut damaged) = (BTreeMap::new(), BTreeMap::new());
        for (id, row) in found.sessions {
            let (subject, client) = (row.subject, row.client);
            match row.stored {
                Err(error) => _ = damaged.insert(id, (subject, error)),
                Ok(stored) => {
                    let (session, slot) = (Some(stored.session.clone()), stored.slot);
                    sessions
                        .insert(id, DecidedSession { subject, client, stored: Some(stored), session, slot });
                }
            }
        }
        let position = number_of(registry.cuts.head);
        Self {
            codec,
            registry,
            sessions,
            damaged,
            opening_keys: found.opening_keys,
            repeats: found.repeats.into_iter().map(|(id, bytes)| (id, Some(bytes))).collect(),
            revoked: found.revoked,
            revoked_until: found.revoked_until.unwrap_or(i64::MIN),
            oldest_events: found.oldest_events,
            due_revoked: found.due_revoked,
            is_leased: found.is_leased,
            live: found.live,
            live_changes: BTreeMap::new(),
            rows: RowChanges::new(position),
            counts: UncommittedCounts::default(),
            holds_head,
        }
    }

    /// Whether what was decided can only be written with the lock on the head, which is not held.
    pub fn needs_head(&self) -> bool {
        !self.holds_head && (self.rows.need_head() || !self.live_changes.is_empty())
    }

    pub fn update<T>(
        &mut self,
        id: SessionId,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T>,
    ) -> Result<Option<T>> {
        let Some(before) = self.session(id)?.cloned() else { return Ok(None) };
        let mut after = before.clone();
        let decision = decide(&mut after, &self.registry.cuts);
        self.rewrite(&before, after);
        self.put_data(id, decision.data);
        self.append(&decision.events);
        Ok(Some(decision.answer))
    }

    pub fn open(&mut self, opening: &Opening) -> Result<std::result::Result<Session, NotOpened>> {
        let Opening { session, data, requires, cap, uses, event, repeat } = opening;
        if let Err(refused) = self.registry.cuts.check_registered(requires) {
            return Ok(Err(NotOpened::NotCurrent(refused)));
        }
        let repeated = repeat.as_ref().map(|repeat| self.repeated(&repeat.name)).transpose()?.flatten();
        if let Some(repeated) = repeated {
            return Ok(Err(NotOpened::Repeated(Box::new(repeated))));
        }
        if self.sessions.contains_key(&session.id) || self.damaged.contains_key(&session.id) {
            return Err(corrupt("sessions", session.id, "a session with this id already exists"));
        }
        let subject = self.codec.subject_index(&session.subject);
        let client = self.codec.client_index(&session.client_id);
        if let Some(cap) = *cap {
            let ids = self.active_of(subject, Some(client))?;
            let mut peers = vec![];
            if ids.len() >= cap.sessions_max as usize {
                peers = ids.iter().filter_map(|id| self.session(*id).ok().flatten().cloned()).collect();
            }
            let before = peers.clone();
            let cuts = &self.registry.cuts;
            let Some(evictions) = make_room(cap, &session.client_id, &mut peers, uses, event.at, cuts) else {
                return Ok(Err(NotOpened::SessionsFull));
            };
            for (before, after) in before.iter().zip(peers) {
                self.rewrite(before, after);
            }
            self.append(&evictions);
        }
        let issued = self.registry.cuts.head.next();
        let mut session = session.clone();
        session.issued = issued;
        session.families.iter_mut().for_each(|family| family.issued = issued);
        let slot = session.due();
        let entry = DecidedSession { subject, client, stored: None, session: Some(session.clone()), slot };
        self.sessions.insert(session.id, entry);
        self.rows.sessions += 1;
        self.count(&session.client_id, session.counts_as_live(&self.registry.cuts).into());
        self.put_data(session.id, data.clone());
        if let Some(repeat) = repeat {
            self.put_repeat(session.id, repeat);
        }
        self.append(std::slice::from_ref(event));
        Ok(Ok(session))
    }

    /// The opening of this name, if its session is still stored.
    fn repeated(&self, name: &Hash) -> Result<Option<Repeated>> {
        let used =
            self.opening_keys.get(&name.0).map(|bytes| record::decode_key_use(name, bytes)).transpose();
        let used = used.map_err(|fault| corrupt("opening_keys", Hex(&name.0), fault))?;
        let Some((id, request)) = used else { return Ok(None) };
        let Some(session) = self.session(id)?.cloned() else { return Ok(None) };
        let window = self.repeats.get(&id).and_then(Option::as_ref);
        let window = window.map(|bytes| self.codec.decode_repeat(id, bytes)).transpose();
        let window = window.map_err(|fault| corrupt("repeats", id, fault))?;
        Ok(Some(Repeated { session, request, window }))
    }

    fn put_repeat(&mut self, id: SessionId, repeat: &Repeatable) {
        let used = record::encode_key_use(&repeat.name, &(id, repeat.request));
        self.opening_keys.insert(repeat.name.0, used.clone());
        self.rows.opening_keys.push((repeat.name.0, uuid(id), used));
        if let Some(window) = &repeat.window {
            let window = self.codec.encode_repeat(id, window);
            self.rows.repeats.insert(uuid(id), window.clone());
            self.repeats.insert(id, Some(window));
        }
    }

    /// A whole subject in one transaction.
    pub fn update_subject(
        &mut self,
        subject: &Subject,
        caller: Option<&Party>,
        closing: &Event,
        decide: &dyn Fn(&mut Session, &CutOffs) -> Decision<bool>,
    ) -> Result<std::result::Result<usize, Refused>> {
        if let Err(refused) = self.check_caller(caller) {
            return Ok(Err(refused));
        }
        let mut count = 0;
        for id in self.active_of(self.codec.subject_index(subject), None)? {
            count += usize::from(self.update(id, decide)?.unwrap_or(false));
        }
        if count > 0 {
            self.append(std::slice::from_ref(closing));
        }
        Ok(Ok(count))
    }

    pub fn end_everything(
        &mut self,
        caller: Option<&Party>,
        event: &Event,
    ) -> std::result::Result<(), Refused> {
        self.check_caller(caller)?;
        let position = self.registry.cuts.head.next();
        let cut = CutOff { position, at: event.at, by: event.by.clone() };
        self.rows.cut_offs.insert(String::new(), record::encode_cut_off("", &cut));
        self.registry.cuts.everything = Some(cut);
        let clients: Vec<ClientId> = self.live.keys().chain(self.live_changes.keys()).cloned().collect();
        let ended = clients.iter().map(|client| self.count_off(client)).sum();
        self.counts.ended(EndReason::AllRevoked, ended);
        self.rows.registry_changed = true;
        self.append(std::slice::from_ref(event));
        Ok(())
    }

    /// A deletion makes a cut-off at the position of its first event.
    pub fn update_client<T>(
        &mut self,
        id: &ClientId,
        decide: &dyn Fn(&mut Option<Client>, &CutOffs) -> Decision<T>,
    ) -> T {
        let cuts = &mut self.registry.cuts;
        let before = cuts.registered.get(id).cloned();
        let mut after = before.as_deref().cloned();
        let decision = decide(&mut after, cuts);
        if let Some(after) = &mut after {
            after.incarnation = before.as_ref().map_or(cuts.head.next(), |before| before.incarnation);
        }
        if before.as_deref() != after.as_ref() {
            match (before, after) {
                (_, Some(client)) => {
                    self.rows.clients.insert(id.as_str().into(), Some(record::encode_client(&client)));
                    cuts.registered.insert(id.clone(), Arc::new(client));
                }
                (Some(before), None) => self.delete_client(id, &before, decision.events.first()),
                (None, None) => {}
            }
            self.rows.registry_changed = true;
        }
        self.append(&decision.events);
        decision.answer
    }

    /// The engine always returns an event with a deletion. Without one, the cut-off still gets the next
    /// position.
    fn delete_client(&mut self, id: &ClientId, before: &Client, event: Option<&Event>) {
        let (at, by) = event.map_or((before.updated_at, ENGINE.into()), |event| (event.at, event.by.clone()));
        let cut = CutOff { position: self.registry.cuts.head.next(), at, by };
        self.rows.clients.insert(id.as_str().into(), None);
        self.rows.cut_offs.insert(id.as_str().into(), record::encode_cut_off(id.as_str(), &cut));
        self.registry.cuts.registered.remove(id);
        self.registry.cuts.clients.insert(id.clone(), cut);
        let ended = self.count_off(id);
        self.counts.ended(EndReason::ClientDeleted, ended);
    }

    pub fn update_keys<T>(&mut self, decide: &dyn Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T>) -> T {
        let mut after = self.registry.keys.to_vec();
        let decision = decide(&mut after, &self.registry.cuts);
        if after != *self.registry.keys {
            self.rows.meta.insert(KEYS, record::encode_keys(&after));
            self.registry.keys = Arc::new(after);
            self.rows.registry_changed = true;
        }
        self.append(&decision.events);
        decision.answer
    }

    pub fn revoke_token(
        &mut self,
        caller: Option<&Party>,
        token: RevokedToken,
        event: &Event,
    ) -> std::result::Result<bool, Refused> {
        self.check_caller(caller)?;
        let key = (token.expires_at, Uuid::from_bytes(token.id.0));
        if token.counts_as_revoked(self.revoked_until) || !self.revoked.insert(key) {
            return Ok(false);
        }
        self.rows.revoked.push(key);
        self.append(std::slice::from_ref(event));
        Ok(true)
    }

    fn check_caller(&self, caller: Option<&Party>) -> std::result::Result<(), Refused> {
        caller.map_or(Ok(()), |caller| self.registry.cuts.check_registered(std::slice::from_ref(caller)))
    }

    /// A session as it is decided to be.
    pub fn session(&self, id: SessionId) -> Result<Option<&Session>> {
        match self.damaged.get(&id) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(self.sessions.get(&id).and_then(|entry| entry.session.as_ref())),
        }
    }

    /// The time in the column `due`.
    pub fn slot(&self, id: SessionId) -> Option<Timestamp> {
        self.sessions.get(&id).map(|entry| entry.slot)
    }

    /// The sessions of a subject that may be active, in the order of their ids.
    fn active_of(&self, subject: KeyedIndex, client: Option<KeyedIndex>) -> Result<Vec<SessionId>> {
        if let Some((_, error)) = self.damaged.values().find(|(damaged, _)| *damaged == subject) {
            return Err(error.clone());
        }
        let is_asked = |entry: &DecidedSession| {
            entry.subject == subject
                && client.is_none_or(|client| entry.client == client)
                && entry.session.as_ref().is_some_and(Session::may_be_active)
        };
        Ok(self.sessions.iter().filter(|(_, entry)| is_asked(entry)).map(|(id, _)| *id).collect())
    }

    /// Keeps what has changed. The time in the column `due` moves only if it would be too late.
    fn rewrite(&mut self, before: &Session, after: Session) {
        if *before == after {
            return;
        }
        let slot = self.slot(after.id).map_or(after.due(), |slot| slot.min(after.due()));
        self.replace(before, after, slot);
    }

    /// Keeps a session with its time in the column `due`.
    pub fn replace(&mut self, before: &Session, after: Session, slot: Timestamp) {
        let cuts = &self.registry.cuts;
        if before.end.is_some() != after.end.is_some() || before.expiry_reported != after.expiry_reported {
            let difference = i64::from(after.counts_as_live(cuts)) - i64::from(before.counts_as_live(cuts));
            self.count(&before.client_id, difference);
        }
        if before.is_as_opened() && !after.is_as_opened() {
            self.erase_repeat(after.id);
        }
        if let Some(entry) = self.sessions.get_mut(&after.id) {
            entry.slot = slot;
            entry.session = Some(after);
        }
    }

    /// Removes a session for good.
    pub fn purge(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).and_then(|entry| entry.session.take()) else { return };
        self.count(&session.client_id, -i64::from(session.counts_as_live(&self.registry.cuts)));
        self.erase_repeat(id);
        self.rows.sessions -= 1;
        self.rows.purged.push(uuid(id));
    }

    pub fn erase_repeat(&mut self, id: SessionId) {
        self.rows.repeats.remove(&uuid(id));
        self.rows.repeats_erased.insert(uuid(id));
        self.repeats.insert(id, None);
    }

    fn put_data(&mut self, id: SessionId, data: Option<Data>) {
        let Some(data) = data else { return };
        self.rows.data.insert(uuid(id), self.codec.encode_data(id, &data));
    }

    /// Each event gets the next position.
    pub fn append(&mut self, events: &[Event]) {
        for event in events {
            let position = self.registry.cuts.head.next();
            self.rows.events.push((number_of(position), self.codec.encode_event(position.0, event)));
            self.registry.cuts.head = position;
            self.counts.event(event);
        }
    }

    fn count(&mut self, client: &ClientId, difference: i64) {
        if difference != 0 {
            *self.live_changes.entry(client.clone()).or_default() += difference;
        }
    }

    /// A cut-off ended all sessions of a client; returns their number.
    fn count_off(&mut self, client: &ClientId) -> u64 {
        let change = self.live_changes.get(client).copied().unwrap_or(0);
        let ended = self.live.get(client).copied().unwrap_or(0) + change;
        self.count(client, -ended);
        u64::try_from(ended).unwrap_or(0)
    }

    /// The rows to write.
    pub fn finish(self) -> (RowChanges, UncommittedCounts) {
        let Self { codec, registry, sessions, live_changes, mut rows, counts, .. } = self;
        for (id, entry) in sessions {
            let DecidedSession { subject, client, stored, session, slot } = entry;
            let Some(session) = session else { continue };
            let is_same = |stored: &StoredSession| stored.session == session && stored.slot == slot;
            if stored.as_ref().is_some_and(is_same) {
                continue;
            }
            let sealed = stored.as_ref().and_then(|stored| stored.sealed_for(&session));
            let row = SessionRow {
                id: uuid(id),
                subject: Uuid::from_bytes(subject),
                client: Uuid::from_bytes(client),
                active: session.may_be_active(),
                due: slot.millis(),
                record: codec.encode_session(&session, slot, sealed),
                windows: encode_windows(codec, &session),
            };
            let before = stored.as_ref().map_or(&[][..], |stored| &stored.session.families);
            for closes_at in new_windows(before, &session) {
                rows.windows_due.push((closes_at.millis(), row.id));
            }
            if stored.is_some() { &mut rows.updated } else { &mut rows.inserted }.push(row);
        }
        rows.live = live_changes.into_iter().filter(|(_, difference)| *difference != 0).collect();
        if rows.registry_changed {
            registry.version += 1;
        }
        rows.version = registry.version;
        (rows, counts)
    }
}

/// When the windows that were opened since `before` close. One that is kept closes with its session.
fn new_windows(before: &[crate::domain::family::Family], after: &Session) -> Vec<Timestamp> {
    let known = |number: u16| {
        let family = before.iter().find(|family| family.number == number);
        family.and_then(|family| family.window.as_ref()).map(|window| window.erased_at())
    };
    let windows = after.families.iter().filter_map(|family| {
        let closes_at = family.window.as_ref()?.erased_at();
        (closes_at < Timestamp::MAX && known(family.number) != Some(closes_at)).then_some(closes_at)
    });
    windows.collect()
}
