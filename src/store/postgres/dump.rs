//! A backup, in the tables of the embedded store, so that either backend can restore it.

use bytes::Bytes;
use tokio::sync::mpsc::unbounded_channel;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::outlet::Outlet;
use super::rows::{session_id, split_windows};
use super::snapshot::{Cursor, within};
use crate::domain::time::Timestamp;
use crate::store::backup::{Encoder, Head};
use crate::store::layout::{
    BACKUP_TABLES, EPOCHS, FORMAT, FORMAT_VERSION, HEAD, KEY_CHECK, KEYS, REVOKED_UNTIL, active_key,
    dated_key, format_of, subject_key,
};
use crate::store::{Result, StoreError, corrupt};
use crate::token::keys::SecretKey;

/// The entries of one row: usually one.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// A table but `meta`, as it is written.
struct DumpedTable {
    name: &'static str,
    /// The number of its entries.
    count: &'static str,
    /// Its rows, in order.
    rows: &'static str,
    entries: fn(&Row) -> Result<Entries>,
}

const TABLES: &[DumpedTable] = &[
    DumpedTable {
        name: "sessions",
        count: "SELECT count(*) FROM sessions",
        rows: "SELECT id, record FROM sessions ORDER BY id",
        entries: of_id,
    },
    DumpedTable {
        name: "data",
        count: "SELECT count(*) FROM data",
        rows: "SELECT id, record FROM data ORDER BY id",
        entries: of_id,
    },
    DumpedTable {
        name: "subjects",
        count: "SELECT count(*) FROM sessions WHERE NOT active",
        rows: "SELECT subject, id FROM sessions WHERE NOT active ORDER BY id",
        entries: |row| Ok(vec![(subject_key(index(row, 0), session_id(row.get(1))).to_vec(), vec![])]),
    },
    DumpedTable {
        name: "active",
        count: "SELECT count(*) FROM sessions WHERE active",
        rows: "SELECT subject, client, id FROM sessions WHERE active ORDER BY id",
        entries: |row| {
            let key = active_key(index(row, 0), index(row, 1), session_id(row.get(2)));
            Ok(vec![(key.to_vec(), vec![])])
        },
    },
    DumpedTable {
        name: "expiry",
        count: "SELECT count(*) FROM sessions",
        rows: "SELECT due, id FROM sessions ORDER BY id",
        entries: of_date,
    },
    DumpedTable {
        name: WINDOWS,
        // A session can have several: they are counted as they are read.
        count: "SELECT 0::bigint",
        rows: "SELECT id, windows FROM sessions WHERE length(windows) > 0 ORDER BY id",
        entries: |row| {
            let fault = |fault| corrupt("sessions", session_id(row.get(0)), fault);
            let windows = split_windows(row.get(1)).map_err(fault)?;
            Ok(windows.into_iter().map(|(key, sealed)| (key.to_vec(), sealed.to_vec())).collect())
        },
    },
    DumpedTable {
        name: "opening_keys",
        count: "SELECT count(*) FROM opening_keys",
        rows: "SELECT name, record FROM opening_keys ORDER BY name",
        entries: |row| Ok(vec![(row.get(0), row.get(1))]),
    },
    DumpedTable {
        name: "opened_by_key",
        count: "SELECT count(DISTINCT session) FROM opening_keys",
        rows: "SELECT DISTINCT ON (session) session, name FROM opening_keys ORDER BY session, name",
        entries: of_id,
    },
    DumpedTable {
        name: "repeats",
        count: "SELECT count(*) FROM repeats",
        rows: "SELECT id, record FROM repeats ORDER BY id",
        entries: of_id,
    },
    DumpedTable {
        name: "events",
        count: "SELECT count(*) FROM events",
        rows: "SELECT position, record FROM events ORDER BY position",
        // As the embedded store has its keys.
        entries: |row| Ok(vec![(row.get::<_, i64>(0).to_le_bytes().to_vec(), row.get(1))]),
    },
    DumpedTable {
        name: "clients",
        count: "SELECT count(*) FROM clients",
        rows: "SELECT id, record FROM clients ORDER BY id",
        entries: of_name,
    },
    DumpedTable {
        name: "cut_offs",
        count: "SELECT count(*) FROM cut_offs",
        rows: "SELECT name, record FROM cut_offs ORDER BY name",
        entries: of_name,
    },
    DumpedTable {
        name: "revoked",
        count: "SELECT count(*) FROM revoked",
        rows: "SELECT expires_at, id FROM revoked ORDER BY expires_at, id",
        entries: of_date,
    },
    DumpedTable {
        name: "live",
        count: "SELECT count(*) FROM live WHERE sessions > 0",
        rows: "SELECT client, sessions FROM live WHERE sessions > 0 ORDER BY client",
        entries: |row| {
            let name = row.get::<_, &str>(0).as_bytes().to_vec();
            Ok(vec![(name, row.get::<_, i64>(1).to_be_bytes().to_vec())])
        },
    },
];

