//! The model: the port's guarantees in the simplest form, in memory, to compare the real backend with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use keyfob::domain::client::{Client, Party};
use keyfob::domain::cutoff::{CutOff, CutOffs};
use keyfob::domain::event::Event;
use keyfob::domain::family::RetryWindow;
use keyfob::domain::id::Hash;
use keyfob::domain::id::{ClientId, Position, SessionId, Subject, TokenId};
use keyfob::domain::key::KeyRecord;
use keyfob::domain::policy::RETRY_WINDOW_MAX;
use keyfob::domain::refusal::Refused;
use keyfob::domain::session::{
    Data, Decision, KeyUse, NotOpened, Repeated, RevokedToken, Session, make_room,
};
use keyfob::domain::time::Timestamp;
use keyfob::store::check::Note;
use keyfob::store::{
    Figures, LATER_MAX, Lane, Opening, Pieces, Registry, Result, Stats, Store, StoreError, Sweep, Swept,
};

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    sessions: BTreeMap<SessionId, Session>,
    data: BTreeMap<SessionId, Data>,
    /// By the name of the opening.
    opening_keys: BTreeMap<[u8; 32], KeyUse>,
    repeats: BTreeMap<SessionId, RetryWindow>,
    revoked: BTreeSet<(i64, TokenId)>,
    /// The latest expiry of the revocations that were removed.
    revoked_until: Option<i64>,
    events: BTreeMap<Position, Event>,
    registry: Registry,
    /// How many more writes succeed; `None` for all.
    writes_left: Option<u64>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `writes` more succeed; then every write fails, as after a failed commit.
    pub fn fail_after(&self, writes: u64) {
        self.lock().writes_left = Some(writes);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every write counts, whether it changes anything or not.
    fn write(&self) -> Result<MutexGuard<'_, Contents>> {
        let mut state = self.lock();
        state.ready()?;
        if let Some(left) = &mut state.writes_left {
            *left -= 1;
        }
        Ok(state)
    }
}

impl Contents {
    fn ready(&self) -> Result<()> {
        if self.writes_left == Some(0) {
            Err(StoreError::Unavailable("the test made it fail".into()))
        } else {
            Ok(())
        }
    }

    fn is_forgotten(&self, token: &RevokedToken) -> bool {
        self.revoked_until.is_some_and(|until| token.counts_as_revoked(until))
    }

    fn cuts(&self) -> &CutOffs {
        &self.registry.cuts
    }

    fn append(&mut self, events: Vec<Event>) {
        for event in events {
            let position = self.cuts().head.next();
            self.registry.cuts.head = position;
            self.events.insert(position, event);
        }
    }

    fn decide<T>(
        &mut self,
        mut session: Session,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T>,
    ) -> T {
        let decision = decide(&mut session, self.cuts());
        if let Some(data) = decision.data {
            self.data.insert(session.id, data);
        }
        self.put(session);
        self.append(decision.events);
        decision.answer
    }

    /// Replaces a session. One that is no longer as it was opened is not repeated.
    fn put(&mut self, session: Session) {
        if !session.is_as_opened() {
            self.repeats.remove(&session.id);
        }
        self.sessions.insert(session.id, session);
    }

    fn repeated(&self, name: &Hash) -> Option<Repeated> {
        let (id, request) = self.opening_keys.get(&name.0)?;
        let session = self.sessions.get(id)?.clone();
        Some(Repeated { session, request: *request, window: self.repeats.get(id).cloned() })
    }

    fn active(&self) -> BTreeMap<ClientId, u64> {
        let mut active = BTreeMap::new();
        for session in self.sessions.values().filter(|session| session.counts_as_live(self.cuts())) {
            *active.entry(session.client_id.clone()).or_default() += 1;
        }
        active
    }

    fn of_subject(&self, subject: &Subject) -> Vec<Session> {
        self.sessions.values().filter(|session| session.subject == *subject).cloned().collect()
    }

