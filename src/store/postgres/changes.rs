//! The rows that a transaction writes, and the statements that write them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::error::Undone;
use super::rows::SWEEP_LEASE;
use super::statements::WriteStatements;
use crate::domain::id::ClientId;
use crate::store::StoreError;

/// A row of the table of sessions to write.
pub(super) struct SessionRow {
    pub id: Uuid,
    pub subject: Uuid,
    pub client: Uuid,
    pub active: bool,
    pub due: i64,
    pub record: Vec<u8>,
    pub windows: Vec<u8>,
}

#[derive(Default)]
pub(super) struct RowChanges {
    /// The position before the transaction.
    position: i64,
    pub version: i64,
    pub inserted: Vec<SessionRow>,
    pub updated: Vec<SessionRow>,
    pub purged: Vec<Uuid>,
    /// Rows that cannot be decoded.
    pub set_aside: Vec<Uuid>,
    pub windows_due: Vec<(i64, Uuid)>,
    pub windows_swept: Vec<(i64, Uuid)>,
    pub data: BTreeMap<Uuid, Vec<u8>>,
    pub opening_keys: Vec<([u8; 32], Uuid, Vec<u8>)>,
    pub repeats: BTreeMap<Uuid, Vec<u8>>,
    pub repeats_erased: BTreeSet<Uuid>,
    pub events: Vec<(i64, Vec<u8>)>,
    pub events_swept: Vec<i64>,
    /// `None` for a client that is deleted.
    pub clients: BTreeMap<String, Option<Vec<u8>>>,
    pub cut_offs: BTreeMap<String, Vec<u8>>,
    pub meta: BTreeMap<&'static str, Vec<u8>>,
    pub revoked: Vec<(i64, Uuid)>,
    pub revoked_swept: Vec<(i64, Uuid)>,
    /// By how much the number of active sessions of a client changes.
    pub live: Vec<(ClientId, i64)>,
    /// By how much the number of stored sessions changes.
    pub sessions: i64,
    pub takes_lease: bool,
    pub registry_changed: bool,
}

/// A statement with its parameters, and the number of rows that it must change.
struct Sending<'a> {
    statement: &'a Statement,
    parameters: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
    rows: Option<usize>,
}

impl RowChanges {
    pub fn new(position: i64) -> Self {
        Self { position, ..Self::default() }
    }

    /// Whether there is something that can only be written with the lock on the head.
    pub fn need_head(&self) -> bool {
        self.moves_head() || !self.opening_keys.is_empty() || !self.repeats.is_empty() || self.takes_lease
    }

    fn moves_head(&self) -> bool {
        !self.events.is_empty()
            || !self.events_swept.is_empty()
            || self.registry_changed
            || self.sessions != 0
    }

    /// Writes all in one round trip. Each statement must succeed with the number of rows that it is for;
    /// otherwise nothing may be committed.
    ///
    /// # Errors
    /// The first failure.
    pub async fn write(&self, client: &Client, sql: &WriteStatements, boot: &Uuid) -> Result<(), Undone> {
        let mut sendings = self.sendings(sql, boot);
        if sendings.is_empty() {
            // Its answer can depend on what another transaction has just written.
            sendings.push(Sending { statement: &sql.write_nothing, parameters: vec![], rows: Some(1) });
        }
        let parameters: Vec<Vec<&(dyn ToSql + Sync)>> = sendings
            .iter()
            .map(|sending| sending.parameters.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect())
            .collect();
        let sent = sendings.iter().zip(&parameters);
        let sent = sent.map(|(sending, parameters)| client.execute(sending.statement, parameters));
        for (done, sending) in join_all(sent).await.into_iter().zip(&sendings) {
            let rows = done?;
            if sending.rows.is_some_and(|expected| expected as u64 != rows) {
                let why = format!(
                    "a statement changed {rows} rows instead of {:?}; nothing was committed",
                    sending.rows
                );
                return Err(Undone::Rejected(StoreError::Outage(why.into())));
            }
        }
        Ok(())
    }

