//! Upgrading a database of an older format, in slices: a crash in between starts it again.

use std::ops::Bound;

use redb::{Database, ReadableTable, TableHandle};

use super::Result;
use super::tables::{ACTIVE, FORMAT, SESSIONS, Tables, active_key_of};
use super::writer::begin;
use crate::domain::id::SessionId;
use crate::store::corrupt;
use crate::store::record::Codec;

/// How many sessions one transaction adds to the index.
const SLICE: usize = 4096;

/// Format 2 added the index of active sessions. `format` is what is written when it is complete.
pub(super) fn upgrade_from_1(db: &Database, codec: &Codec, format: &[u8]) -> Result<()> {
    tracing::info!("upgrading the database: building the index of active sessions");
    let transaction = begin(db)?;
    // A database that an older keyfob has used since an interrupted upgrade may have outdated entries.
    transaction.delete_table(ACTIVE)?;
    transaction.commit()?;
    let mut after = None;
    loop {
        let transaction = begin(db)?;
        let mut tables = Tables::of(&transaction);
        let first = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for entry in tables.sessions.open()?.range::<&[u8; 16]>((first, Bound::Unbounded))?.take(SLICE) {
            let (id, bytes) = entry?;
            let id = SessionId(*id.value());
            last = Some(id.0);
            match codec.decode_session(id, bytes.value()) {
                Ok(record) if record.session.may_be_active() => {
                    tables.active.open()?.insert(&active_key_of(codec, &record.session), ())?;
                }
                Ok(_) => {}
                Err(fault) => {
                    let error = corrupt(SESSIONS.name(), id, fault);
                    tracing::error!(%error, "a corrupt session is not in the index of active sessions");
                }
            }
        }
        if last.is_none() {
            tables.meta.open()?.insert(FORMAT, format)?;
        }
        drop(tables);
        transaction.commit()?;
        if last.is_none() {
            return Ok(());
        }
        after = last;
    }
}