const WINDOWS: &str = "windows";

fn dumped(name: &str) -> Option<&'static DumpedTable> {
    TABLES.iter().find(|table| table.name == name)
}

fn index(row: &Row, column: usize) -> [u8; 16] {
    row.get::<_, Uuid>(column).into_bytes()
}

fn of_id(row: &Row) -> Result<Entries> {
    Ok(vec![(index(row, 0).to_vec(), row.get(1))])
}

fn of_name(row: &Row) -> Result<Entries> {
    Ok(vec![(row.get::<_, &str>(0).as_bytes().to_vec(), row.get(1))])
}

fn of_date(row: &Row) -> Result<Entries> {
    Ok(vec![(dated_key(row.get(0), index(row, 1)).to_vec(), vec![])])
}

/// Writes the state that the transaction of `client` sees.
pub(super) async fn dump(
    client: &Client,
    key: &SecretKey,
    made_at: Timestamp,
    outlet: &mut impl Outlet<Bytes>,
) -> Result<()> {
    let meta = meta(client).await?;
    let mut tables = vec![];
    for name in BACKUP_TABLES {
        let entries = match dumped(name) {
            None => meta.len() as u64,
            Some(table) if table.name == WINDOWS => number_of_entries(client, table).await?,
            Some(table) => {
                let number: i64 = within(client.query_one(table.count, &[])).await?.get(0);
                u64::try_from(number).unwrap_or(0)
            }
        };
        tables.push((name.into(), entries));
    }
    let head = Head { made_at, program: env!("CARGO_PKG_VERSION").into(), tables };
    let (sender, mut written) = unbounded_channel();
    let sink = move |bytes| -> Result<()> {
        sender.send(bytes).map_err(|_| StoreError::Unavailable("the backup was given up".into()))
    };
    let mut encoder = Encoder::begin(sink, key, &head)?;
    for name in BACKUP_TABLES {
        encoder.table(name)?;
        let Some(table) = dumped(name) else {
            meta.iter().try_for_each(|(key, value)| encoder.entry(key.as_bytes(), value))?;
            continue;
        };
        let cursor = Cursor::over(client, table.rows).await?;
        while let Some(rows) = cursor.next().await? {
            for row in &rows {
                (table.entries)(row)?.iter().try_for_each(|(key, value)| encoder.entry(key, value))?;
            }
            while let Ok(bytes) = written.try_recv() {
                outlet.give(bytes).await?;
            }
        }
    }
    encoder.end()?;
    while let Ok(bytes) = written.try_recv() {
        outlet.give(bytes).await?;
    }
    Ok(())
}

async fn number_of_entries(client: &Client, table: &DumpedTable) -> Result<u64> {
    let cursor = Cursor::over(client, table.rows).await?;
    let mut number = 0;
    while let Some(rows) = cursor.next().await? {
        for row in &rows {
            number += (table.entries)(row)?.len() as u64;
        }
    }
    Ok(number)
}

/// The entries of the table `meta`, as the embedded store has them.
async fn meta(client: &Client) -> Result<Vec<(String, Vec<u8>)>> {
    let rows = within(client.query("SELECT name, value FROM meta ORDER BY name", &[])).await?;
    let known = |row: &Row| {
        let name: &str = row.get(0);
        [KEY_CHECK, KEYS, REVOKED_UNTIL, EPOCHS].contains(&name).then(|| (name.to_owned(), row.get(1)))
    };
    let mut meta: Vec<(String, Vec<u8>)> = rows.iter().filter_map(known).collect();
    let head: i64 = within(client.query_one("SELECT position FROM head", &[])).await?.get(0);
    meta.push((HEAD.to_owned(), head.to_be_bytes().to_vec()));
    meta.push((FORMAT.to_owned(), format_of(FORMAT_VERSION)));
    Ok(meta)
}
