//! The port, over PostgreSQL.

use std::sync::Arc;

use bytes::Bytes;
use tokio_postgres::Row;
use uuid::Uuid;

use super::check::check;
use super::dump::dump;
use super::known::position_of;
use super::outlet::pieces;
use super::reads::Reads;
use super::rows::{StoredSession, client_id, revoked_until, session_id, uuid};
use super::statements::{COUNTED_MAX, TABLES};
use super::sweep::{Due, DueBounds, ids};
use super::{Postgres, reader};
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
    Figures, Lane, Opening, Pieces, Registry, ReplicaFigures, Result, Stats, Store, StoreError, Sweep, Swept,
};

/// The table that a row with figures is of, in [`TABLES`]; `None` for a table that is not ours.
fn known_table(row: &Row) -> Option<usize> {
    TABLES.iter().position(|known| *known == row.get::<_, &str>(0))
}

impl Postgres {
    fn decode(&self, row: &Row) -> Result<Session> {
        let stored =
            StoredSession::decode(&self.replica.codec, session_id(row.get(0)), row.get(1), row.get(2));
        stored.map(|stored| stored.session)
    }

    fn decode_all(&self, rows: &[Row]) -> Result<Vec<Session>> {
        rows.iter().map(|row| self.decode(row)).collect()
    }

    async fn submit<T: Send + 'static>(
        &self,
        lane: Lane,
        reads: Reads,
        decide: impl FnMut(&mut super::decisions::Decisions<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.replica.lost.check()?;
        let done = self.replica.queue.submit(lane, reads, decide).await;
        if matches!(done, Err(StoreError::Busy)) {
            self.replica.counts.rejected(lane);
        }
        done
    }

    /// What is due for the sweep.
    async fn due(&self, sweep: Sweep) -> Result<Due> {
        let bounds = &DueBounds::of(sweep);
        let found = self.replica.read(&self.lists, |link| async move {
            let (client, sql) = (link.client(), &link.sql);
            tokio::try_join!(
                biased;
                async { client.query(&sql.due_sessions, &[&bounds.now, &bounds.limit]).await },
                async {
                    client.query(&sql.due_windows, &[&bounds.now, &bounds.window_beyond, &bounds.limit]).await
                },
                async {
                    client
                        .query(
                            &sql.due_repeats,
                            &[&bounds.repeat_closed, &bounds.repeat_beyond, &bounds.limit],
                        )
                        .await
                },
                async { client.query(&sql.oldest_event, &[]).await },
                async { client.query_one(&sql.has_due_revoked, &[&bounds.token_expired_by]).await },
            )
        });
        let (sessions, windows, repeats, events, revoked) = found.await?;
        let mut due = Due {
            sessions: ids(&sessions),
            windows: windows.iter().map(|row| (row.get(0), session_id(row.get(1)))).collect(),
            repeats: ids(&repeats),
            others: events.iter().any(|row| sweep.is_past(position_of(row.get(0)).0, row.get(1)))
                || revoked.get(0),
            more: false,
        };
        due.truncate(sweep.entries_max);
        Ok(due)
    }
}

impl Store for Postgres {
    async fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<Option<T>> {
        // A revocation writes an event, unless it is repeated.
        let reads = Reads::of_session(id, lane != Lane::Ordinary);
        self.submit(lane, reads, move |decisions| decisions.update(id, &decide)).await
    }

    async fn open(&self, opening: Opening) -> Result<std::result::Result<Session, NotOpened>> {
        let mut reads = Reads::of_session(opening.session.id, true);
        reads.names.extend(opening.repeat.as_ref().map(|repeat| repeat.name));
        if opening.cap.is_some() {
            let codec = &self.replica.codec;
            let subject = codec.subject_index(&opening.session.subject);
            reads.peers.insert((subject, codec.client_index(&opening.session.client_id)));
        }
        self.submit(Lane::Opening, reads, move |decisions| decisions.open(&opening)).await
    }

    async fn update_subject(
        &self,
        subject: Subject,
        caller: Option<Party>,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> Result<std::result::Result<usize, Refused>> {
        let subjects = [self.replica.codec.subject_index(&subject)].into();
        let reads = Reads { head: true, subjects, ..Reads::default() };
        self.submit(Lane::Revocation, reads, move |decisions| {
            decisions.update_subject(&subject, caller.as_ref(), &closing, &decide)
        })
        .await
    }

    async fn end_everything(
        &self,
        caller: Option<Party>,
        event: Event,
    ) -> Result<std::result::Result<(), Refused>> {
        let reads = Reads { head: true, live: true, ..Reads::default() };
        self.submit(Lane::Revocation, reads, move |decisions| {
            Ok(decisions.end_everything(caller.as_ref(), &event))
        })
        .await
    }

    async fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        let reads = Reads { head: true, live: true, ..Reads::default() };
        self.submit(Lane::Revocation, reads, move |decisions| Ok(decisions.update_client(&id, &decide))).await
    }

