//! Compares every record of one state of the database with the columns and rows that belong to it.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::known::{MAX_STALENESS, WriterRegistry, position_of};
use super::outlet::Outlet;
use super::rows::{KeyedIndex, session_id, split_windows};
use super::snapshot::{Cursor, within};
use super::statements::REGISTRY;
use crate::domain::cutoff::CutOffs;
use crate::domain::epoch::Epochs;
use crate::domain::id::{ClientId, Hash, Position, SessionId};
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::check::{COUNTS, Checked, Find, Note, TableProgress, client_fault, cut_off_fault};
use crate::store::layout::{EPOCHS, KEY_CHECK, KEYS, REVOKED_UNTIL};
use crate::store::record::{self, Codec, RecordFault};
use crate::store::{Hex, Result};

/// Checks the state that the transaction of `client` sees. `now` matters only for the number of active
/// sessions.
pub(super) async fn check(
    client: &Client,
    codec: &Codec,
    now: Timestamp,
    outlet: &mut impl Outlet<Note>,
) -> Result<()> {
    let (cuts, epochs) = state(client).await?;
    let (done, active_by_client) = (Checked::default(), Some(BTreeMap::new()));
    let mut checker =
        DatabaseChecker { client, codec, now, cuts, epochs, done, active_by_client, found: vec![] };
    checker.meta(outlet).await?;
    checker.sessions(outlet).await?;
    checker.beside_sessions(outlet).await?;
    checker.events(outlet).await?;
    checker.clients(outlet).await?;
    checker.cut_offs(outlet).await?;
    checker.each(outlet, "revoked", "SELECT expires_at FROM revoked", |_, _| {}).await?;
    checker.counts(outlet).await?;
    let mut done = checker.done;
    done.clients.sort_by(|(a, a_at), (b, b_at)| (b_at, a.as_str()).cmp(&(a_at, b.as_str())));
    outlet.give(Note::Done(done)).await
}

/// The cut-offs and epochs; defaults where they cannot be decoded, because the check reports those records.
async fn state(client: &Client) -> Result<(CutOffs, Epochs)> {
    let rows = within(client.query(REGISTRY, &[])).await?;
    if let Ok(registry) = WriterRegistry::of_rows(&rows) {
        return Ok((registry.cuts, registry.epochs));
    }
    let head = rows.iter().find(|row| row.get::<_, i32>(0) == 0).map(|row| position_of(row.get(3)));
    let epochs = rows.iter().find(|row| row.get::<_, i32>(0) == 3 && row.get::<_, &str>(1) == EPOCHS);
    let epochs = epochs.and_then(|row| record::decode_epochs(row.get(2)).ok());
    let cuts = CutOffs { head: head.unwrap_or(Position(u64::MAX)), ..CutOffs::default() };
    Ok((cuts, epochs.unwrap_or_default()))
}

struct DatabaseChecker<'w> {
    client: &'w Client,
    codec: &'w Codec,
    now: Timestamp,
    cuts: CutOffs,
    epochs: Epochs,
    done: Checked,
    /// Active sessions; unknown once a record cannot be decoded.
    active_by_client: Option<BTreeMap<ClientId, i64>>,
    /// What is not reported yet.
    found: Vec<Find>,
}

