//! Reads: each has its own snapshot, and none waits for the writer.

use std::ops::Bound;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableDatabase, TableHandle};

use super::error::{corrupt, failed};
use super::tables::{
    ACTIVE, DATA, EVENTS, KEYS, META, REVOKED, SESSIONS, SUBJECTS, WINDOWS, active_of_subject, dated_key,
    decode, decode_event, load, of_subject, revoked_until,
};
use super::{Redb, Result};
use crate::domain::event::Event;
use crate::domain::id::{ClientId, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::session::{Data, RevokedToken, Session};
use crate::store::record;

impl Redb {
    pub(super) fn read(&self) -> Result<ReadTransaction> {
        self.db.begin_read().map_err(failed)
    }

    pub(super) fn read_session(&self, id: SessionId) -> Result<Option<Arc<Session>>> {
        let recall = &self.shared.recall;
        // Taken before the snapshot, so that what is read is at least as new.
        let count = recall.count(id);
        if let Some(session) = count.and_then(|count| recall.get(id, count)) {
            return Ok(Some(session));
        }
        let read = self.read()?;
        let (sessions, windows) =
            (read.open_table(SESSIONS).map_err(failed)?, read.open_table(WINDOWS).map_err(failed)?);
        let Some(loaded) = load(&self.codec, &sessions, &windows, id)? else { return Ok(None) };
        let session = Arc::new(loaded.session);
        if let Some(count) = count {
            recall.put(&session, count);
        }
        Ok(Some(session))
    }

    pub(super) fn read_data(&self, id: SessionId) -> Result<Option<Data>> {
        let table = self.read()?.open_table(DATA).map_err(failed)?;
        let Some(bytes) = table.get(&id.0).map_err(failed)? else { return Ok(None) };
        self.codec.decode_data(id, bytes.value()).map(Some).map_err(|fault| corrupt(DATA.name(), id, fault))
    }

    pub(super) fn read_sessions(
        &self,
        subject: Option<&Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let read = self.read()?;
        let (sessions, windows) =
            (read.open_table(SESSIONS).map_err(failed)?, read.open_table(WINDOWS).map_err(failed)?);
        let mut found = vec![];
        if let Some(subject) = subject {
            let subjects = read.open_table(SUBJECTS).map_err(failed)?;
            for id in of_subject(&subjects, self.codec.subject_index(subject), after)?.take(limit) {
                found.extend(load(&self.codec, &sessions, &windows, id?)?.map(|loaded| loaded.session));
            }
        } else {
            let first = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(&after.0));
            for entry in sessions.range::<&[u8; 16]>((first, Bound::Unbounded)).map_err(failed)?.take(limit) {
                let (id, bytes) = entry.map_err(failed)?;
                found.push(decode(&self.codec, &windows, SessionId(*id.value()), bytes.value())?.session);
            }
        }
        Ok(found)
    }

    pub(super) fn read_active_sessions(
        &self,
        subject: &Subject,
        client: Option<&ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>> {
        let read = self.read()?;
        let (sessions, windows) =
            (read.open_table(SESSIONS).map_err(failed)?, read.open_table(WINDOWS).map_err(failed)?);
        let active = read.open_table(ACTIVE).map_err(failed)?;
        let (subject, client) =
            (self.codec.subject_index(subject), client.map(|client| self.codec.client_index(client)));
        let mut found = vec![];
        for id in active_of_subject(&active, subject, client, after, limit)? {
            found.extend(load(&self.codec, &sessions, &windows, id)?.map(|loaded| loaded.session));
        }
        Ok(found)
    }

    pub(super) fn read_keys(&self) -> Result<Vec<KeyRecord>> {
        let meta = self.read()?.open_table(META).map_err(failed)?;
        match meta.get(KEYS).map_err(failed)? {
            Some(bytes) => {
                record::decode_keys(bytes.value()).map_err(|fault| corrupt(META.name(), KEYS, fault))
            }
            None => Ok(vec![]),
        }
    }

    pub(super) fn read_revoked(&self, token: RevokedToken) -> Result<bool> {
        let read = self.read()?;
        if token.counts_as_revoked(revoked_until(&read.open_table(META).map_err(failed)?)?) {
            return Ok(true);
        }
        let revoked = read.open_table(REVOKED).map_err(failed)?;
        Ok(revoked.get(&dated_key(token.expires_at, token.id.0)).map_err(failed)?.is_some())
    }

    pub(super) fn read_events(&self, after: Position, limit: usize) -> Result<Vec<(Position, Event)>> {
        let events = self.read()?.open_table(EVENTS).map_err(failed)?;
        let range = events.range((Bound::Excluded(after.0), Bound::Unbounded)).map_err(failed)?;
        let decoded = range.take(limit).map(|entry| {
            let (position, bytes) = entry.map_err(failed)?;
            decode_event(&self.codec, position.value(), bytes.value())
        });
        decoded.collect()
    }
}