    async fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> Result<T> {
        let reads = Reads { head: true, ..Reads::default() };
        self.submit(Lane::Revocation, reads, move |decisions| Ok(decisions.update_keys(&decide))).await
    }

    async fn revoke_token(
        &self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> Result<std::result::Result<bool, Refused>> {
        let reads = Reads { head: true, tokens: vec![token], ..Reads::default() };
        self.submit(Lane::Revocation, reads, move |decisions| {
            Ok(decisions.revoke_token(caller.as_ref(), token, &event))
        })
        .await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept> {
        let due = self.due(sweep).await?;
        if due.is_empty() {
            return Ok(Swept::default());
        }
        let reads = due.reads(sweep);
        self.submit(Lane::Ordinary, reads, move |decisions| decisions.sweep(sweep, &due)).await
    }

    async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        let row = reader::session(self.questions(), id).await?;
        row.map(|row| self.decode(&row).map(Arc::new)).transpose()
    }

    async fn data(&self, id: SessionId) -> Result<Option<Data>> {
        let key = &uuid(id);
        let row = self
            .replica
            .read(&self.lists, |link| async move { link.client().query_opt(&link.sql.data, &[key]).await });
        let Some(row) = row.await? else { return Ok(None) };
        let data = self.replica.codec.decode_data(id, row.get(0));
        data.map(Some).map_err(|fault| corrupt("data", id, fault))
    }

    async fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let (after, limit) = (&first_after(after), &limited(limit));
        let subject = &subject.map(|subject| Uuid::from_bytes(self.replica.codec.subject_index(&subject)));
        let rows = self.replica.read(&self.lists, |link| async move {
            let (client, sql) = (link.client(), &link.sql);
            match subject {
                Some(subject) => client.query(&sql.sessions_of_subject, &[subject, after, limit]).await,
                None => client.query(&sql.sessions_after, &[after, limit]).await,
            }
        });
        self.decode_all(&rows.await?)
    }

