//! The port: what every backend guarantees. One verb for change, no transaction handle escapes, and no rule
//! is decided here.
//!
//! The guarantees are one conformance suite (`tests/it/store/conformance.rs`): an unknown id is `None`; a
//! change is kept even if the answer is a refusal; racing updates are serial; a write is durable before its
//! answer and survives reopening; an unchanged record is not written; state and event are one commit; event
//! positions have no gaps (except where a restore started an epoch) and become visible in order; a corrupt
//! record is an error that names its key; the sweep is bounded; after a failed commit nothing is acknowledged
//! and readiness turns false.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::client::{Client, Party};
use crate::domain::cutoff::CutOffs;
use crate::domain::end::EndReason;
use crate::domain::epoch::Epochs;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ClientId, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::refusal::Refused;
use crate::domain::session::{Cap, Data, Decision, NotOpened, Repeatable, RevokedToken, Session};
use crate::domain::time::{Moment, Timestamp};
use crate::meter::Distribution;

pub mod any;
pub mod backup;
pub mod check;
pub(crate) mod counters;
pub mod layout;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod record;
pub mod redb;
mod sweep;

pub use sweep::LATER_MAX;

/// The result of a backend's operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store could not do what was asked. Only after `Failed` is it unknown whether anything was written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many writes are waiting, or one waits too long for the disk; nothing was done.
    #[error("the disk does not keep up with the writes")]
    Busy,
    /// The disk is nearly full; what is left is reserved for writes that open nothing. Nothing was done.
    #[error("the disk of the database has less free space than store.reserve_bytes: nothing is opened")]
    Full,
    /// The store is closing, or an earlier commit failed; nothing was done.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// The database cannot be reached, or may not answer now; it may recover by itself. Nothing was done.
    #[error("the database is not available: {0}")]
    Outage(Arc<str>),
    /// The database is at an earlier state than it has acknowledged. Nothing was done, and only an operator
    /// can go on.
    #[error(
        "the database has gone back to an earlier state: {0}; stop all replicas, run `keyfob db recovered`, \
         and start them again"
    )]
    GoneBack(Arc<str>),
    /// Reading or committing failed.
    #[error("the store failed: {0}")]
    Failed(Arc<str>),
    /// A record cannot be decoded.
    #[error("corrupt record {key} in table {table}: {cause}")]
    Corrupt {
        /// The table's name in the file.
        table: &'static str,
        /// The record's key, as text.
        key: Box<str>,
        cause: &'static str,
    },
}

/// The error of a record that cannot be decoded.
pub(crate) fn corrupt(table: &'static str, key: impl fmt::Display, cause: &'static str) -> StoreError {
    StoreError::Corrupt { table, key: key.to_string().into(), cause }
}

/// A binary key in hexadecimal, for messages.
pub(crate) struct Hex<'b>(pub &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How many decisions one transaction takes at most.
const BATCH_MAX: usize = 1024;
/// The minimum number of places in the queue that are reserved for revocations.
const RESERVED_MIN: usize = 64;

/// Which part of the write queue a write may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Sessions and families: rejected first when the disk is nearly full.
    Opening,
    /// All other writes that are not revocations.
    Ordinary,
    /// Revocations: rejected only when the places reserved for them are taken as well.
    Revocation,
}

impl Lane {
    /// How many writes may wait when another of this lane comes, if `places` ordinary ones may.
    fn places(self, places: usize) -> usize {
        match self {
            Self::Opening | Self::Ordinary => places,
            Self::Revocation => places + (places / 4).max(RESERVED_MIN),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Opening {
    /// The backend sets `issued`, its own and its families', to the position of the event.
    pub session: Session,
    pub data: Option<Data>,
    /// Clients that must still be as they were ([`CutOffs::check_registered`]); else nothing is opened.
    pub requires: Vec<Party>,
    /// The cap on its subject's sessions, applied by [`crate::domain::session::make_room`].
    pub cap: Option<Cap>,
    /// Uses of the subject's other sessions that are not written yet, for the cap.
    pub uses: Vec<(SessionId, Timestamp)>,
    pub event: Event,
    /// How a repetition is recognised. If it is one, nothing is opened.
    pub repeat: Option<Repeatable>,
}

/// The cut-offs with the registered clients, and the signing keys, as of one commit. Held in memory.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Its `head` is that of the registry's own last change; [`Store::head`] is the log's.
    pub cuts: CutOffs,
    pub epochs: Epochs,
    /// The signing keys, in the order in which they were generated. Another allocation after each change.
    pub keys: Arc<Vec<KeyRecord>>,
}

/// The parameters of one run of the sweep.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    pub now: Moment,
    /// How long events, and ended or expired sessions, are kept.
    pub retention: Duration,
    /// How many entries of each kind it may touch, so that it does not delay the writer.
    pub entries_max: usize,
}

/// The result of one run of the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions found expired and reported.
    pub expired: usize,
    /// Sessions removed for good.
    pub purged: usize,
    /// Windows of retries and of repeated openings whose salt was erased.
    pub windows: usize,
    /// Events removed because their retention has passed.
    pub events: usize,
    /// Revocations of clients' own tokens removed because the tokens expired a retention ago.
    pub tokens: usize,
    /// Whether more entries are due now.
    pub more: bool,
}

