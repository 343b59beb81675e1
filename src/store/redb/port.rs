//! The port, on one file. Writes are queued for the writer; each read has its own snapshot, and none waits
//! for the writer.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata, TableHandle};

use super::active_counts::ActiveCounts;
use super::space::free_bytes;
use super::subject::SubjectUpdate;
use super::tables::{
    ACTIVE, ACTIVE_COUNTS, DATA, EVENTS, EXPIRY, META, REVOKED, SESSIONS, SUBJECTS, WINDOWS,
    active_of_subject, dated_key, decode, decode_event, load, number_at_start, of_subject, revoked_until,
};
use super::{Redb, check, walk};
use crate::domain::client::{Client, Party};
use crate::domain::cutoff::CutOffs;
use crate::domain::event::Event;
use crate::domain::id::{ClientId, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::refusal::Refused;
use crate::domain::session::{Data, Decision, NotOpened, RevokedToken, Session};
use crate::domain::time::Timestamp;
use crate::store::check::Note;
use crate::store::corrupt;
use crate::store::{
    Figures, Lane, Opening, Pieces, Registry, Result, Stats, Store, StoreError, Sweep, Swept,
};

impl Store for Redb {
    async fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        self.shared.submit(lane, move |batch| batch.update(id, decide)).await
    }

    async fn open(&self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        self.shared.submit(Lane::Opening, |batch| batch.open(opening)).await
    }

    async fn update_subject(
        &self,
        subject: Subject,
        caller: Option<Party>,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> Result<std::result::Result<usize, Refused>> {
        let mut update = SubjectUpdate::new(subject, caller, closing, decide);
        self.shared.submit_slices(Lane::Revocation, move |batch| batch.update_subject(&mut update)).await
    }

    async fn end_everything(
        &self,
        caller: Option<Party>,
        event: Event,
    ) -> Result<std::result::Result<(), Refused>> {
        self.shared.submit(Lane::Revocation, |batch| batch.end_everything(caller, event)).await
    }

    async fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.submit(Lane::Revocation, |batch| batch.update_client(id, decide)).await
    }

    async fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        self.shared.submit(Lane::Revocation, |batch| batch.update_keys(decide)).await
    }

    async fn revoke_token(
        &self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> Result<std::result::Result<bool, Refused>> {
        self.shared.submit(Lane::Revocation, move |batch| batch.revoke_token(caller, token, event)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        self.shared.submit(Lane::Ordinary, move |batch| batch.sweep(sweep)).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        self.shared.intact()?;
        let recall = &self.shared.recall;
        // Taken before the snapshot, so that what is read is at least as new.
        let count = recall.count(id);
        if let Some(session) = count.and_then(|count| recall.get(id, count)) {
            return Ok(Some(session));
        }
        let read = self.db.begin_read()?;
        let (sessions, windows) = (read.open_table(SESSIONS)?, read.open_table(WINDOWS)?);
        let Some(loaded) = load(&self.codec, &sessions, &windows, id)? else { return Ok(None) };
        let session = Arc::new(loaded.session);
        if let Some(count) = count {
            recall.put(&session, count);
        }
        Ok(Some(session))
    }

    async fn data(&self, id: SessionId) -> Result<Option<Data>> {
        let table = self.snapshot()?.open_table(DATA)?;
        let Some(bytes) = table.get(&id.0)? else { return Ok(None) };
        self.codec.decode_data(id, bytes.value()).map(Some).map_err(|fault| corrupt(DATA.name(), id, fault))
    }

    async fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let read = self.snapshot()?;
        let (sessions, windows) = (read.open_table(SESSIONS)?, read.open_table(WINDOWS)?);
        let mut found = vec![];
        if let Some(subject) = subject {
            let (subjects, active) = (read.open_table(SUBJECTS)?, read.open_table(ACTIVE)?);
            let subject = self.codec.subject_index(&subject);
            for id in of_subject(&subjects, &active, subject, after, limit)? {
                found.extend(load(&self.codec, &sessions, &windows, id)?.map(|loaded| loaded.session));
            }
        } else {
            let first = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(&after.0));
            for entry in sessions.range::<&[u8; 16]>((first, Bound::Unbounded))?.take(limit) {
                let (id, bytes) = entry?;
                found.push(decode(&self.codec, &windows, SessionId(*id.value()), bytes.value())?.session);
            }
        }
        Ok(found)
    }

    async fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let read = self.snapshot()?;
        let (sessions, windows) = (read.open_table(SESSIONS)?, read.open_table(WINDOWS)?);
        let (subject, client) =
            (self.codec.subject_index(&subject), client.map(|client| self.codec.client_index(&client)));
        let mut found = vec![];
        for id in active_of_subject(&read.open_table(ACTIVE)?, subject, client, after, limit)? {
            found.extend(load(&self.codec, &sessions, &windows, id)?.map(|loaded| loaded.session));
        }
        Ok(found)
    }

    async fn is_revoked(&self, token: RevokedToken) -> Result<bool> {
        let read = self.snapshot()?;
        if token.counts_as_revoked(revoked_until(&read.open_table(META)?)?) {
            return Ok(true);
        }
        let revoked = read.open_table(REVOKED)?;
        Ok(revoked.get(&dated_key(token.expires_at, token.id.0))?.is_some())
    }

    async fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        let events = self.snapshot()?.open_table(EVENTS)?;
        let range = events.range((Bound::Excluded(after.0), Bound::Unbounded))?;
        let decoded = range.take(limit).map(|entry| {
            let (position, bytes) = entry?;
            decode_event(&self.codec, position.value(), bytes.value())
        });
        decoded.collect()
    }

    /// No other process writes to the file.
    async fn current(&self) -> Result<(Arc<Registry>, Position)> {
        Ok((self.registry(), self.head()))
    }

    fn registry(&self) -> Arc<Registry> {
        self.shared.registry.load_full()
    }

    fn head(&self) -> Position {
        self.shared.head()
    }

    async fn head_after(&self, position: Position) {
        self.shared.head_after(position).await;
    }

    async fn figures(&self) -> Result<Figures> {
        let read = self.db.begin_read()?;
        let due = read
            .open_table(EXPIRY)?
            .first()?
            .map(|(key, _)| Timestamp::from_millis(number_at_start(key.value())));
        Ok(Figures {
            active: self.shared.active.get(),
            sessions: read.open_table(SESSIONS)?.len()?,
            events: read.open_table(EVENTS)?.len()?,
            active_by_client: ActiveCounts::read(&read.open_table(ACTIVE_COUNTS)?)?.numbers,
            table_bytes: self.measured.load().iter().copied().collect(),
            file_bytes: self.path.as_deref().and_then(|path| path.metadata().ok()).map(|file| file.len()),
            free_bytes: self.path.as_deref().and_then(|path| free_bytes(path).ok()),
            due,
            ..self.shared.counts.figures(self.shared.counters().waiting, self.shared.places)
        })
    }

    fn ready(&self) -> Result<()> {
        self.shared.ready()
    }

    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>> {
        let (read, key) = (self.snapshot()?, self.codec.keys.backup.clone());
        Ok(walk::pieces("backup", move |give| walk::copy(&read, &key, made_at, give)))
    }

    fn check(&self, now: Timestamp) -> Result<Pieces<Note>> {
        let (read, codec) = (self.snapshot()?, self.codec.clone());
        Ok(walk::pieces("check", move |give| check::check(&read, &codec, now, give)))
    }

    async fn stats(&self) -> Result<Stats> {
        let (db, codec, path) = (self.db.clone(), self.codec.clone(), self.path.clone());
        let stats = tokio::task::spawn_blocking(move || walk::stats(&db, &codec, path.as_deref()));
        stats.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string().into())))
    }
}