    async fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let (after, limit) = (&first_after(after), &limited(limit));
        let codec = &self.replica.codec;
        let subject = &Uuid::from_bytes(codec.subject_index(&subject));
        let owner = &client.map(|client| Uuid::from_bytes(codec.client_index(&client)));
        let rows = self.replica.read(&self.lists, |link| async move {
            let (client, sql) = (link.client(), &link.sql);
            match owner {
                Some(owner) => client.query(&sql.active_of_client, &[subject, owner, after, limit]).await,
                None => client.query(&sql.active_of_subject, &[subject, after, limit]).await,
            }
        });
        self.decode_all(&rows.await?)
    }

    async fn is_revoked(&self, token: RevokedToken) -> Result<bool> {
        let id = &Uuid::from_bytes(token.id.0);
        let row = self.replica.read(&self.lists, |link| async move {
            link.client().query_one(&link.sql.is_revoked, &[&token.expires_at, id]).await
        });
        let row = row.await?;
        let until = row.get::<_, Option<&[u8]>>(1).map(revoked_until).transpose()?;
        Ok(row.get(0) || until.is_some_and(|until| token.counts_as_revoked(until)))
    }

    async fn events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        let (after, limit) = (&i64::try_from(after.0).unwrap_or(i64::MAX), &limited(limit));
        let rows = self.replica.read(&self.lists, |link| async move {
            link.client().query(&link.sql.events, &[after, limit]).await
        });
        let decoded = |row: &Row| {
            let position = position_of(row.get(0));
            let event = self.replica.codec.decode_event(position.0, row.get(1));
            Ok((position, event.map_err(|fault| corrupt("events", position.0, fault))?))
        };
        rows.await?.iter().map(decoded).collect()
    }

    async fn current(&self) -> Result<(Arc<Registry>, Position)> {
        reader::current(self.questions()).await?;
        // The head first: then the registry is at least as new.
        let head = self.head();
        Ok((self.registry(), head))
    }

    fn registry(&self) -> Arc<Registry> {
        self.replica.known.registry()
    }

    fn head(&self) -> Position {
        self.replica.known.head()
    }

    async fn head_after(&self, position: Position) {
        self.replica.known.head_after(position).await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn figures(&self) -> Result<Figures> {
        let found = self.replica.read(&self.lists, |link| async move {
            let (client, sql) = (link.client(), &link.sql);
            tokio::try_join!(
                biased;
                async { client.query(&sql.live, &[]).await },
                async { client.query_one(&sql.totals, &[]).await },
                async { client.query(&sql.bytes, &[]).await },
            )
        });
        let (live, totals, bytes) = found.await?;
        let queue = &self.replica.queue;
        let mut figures = Figures {
            sessions: count(totals.get(0)),
            events: count(totals.get(1)),
            due: totals.get::<_, Option<i64>>(2).map(Timestamp::from_millis),
            replicas: Some(count(totals.get(3))),
            ..self.replica.counts.figures(queue.waiting(), queue.places)
        };
        for row in &live {
            let number = count(row.get(1));
            figures.active += number;
            figures.active_by_client.insert(client_id("live", row.get(0))?, number);
        }
        for row in &bytes {
            let known = known_table(row);
            figures.table_bytes.extend(known.map(|known| (TABLES[known], count(row.get(2)))));
        }
        Ok(figures)
    }

    fn replica_figures(&self) -> Option<ReplicaFigures> {
        let (connector, fence) = (&self.replica.connector, self.replica.fence());
        let ((open, max), (heartbeat_age, is_synchronous, timeline)) = (connector.open(), fence.proofs());
        let counts = &connector.counts;
        Some(ReplicaFigures {
            name: self.replica.name.clone(),
            connections: open as u64,
            connections_max: max as u64,
            connected: counts.connections.get(),
            connections_failed: counts.connections_failed.get(),
            round_trips: counts.round_trips.read().into_iter().map(|(kind, n)| (kind.name(), n)).collect(),
            questions: counts.questions.read(),
            read_nanos: counts.read_nanos.read(),
            transactions_retried: counts.retried.get(),
            heartbeats_failed: counts.heartbeats_failed.get(),
            heartbeat_age,
            is_synchronous,
            timeline: count(timeline),
        })
    }

    fn ready(&self) -> Result<()> {
        if self.replica.queue.is_closed() {
            return Err(StoreError::Unavailable("it is closed".into()));
        }
        self.replica.lost.check()?;
        self.replica.fence().ready()
    }

    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>> {
        let replica = self.replica.clone();
        Ok(pieces(|mut outlet| async move {
            let snapshot = replica.snapshot().await?;
            dump(&snapshot.client, &replica.codec.keys.backup, made_at, &mut outlet).await
        }))
    }

    fn check(&self, now: Timestamp) -> Result<Pieces<Note>> {
        let replica = self.replica.clone();
        Ok(pieces(|mut outlet| async move {
            let snapshot = replica.snapshot().await?;
            check(&snapshot.client, &replica.codec, now, &mut outlet).await
        }))
    }

    async fn stats(&self) -> Result<Stats> {
        let found = self.replica.read(&self.lists, |link| async move {
            let (client, sql) = (link.client(), &link.sql);
            tokio::try_join!(
                biased;
                async { client.query_one(&sql.totals, &[]).await },
                async { client.query(&sql.bytes, &[]).await },
                async { client.query_one(&sql.entries, &[]).await },
                async { client.query(&sql.first_and_last_event, &[]).await },
            )
        });
        let (totals, bytes, counted, ends) = found.await?;
        let counted: Vec<i64> = counted.get(0);
        let mut tables = vec![];
        for row in &bytes {
            let Some(known) = known_table(row) else { continue };
            let entries = match (TABLES[known], counted[known]) {
                ("sessions", _) => totals.get(0),
                ("events", _) => totals.get(1),
                (_, counted) if counted <= COUNTED_MAX => counted,
                (_, more) => row.get::<_, i64>(3).max(more),
            };
            tables.push((TABLES[known], count(entries), count(row.get(2))));
        }
        let mut times = vec![];
        for row in &ends {
            let position = position_of(row.get(0));
            let at = crate::store::record::event_time(row.get(1));
            times.push((position, at.map_err(|fault| corrupt("events", position.0, fault))?));
        }
        let registry = self.registry();
        Ok(Stats {
            tables,
            file: None,
            oldest_event: times.first().copied(),
            newest_event: times.last().copied(),
            head: self.head(),
            epoch: registry.epochs.number(),
        })
    }
}

/// The id after which a list starts. No session has the lowest one.
fn first_after(after: Option<SessionId>) -> Uuid {
    after.map_or(Uuid::nil(), uuid)
}

fn limited(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
