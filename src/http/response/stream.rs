//! Bodies that are made while they are sent: piece by piece, at no more than a given rate, and cut short when
//! what makes them fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::engine::upkeep::StoreScan;
use crate::store::StoreError;

/// The body of an answer to a walk over the store.
struct Walking<T, F> {
    walk: StoreScan<T>,
    write: F,
    pace: Option<Pace>,
}

/// When the next piece may go.
struct Pace {
    rate: u64,
    next: Pin<Box<Sleep>>,
}

/// A body of what `write` makes of each piece.
pub fn body<T, F>(walk: StoreScan<T>, write: F) -> poem::Body
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

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(pace) = &mut self.pace {
            ready!(pace.next.as_mut().poll(context));
        }
        match ready!(self.walk.pieces.poll_recv(context)) {
            Some(Ok(None)) => Poll::Ready(None),
            Some(Ok(Some(piece))) => {
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
            // A clean end would pass for the whole.
            None => Poll::Ready(Some(Err(io::Error::other("it did not come to its end")))),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    async fn read(
        pieces: impl IntoIterator<Item = crate::store::Result<Option<&'static str>>>,
    ) -> Result<Vec<u8>, io::Error> {
        let (sender, receiver) = mpsc::channel(8);
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        drop(sender);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let walk = StoreScan {
            pieces: receiver,
            rate: None,
            at: crate::domain::time::Timestamp::from_millis(0),
            place,
        };
        let body: http_body_util::combinators::BoxBody<Bytes, io::Error> =
            body(walk, |piece: &'static str| Bytes::from(piece)).into();
        Ok(body.collect().await?.to_bytes().to_vec())
    }

    /// Only what says that it is whole ends like it: everything else breaks the answer off, which clients
    /// notice.
    #[tokio::test]
    async fn a_body_ends_cleanly_only_after_the_last_piece() {
        assert_eq!(read([Ok(Some("a")), Ok(Some("b")), Ok(None)]).await.unwrap(), b"ab");
        assert!(read([Ok(Some("a")), Err(StoreError::Failed("a page".into()))]).await.is_err());
        assert!(read([Ok(Some("a"))]).await.is_err());
    }
}