/// What a backend contains, and what it has done since it was opened. What a backend does not measure is 0 or
/// empty.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Active sessions: [`Session::counts_as_live`].
    pub active: u64,
    /// The same by client; a client without active sessions has no entry.
    pub active_by_client: BTreeMap<ClientId, u64>,
    /// Stored sessions, including the ended and expired ones that are still kept.
    pub sessions: u64,
    pub events: u64,
    /// Replicas with a young heartbeat; `None` for a store that is not shared.
    pub replicas: Option<u64>,
    /// Bytes of each table at the last measurement.
    pub table_bytes: BTreeMap<&'static str, u64>,
    pub file_bytes: Option<u64>,
    /// Free bytes of the file system.
    pub free_bytes: Option<u64>,
    /// When the next session is due for the sweep.
    pub due: Option<Timestamp>,
    pub commits: u64,
    /// Decisions run, in all batches together.
    pub decisions: u64,
    /// Failed commits. The writer stops after the first one.
    pub failures: u64,
    /// Decisions per commit.
    pub batches: Distribution,
    /// Duration of each commit in nanoseconds.
    pub commit_nanos: Distribution,
    /// Writes in the queue now.
    pub waiting: u64,
    /// The queue's capacity; revocations have reserved places beyond it.
    pub places: u64,
    /// Writes rejected because the queue or the disk was full, by [`Lane`].
    pub busy: [u64; 3],
    pub events_written: Vec<(EventKind, u64)>,
    pub sessions_ended: Vec<(EndReason, u64)>,
}

/// What a replica knows of the database that it shares, without asking it.
#[derive(Clone, Debug, Default)]
pub struct ReplicaFigures {
    pub name: Box<str>,
    /// Open connections, and how many there may be.
    pub connections: u64,
    pub connections_max: u64,
    /// Connections made, and attempts that failed.
    pub connected: u64,
    pub connections_failed: u64,
    /// Round trips by their kind.
    pub round_trips: Vec<(&'static str, u64)>,
    /// Questions per round trip that reads.
    pub questions: Distribution,
    /// Duration of each of them in nanoseconds.
    pub read_nanos: Distribution,
    pub transactions_retried: u64,
    pub heartbeats_failed: u64,
    /// The time since the last acknowledged heartbeat was sent.
    pub heartbeat_age: Option<Duration>,
    /// Whether the database waits for a second copy.
    pub is_synchronous: bool,
    pub timeline: u64,
}

/// A backend.
///
/// A decision runs on the stored state in one transaction. What it changes is kept together with the events
/// that it returns, even when its answer is a refusal. It gets the cut-offs of the same transaction. A
/// decision must be pure, because it may run more than once, and must not panic.
pub trait Store: Send + Sync + 'static {
    /// Runs `decide` on a session. `None` if there is no such session.
    fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> impl Future<Output = Result<Option<T>>> + Send;

