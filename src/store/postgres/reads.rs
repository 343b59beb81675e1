//! What a transaction must read and lock before its writes are decided.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::error::Undone;
use super::rows::{KeyedIndex, SWEEP_LEASE, StoredSession, client_id, revoked_until, session_id};
use super::statements::WriteStatements;
use crate::domain::id::{ClientId, Hash, SessionId};
use crate::domain::session::RevokedToken;
use crate::store::StoreError;
use crate::store::corrupt;
use crate::store::layout::REVOKED_UNTIL;
use crate::store::record::Codec;

/// The reads of one transaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// Whether it writes events or administration, for which it must hold the head.
    pub head: bool,
    pub ids: BTreeSet<SessionId>,
    /// Names of openings that may be repeated.
    pub names: Vec<Hash>,
    /// Subjects with a client, for caps.
    pub peers: BTreeSet<(KeyedIndex, KeyedIndex)>,
    /// Whole subjects.
    pub subjects: BTreeSet<KeyedIndex>,
    pub tokens: Vec<RevokedToken>,
    /// The number of active sessions of each client, for cut-offs.
    pub live: bool,
    /// For the sweep, which one process does for all.
    pub sweep: Option<SweepReads>,
}

/// What the sweep reads under the head.
#[derive(Clone, Copy, Debug)]
pub(super) struct SweepReads {
    /// One more than it may touch of each kind.
    pub limit: i64,
    /// It removes the revocations of tokens that expired by then, in seconds.
    pub expired_by: i64,
}

/// What was read.
#[derive(Default)]
pub(super) struct FoundRows {
    pub sessions: BTreeMap<SessionId, FoundSession>,
    pub opening_keys: BTreeMap<[u8; 32], Vec<u8>>,
    pub repeats: BTreeMap<SessionId, Vec<u8>>,
    pub revoked: BTreeSet<(i64, Uuid)>,
    pub live: BTreeMap<ClientId, i64>,
    pub revoked_until: Option<i64>,
    /// The oldest events, each with the start of its record.
    pub oldest_events: Vec<(i64, Vec<u8>)>,
    pub due_revoked: Vec<(i64, Uuid)>,
    /// Whether another process holds the lease of the sweep.
    pub is_leased: bool,
}

/// A row of the table of sessions.
pub(super) struct FoundSession {
    pub subject: KeyedIndex,
    pub client: KeyedIndex,
    pub stored: Result<StoredSession, StoreError>,
}

/// What the first round trip brings, besides the registry.
pub(super) struct FirstRound {
    pub position: i64,
    pub version: i64,
    pub found: FoundRows,
}

impl Reads {
    /// What an update of one session reads.
    pub fn of_session(id: SessionId, head: bool) -> Self {
        Self { head, ids: [id].into(), ..Self::default() }
    }

    /// Adds what another write reads.
    pub fn merge(&mut self, other: &Self) {
        self.head |= other.head;
        self.ids.extend(&other.ids);
        self.names.extend(&other.names);
        self.peers.extend(&other.peers);
        self.subjects.extend(&other.subjects);
        self.tokens.extend(&other.tokens);
        self.live |= other.live;
        self.sweep = self.sweep.or(other.sweep);
    }