    fn open(&mut self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        let Opening { mut session, data, requires, cap, uses, event, repeat } = opening;
        if let Err(refused) = self.cuts().check_registered(&requires) {
            return Ok(Err(NotOpened::NotCurrent(refused)));
        }
        if let Some(repeated) = repeat.as_ref().and_then(|repeat| self.repeated(&repeat.name)) {
            return Ok(Err(NotOpened::Repeated(Box::new(repeated))));
        }
        if self.sessions.contains_key(&session.id) {
            let cause = "a session with this id already exists";
            return Err(StoreError::Corrupt { table: "sessions", key: session.id.to_string().into(), cause });
        }
        if let Some(cap) = cap {
            let mut peers = self.of_subject(&session.subject);
            let Some(evictions) =
                make_room(cap, &session.client_id, &mut peers, &uses, event.at, self.cuts())
            else {
                return Ok(Err(NotOpened::SessionsFull));
            };
            peers.into_iter().for_each(|peer| self.put(peer));
            self.append(evictions);
        }
        session.issued = self.cuts().head.next();
        for family in &mut session.families {
            family.issued = session.issued;
        }
        if let Some(data) = data {
            self.data.insert(session.id, data);
        }
        if let Some(repeat) = repeat {
            self.opening_keys.insert(repeat.name.0, (session.id, repeat.request));
            self.repeats.extend(repeat.window.map(|window| (session.id, window)));
        }
        self.sessions.insert(session.id, session.clone());
        self.append(vec![event]);
        Ok(Ok(session))
    }

    fn update_client<T>(
        &mut self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T>,
    ) -> T {
        let before = self.registry.cuts.registered.get(&id).cloned();
        let mut after = before.as_deref().cloned();
        let decision = decide(&mut after, self.cuts());
        match (before, after) {
            (before, Some(mut client)) => {
                client.incarnation = before.map_or(self.cuts().head.next(), |before| before.incarnation);
                self.registry.cuts.registered.insert(id, Arc::new(client));
            }
            (Some(before), None) => {
                let (at, by) = decision
                    .events
                    .first()
                    .map_or((before.updated_at, "keyfob".into()), |event| (event.at, event.by.clone()));
                let cut = CutOff { position: self.cuts().head.next(), at, by };
                self.registry.cuts.registered.remove(&id);
                self.registry.cuts.clients.insert(id, cut);
            }
            (None, None) => {}
        }
        self.append(decision.events);
        decision.answer
    }

    fn sweep(&mut self, sweep: Sweep) -> Swept {
        let (now, max) = (sweep.now.wall, sweep.entries_max);
        let mut swept = Swept::default();
        // A session that only a cut-off ended is due at its deadline.
        let due: Vec<Session> =
            self.sessions.values().filter(|session| session.due() <= now).cloned().collect();
        let mut touched = 0;
        for mut session in due {
            let reported = session.report_expiry(now, self.cuts());
            let purge =
                session.kept_until(sweep.retention, now, self.cuts()).is_some_and(|until| until <= now);
            if reported.is_empty() && !purge {
                self.put(session);
                continue;
            }
            if touched == max {
                swept.more = true;
                break;
            }
            touched += 1;
            swept.expired += reported.len();
            self.append(reported);
            let id = session.id;
            self.put(session);
            if purge {
                swept.purged += 1;
                self.sessions.remove(&id);
                self.data.remove(&id);
                self.repeats.remove(&id);
                self.opening_keys.retain(|_, (opened, _)| *opened != id);
            }
        }
        for window in self
            .sessions
            .values_mut()
            .flat_map(|session| &mut session.families)
            .map(|family| &mut family.window)
        {
            let closes_at = window.as_ref().filter(|window| !window.kept).map(|window| window.erased_at());
            if closes_at.is_some_and(|at| at <= now || at > now.plus(LATER_MAX + RETRY_WINDOW_MAX)) {
                if swept.windows == max {
                    swept.more = true;
                    break;
                }
                swept.windows += 1;
                *window = None;
            }
        }
        let closed =
            |window: &RetryWindow| window.erased_at() <= now || window.opened.wall > now.plus(LATER_MAX);
        let mut closed: Vec<SessionId> =
            self.repeats.iter().filter(|(_, window)| closed(window)).map(|(id, _)| *id).collect();
        swept.more |= closed.len() > max;
        closed.truncate(max);
        swept.windows += closed.len();
        closed.iter().for_each(|id| drop(self.repeats.remove(id)));
        while self.events.first_key_value().is_some_and(|(_, event)| event.at.plus(sweep.retention) <= now) {
            if swept.events == max {
                swept.more = true;
                break;
            }
            swept.events += 1;
            self.events.pop_first();
        }
        let forgotten = now.minus(sweep.retention).seconds();
        while self.revoked.first().is_some_and(|(expires_at, _)| *expires_at <= forgotten) {
            if swept.tokens == max {
                swept.more = true;
                break;
            }
            swept.tokens += 1;
            let removed = self.revoked.pop_first();
            self.revoked_until = removed.map(|(expires_at, _)| expires_at).max(self.revoked_until);
        }
        swept
    }
}

fn in_memory_only() -> StoreError {
    StoreError::Unavailable("the store is only in memory".into())
}

