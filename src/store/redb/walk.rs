//! What reads the whole store while writers go on: one snapshot, on a thread of its own, at the pace of
//! whoever takes it.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use redb::{
    Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableError,
    TableHandle,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};

use super::error::{failed, or_damaged};
use super::figures::free_bytes;
use super::open::read_state;
use super::tables::{Definition, EVENTS, NAMES, Visit, decode_event, each};
use super::{Redb, Result, StoreError, check};
use crate::domain::time::Timestamp;
use crate::store::backup::{Encoder, Head};
use crate::store::check::Note;
use crate::store::record::Codec;
use crate::store::{FileStats, Pieces, Stats};

/// How many pieces are ready ahead of who takes them.
const AHEAD: usize = 4;
/// A reader that takes nothing for so long is taken for gone: its snapshot keeps pages from being used again.
const STALLED: Duration = Duration::from_secs(120);

impl Redb {
    pub(super) fn walk_backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>> {
        let read = self.db.begin_read().map_err(failed)?;
        Ok(pieces("backup", move |give| copy(&read, made_at, give)))
    }

    pub(super) fn walk_check(&self, now: Timestamp) -> Result<Pieces<Note>> {
        let read = self.db.begin_read().map_err(failed)?;
        let codec = self.codec.clone();
        Ok(pieces("check", move |give| check::check(&read, &codec, now, give)))
    }
}

/// Runs `work` on a thread of its own, which ends when nobody takes its pieces any more.
fn pieces<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce(&mut dyn FnMut(T) -> Result<()>) -> Result<()> + Send + 'static,
) -> Pieces<T> {
    let (sender, receiver) = channel(AHEAD);
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || {
        let done = or_damaged(|| work(&mut |piece| give(&handle, &sender, Ok(Some(piece)), name)));
        let _ = give(&handle, &sender, done.map(|()| None), name);
    });
    receiver
}

fn give<T>(
    handle: &Handle,
    sender: &Sender<Result<Option<T>>>,
    piece: Result<Option<T>>,
    name: &'static str,
) -> Result<()> {
    handle
        .block_on(sender.send_timeout(piece, STALLED))
        .map_err(|_| StoreError::Unavailable(format!("nobody takes the {name}").into()))
}

/// Writes a backup of the snapshot.
fn copy(read: &ReadTransaction, made_at: Timestamp, give: &mut dyn FnMut(Bytes) -> Result<()>) -> Result<()> {
    let mut count = Count { read, tables: vec![] };
    each(&mut count)?;
    let head = Head { made_at, program: env!("CARGO_PKG_VERSION").into(), tables: count.tables };
    let mut copy = Copy { read, encoder: Encoder::begin(give, &head)? };
    each(&mut copy)?;
    copy.encoder.end()
}

/// Opens a table of a snapshot; `None` if the store is from before there was one of this name.
pub(super) fn open<K: redb::Key + 'static, V: redb::Value + 'static>(
    read: &ReadTransaction,
    table: Definition<K, V>,
) -> Result<Option<redb::ReadOnlyTable<K, V>>> {
    match read.open_table(table) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// A key that is not text, for a person: in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

struct Count<'r> {
    read: &'r ReadTransaction,
    tables: Vec<(Box<str>, u64)>,
}

impl Visit for Count<'_> {
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: Definition<K, V>,
    ) -> Result<()> {
        let entries = open(self.read, table)?.map_or(Ok(0), |table| table.len()).map_err(failed)?;
        self.tables.push((table.name().into(), entries));
        Ok(())
    }
}

struct Copy<'r, S> {
    read: &'r ReadTransaction,
    encoder: Encoder<S>,
}

impl<S: FnMut(Bytes) -> Result<()>> Visit for Copy<'_, S> {
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: Definition<K, V>,
    ) -> Result<()> {
        self.encoder.table(table.name())?;
        let Some(table) = open(self.read, table)? else { return Ok(()) };
        for entry in table.iter().map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            self.encoder.entry(K::as_bytes(&key.value()).as_ref(), V::as_bytes(&value.value()).as_ref())?;
        }
        Ok(())
    }
}

/// Each table with its entries, and what it takes of the file, what its pages leave empty included.
pub(super) fn table_stats(read: &ReadTransaction) -> Result<Vec<(&'static str, u64, u64)>> {
    let stats = |name: &'static str| {
        let Some(handle) = read.list_tables().map_err(failed)?.find(|table| table.name() == name) else {
            return Ok((name, 0, 0));
        };
        let table = read.open_untyped_table(handle).map_err(failed)?;
        let (entries, stats) = (table.len().map_err(failed)?, table.stats().map_err(failed)?);
        Ok((name, entries, stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes()))
    };
    NAMES.into_iter().map(stats).collect()
}

/// What is in the store now.
pub(super) fn stats(db: &Database, codec: &Codec, path: Option<&Path>) -> Result<Stats> {
    let read = db.begin_read().map_err(failed)?;
    let state = read_state(&read)?;
    let events = read.open_table(EVENTS).map_err(failed)?;
    let dated = |entry: Option<(redb::AccessGuard<u64>, redb::AccessGuard<&[u8]>)>| {
        let event = entry
            .map(|(position, bytes)| decode_event(codec, position.value(), bytes.value()))
            .transpose()?;
        Ok(event.map(|(position, event)| (position, event.at)))
    };
    Ok(Stats {
        tables: table_stats(&read)?,
        file: path.map(file_stats).transpose()?,
        oldest_event: dated(events.first().map_err(failed)?)?,
        newest_event: dated(events.last().map_err(failed)?)?,
        head: state.cuts.head,
        epoch: state.epochs.number(),
    })
}

fn file_stats(path: &Path) -> Result<FileStats> {
    let unreadable =
        |error: std::io::Error| StoreError::Failed(format!("{}: {error}", path.display()).into());
    Ok(FileStats {
        bytes: path.metadata().map_err(unreadable)?.len(),
        disk_free_bytes: free_bytes(path).map_err(unreadable)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library panics at some damage: whoever takes the pieces must not take what came before for the
    /// whole.
    #[tokio::test]
    async fn a_walk_that_panics_ends_with_an_error_and_one_that_is_done_says_so() {
        let mut cut = pieces("backup", |give| {
            give(1)?;
            panic!("the page is another")
        });
        assert!(matches!(cut.recv().await, Some(Ok(Some(1)))));
        let Some(Err(StoreError::Failed(cause))) = cut.recv().await else {
            panic!("it ended like a whole one")
        };
        assert!(cause.contains("do not hold together"), "{cause}");
        let mut whole = pieces("backup", |give| give(1));
        assert!(matches!(whole.recv().await, Some(Ok(Some(1)))));
        assert!(matches!(whole.recv().await, Some(Ok(None))));
        assert!(whole.recv().await.is_none());
    }
}
