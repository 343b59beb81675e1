//! The port: what every backend promises. One verb for change, no transaction handle escapes, no rule lives
//! here.
//!
//! What holds for every backend is written as one conformance suite (`tests/it/store/conformance.rs`): an unknown
//! id is `None`; a change survives a refusal; racing updates are serial; a write is durable before its answer
//! and survives reopening; an unchanged record is not written; state and event are one commit; event
//! positions have no gaps (but where a restore began an epoch), and nobody sees a later one before an earlier
//! one; a corrupt record is an error that names its key; the sweep is bounded; after a failed commit nothing
//! is acknowledged and readiness turns false.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::domain::client::Client;
use crate::domain::cutoff::CutOffs;
use crate::domain::end::EndReason;
use crate::domain::epoch::Epochs;
use crate::domain::event::{Event, EventKind};
use crate::domain::id::{ClientId, Position, SessionId, Subject};
use crate::domain::key::KeyRecord;
use crate::domain::session::{Cap, Data, Decision, RevokedToken, Session};
use crate::domain::time::{Moment, Timestamp};
use crate::meter::Distribution;

pub mod backup;
pub mod check;
pub mod memory;
pub mod record;
pub mod redb;

/// What a backend answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Breakage: the store could not do what was asked. Whether anything was written is unknown only after
/// `Failed`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Too many writes are waiting, or one waits too long for the disk; nothing was done.
    #[error("the disk does not keep up with the writes")]
    Busy,
    /// The store is closing, or an earlier commit failed; nothing was done.
    #[error("the store is not available: {0}")]
    Unavailable(Arc<str>),
    /// Reading or committing failed.
    #[error("the store failed: {0}")]
    Failed(Arc<str>),
    /// A record does not read as what it should be.
    #[error("corrupt record {key} in table {table}: {cause}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The record's key, as text.
        key: Box<str>,
        /// What is wrong with it.
        cause: &'static str,
    },
}

/// Which writes get the last places in the queue: what ends something always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Everything else.
    Ordinary,
    /// Revocations: refused only when even the places kept for them are taken.
    Revocation,
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The session. The backend sets `issued`, its own and its families', to the position of the event.
    pub session: Session,
    /// Its private data, if any.
    pub data: Option<Data>,
    /// The cap on its subject's sessions, if there is one; judged by [`crate::domain::session::make_room`].
    pub cap: Option<Cap>,
    /// What is known of the use of the subject's other sessions besides what is written, for the cap.
    pub uses: Vec<(SessionId, Timestamp)>,
    /// The event of the opening.
    pub event: Event,
}

/// The registered clients and the cut-offs, as of one commit. Held in memory.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    /// Every client.
    pub clients: HashMap<ClientId, Arc<Client>>,
    /// Every cut-off. Its `head` is that of the registry's own last change; [`Store::head`] is the log's.
    pub cuts: CutOffs,
    /// The epochs of the event log.
    pub epochs: Epochs,
}

/// What one run of the sweep may do.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The clock.
    pub now: Moment,
    /// How long events, and sessions that live no longer, are kept.
    pub retention: Duration,
    /// How many entries of each kind it may touch, so that it never holds the writer up.
    pub entries_max: usize,
}

/// What one run of the sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions found expired and reported.
    pub expired: usize,
    /// Sessions removed for good.
    pub purged: usize,
    /// Retry windows whose salt was erased.
    pub windows: usize,
    /// Events past their retention.
    pub events: usize,
    /// Revoked tokens that have expired by themselves, a retention ago.
    pub tokens: usize,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// What a backend holds, and what it has done since it was opened. A backend that does not know a thing tells
/// nothing of it.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Sessions that live: [`Session::counts_as_live`].
    pub live: u64,
    /// The same by client; nobody has none.
    pub live_by_client: BTreeMap<ClientId, u64>,
    /// Sessions that are kept, dead ones that explain themselves included.
    pub sessions: u64,
    /// Events that are kept.
    pub events: u64,
    /// Bytes of each table, as of the last look.
    pub table_bytes: BTreeMap<&'static str, u64>,
    /// Bytes of the file.
    pub file_bytes: Option<u64>,
    /// Bytes that the file system has left.
    pub free_bytes: Option<u64>,
    /// When the sweep is to look at the first session.
    pub due: Option<Timestamp>,
    /// Commits to the disk.
    pub commits: u64,
    /// Decisions run, in all batches together.
    pub decisions: u64,
    /// Batches that could not be committed; the first is the last.
    pub failures: u64,
    /// How many decisions each commit had.
    pub batches: Distribution,
    /// How long each commit took, in nanoseconds.
    pub commit_nanos: Distribution,
    /// Writes that wait now.
    pub waiting: u64,
    /// How many may; revocations find places beyond.
    pub places: u64,
    /// Writes that found no place: ordinary ones, revocations.
    pub busy: [u64; 2],
    /// Events written.
    pub told: Vec<(EventKind, u64)>,
    /// Sessions ended.
    pub ended: Vec<(EndReason, u64)>,
}

