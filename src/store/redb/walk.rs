//! Reads of the whole store: one snapshot, on a thread of its own, at the receiver's pace.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use redb::{
    Database, ReadOnlyUntypedTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    TableHandle,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};

use super::error::or_damaged;
use super::open::read_state;
use super::space::free_bytes;
use super::tables::{Definition, EVENTS, META, NAMES, Visit, decode_event, each, open};
use super::{Result, StoreError};
use crate::domain::time::Timestamp;
use crate::store::backup::{Encoder, Head};
use crate::store::record::Codec;
use crate::store::{FileStats, Pieces, Stats};
use crate::token::keys::SecretKey;

/// How many pieces are prepared ahead.
const AHEAD: usize = 4;
/// After this time without progress a receiver is given up: its snapshot prevents the reuse of pages.
const STALLED: Duration = Duration::from_secs(120);

/// Runs `work` on a thread of its own, which ends when the receiver is dropped or stalled.
pub(super) fn pieces<T: Send + 'static>(
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
        .map_err(|_| StoreError::Unavailable(format!("the receiver of the {name} is gone").into()))
}

/// Writes a backup of the snapshot.
pub(super) fn copy(
    read: &ReadTransaction,
    key: &SecretKey,
    made_at: Timestamp,
    give: &mut dyn FnMut(Bytes) -> Result<()>,
) -> Result<()> {
    let entries = |name: &'static str| {
        let table = untyped(read, name)?;
        Ok((name.into(), table.map_or(Ok(0), |table| table.len())?))
    };
    let rest = NAMES.iter().copied().filter(|name| *name != META.name());
    let tables = std::iter::once(META.name()).chain(rest).map(entries).collect::<Result<_>>()?;
    let head = Head { made_at, program: env!("CARGO_PKG_VERSION").into(), tables };
    let mut copy = EntryCopier { read, encoder: Encoder::begin(give, key, &head)? };
    each(&mut copy)?;
    copy.encoder.end()
}

struct EntryCopier<'r, S> {
    read: &'r ReadTransaction,
    encoder: Encoder<S>,
}

impl<S: FnMut(Bytes) -> Result<()>> Visit for EntryCopier<'_, S> {
    fn visit<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: &'static Definition<K, V>,
    ) -> Result<()> {
        self.encoder.table(table.name())?;
        let Some(table) = open(self.read, table)? else { return Ok(()) };
        for entry in table.iter()? {
            let (key, value) = entry?;
            self.encoder.entry(K::as_bytes(&key.value()).as_ref(), V::as_bytes(&value.value()).as_ref())?;
        }
        Ok(())
    }
}

fn untyped(read: &ReadTransaction, name: &str) -> Result<Option<ReadOnlyUntypedTable>> {
    let handle = read.list_tables()?.find(|table| table.name() == name);
    Ok(handle.map(|handle| read.open_untyped_table(handle)).transpose()?)
}

/// For each table its name, its entries and its bytes in the file, including unused space in its pages.
pub(super) fn table_stats(read: &ReadTransaction) -> Result<Vec<(&'static str, u64, u64)>> {
    let stats = |name: &'static str| {
        let Some(table) = untyped(read, name)? else { return Ok((name, 0, 0)) };
        let (entries, stats) = (table.len()?, table.stats()?);
        Ok((name, entries, stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes()))
    };
    NAMES.iter().copied().map(stats).collect()
}

pub(super) fn stats(db: &Database, codec: &Codec, path: Option<&Path>) -> Result<Stats> {
    let read = db.begin_read()?;
    let state = read_state(&read)?;
    let events = read.open_table(EVENTS)?;
    let dated = |entry: Option<(redb::AccessGuard<u64>, redb::AccessGuard<&[u8]>)>| {
        let event = entry.map(|(position, bytes)| decode_event(codec, position.value(), bytes.value()));
        event.transpose().map(|event| event.map(|(position, event)| (position, event.at)))
    };
    Ok(Stats {
        tables: table_stats(&read)?,
        file: path.map(file_stats).transpose()?,
        oldest_event: dated(events.first()?)?,
        newest_event: dated(events.last()?)?,
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

    /// The library panics at some kinds of damage: the pieces before the panic must not pass for a complete
    /// result.
    #[tokio::test]
    async fn a_walk_that_panics_ends_with_an_error_and_a_complete_one_with_none() {
        let mut cut = pieces("backup", |give| {
            give(1)?;
            panic!("the page is damaged")
        });
        assert!(matches!(cut.recv().await, Some(Ok(Some(1)))));
        let Some(Err(StoreError::Failed(cause))) = cut.recv().await else {
            panic!("it ended like a complete one")
        };
        assert!(cause.contains("are damaged"), "{cause}");
        let mut whole = pieces("backup", |give| give(1));
        assert!(matches!(whole.recv().await, Some(Ok(Some(1)))));
        assert!(matches!(whole.recv().await, Some(Ok(None))));
        assert!(whole.recv().await.is_none());
    }
}