    /// Begins the transaction, locks, and reads, all in one round trip. The head is locked first of all, or,
    /// where only sessions change, read after they are locked: no transaction waits for the head while it
    /// holds a session. Polled in this order, so that the error is that of the statement that failed, and not
    /// of a later one, which fails because the transaction has.
    pub async fn run(
        &self,
        client: &tokio_postgres::Client,
        sql: &WriteStatements,
        codec: &Codec,
        boot: &Uuid,
    ) -> Result<FirstRound, Undone> {
        let ids: Vec<Uuid> = self.ids.iter().map(|id| Uuid::from_bytes(id.0)).collect();
        if !self.head {
            let ((), rows, head) = tokio::try_join!(
                biased;
                client.batch_execute("BEGIN"),
                async { client.query(&sql.lock_sessions, &[&ids]).await },
                async { client.query_one(&sql.head, &[]).await },
            )?;
            let found = FoundRows { sessions: sessions(codec, &rows), ..FoundRows::default() };
            return Ok(FirstRound { position: head.get(0), version: head.get(1), found });
        }
        let names: Vec<&[u8]> = self.names.iter().map(|name| &name.0[..]).collect();
        let uuids =
            |indexes: &mut dyn Iterator<Item = KeyedIndex>| indexes.map(Uuid::from_bytes).collect::<Vec<_>>();
        let peer_subjects = uuids(&mut self.peers.iter().map(|(subject, _)| *subject));
        let peer_clients = uuids(&mut self.peers.iter().map(|(_, client)| *client));
        let subjects = uuids(&mut self.subjects.iter().copied());
        let expiries: Vec<i64> = self.tokens.iter().map(|token| token.expires_at).collect();
        let tokens = uuids(&mut self.tokens.iter().map(|token| token.id.0));
        let sweeps = self.sweep.is_some();
        let SweepReads { limit, expired_by } = self.sweep.unwrap_or(SweepReads { limit: 0, expired_by: 0 });
        let ((), head, rows, keys, repeats, revoked, live, meta, lease, events, due) = tokio::try_join!(
                biased;
            client.batch_execute("BEGIN"),
            async { client.query_one(&sql.lock_head, &[]).await },
            async {
                client.query(&sql.lock_all, &[&ids, &names, &peer_subjects, &peer_clients, &subjects]).await
            },
            self.rows(!names.is_empty(), async { client.query(&sql.opening_keys, &[&names]).await }),
            self.rows(!names.is_empty(), async { client.query(&sql.repeats, &[&names]).await }),
            self.rows(!tokens.is_empty(), async { client.query(&sql.revoked, &[&expiries, &tokens]).await }),
            self.rows(self.live, async { client.query(&sql.live, &[]).await }),
            self.rows(sweeps || !tokens.is_empty(), async { client.query(&sql.meta, &[]).await }),
            self.rows(sweeps, async { client.query(&sql.lease, &[&SWEEP_LEASE]).await }),
            self.rows(sweeps, async { client.query(&sql.oldest_events, &[&limit]).await }),
            self.rows(sweeps, async { client.query(&sql.due_revoked, &[&expired_by, &limit]).await }),
        )?;
        let mut found = FoundRows { sessions: sessions(codec, &rows), ..FoundRows::default() };
        for row in &keys {
            found.opening_keys.insert(name(row.get(0))?, row.get(1));
        }
        found.repeats = repeats.iter().map(|row| (session_id(row.get(0)), row.get(1))).collect();
        found.revoked = revoked.iter().map(|row| (row.get(0), row.get(1))).collect();
        for row in &live {
            found.live.insert(client_id("live", row.get(0))?, row.get(1));
        }
        for row in meta.iter().filter(|row| row.get::<_, &str>(0) == REVOKED_UNTIL) {
            found.revoked_until = Some(revoked_until(row.get(1))?);
        }
        found.oldest_events = events.iter().map(|row| (row.get(0), row.get(1))).collect();
        found.due_revoked = due.iter().map(|row| (row.get(0), row.get(1))).collect();
        let foreign = |row: &Row| row.get::<_, Uuid>(0) != *boot && !row.get::<_, bool>(1);
        found.is_leased = lease.first().is_some_and(foreign);
        Ok(FirstRound { position: head.get(0), version: head.get(1), found })
    }

    /// No rows, unless they are asked for.
    async fn rows(
        &self,
        asked: bool,
        query: impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        if asked { query.await } else { Ok(vec![]) }
    }
}

fn name(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| corrupt("opening_keys", "a name", "it has another length"))
}

fn sessions(codec: &Codec, rows: &[Row]) -> BTreeMap<SessionId, FoundSession> {
    let found = |row: &Row| {
        let id = session_id(row.get(0));
        let stored = StoredSession::decode(codec, id, row.get(3), row.get(4));
        let index = |column| row.get::<_, Uuid>(column).into_bytes();
        (id, FoundSession { subject: index(1), client: index(2), stored })
    };
    rows.iter().map(found).collect()
}
