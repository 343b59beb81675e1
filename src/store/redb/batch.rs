//! One write transaction for the decisions of a batch. Each reads first and writes last, so that one that
//! fails to read changes nothing.

use std::sync::Arc;

use redb::{ReadableTable, Table, TableHandle, WriteTransaction};

use super::active_counts::ActiveCounts;
use super::subject_updates::SubjectUpdates;
use super::tables::{
    self, EVENTS, HEAD, KEYS, Loaded, OPENING_KEYS, REPEATS, SESSIONS, Tables, dated_key, subject_key,
};
use super::{Opening, Registry, Result, StoreError};
use crate::domain::client::{Client, Party};
use crate::domain::cutoff::{CutOff, CutOffs};
use crate::domain::end::EndReason;
use crate::domain::epoch::Epochs;
use crate::domain::event::Event;
use crate::domain::family::RetryWindow;
use crate::domain::id::{ClientId, Hash, SessionId};
use crate::domain::key::KeyRecord;
use crate::domain::names::ENGINE;
use crate::domain::refusal::Refused;
use crate::domain::session::{
    Cap, Data, Decision, NotOpened, Repeatable, Repeated, RevokedToken, Session, make_room,
};
use crate::domain::time::Timestamp;
use crate::store::counters::UncommittedCounts;
use crate::store::record::{self, Codec, WindowKey, window_key};
use crate::store::{Hex, corrupt};

/// The writer's state in memory, ahead of what is published.
#[derive(Default)]
pub(super) struct WriterState {
    pub cuts: CutOffs,
    pub active: ActiveCounts,
    pub uncommitted: UncommittedCounts,
    pub subject_updates: SubjectUpdates,
    pub epochs: Epochs,
    pub keys: Arc<Vec<KeyRecord>>,
    pub registry_changed: bool,
}

impl WriterState {
    pub fn registry(&self) -> Registry {
        Registry { cuts: self.cuts.clone(), epochs: self.epochs.clone(), keys: self.keys.clone() }
    }
}

/// One write: runs in a batch and returns what answers the caller after the commit. If it is dropped instead,
/// the caller gets `Unavailable`.
pub(super) type Job = Box<dyn FnOnce(&mut Batch) -> Settle + Send>;
/// Answers a caller; gets the error if the commit failed.
pub(super) type Settle = Box<dyn FnOnce(Option<StoreError>)>;

/// One write transaction.
pub(super) struct Batch<'t> {
    pub tables: Tables<'t>,
    pub codec: &'t Codec,
    pub state: &'t mut WriterState,
    /// Set when the whole batch has failed.
    pub broken: Option<StoreError>,
    /// Jobs that continue in the next batch.
    pub again: Vec<Job>,
    /// Whether there is something to commit.
    pub changed: bool,
    /// The sessions that may have changed.
    pub touched: Vec<SessionId>,
}

impl<'t> Batch<'t> {
    pub fn new(
        transaction: &'t WriteTransaction,
        codec: &'t Codec,
        state: &'t mut WriterState,
    ) -> Result<Self> {
        Ok(Self {
            tables: Tables::of(transaction),
            codec,
            state,
            broken: None,
            again: vec![],
            changed: false,
            touched: vec![],
        })
    }

    /// Writes the head and the counts. Returns every session that the batch may have changed; `None` if there
    /// is nothing to commit.
    pub fn finish(mut self) -> Result<Option<Vec<SessionId>>> {
        if self.changed {
            let head = self.state.cuts.head.0.to_be_bytes();
            if self.tables.meta.open()?.get(HEAD)?.is_none_or(|old| old.value() != head) {
                self.tables.meta.open()?.insert(HEAD, &head[..])?;
            }
            self.state.active.write(self.tables.active_counts.open()?)?;
        }
        Ok(self.changed.then_some(self.touched))
    }

    pub fn update<T>(
        &mut self,
        id: SessionId,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T>,
    ) -> Result<Option<T>> {
        let Some(loaded) = self.load(id)? else { return Ok(None) };
        self.decide(loaded, decide).map(Some)
    }

