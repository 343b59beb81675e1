//! Whether the database has gone back to an earlier state, as after a recovery to a point in time. What this
//! process knows is latched, and written into the database, so that no replica starts on it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_postgres::Client;

use super::epoch::GONE_BACK;
use super::error::Undone;
use crate::store::{Result, StoreError};

#[derive(Default)]
pub(super) struct LostHistory {
    why: OnceLock<Box<str>>,
    /// Whether the database has the mark.
    is_marked: AtomicBool,
}

impl LostHistory {
    /// Nothing is answered from now on.
    pub fn found(&self, why: &str) {
        if self.why.set(why.into()).is_ok() {
            tracing::error!(why, "the database has gone back to an earlier state");
        }
    }

    /// Fails if the database has gone back. Only after the mark is written is this final, so that the process
    /// does not end before.
    pub fn check(&self) -> Result<()> {
        match self.why.get() {
            None => Ok(()),
            Some(why) if self.is_marked.load(Ordering::Acquire) => {
                Err(StoreError::GoneBack(why.to_string().into()))
            }
            Some(why) => Err(StoreError::Outage(why.to_string().into())),
        }
    }

    /// Writes the mark, once: `keyfob db recovered` may have erased it since.
    pub async fn mark(&self, client: &Client) -> std::result::Result<(), Undone> {
        if self.is_marked.load(Ordering::Acquire) {
            return Ok(());
        }
        let why = self.why.get().map_or("", |why| why);
        let put = "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        client.execute(put, &[&GONE_BACK, &why.as_bytes()]).await?;
        self.is_marked.store(true, Ordering::Release);
        Ok(())
    }
}
