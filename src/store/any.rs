//! The store of a server: one of the backends, as configured.

use std::sync::Arc;

use bytes::Bytes;

use super::check::Note;
#[cfg(feature = "postgres")]
use super::postgres::Postgres;
use super::redb::Redb;
use super::{Figures, Lane, Opening, Pieces, Registry, ReplicaFigures, Result, Stats, Store, Sweep, Swept};
use crate::domain::client::{Client, Party};
use crate::domain::cutoff::CutOffs;
use crate::domain::event::Event;
use crate::domain::id::{ClientId, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::refusal::Refused;
use crate::domain::session::{Data, Decision, NotOpened, RevokedToken, Session};
use crate::domain::time::Timestamp;

/// One of the backends.
#[cfg_attr(feature = "postgres", expect(clippy::large_enum_variant, reason = "a process has one, in an Arc"))]
pub enum AnyStore {
    Redb(Redb),
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
}

impl AnyStore {
    /// The store in one file, if it is that.
    pub fn embedded(&self) -> Option<&Redb> {
        match self {
            Self::Redb(store) => Some(store),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => None,
        }
    }

    /// Accepts no more writes, and returns when those that wait are committed.
    pub async fn close(&self) {
        match self {
            // This joins the writer thread and blocks: no other task needs the runtime by now.
            Self::Redb(store) => store.close(),
            #[cfg(feature = "postgres")]
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// The same expression for each backend.
macro_rules! with {
    ($any:expr, $store:ident => $expression:expr) => {
        match $any {
            AnyStore::Redb($store) => $expression,
            #[cfg(feature = "postgres")]
            AnyStore::Postgres($store) => $expression,
        }
    };
}

impl Store for AnyStore {
    async fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        with!(self, store => store.update(id, lane, decide).await)
    }

    async fn open(&self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        with!(self, store => store.open(opening).await)
    }

    async fn update_subject(
        &self,
        subject: Subject,
        caller: Option<Party>,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> Result<std::result::Result<usize, Refused>> {
        with!(self, store => store.update_subject(subject, caller, closing, decide).await)
    }

    async fn end_everything(
        &self,
        caller: Option<Party>,
        event: Event,
    ) -> Result<std::result::Result<(), Refused>> {
        with!(self, store => store.end_everything(caller, event).await)
    }

    async fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        with!(self, store => store.update_client(id, decide).await)
    }

    async fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        with!(self, store => store.update_keys(decide).await)
    }

    async fn revoke_token(
        &self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> Result<std::result::Result<bool, Refused>> {
        with!(self, store => store.revoke_token(caller, token, event).await)
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        with!(self, store => store.sweep(sweep).await)
    }

    async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        with!(self, store => store.session(id).await)
    }

    async fn data(&self, id: SessionId) -> Result<Option<Data>> {
        with!(self, store => store.data(id).await)
    }

    async fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        with!(self, store => store.sessions(subject, after, limit).await)
    }

    async fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        with!(self, store => store.active_sessions(subject, client, after, limit).await)
    }

    async fn is_revoked(&self, token: RevokedToken) -> Result<bool> {
        with!(self, store => store.is_revoked(token).await)
    }

    async fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        with!(self, store => store.events(after, limit).await)
    }

    async fn current(&self) -> Result<(Arc<Registry>, Position)> {
        with!(self, store => store.current().await)
    }

    fn registry(&self) -> Arc<Registry> {
        with!(self, store => store.registry())
    }

    fn head(&self) -> Position {
        with!(self, store => store.head())
    }

    async fn head_after(&self, position: Position) {
        with!(self, store => store.head_after(position).await)
    }

    fn is_shared(&self) -> bool {
        with!(self, store => store.is_shared())
    }

    async fn figures(&self) -> Result<Figures> {
        with!(self, store => store.figures().await)
    }

    fn replica_figures(&self) -> Option<ReplicaFigures> {
        with!(self, store => store.replica_figures())
    }

    fn ready(&self) -> Result<()> {
        with!(self, store => store.ready())
    }

    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>> {
        with!(self, store => store.backup(made_at))
    }

    fn check(&self, now: Timestamp) -> Result<Pieces<Note>> {
        with!(self, store => store.check(now))
    }

    async fn stats(&self) -> Result<Stats> {
        with!(self, store => store.stats().await)
    }
}