    pub fn open(&mut self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        let Opening { mut session, data, requires, cap, uses, event, repeat } = opening;
        if let Err(refused) = self.state.cuts.check_registered(&requires) {
            return Ok(Err(NotOpened::NotCurrent(refused)));
        }
        let repeated = repeat.as_ref().map(|repeat| self.repeated(&repeat.name)).transpose()?.flatten();
        if let Some(repeated) = repeated {
            return Ok(Err(NotOpened::Repeated(Box::new(repeated))));
        }
        if self.tables.sessions.open()?.get(&session.id.0)?.is_some() {
            return Err(corrupt(SESSIONS.name(), session.id, "a session with this id already exists"));
        }
        if let Some(cap) = cap {
            let loaded = self.load_peers(&session, cap)?;
            let mut peers: Vec<Session> = loaded.iter().map(|peer| peer.session.clone()).collect();
            let Some(evictions) =
                make_room(cap, &session.client_id, &mut peers, &uses, event.at, &self.state.cuts)
            else {
                return Ok(Err(NotOpened::SessionsFull));
            };
            for (before, after) in loaded.iter().zip(&peers) {
                self.rewrite(before, after)?;
            }
            self.append(&evictions)?;
        }
        let issued = self.state.cuts.head.next();
        session.issued = issued;
        session.families.iter_mut().for_each(|family| family.issued = issued);
        self.index_active(None, Some(&session))?;
        let slot = session.due();
        self.tables.expiry.open()?.insert(&dated_key(slot.millis(), session.id.0), ())?;
        self.put_session(&session, slot, None)?;
        self.replace_windows(&[], &session)?;
        self.put_data(session.id, data)?;
        if let Some(repeat) = repeat {
            self.put_repeat(session.id, &repeat)?;
        }
        self.state.active.opened(&session, &self.state.cuts);
        self.append(&[event])?;
        Ok(Ok(session))
    }

    /// The opening of this name, if its session is still stored.
    fn repeated(&mut self, name: &Hash) -> Result<Option<Repeated>> {
        let used = self.tables.opening_keys.open()?.get(&name.0)?;
        let used = used.map(|bytes| record::decode_key_use(name, bytes.value())).transpose();
        let used = used.map_err(|fault| corrupt(OPENING_KEYS.name(), Hex(&name.0), fault))?;
        let Some((id, request)) = used else { return Ok(None) };
        let Some(Loaded { session, .. }) = self.load(id)? else { return Ok(None) };
        let window = self.tables.repeats.open()?.get(&id.0)?;
        let window = window.map(|bytes| self.codec.decode_repeat(id, bytes.value())).transpose();
        let window = window.map_err(|fault| corrupt(REPEATS.name(), id, fault))?;
        Ok(Some(Repeated { session, request, window }))
    }

    fn put_repeat(&mut self, id: SessionId, repeat: &Repeatable) -> Result<()> {
        let used = record::encode_key_use(&repeat.name, &(id, repeat.request));
        self.tables.opening_keys.open()?.insert(&repeat.name.0, &*used)?;
        self.tables.opened_by_key.open()?.insert(&id.0, &repeat.name.0)?;
        if let Some(window) = &repeat.window {
            self.tables.repeats.open()?.insert(&id.0, &*self.codec.encode_repeat(id, window))?;
        }
        Ok(())
    }

    pub fn end_everything(
        &mut self,
        caller: Option<Party>,
        event: Event,
    ) -> Result<std::result::Result<(), Refused>> {
        if let Err(refused) = self.state.cuts.check_registered(caller.as_slice()) {
            return Ok(Err(refused));
        }
        let cut = CutOff { position: self.state.cuts.head.next(), at: event.at, by: event.by.clone() };
        self.tables.cut_offs.open()?.insert("", &*record::encode_cut_off("", &cut))?;
        self.state.cuts.everything = Some(cut);
        self.state.uncommitted.ended(EndReason::AllRevoked, self.state.active.all_cut_off());
        self.state.registry_changed = true;
        self.append(&[event]).map(Ok)
    }

    /// A deletion makes a cut-off at the position of its first event.
    pub fn update_client<T>(
        &mut self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T>,
    ) -> Result<T> {
        let before = self.state.cuts.registered.get(&id).cloned();
        let mut after = before.as_deref().cloned();
        let decision = decide(&mut after, &self.state.cuts);
        if let Some(after) = &mut after {
            after.incarnation =
                before.as_ref().map_or(self.state.cuts.head.next(), |before| before.incarnation);
        }
        if before.as_deref() != after.as_ref() {
            match (before, after) {
                (_, Some(client)) => {
                    self.tables.clients.open()?.insert(id.as_str(), &*record::encode_client(&client))?;
                    self.state.cuts.registered.insert(id, Arc::new(client));
                }
                (Some(before), None) => self.delete_client(id, &before, decision.events.first())?,
                (None, None) => {}
            }
            self.changed = true;
            self.state.registry_changed = true;
        }
        self.append(&decision.events)?;
        Ok(decision.answer)
    }