    fn sendings<'a>(&'a self, sql: &'a WriteStatements, boot: &'a Uuid) -> Vec<Sending<'a>> {
        let mut all = Sendings(vec![]);
        let rows = &self.inserted;
        all.push(&sql.insert_sessions, rows.len(), || {
            vec![
                list(rows, |row| row.id),
                list(rows, |row| row.subject),
                list(rows, |row| row.client),
                list(rows, |row| row.active),
                list(rows, |row| row.due),
                list(rows, |row| &row.record[..]),
                list(rows, |row| &row.windows[..]),
            ]
        });
        let rows = &self.updated;
        all.push(&sql.update_sessions, rows.len(), || {
            vec![
                list(rows, |row| row.id),
                list(rows, |row| row.active),
                list(rows, |row| row.due),
                list(rows, |row| &row.record[..]),
                list(rows, |row| &row.windows[..]),
            ]
        });
        all.push(&sql.delete_sessions, self.purged.len(), || vec![list(&self.purged, |id| *id)]);
        all.push(&sql.set_aside, self.set_aside.len(), || vec![list(&self.set_aside, |id| *id)]);
        all.push(&sql.insert_windows_due, self.windows_due.len(), || pairs(&self.windows_due));
        // Another process may have removed them, and a purged session need not have data or an opening key.
        all.push_any(&sql.delete_windows_due, self.windows_swept.len(), || pairs(&self.windows_swept));
        all.push_any(&sql.delete_data, self.purged.len(), || vec![list(&self.purged, |id| *id)]);
        all.push_any(&sql.delete_opening_keys, self.purged.len(), || vec![list(&self.purged, |id| *id)]);
        all.push_any(&sql.delete_repeats, self.repeats_erased.len(), || {
            vec![list(&self.repeats_erased, |id| *id)]
        });
        all.push(&sql.put_data, self.data.len(), || {
            vec![list(&self.data, |(id, _)| *id), list(&self.data, |(_, bytes)| &bytes[..])]
        });
        all.push(&sql.put_opening_keys, self.opening_keys.len(), || {
            let keys = &self.opening_keys;
            vec![
                list(keys, |(name, ..)| &name[..]),
                list(keys, |(_, id, _)| *id),
                list(keys, |(.., bytes)| &bytes[..]),
            ]
        });
        all.push(&sql.insert_repeats, self.repeats.len(), || {
            vec![list(&self.repeats, |(id, _)| *id), list(&self.repeats, |(_, bytes)| &bytes[..])]
        });
        all.push(&sql.insert_events, self.events.len(), || {
            vec![list(&self.events, |(at, _)| *at), list(&self.events, |(_, bytes)| &bytes[..])]
        });
        all.push(&sql.delete_events, self.events_swept.len(), || vec![list(&self.events_swept, |at| *at)]);
        self.add_administration(sql, &mut all);
        if self.takes_lease {
            all.push(&sql.take_lease, 1, || vec![Box::new(SWEEP_LEASE), Box::new(*boot)]);
        }
        if self.moves_head() {
            let number = |length: usize| i64::try_from(length).expect("a transaction has few rows");
            let events = number(self.events.len()) - number(self.events_swept.len());
            let position = self.position + number(self.events.len());
            all.push(&sql.move_head, 1, || {
                vec![
                    Box::new(self.position),
                    Box::new(position),
                    Box::new(self.version),
                    Box::new(self.sessions),
                    Box::new(events),
                ]
            });
        }
        all.0
    }

    fn add_administration<'a>(&'a self, sql: &'a WriteStatements, all: &mut Sendings<'a>) {
        let changed = self.clients.iter().filter_map(|(id, bytes)| Some((&id[..], bytes.as_deref()?)));
        let changed: Vec<(&str, &[u8])> = changed.collect();
        let deleted = self.clients.iter().filter(|(_, bytes)| bytes.is_none());
        let deleted: Vec<&str> = deleted.map(|(id, _)| &id[..]).collect();
        all.push(&sql.put_clients, changed.len(), || {
            vec![list(&changed, |(id, _)| *id), list(&changed, |(_, bytes)| *bytes)]
        });
        // One that was created in the same transaction has no row.
        all.push_any(&sql.delete_clients, deleted.len(), || vec![list(&deleted, |id| *id)]);
        all.push(&sql.put_cut_offs, self.cut_offs.len(), || {
            vec![list(&self.cut_offs, |(name, _)| &name[..]), list(&self.cut_offs, |(_, bytes)| &bytes[..])]
        });
        all.push(&sql.put_meta, self.meta.len(), || {
            vec![list(&self.meta, |(name, _)| *name), list(&self.meta, |(_, bytes)| &bytes[..])]
        });
        all.push(&sql.insert_revoked, self.revoked.len(), || pairs(&self.revoked));
        all.push(&sql.delete_revoked, self.revoked_swept.len(), || pairs(&self.revoked_swept));
        all.push(&sql.add_live, self.live.len(), || {
            vec![list(&self.live, |(client, _)| client.as_str()), list(&self.live, |(_, number)| *number)]
        });
    }
}

/// Statements that are sent only if they have rows.
struct Sendings<'a>(Vec<Sending<'a>>);

type Parameters<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

impl<'a> Sendings<'a> {
    fn push(&mut self, statement: &'a Statement, rows: usize, parameters: impl FnOnce() -> Parameters<'a>) {
        if rows > 0 {
            self.0.push(Sending { statement, parameters: parameters(), rows: Some(rows) });
        }
    }

    /// The same for a statement that may change fewer rows.
    fn push_any(
        &mut self,
        statement: &'a Statement,
        rows: usize,
        parameters: impl FnOnce() -> Parameters<'a>,
    ) {
        if rows > 0 {
            self.0.push(Sending { statement, parameters: parameters(), rows: None });
        }
    }
}

/// A column of some rows, as an array.
fn list<'a, R, T: ToSql + Sync + Send + 'a>(
    rows: impl IntoIterator<Item = R>,
    column: impl Fn(R) -> T,
) -> Box<dyn ToSql + Sync + Send + 'a> {
    Box::new(rows.into_iter().map(column).collect::<Vec<T>>())
}

fn pairs(rows: &[(i64, Uuid)]) -> Parameters<'_> {
    vec![list(rows, |(number, _)| *number), list(rows, |(_, id)| *id)]
}
