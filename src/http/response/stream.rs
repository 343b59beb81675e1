//! Bodies that are generated while they are sent, at a limited rate, and cut off if the generation fails.

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

/// The body of a scan of the store.
struct Walking<T, F> {
    scan: StoreScan<T>,
    write: F,
    pace: Option<Pace>,
}

/// The rate in bytes per second, and when the next piece may be sent.
struct Pace {
    rate: u64,
    next: Pin<Box<Sleep>>,
}

/// A body of the pieces of `scan`, as `write` serialises them.
pub fn body<T, F>(scan: StoreScan<T>, write: F) -> poem::Body
where
    T: Send + 'static,
    F: FnMut(T) -> Bytes + Send + Sync + Unpin + 'static,
{
    let pace = scan.rate.map(|rate| Pace { rate, next: Box::pin(sleep_until(Instant::now())) });
    Walking { scan, write, pace }.boxed().into()
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
        match ready!(self.scan.pieces.poll_recv(context)) {
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
                    tracing::error!(%error, "reading the store for an answer failed");
                }
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            // A normal end would look complete to the client.
            None => Poll::Ready(Some(Err(io::Error::other("the scan ended early")))),
        }
    }
}

impl Pace {
    fn sent(&mut self, bytes: usize) {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        // A delay is not compensated by a burst.
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
        let scan = StoreScan {
            pieces: receiver,
            rate: None,
            at: crate::domain::time::Timestamp::from_millis(0),
            place,
        };
        let body: http_body_util::combinators::BoxBody<Bytes, io::Error> =
            body(scan, |piece: &'static str| Bytes::from(piece)).into();
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
