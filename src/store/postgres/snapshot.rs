//! One state of the whole database, read page by page.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Row};

use super::error::{Undone, described};
use crate::store::{Result, StoreError};

/// How long one page may take.
const PAGE_MAX: Duration = Duration::from_secs(60);
/// Rows of a page.
const PAGE: u32 = 256;

/// A transaction that sees one state. What is read may be handed over slowly; a whole table is read in the
/// order of its pages.
pub(super) const BEGIN: &str = "SET idle_in_transaction_session_timeout = '5min'; SET enable_seqscan = on; \
                                BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The rows of one query, page by page. A transaction has one at a time.
pub(super) struct Cursor<'c>(&'c Client);

impl<'c> Cursor<'c> {
    pub async fn over(client: &'c Client, query: &str) -> Result<Self> {
        let declare = format!("DECLARE walk NO SCROLL CURSOR FOR {query}");
        within(client.batch_execute(&declare)).await?;
        Ok(Self(client))
    }

    /// The next rows; `None` after the last.
    pub async fn next(&self) -> Result<Option<Vec<Row>>> {
        let fetch = format!("FETCH {PAGE} FROM walk");
        let rows = within(self.0.query(&*fetch, &[])).await?;
        if rows.is_empty() {
            within(self.0.batch_execute("CLOSE walk")).await?;
            return Ok(None);
        }
        Ok(Some(rows))
    }
}

/// Waits for one answer.
pub(super) async fn within<T>(
    asked: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    match timeout(PAGE_MAX, asked).await {
        Err(_) => Err(StoreError::Outage("the database does not answer in time".into())),
        Ok(Err(error)) => Err(match Undone::of(&error) {
            Undone::Rejected(error) => error,
            Undone::Again(_) | Undone::Broken(_) => StoreError::Outage(described(&error).into()),
        }),
        Ok(Ok(answer)) => Ok(answer),
    }
}