impl Store for Memory {
    async fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        _lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let mut state = self.write()?;
        let session = state.sessions.get(&id).cloned();
        Ok(session.map(|session| state.decide(session, decide)))
    }

    async fn open(&self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        self.write()?.open(opening)
    }

    async fn update_subject(
        &self,
        subject: Subject,
        caller: Option<Party>,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> Result<std::result::Result<usize, Refused>> {
        let mut state = self.write()?;
        if let Err(refused) = state.cuts().check_registered(caller.as_slice()) {
            return Ok(Err(refused));
        }
        let mut count = 0;
        for session in state.of_subject(&subject) {
            count += usize::from(state.decide(session, &decide));
        }
        if count > 0 {
            state.append(vec![closing]);
        }
        Ok(Ok(count))
    }

    async fn end_everything(
        &self,
        caller: Option<Party>,
        event: Event,
    ) -> Result<std::result::Result<(), Refused>> {
        let mut state = self.write()?;
        if let Err(refused) = state.cuts().check_registered(caller.as_slice()) {
            return Ok(Err(refused));
        }
        let cut = CutOff { position: state.cuts().head.next(), at: event.at, by: event.by.clone() };
        state.registry.cuts.everything = Some(cut);
        state.append(vec![event]);
        Ok(Ok(()))
    }

    async fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        Ok(self.write()?.update_client(id, decide))
    }

    async fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        let mut state = self.write()?;
        let registry = &mut state.registry;
        let mut keys = registry.keys.to_vec();
        let decision = decide(&mut keys, &registry.cuts);
        if keys != *registry.keys {
            registry.keys = Arc::new(keys);
        }
        state.append(decision.events);
        Ok(decision.answer)
    }

    async fn revoke_token(
        &self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> Result<std::result::Result<bool, Refused>> {
        let mut state = self.write()?;
        if let Err(refused) = state.cuts().check_registered(caller.as_slice()) {
            return Ok(Err(refused));
        }
        let new = !state.is_forgotten(&token) && state.revoked.insert((token.expires_at, token.id));
        if new {
            state.append(vec![event]);
        }
        Ok(Ok(new))
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        Ok(self.write()?.sweep(sweep))
    }

    async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        Ok(self.lock().sessions.get(&id).cloned().map(Arc::new))
    }

    async fn data(&self, id: SessionId) -> Result<Option<Data>> {
        Ok(self.lock().data.get(&id).cloned())
    }

    async fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let state = self.lock();
        let wanted = |s: &&Session| {
            after.is_none_or(|after| s.id > after)
                && subject.as_ref().is_none_or(|subject| s.subject == *subject)
        };
        Ok(state.sessions.values().filter(wanted).take(limit).cloned().collect())
    }

    async fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let wanted = |session: &Session| {
            session.may_be_active()
                && client.as_ref().is_none_or(|client| session.client_id == *client)
                && after.is_none_or(|after| session.id > after)
        };
        let mut found = self.lock().of_subject(&subject);
        found.retain(wanted);
        found.truncate(limit);
        Ok(found)
    }

    async fn is_revoked(&self, token: RevokedToken) -> Result<bool> {
        let state = self.lock();
        Ok(state.is_forgotten(&token) || state.revoked.contains(&(token.expires_at, token.id)))
    }

    async fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        let state = self.lock();
        Ok(state
            .events
            .range(after.next()..)
            .take(limit)
            .map(|(position, event)| (*position, event.clone()))
            .collect())
    }

    async fn current(&self) -> Result<(Arc<Registry>, Position)> {
        Ok((self.registry(), self.head()))
    }

    fn registry(&self) -> Arc<Registry> {
        Arc::new(self.lock().registry.clone())
    }

    fn head(&self) -> Position {
        self.lock().cuts().head
    }

    async fn head_after(&self, position: Position) {
        while self.head() <= position {
            tokio::task::yield_now().await;
        }
    }

    async fn figures(&self) -> Result<Figures> {
        let state = self.lock();
        let (active, sessions) = (state.active(), state.sessions.len() as u64);
        Ok(Figures {
            active: active.values().sum(),
            active_by_client: active,
            sessions,
            events: state.events.len() as u64,
            ..Figures::default()
        })
    }

    fn ready(&self) -> Result<()> {
        self.lock().ready()
    }

    fn backup(&self, _made_at: Timestamp) -> Result<Pieces<Bytes>> {
        Err(in_memory_only())
    }

    fn check(&self, _now: Timestamp) -> Result<Pieces<Note>> {
        Err(in_memory_only())
    }

    async fn stats(&self) -> Result<Stats> {
        Err(in_memory_only())
    }
}
