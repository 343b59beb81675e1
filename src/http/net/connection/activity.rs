//! The deadlines of a connection: a short one for a head once it has started, a longer one between requests.
//!
//! hyper has one timer for a head. It also runs while no head is arriving, and restarts with every request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::net::budget::Member;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// A head is arriving, or the first head is awaited.
    Head = 0,
    /// A request is being answered; the pipeline has its own limits for that.
    Request = 1,
    /// An answer is being sent, or the next request is awaited.
    Idle = 2,
}

/// The current phase of a connection, how often a phase was entered, and what its request holds. Used by one
/// task only.
pub(crate) struct Activity {
    phase: AtomicU8,
    entries: AtomicU32,
    member: Member,
}

impl Activity {
    /// Before the first head.
    pub fn new(member: Member) -> Self {
        Self { phase: AtomicU8::new(Phase::Head as u8), entries: AtomicU32::new(0), member }
    }

    /// The request has arrived completely.
    pub fn complete(&self) {
        self.member.complete();
    }

    /// Its answer is ready: what it held is released.
    pub fn answered(&self) {
        self.member.release();
        self.enter(Phase::Idle);
    }

    /// Enters a phase, or the same one again. Either restarts the deadline.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.entries.store(self.entries().wrapping_add(1), Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }

    fn entries(&self) -> u32 {
        self.entries.load(Ordering::Relaxed)
    }
}

/// A stream that records what is read and written as activity.
pub(crate) struct Tracked<I> {
    io: I,
    activity: Arc<Activity>,
}

impl<I> Tracked<I> {
    pub fn new(io: I, activity: Arc<Activity>) -> Self {
        Self { io, activity }
    }

    /// A peer that is reading an answer is not idle.
    fn written(&self, count: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(count, Poll::Ready(Ok(1..))) && self.activity.is(Phase::Idle) {
            self.activity.enter(Phase::Idle);
        }
        count
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Tracked<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let received = buffer.filled().len() - before;
        if received > 0 {
            if self.activity.is(Phase::Idle) {
                self.activity.enter(Phase::Head);
            }
            self.activity.member.add(received);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Tracked<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = Pin::new(&mut self.io).poll_write(context, bytes);
        self.written(count)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.written(count)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// The time by which a connection must have entered its next phase. The timer is moved only to an earlier
/// time, or after it has elapsed: under load it is never moved.
pub(crate) struct Deadline<F> {
    activity: Arc<Activity>,
    header_timeout: Duration,
    idle_timeout: F,
    entries: u32,
    deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    is_set: bool,
}

impl<F: Fn() -> Duration> Deadline<F> {
    /// Starts the time of the first head. `idle_timeout` is called each time the connection becomes idle.
    pub fn new(activity: Arc<Activity>, header_timeout: Duration, idle_timeout: F) -> Self {
        let deadline = Instant::now() + header_timeout;
        let (entries, timer) = (activity.entries(), Box::pin(sleep_until(deadline)));
        Self {
            activity,
            header_timeout,
            idle_timeout,
            entries,
            deadline: Some(deadline),
            timer,
            is_set: false,
        }
    }

    /// Ready when the deadline has passed, or when the memory budget closes the connection. Must be polled
    /// after everything else of the connection.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.activity.member.poll_closed(context).is_ready() {
            return Poll::Ready(());
        }
        let entries = self.activity.entries();
        if entries != self.entries {
            self.entries = entries;
            self.deadline = self.limit().map(|limit| Instant::now() + limit);
        }
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if deadline < self.timer.deadline() {
            self.set(deadline);
        }
        // A timer that is set wakes this task, so it need not be polled each time.
        while !self.is_set || self.timer.is_elapsed() {
            if self.timer.as_mut().poll(context).is_pending() {
                self.is_set = true;
            } else if self.timer.deadline() >= deadline {
                return Poll::Ready(());
            } else {
                self.set(deadline);
            }
        }
        Poll::Pending
    }

    fn set(&mut self, deadline: Instant) {
        self.timer.as_mut().reset(deadline);
        self.is_set = false;
    }

    fn limit(&self) -> Option<Duration> {
        if self.activity.is(Phase::Request) {
            None
        } else if self.activity.is(Phase::Head) {
            Some(self.header_timeout)
        } else {
            Some((self.idle_timeout)())
        }
    }
}