/// A backend.
///
/// Decisions run on the stored state in one transaction, which keeps whatever they leave behind, together
/// with the events they return, even when their answer is a refusal. They see the cut-offs of the same
/// transaction. They may run more than once, and so must be pure, and they must not panic.
pub trait Store: Send + Sync + 'static {
    /// Runs `decide` on a session. `None` if there is no such session.
    fn update<T: Send + 'static>(
        &self,
        id: SessionId,
        lane: Lane,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> impl Future<Output = Result<Option<T>>> + Send;

    /// Opens a session. `None` if its subject has all it may have. Sessions evicted for it end in the same
    /// transaction.
    fn open(&self, opening: Opening) -> impl Future<Output = Result<Option<Session>>> + Send;

    /// Runs `decide` on every session of a subject, and writes `closing` after their events if `decide` ever
    /// answered true. Answers how often it did.
    fn update_subject(
        &self,
        subject: Subject,
        closing: Event,
        decide: impl Fn(&mut Session, &CutOffs) -> Decision<bool> + Send + 'static,
    ) -> impl Future<Output = Result<usize>> + Send;

    /// Ends everything issued so far, by a cut-off at the position of `event`. Costs the same however many
    /// sessions there are.
    fn end_everything(&self, event: Event) -> impl Future<Output = Result<()>> + Send;

    /// Creates, changes or deletes a client: `decide` sees `None` if there is none, and leaves `None` to
    /// delete, which makes a cut-off at the position of its first event.
    fn update_client<T: Send + 'static>(
        &self,
        id: ClientId,
        decide: impl Fn(&mut Option<Client>, &CutOffs) -> Decision<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Changes the signing keys.
    fn update_keys<T: Send + 'static>(
        &self,
        decide: impl Fn(&mut Vec<KeyRecord>) -> Decision<T> + Send + 'static,
    ) -> impl Future<Output = Result<T>> + Send;

    /// Revokes an access token that has no session, and writes `event`. False if it was revoked already; then
    /// nothing is written.
    fn revoke_token(&self, token: RevokedToken, event: Event) -> impl Future<Output = Result<bool>> + Send;

    /// Removes what has had its time: bounded, and called again while there is `more`. A session is looked at
    /// when its deadline has passed or it was ended; one that only a cut-off ended waits for its deadline, so
    /// that a cut-off touches no session.
    fn sweep(&self, sweep: Sweep) -> impl Future<Output = Result<Swept>> + Send;

    /// The session: shared, because a backend may remember it for as long as it is what a read would find.
    fn session(&self, id: SessionId) -> impl Future<Output = Result<Option<Arc<Session>>>> + Send;

    /// The session's private data.
    fn data(&self, id: SessionId) -> impl Future<Output = Result<Option<Data>>> + Send;

    /// At most `limit` sessions after `after` in the order of their ids: of one subject, or all.
    fn sessions(
        &self,
        subject: Option<Subject>,
        after: Option<SessionId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Session>>> + Send;

    /// The signing keys.
    fn keys(&self) -> impl Future<Output = Result<Vec<KeyRecord>>> + Send;

    /// Whether this token without session was revoked.
    fn is_revoked(&self, token: RevokedToken) -> impl Future<Output = Result<bool>> + Send;

    /// At most `limit` events after `after`, in order.
    fn events(
        &self,
        after: Position,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Position, Event)>>> + Send;

    /// The clients and cut-offs of the last commit. Cheap: no I/O.
    fn registry(&self) -> Arc<Registry>;

    /// The position of the last committed event. Read it before reading state: then the state is at least as
    /// new.
    fn head(&self) -> Position;

    /// Waits until the last committed event is later than `position`. Costs nothing while it waits.
    fn head_after(&self, position: Position) -> impl Future<Output = ()> + Send;

    /// How many sessions of each client live ([`Session::counts_as_live`]); nobody has none. Costs the same
    /// however many there are.
    fn live(&self) -> impl Future<Output = Result<BTreeMap<ClientId, u64>>> + Send;

    /// What it holds and has done. Costs the same however many sessions there are.
    fn figures(&self) -> Result<Figures>;

    /// Whether the store can commit.
    fn ready(&self) -> Result<()>;

    /// One state of the store as a backup (its form is in [`backup`]), in pieces as they are taken. Writers
    /// go on. A store that is kept nowhere has none.
    fn backup(&self, made_at: Timestamp) -> Result<Pieces<Bytes>>;

    /// Holds every record and index of one state of the store against each other, and tells as it goes on.
    /// Writers go on.
    fn check(&self, now: Timestamp) -> Result<Pieces<check::Note>>;

    /// What is in the store, and how large it is.
    fn stats(&self) -> impl Future<Output = Result<Stats>> + Send;
}

/// What takes long comes in pieces: few are ready ahead of who takes them, and nothing goes on when nobody
/// does any more. The last piece is an error, or `None`, which says that there is no more; without either it
/// did not come to its end.
pub type Pieces<T> = tokio::sync::mpsc::Receiver<Result<Option<T>>>;

/// What is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each table with how many entries it has, and how many bytes of the file it takes.
    pub tables: Vec<(&'static str, u64, u64)>,
    /// The file's length, and how much of its file system is free; of a store that is in a file of this
    /// machine.
    pub file: Option<FileStats>,
    /// The first event that is kept, and when it happened.
    pub oldest_event: Option<(Position, Timestamp)>,
    /// The last one.
    pub newest_event: Option<(Position, Timestamp)>,
    /// The position of the last event ever written.
    pub head: Position,
    /// The number of the epoch; each restore begins one.
    pub epoch: u32,
}

/// The file of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStats {
    /// How long it is.
    pub bytes: u64,
    /// How much more its file system takes.
    pub disk_free_bytes: u64,
}
