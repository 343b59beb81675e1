//! How long a connection may keep us waiting: not long for a head that was begun, longer between two
//! requests.
//!
//! Ours and not hyper's, whose one timer for a head also runs while there is none, and is set anew for every
//! request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// A head is arriving, or the first one is awaited.
    Head = 0,
    /// A request is being answered; it has limits of its own.
    Request = 1,
    /// An answer is on its way, or the next request is awaited.
    Idle = 2,
}

/// What a connection's parts tell each other. All of them run in one task.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    phase: AtomicU8,
    beats: AtomicU32,
}

impl Pulse {
    /// Begins a phase, or the same one again: its time begins anew.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.beats.store(self.beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::Relaxed) == phase as u8
    }
}

/// A connection that tells what moves on it.
#[derive(Debug)]
pub(crate) struct Watched<I> {
    io: I,
    pulse: Arc<Pulse>,
}

impl<I> Watched<I> {
    pub fn new(io: I, pulse: Arc<Pulse>) -> Self {
        Self { io, pulse }
    }

    /// An answer that is being taken is not idleness.
    fn written(&self, count: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(count, Poll::Ready(Ok(1..))) && self.pulse.is(Phase::Idle) {
            self.pulse.enter(Phase::Idle);
        }
        count
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        if buffer.filled().len() > before && self.pulse.is(Phase::Idle) {
            self.pulse.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
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

/// The time that is left. Its timer is only ever moved to an earlier time, or when it has run out: under load
/// it is not touched.
pub(crate) struct Patience<F> {
    pulse: Arc<Pulse>,
    header_timeout: Duration,
    idle_timeout: F,
    beats: u32,
    deadline: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    is_set: bool,
}

impl<F: Fn() -> Duration> Patience<F> {
    /// Begins to wait for the first head. `idle_timeout` is asked whenever a connection becomes idle.
    pub fn new(pulse: Arc<Pulse>, header_timeout: Duration, idle_timeout: F) -> Self {
        let deadline = Instant::now() + header_timeout;
        let (beats, timer) = (pulse.beats.load(Ordering::Relaxed), Box::pin(sleep_until(deadline)));
        Self { pulse, header_timeout, idle_timeout, beats, deadline: Some(deadline), timer, is_set: false }
    }

    /// Ready when it has come to an end. To be asked after everything else had its turn.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let beats = self.pulse.beats.load(Ordering::Relaxed);
        if beats != self.beats {
            self.beats = beats;
            self.deadline = self.limit().map(|limit| Instant::now() + limit);
        }
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if deadline < self.timer.deadline() {
            self.set(deadline);
        }
        // A timer that is set wakes this task: there is no need to ask it each time.
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
        if self.pulse.is(Phase::Request) {
            None
        } else if self.pulse.is(Phase::Head) {
            Some(self.header_timeout)
        } else {
            Some((self.idle_timeout)())
        }
    }
}
