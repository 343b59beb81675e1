//! Where a walk over the whole database puts its pieces: to a receiver that may be slower, or to a function.

use std::future::ready;
use std::time::Duration;

use tokio::sync::mpsc::{Sender, channel};

use crate::store::{Pieces, Result, StoreError};

/// How many pieces are prepared ahead.
const AHEAD: usize = 4;
/// After this time without progress a receiver is given up: its transaction keeps old rows from being
/// removed.
const STALLED: Duration = Duration::from_secs(120);

pub(super) trait Outlet<T> {
    /// Hands over a piece. An error ends the walk.
    fn give(&mut self, piece: T) -> impl Future<Output = Result<()>> + Send;
}

/// To a receiver.
pub(super) struct ToReceiver<T> {
    sender: Sender<Result<Option<T>>>,
}

impl<T: Send> Outlet<T> for ToReceiver<T> {
    fn give(&mut self, piece: T) -> impl Future<Output = Result<()>> + Send {
        send(&self.sender, Ok(Some(piece)))
    }
}

/// To a function.
pub(super) struct ToFunction<F>(pub F);

impl<T, F: FnMut(T) -> Result<()>> Outlet<T> for ToFunction<F> {
    fn give(&mut self, piece: T) -> impl Future<Output = Result<()>> + Send {
        ready((self.0)(piece))
    }
}

/// Runs `walk` in a task of its own, which ends when the receiver is dropped or stalled.
pub(super) fn pieces<T: Send + 'static, F>(walk: impl FnOnce(ToReceiver<T>) -> F) -> Pieces<T>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, receiver) = channel(AHEAD);
    let walking = walk(ToReceiver { sender: sender.clone() });
    tokio::spawn(async move {
        let done = walking.await.map(|()| None);
        let _ = send(&sender, done).await;
    });
    receiver
}

async fn send<T>(sender: &Sender<Result<Option<T>>>, piece: Result<Option<T>>) -> Result<()> {
    let sent = sender.send_timeout(piece, STALLED).await;
    sent.map_err(|_| StoreError::Unavailable("the receiver is gone".into()))
}
