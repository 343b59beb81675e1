//! The backend over PostgreSQL, for any number of processes: writes are committed in groups, and an answer
//! counts only if the database proves that it is still the primary (docs/decisions/0037).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::open::Running;
use self::reader::{Question, ReadSlot};
use self::replica::Replica;
use crate::token::keys::Keys;

mod address;
mod changes;
mod check;
mod connection;
mod counts;
mod decisions;
mod dump;
mod epoch;
mod error;
mod fence;
mod heartbeat;
mod import;
mod known;
mod lasting;
mod lost;
mod open;
mod outlet;
mod port;
mod queue;
mod reader;
mod reads;
mod replica;
mod rows;
mod schema;
mod snapshot;
mod statements;
mod stopped;
mod sweep;
mod tls;
mod writer;

pub use address::{PasswordSource, check_address};
pub use epoch::EpochStart;
pub use error::PostgresError;
pub use import::{Import, ImportError, ImportTarget};
pub use open::PostgresOptions;
pub use stopped::{DatabaseSource, begin_epoch, check_stopped};

/// How long the writes that wait may take when the store is closed.
const CLOSE_MAX: Duration = Duration::from_secs(15);

/// A store in a PostgreSQL database.
pub struct Postgres {
    replica: Arc<Replica>,
    questions: Vec<tokio::sync::mpsc::UnboundedSender<Question>>,
    /// The reader that is asked next.
    next: AtomicUsize,
    /// For lists, events and figures.
    lists: ReadSlot,
    closing: Mutex<Vec<JoinHandle<()>>>,
    others: Vec<JoinHandle<()>>,
}

impl Postgres {
    /// Whether the database has a schema of keyfob.
    ///
    /// # Errors
    /// It cannot be reached, or a newer keyfob migrated it.
    pub async fn has_schema(options: &PostgresOptions) -> Result<bool, PostgresError> {
        open::has_schema(options).await
    }

    /// Creates the schema in a database that has none.
    ///
    /// # Errors
    /// The database cannot be reached, or does not permit it.
    pub async fn create(options: &PostgresOptions, keys: &Keys) -> Result<(), PostgresError> {
        open::create(options, keys).await
    }

    /// Opens the database, and migrates it to the schema of this program.
    ///
    /// # Errors
    /// It cannot be reached, has no schema, or belongs to another master key.
    pub async fn open(options: &PostgresOptions, keys: &Keys) -> Result<Self, PostgresError> {
        let Running { replica, questions, closing, others } = open::open(options, keys).await?;
        let (next, lists) = (AtomicUsize::new(0), ReadSlot::default());
        Ok(Self { replica, questions, next, lists, closing: Mutex::new(closing), others })
    }

    /// Accepts no more writes, and returns when all waiting writes are committed, or after 15 seconds.
    pub async fn close(&self) {
        self.replica.queue.close();
        let tasks = std::mem::take(&mut *self.closing.lock().unwrap_or_else(PoisonError::into_inner));
        let ended = async {
            for task in tasks {
                let _ = task.await;
            }
        };
        let _ = timeout(CLOSE_MAX, ended).await;
    }

    fn questions(&self) -> &tokio::sync::mpsc::UnboundedSender<Question> {
        &self.questions[self.next.fetch_add(1, Ordering::Relaxed) % self.questions.len()]
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let closing = self.closing.get_mut().unwrap_or_else(PoisonError::into_inner);
        closing.iter().chain(&self.others).for_each(JoinHandle::abort);
    }
}
