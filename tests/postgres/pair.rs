//! Two stores on one database, asked in turn: what one acknowledged, the other must know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use keyfob::domain::client::{Client, Party};
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::Event;
use keyfob::domain::id::{ClientId, Position, SessionId, Subject};
use keyfob::domain::key::KeyRecord;
use keyfob::domain::refusal::Refused;
use keyfob::domain::session::{Data, Decision, NotOpened, RevokedToken, Session};
use keyfob::domain::time::Timestamp;
use keyfob::store::check::Note;
use keyfob::store::postgres::Postgres;
use keyfob::store::{Figures, Lane, Opening, Pieces, Registry, Result, Stats, Store, Sweep, Swept};

use crate::database::Database;

pub struct Pair {
    stores: [Postgres; 2],
    next: AtomicUsize,
}

impl Pair {
    pub async fn new() -> Self {
        Self::on(&Database::new().await).await
    }

    pub async fn on(database: &Database) -> Self {
        Self { stores: [database.open().await, database.open().await], next: AtomicUsize::new(0) }
    }

    fn one(&self) -> &Postgres {
        &self.stores[self.next.fetch_add(1, Ordering::SeqCst) % 2]
    }

    /// Lets both know the registry, for questions without I/O.
    async fn learn(&self) -> Result<()> {
        for store in &self.stores {
            store.current().await?;
        }
        Ok(())
    }

    /// The one that knows more, for questions without I/O.
    fn ahead(&self) -> &Postgres {
        self.stores.iter().max_by_key(|store| store.head()).unwrap()
    }
}

impl Store for Pair {
    async fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        self.one().update(id, lane, decide).await
    }

    async fn open(&self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        self.one().open(opening).await
    }

    async fn update_subject(
        &self,
        subject: Subject,
        caller: Option<Party>,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> Result<std::result::Result<usize, Refused>> {
        self.one().update_subject(subject, caller, closing, decide).await
    }

    async fn end_everything(
        &self,
        caller: Option<Party>,
        event: Event,
    ) -> Result<std::result::Result<(), Refused>> {
        let ended = self.one().end_everything(caller, event).await;
        self.learn().await?;
        ended
    }

    async fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        let answer = self.one().update_client(id, decide).await;
        self.learn().await?;
        answer
    }

    async fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        let answer = self.one().update_keys(decide).await;
        self.learn().await?;
        answer
    }

    async fn revoke_token(
        &self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> Result<std::result::Result<bool, Refused>> {
        self.one().revoke_token(caller, token, event).await
    }

    /// One of several replicas sweeps.
    async fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        self.stores[0].sweep(sweep).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        self.one().session(id).await
    }

    async fn data(&self, id: SessionId) -> Result<Option<Data>> {
        self.one().data(id).await
    }

    async fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        self.one().sessions(subject, after, limit).await
    }

    async fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        self.one().active_sessions(subject, client, after, limit).await
    }

    async fn is_revoked(&self, token: RevokedToken) -> Result<bool> {
        self.one().is_revoked(token).await
    }

    async fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        self.one().events(after, limit).await
    }

    async fn current(&self) -> Result<(Arc<Registry>, Position)> {
        self.one().current().await
    }

    fn registry(&self) -> Arc<Registry> {
        self.ahead().registry()
    }

    fn head(&self) -> Position {
        self.ahead().head()
    }

    async fn head_after(&self, position: Position) {
        self.one().head_after(position).await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn figures(&self) -> Result<Figures> {
        self.one().figures().await
    }

    fn ready(&self) -> Result<()> {
        self.one().ready()
    }

    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>> {
        self.one().backup(made_at)
    }

    fn check(&self, now: Timestamp) -> Result<Pieces<Note>> {
        self.one().check(now)
    }

    async fn stats(&self) -> Result<Stats> {
        self.one().stats().await
    }
}