    /// The engine always returns an event with a deletion. Without one, the cut-off still gets the next
    /// position.
    fn delete_client(&mut self, id: ClientId, before: &Client, event: Option<&Event>) -> Result<()> {
        let (at, by) = event.map_or((before.updated_at, ENGINE.into()), |event| (event.at, event.by.clone()));
        let cut = CutOff { position: self.state.cuts.head.next(), at, by };
        self.tables.clients.open()?.remove(id.as_str())?;
        self.tables.cut_offs.open()?.insert(id.as_str(), &*record::encode_cut_off(id.as_str(), &cut))?;
        self.state.cuts.registered.remove(&id);
        self.state.uncommitted.ended(EndReason::ClientDeleted, self.state.active.client_cut_off(&id));
        self.state.cuts.clients.insert(id, cut);
        Ok(())
    }

    pub fn update_keys<T>(
        &mut self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T>,
    ) -> Result<T> {
        let mut after = self.state.keys.to_vec();
        let decision = decide(&mut after, &self.state.cuts);
        if after != *self.state.keys {
            self.tables.meta.open()?.insert(KEYS, &*record::encode_keys(&after))?;
            self.state.keys = Arc::new(after);
            (self.changed, self.state.registry_changed) = (true, true);
        }
        self.append(&decision.events)?;
        Ok(decision.answer)
    }