    /// Opens a session, unless a client that it requires is not as it was, it repeats one whose session
    /// is still stored, or the cap on its subject's sessions refuses it. Sessions evicted for it end in the
    /// same transaction. The window of a repeatable opening is erased when its session is no longer as it was
    /// opened, and by the sweep.
    fn open(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<std::result::Result<Session, NotOpened>>> + Send;

    /// Runs `decide` on every session of a subject that [`Session::may_be_active`], and writes `closing`
    /// after their events if `decide` answered true at least once. Returns how often it did. It may take
    /// several transactions: an opening or a change meanwhile is decided on too, or comes after `closing`.
    /// Each is refused for a caller that is not as it was authenticated; what those before it did remains.
    fn update_subject(
        &self,
        subject: Subject,
        caller: Option<Party>,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> impl Future<Output = Result<std::result::Result<usize, Refused>>> + Send;

    /// Ends everything issued so far, by a cut-off at the position of `event`, in constant time. Refused for
    /// a caller that is not as it was authenticated.
    fn end_everything(
        &self,
        caller: Option<Party>,
        event: Event,
    ) -> impl Future<Output = Result<std::result::Result<(), Refused>>> + Send;

    /// Creates, changes or deletes a client: `decide` gets `None` if there is none, and leaves `None` to
    /// delete it. A deletion makes a cut-off at the position of its first event. The backend sets the
    /// client's `incarnation`: at its creation to the position of that event, and later always to the same.
    fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send;

    fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Revokes an access token that has no session, and writes `event`. If it was already revoked, returns
    /// false and writes nothing. Refused for a caller that is not as it was authenticated.
    fn revoke_token(
        &self,
        caller: Option<Party>,
        token: RevokedToken,
        event: Event,
    ) -> impl Future<Output = Result<std::result::Result<bool, Refused>>> + Send;

    /// Reports expired sessions and removes what is past its retention: bounded, and called again while there
    /// is `more`. A session that only a cut-off ended is due at its deadline, so that a cut-off touches no
    /// session.
    fn sweep(&self, sweep: Sweep) -> impl Future<Output = Result<Swept>> + Send;

    /// Shared, because a backend may cache it for as long as a read would return the same.
    fn session(&self, id: SessionId) -> impl Future<Output = Result<Option<Arc<Session>>>> + Send;

    fn data(&self, id: SessionId) -> impl Future<Output = Result<Option<Data>>> + Send;

    /// At most `limit` sessions after `after` in the order of their ids: of one subject, or all.
    fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Session>>> + Send;

    /// At most `limit` sessions of a subject that [`Session::may_be_active`], of one client or all, after
    /// `after` in the order of their ids. Costs nothing for the sessions that ended.
    fn active_sessions(
        &self,
        subject: Subject,
        client: Option<ClientId>,
        after: Option<SessionId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Session>>> + Send;

    /// Whether this token without a session was revoked. After the sweep has removed a revocation, every
    /// token that expires no later counts as revoked: no clock makes one valid again.
    fn is_revoked(&self, token: RevokedToken) -> impl Future<Output = Result<bool>> + Send;

    /// At most `limit` events after `after`, in order.
    fn events(
        &self,
        after: Position,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Position, Event)>>> + Send;

    /// The registry, and the position of the last event, as of a moment after the call: they include every
    /// commit that any process has acknowledged before it. To be awaited before a request is judged; what
    /// [`Self::registry`] and [`Self::head`] answer afterwards is at least as new.
    fn current(&self) -> impl Future<Output = Result<(Arc<Registry>, Position)>> + Send;

    /// The clients and cut-offs of the last commit that this process knows, without I/O.
    fn registry(&self) -> Arc<Registry>;

    /// The position of the last committed event that this process knows, without I/O. State that is read
    /// afterwards is at least as new.
    fn head(&self) -> Position;

    /// Waits, without polling, until the last committed event is later than `position`.
    fn head_after(&self, position: Position) -> impl Future<Output = ()> + Send;

    /// Whether other processes may write to it at the same time.
    fn is_shared(&self) -> bool {
        false
    }

    /// What it contains and has done, in constant time.
    fn figures(&self) -> impl Future<Output = Result<Figures>> + Send;

    /// What this process knows of a shared store; `None` for one that is not shared.
    fn replica_figures(&self) -> Option<ReplicaFigures> {
        None
    }

    /// Whether the store can commit.
    fn ready(&self) -> Result<()>;

    /// One state of the store as a backup in the format of [`backup`], in pieces. Writes continue meanwhile.
    /// The store in memory has none.
    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>>;

    /// Compares every record and index of one state of the store, and reports progress and findings. Writes
    /// continue meanwhile.
    fn check(&self, now: Timestamp) -> Result<Pieces<check::Note>>;

    /// Entries and sizes of the tables and the file.
    fn stats(&self) -> impl Future<Output = Result<Stats>> + Send;
}

/// The pieces of a long operation. Few are prepared ahead, and the operation stops when the receiver is
/// dropped. The last piece is an error, or `None` for success; without either it is incomplete.
pub type Pieces<T> = tokio::sync::mpsc::Receiver<Result<Option<T>>>;

/// Entries and sizes of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// For each table its name, its entries, and its bytes in the file.
    pub tables: Vec<(&'static str, u64, u64)>,
    /// `None` for a store that is not a file of this machine.
    pub file: Option<FileStats>,
    pub oldest_event: Option<(Position, Timestamp)>,
    pub newest_event: Option<(Position, Timestamp)>,
    /// The position of the last event ever written.
    pub head: Position,
    /// The number of the epoch; each restore starts one.
    pub epoch: u32,
}

/// The file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStats {
    pub bytes: u64,
    /// Free bytes of its file system.
    pub disk_free_bytes: u64,
}
