//! The accept loop: connections in, requests to the endpoint, and a stop that lets begun requests finish.
//!
//! Ours and not poem's, which has no limit on how long a header may take, spins when descriptors run out, and
//! leaves `TCP_NODELAY` off.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Endpoint, FromRequest, Request, RequestBody, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use self::patience::{Patience, Phase, Pulse, Watched};
use crate::http::metrics::{Connections, Open};
use crate::http::net::listener::Listener;

mod patience;
#[cfg(test)]
mod tests;

/// The largest head of a request, and the most of a body that is buffered before it is read.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after the first failure to accept, doubled at each further one.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Which way a request came. A request that carries no mark is public.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The configured address: whoever can reach it.
    #[default]
    Public,
    /// The admin socket, or the command's own process: an administrator by file permission.
    AdminSocket,
}

impl<'a> FromRequest<'a> for Channel {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.extensions().get::<Self>().copied().unwrap_or_default())
    }
}

/// The limits of one listener.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many connections may be open; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long a request's head may take from its first byte; the first one of a connection from the
    /// beginning, after a handshake that may take as long.
    pub header_timeout: Duration,
    /// How long a connection may idle between two requests. While most places are taken it is
    /// `header_timeout`, where that is shorter.
    pub idle_timeout: Duration,
    /// How long begun requests may take after the stop.
    pub drain_timeout: Duration,
}

/// Serves `listener` until `stop` becomes true, or its sender is gone. Returns when every connection is
/// closed: idle ones at once, begun requests when they are answered, all the rest after `drain_timeout`.
pub async fn serve<L, E>(
    listener: L,
    endpoint: Arc<E>,
    channel: Channel,
    limits: ConnectionLimits,
    connections: Arc<Connections>,
    stop: watch::Receiver<bool>,
) where
    L: Listener,
    E: Endpoint<Output = Response> + 'static,
{
    let connections_max =
        u32::try_from(limits.connections_max).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
    let places = Arc::new(Semaphore::new(connections_max as usize));
    let (local, scheme) = (LocalAddr(listener.address()), listener.scheme());
    let mut back_off = BACK_OFF_MIN;
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = stopped(stop.clone()) => break,
            next = next => next,
        };
        match accepted {
            Ok((raw, peer)) => {
                back_off = BACK_OFF_MIN;
                let origin = (local.clone(), RemoteAddr(peer), scheme.clone());
                let place = (place, connections.open());
                tokio::spawn(connection::<L, E>(
                    raw,
                    origin,
                    Arc::clone(&endpoint),
                    channel,
                    limits,
                    stop.clone(),
                    place,
                ));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, wait_ms = back_off.as_millis(), "cannot accept connections");
                tokio::select! {
                    () = stopped(stop.clone()) => break,
                    () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_MAX),
                }
            }
        }
    }
    drop(listener);
    // Every place is free again when every connection is gone.
    let _ = places.acquire_many(connections_max).await;
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone: nobody is left who could say stop, or go on.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Whether the failure is over with the connection that had it. All others (descriptors, memory) last, and
/// retrying at once would spin.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

async fn connection<L: Listener, E: Endpoint<Output = Response> + 'static>(
    raw: L::Raw,
    (local, peer, scheme): (LocalAddr, RemoteAddr, Scheme),
    endpoint: Arc<E>,
    channel: Channel,
    limits: ConnectionLimits,
    stop: watch::Receiver<bool>,
    (place, _open): (OwnedSemaphorePermit, Open),
) {
    let prepared = tokio::select! {
        prepared = timeout(limits.header_timeout, L::prepare(raw)) => prepared,
        () = stopped(stop.clone()) => return,
    };
    let Ok(Ok(io)) = prepared else { return };
    let pulse = Arc::new(Pulse::default());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        pulse.enter(Phase::Request);
        let mut request: Request = (request, local.clone(), peer.clone(), scheme.clone()).into();
        if channel != Channel::Public {
            request.extensions_mut().insert(channel);
        }
        let (endpoint, pulse) = (&endpoint, &pulse);
        async move {
            let response = endpoint.get_response(request).await.into();
            pulse.enter(Phase::Idle);
            Ok::<hyper::Response<_>, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    let mut serving =
        pin!(http.serve_connection(TokioIo::new(Watched::new(io, Arc::clone(&pulse))), service));
    let mut patience =
        Patience::new(Arc::clone(&pulse), limits.header_timeout, || limits.idle_timeout_now(&place));
    // How a connection ends (reset, timeout, bad HTTP) is its peer's affair; answers were given where there
    // was somebody to hear them.
    tokio::select! {
        () = attended(serving.as_mut(), &mut patience) => {}
        () = stopped(stop) => {
            serving.as_mut().graceful_shutdown();
            let _ = timeout(limits.drain_timeout, attended(serving, &mut patience)).await;
        }
    }
}

/// Runs a connection to its end, or to the end of our patience with it.
async fn attended<C: Future, F: Fn() -> Duration>(mut serving: Pin<&mut C>, patience: &mut Patience<F>) {
    std::future::poll_fn(|context| match serving.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => patience.poll(context),
    })
    .await;
}

impl ConnectionLimits {
    /// Who idles makes room when there is little: three quarters of the places may be taken before that.
    fn idle_timeout_now(&self, place: &OwnedSemaphorePermit) -> Duration {
        let is_crowded = place.semaphore().available_permits() <= self.connections_max / 4;
        if is_crowded { self.idle_timeout.min(self.header_timeout) } else { self.idle_timeout }
    }
}
