//! Bodies that are made while they are sent: piece by piece, at no more than a given rate, and cut short when what makes them fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::engine::upkeep::Walk;
use crate::store::StoreError;

/// The body of an answer to a walk over the store.
struct Walking<T, F> {
    walk: Walk<T>,
    write: F,
    pace: Option<Pace>,
}

/// When the next piece may go.
struct Pace {
    rate: u64,
    next: Pin<Box<Sleep>>,
}

/// A body of what `write` makes of each piece.
pub fn body<T, F>(walk: Walk<T>, write: F) -> poem::Body
where
    T: Send + 'static,
    F: FnMut(T) -> Bytes + Send + Sync + Unpin + 'static,
{
    let pace = walk.rate.map(|rate| Pace { rate, next: Box::pin(sleep_until(Instant::now())) });
    Walking { walk, write, pace }.boxed().into()
}

impl<T, F: FnMut(T) -> Bytes + Unpin> Body for Walking<T, F> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(pace) = &mut self.pace {
            ready!(pace.next.as_mut().poll(context));
        }
        match ready!(self.walk.pieces.poll_recv(context)) {
            Some(Ok(piece)) => {
                let bytes = (self.write)(piece);
                if let Some(pace) = &mut self.pace {
                    pace.sent(bytes.len());
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => {
                if !matches!(error, StoreError::Unavailable(_)) {
                    tracing::error!(%error, "a walk over the store broke off");
                }
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            None => Poll::Ready(None),
        }
    }
}

impl Pace {
    fn sent(&mut self, bytes: usize) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        // Time that was lost is not made up for.
        let next = self.next.deadline().max(Instant::now()) + takes;
        self.next.as_mut().reset(next);
    }
}