impl DatabaseChecker<'_> {
    /// Notes an invalid entry, if there is a cause.
    fn find(&mut self, table: &'static str, key: impl ToString, cause: impl Into<Option<RecordFault>>) {
        let Some(cause) = cause.into() else { return };
        self.done.finds += 1;
        self.found.push(Find { table, key: key.to_string().into(), cause });
    }

    async fn report(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        for find in std::mem::take(&mut self.found) {
            outlet.give(Note::Find(find)).await?;
        }
        Ok(())
    }

    /// Judges every row of a query, which are those of a table.
    async fn each(
        &mut self,
        outlet: &mut impl Outlet<Note>,
        table: &'static str,
        query: &str,
        mut judge: impl FnMut(&mut Self, &Row),
    ) -> Result<u64> {
        let count = format!("SELECT count(*) FROM {table}");
        let of: i64 = within(self.client.query_one(&*count, &[])).await?.get(0);
        let (mut done, of) = (0, u64::try_from(of).unwrap_or(0));
        let cursor = Cursor::over(self.client, query).await?;
        while let Some(rows) = cursor.next().await? {
            outlet.give(Note::Progress(TableProgress { table, done, of })).await?;
            rows.iter().for_each(|row| judge(self, row));
            done += rows.len() as u64;
            self.report(outlet).await?;
        }
        self.done.entries += done;
        outlet.give(Note::Progress(TableProgress { table, done: of, of })).await?;
        Ok(done)
    }

    async fn meta(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let last = within(self.client.query_one("SELECT max(position) FROM events", &[])).await?;
        if last.get::<_, Option<i64>>(0).is_some_and(|last| position_of(last) != self.cuts.head) {
            self.find("head", "position", "not the position of the last event");
        }
        let proofs =
            within(self.client.query("SELECT name FROM meta WHERE name = $1", &[&KEY_CHECK])).await?;
        self.find("meta", KEY_CHECK, proofs.is_empty().then_some("absent"));
        let judge = |checker: &mut Self, row: &Row| {
            let (name, bytes): (&str, &[u8]) = (row.get(0), row.get(1));
            let fault = match name {
                KEY_CHECK | super::epoch::GONE_BACK => None,
                REVOKED_UNTIL | MAX_STALENESS => (bytes.len() != 8).then_some("not a number"),
                KEYS => {
                    record::decode_keys(bytes).map_or_else(Some, |keys| checker.codec.keyring_fault(&keys))
                }
                EPOCHS => record::decode_epochs(bytes).err(),
                _ => Some("unknown key"),
            };
            checker.find("meta", name, fault);
        };
        self.each(outlet, "meta", "SELECT name, value FROM meta ORDER BY name", judge).await.map(drop)
    }

    async fn sessions(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let query = "SELECT id, subject, client, active, due, record, windows FROM sessions ORDER BY id";
        let stored = self.each(outlet, "sessions", query, Self::session).await?;
        self.done.sessions = stored;
        let counted: i64 = within(self.client.query_one("SELECT sessions FROM head", &[])).await?.get(0);
        if u64::try_from(counted) != Ok(stored) {
            self.find(COUNTS, "head", "not the number of stored sessions");
        }
        Ok(())
    }

    fn session(&mut self, row: &Row) {
        let id = session_id(row.get(0));
        let record = match self.codec.decode_session(id, row.get(5)) {
            Ok(record) => record,
            Err(fault) => {
                self.active_by_client = None;
                return self.find("sessions", id, fault);
            }
        };
        let (session, head) = (&record.session, self.cuts.head);
        let index = |column: usize| -> KeyedIndex { row.get::<_, Uuid>(column).into_bytes() };
        let faults = [
            (index(1) != self.codec.subject_index(&session.subject))
                .then_some("its column subject is wrong: it is not found by its subject"),
            (index(2) != self.codec.client_index(&session.client_id))
                .then_some("its column client is wrong: it is not found by its client"),
            (row.get::<_, bool>(3) != session.may_be_active())
                .then_some("its column active is wrong: it is not found as it is"),
            (row.get::<_, i64>(4) != record.slot.millis())
                .then_some("its column due is wrong: the sweep does not find it in time"),
            (session.issued > head || session.families.iter().any(|family| family.issued > head))
                .then_some("issued at a position after the end of the event log"),
            self.window_fault(session, row.get(6)),
        ];
        self.done.active += u64::from(session.is_active(self.now, &self.cuts));
        if session.counts_as_live(&self.cuts)
            && let Some(active) = &mut self.active_by_client
        {
            *active.entry(session.client_id.clone()).or_default() += 1;
        }
        faults.into_iter().for_each(|fault| self.find("sessions", id, fault));
    }

    fn window_fault(&self, session: &Session, windows: &[u8]) -> Option<RecordFault> {
        let windows = match split_windows(windows) {
            Ok(windows) => windows,
            Err(fault) => return Some(fault),
        };
        windows.into_iter().find_map(|(key, sealed)| {
            let number = u16::from_be_bytes([key[24], key[25]]);
            let has_family = session.families.iter().any(|family| family.number == number);
            if key[8..24] != session.id.0 || !has_family {
                return Some("it has a retry window of a family that it has not");
            }
            self.codec.decode_window(&key, sealed).err()
        })
    }

    /// The tables whose rows belong to sessions.
    async fn beside_sessions(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let stray = |row: &Row, column| (!row.get::<_, bool>(column)).then_some("its session does not exist");
        let query = "SELECT d.id, d.record, s.id IS NOT NULL FROM data AS d \
                     LEFT JOIN sessions AS s ON s.id = d.id ORDER BY d.id";
        let judge = |checker: &mut Self, row: &Row| {
            let id = session_id(row.get(0));
            checker.find("data", id, checker.codec.decode_data(id, row.get(1)).err());
            checker.find("data", id, stray(row, 2));
        };
        self.each(outlet, "data", query, judge).await?;
        let query = "SELECT k.name, k.record, k.session, s.id IS NOT NULL FROM opening_keys AS k \
                     LEFT JOIN sessions AS s ON s.id = k.session ORDER BY k.name";
        let judge = |checker: &mut Self, row: &Row| {
            let name: &[u8] = row.get(0);
            let owner: SessionId = session_id(row.get(2));
            let fault = match name.try_into().map(Hash) {
                Err(_) => Some("its name has another length"),
                Ok(name) => match record::decode_key_use(&name, row.get(1)) {
                    Ok((id, _)) => (id != owner).then_some("it belongs to another session"),
                    Err(fault) => Some(fault),
                },
            };
            checker.find("opening_keys", Hex(name), fault.or(stray(row, 3)));
        };
        self.each(outlet, "opening_keys", query, judge).await?;
        let query = "SELECT r.id, r.record, s.id IS NOT NULL FROM repeats AS r \
                     LEFT JOIN sessions AS s ON s.id = r.id ORDER BY r.id";
        let judge = |checker: &mut Self, row: &Row| {
            let id = session_id(row.get(0));
            checker.find("repeats", id, checker.codec.decode_repeat(id, row.get(1)).err());
            checker.find("repeats", id, stray(row, 2));
        };
        self.each(outlet, "repeats", query, judge).await.map(drop)
    }

    async fn events(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let mut next = None;
        let judge = |checker: &mut Self, row: &Row| {
            let position = position_of(row.get(0));
            checker.find("events", position.0, checker.codec.decode_event(position.0, row.get(1)).err());
            let gap = next.is_some_and(|next| next != Some(position));
            next = Some(checker.epochs.next(position));
            checker.find("events", position.0, gap.then_some("there is a gap before it"));
        };
        let query = "SELECT position, record FROM events ORDER BY position";
        let stored = self.each(outlet, "events", query, judge).await?;
        let counted: i64 = within(self.client.query_one("SELECT events FROM head", &[])).await?.get(0);
        if u64::try_from(counted) != Ok(stored) {
            self.find(COUNTS, "head", "not the number of stored events");
        }
        self.report(outlet).await
    }

    async fn clients(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let judge = |checker: &mut Self, row: &Row| {
            let name: &str = row.get(0);
            let fault = client_fault(name, row.get(1), checker.cuts.head, &mut checker.done);
            checker.find("clients", name, fault);
        };
        self.each(outlet, "clients", "SELECT id, record FROM clients ORDER BY id", judge).await.map(drop)
    }

    async fn cut_offs(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let judge = |checker: &mut Self, row: &Row| {
            let name: &str = row.get(0);
            let fault = cut_off_fault(name, row.get(1), checker.cuts.head);
            checker.find("cut_offs", name, fault);
        };
        self.each(outlet, "cut_offs", "SELECT name, record FROM cut_offs ORDER BY name", judge)
            .await
            .map(drop)
    }

    /// Compares the stored counts of active sessions with the counted ones.
    async fn counts(&mut self, outlet: &mut impl Outlet<Note>) -> Result<()> {
        let Some(mut counted) = self.active_by_client.take() else { return Ok(()) };
        let judge = |checker: &mut Self, row: &Row| {
            let name: &str = row.get(0);
            let sessions = name.parse::<ClientId>().ok().and_then(|client| counted.remove(&client));
            let differs = sessions.unwrap_or(0) != row.get::<_, i64>(1);
            checker.find(COUNTS, name, differs.then_some("not the number of active sessions"));
        };
        self.each(outlet, COUNTS, "SELECT client, sessions FROM live ORDER BY client", judge).await?;
        for client in counted.into_keys() {
            self.find(COUNTS, client.as_str(), "missing: the active sessions are not counted");
        }
        self.report(outlet).await
    }
}
