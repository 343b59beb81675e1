//! Connections: accepting, TLS, deadlines, and the address that a request came from.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

pub mod budget;
pub mod channel;
pub(crate) mod connection;
mod host;
pub(crate) mod listener;
pub(crate) mod open_connections;
pub(crate) mod peer;

/// The output of a future that is ready when it is polled once.
pub(crate) async fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