    pub fn revoke_token(
        &mut self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> Result<std::result::Result<bool, Refused>> {
        if let Err(refused) = self.state.cuts.check_registered(caller.as_slice()) {
            return Ok(Err(refused));
        }
        let key = dated_key(token.expires_at, token.id.0);
        if token.counts_as_revoked(tables::revoked_until(self.tables.meta.open()?)?)
            || self.tables.revoked.open()?.get(&key)?.is_some()
        {
            return Ok(Ok(false));
        }
        self.tables.revoked.open()?.insert(&key, ())?;
        self.append(&[event])?;
        Ok(Ok(true))
    }

    pub(super) fn load(&mut self, id: SessionId) -> Result<Option<Loaded>> {
        tables::load(self.codec, self.tables.sessions.open()?, self.tables.windows.open()?, id)
    }

    /// The sessions of the same subject and client that may be active; none if they are too few for the cap
    /// to matter.
    fn load_peers(&mut self, session: &Session, cap: Cap) -> Result<Vec<Loaded>> {
        let (subject, client) =
            (self.codec.subject_index(&session.subject), self.codec.client_index(&session.client_id));
        let ids =
            tables::active_of_subject(self.tables.active.open()?, subject, Some(client), None, usize::MAX)?;
        if ids.len() < cap.sessions_max as usize {
            return Ok(vec![]);
        }
        ids.into_iter().filter_map(|id| self.load(id).transpose()).collect()
    }

    /// Keeps the index of active sessions, and adds a session that leaves it to that of subjects; `None` for
    /// a session that did not exist or was removed.
    pub(super) fn index_active(&mut self, before: Option<&Session>, after: Option<&Session>) -> Result<()> {
        let [was, is] = [before, after].map(|session| session.is_some_and(Session::may_be_active));
        if let Some(session) = before.or(after).filter(|_| was != is) {
            let key = tables::active_key_of(self.codec, session);
            if is {
                self.tables.active.open()?.insert(&key, ())?;
            } else {
                self.tables.active.open()?.remove(&key)?;
            }
            self.changed = true;
        }
        if let Some(session) = after.filter(|_| was && !is) {
            let of_subject = self.subject_key(session);
            self.tables.subjects.open()?.insert(&of_subject, ())?;
        }
        Ok(())
    }

    pub(super) fn decide<T>(
        &mut self,
        before: Loaded,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T>,
    ) -> Result<T> {
        let mut after = before.session.clone();
        let decision = decide(&mut after, &self.state.cuts);
        self.rewrite(&before, &after)?;
        self.put_data(after.id, decision.data)?;
        self.append(&decision.events)?;
        Ok(decision.answer)
    }

    /// Writes what has changed. The entry in the expiry index moves only if it would be too late.
    fn rewrite(&mut self, before: &Loaded, after: &Session) -> Result<()> {
        if before.session == *after {
            return Ok(());
        }
        self.replace(before, after, before.slot.min(after.due()))
    }

    /// Writes a session, its entries in the indexes, and its windows.
    pub(super) fn replace(&mut self, before: &Loaded, after: &Session, slot: Timestamp) -> Result<()> {
        if slot != before.slot {
            self.tables.expiry.open()?.remove(&dated_key(before.slot.millis(), after.id.0))?;
            self.tables.expiry.open()?.insert(&dated_key(slot.millis(), after.id.0), ())?;
            self.changed = true;
        }
        self.put_session(after, slot, before.sealed_for(after))?;
        self.index_active(Some(&before.session), Some(after))?;
        self.state.active.became(&before.session, Some(after), &self.state.cuts);
        if before.session.is_as_opened() && !after.is_as_opened() {
            self.tables.repeats.open()?.remove(&after.id.0)?;
        }
        let mut old: Vec<(WindowKey, Option<&RetryWindow>)> = vec![];
        for at in &before.windows {
            let window = before.session.family(at.family).and_then(|family| family.window.as_ref());
            old.push((window_key(at.closes_at, after.id, at.family), window));
        }
        self.replace_windows(&old, after)
    }

    fn put_session(&mut self, session: &Session, slot: Timestamp, sealed: Option<&[u8]>) -> Result<()> {
        self.touched.push(session.id);
        self.state.subject_updates.note(self.codec, session);
        let record = self.codec.encode_session(session, slot, sealed);
        self.tables.sessions.open()?.insert(&session.id.0, &*record)?;
        self.changed = true;
        Ok(())
    }

    fn replace_windows(
        &mut self,
        old: &[(WindowKey, Option<&RetryWindow>)],
        session: &Session,
    ) -> Result<()> {
        let keep = |family: u16, window: &RetryWindow| window_key(window.erased_at(), session.id, family);
        let new: Vec<(WindowKey, &RetryWindow)> = session
            .families
            .iter()
            .filter_map(|f| f.window.as_ref().map(|window| (keep(f.number, window), window)))
            .collect();
        for (key, _) in old.iter().filter(|(key, _)| !new.iter().any(|(kept, _)| kept == key)) {
            self.changed |= self.tables.windows.open()?.remove(key)?.is_some();
        }
        for (key, window) in new {
            if !old.contains(&(key, Some(window))) {
                self.tables.windows.open()?.insert(&key, &*self.codec.encode_window(&key, window))?;
                self.changed = true;
            }
        }
        Ok(())
    }

    fn put_data(&mut self, id: SessionId, data: Option<Data>) -> Result<()> {
        let Some(data) = data else { return Ok(()) };
        self.changed |= put(self.tables.data.open()?, id, &self.codec.encode_data(id, &data))?;
        Ok(())
    }

    /// Writes each event at the next position.
    pub(super) fn append(&mut self, events: &[Event]) -> Result<()> {
        for event in events {
            let position = self.state.cuts.head.next();
            let old = self
                .tables
                .events
                .open()?
                .insert(position.0, &*self.codec.encode_event(position.0, event))?;
            if old.is_some() {
                let taken =
                    format!("table {} already has an event at position {}", EVENTS.name(), position.0);
                return Err(StoreError::Failed(taken.into()));
            }
            self.state.cuts.head = position;
            self.state.uncommitted.event(event);
            self.changed = true;
        }
        Ok(())
    }

    pub(super) fn subject_key(&self, session: &Session) -> [u8; 32] {
        subject_key(self.codec.subject_index(&session.subject), session.id)
    }
}

/// Writes a value unless the stored bytes are the same. Returns whether it did.
fn put(table: &mut Table<&'static [u8; 16], &'static [u8]>, id: SessionId, bytes: &[u8]) -> Result<bool> {
    let differs = table.get(&id.0)?.is_none_or(|old| old.value() != bytes);
    if differs {
        table.insert(&id.0, bytes)?;
    }
    Ok(differs)
}
