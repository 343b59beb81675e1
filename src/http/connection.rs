//! The accept loop: connections in, requests to the endpoint, and a stop that lets begun requests finish.
//!
//! Ours and not poem's, which has no limit on how long a header may take, spins when descriptors run out, and leaves `TCP_NODELAY` off.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, FromRequest, Request, RequestBody, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

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
    /// How long a request's head may take, from the first moment that one could begin: so also how long a connection may idle.
    pub header_timeout: Duration,
    /// How long begun requests may take after the stop.
    pub drain_timeout: Duration,
}

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// A connection as it is accepted.
    type Raw: Send + 'static;
    /// A connection ready to speak HTTP.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection and who is at its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, Addr)>> + Send;

    /// Makes a connection ready, in its own task, within `header_timeout`: the place for a handshake.
    fn prepare(raw: Self::Raw) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Where it listens.
    fn address(&self) -> Addr;
}

impl Listener for TcpListener {
    type Raw = TcpStream;
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Addr)> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((stream, Addr::SocketAddr(peer)))
    }

    async fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
        stream.set_nodelay(true)?;
        // A peer that takes no answer is let go: hyper has no limit on writing.
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&stream, 30_000)?;
        Ok(stream)
    }

    fn address(&self) -> Addr {
        self.local_addr().map_or_else(|_| Addr::default(), Addr::SocketAddr)
    }
}

impl Listener for UnixListener {
    type Raw = UnixStream;
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Addr)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, Addr::custom("unix", "")))
    }

    async fn prepare(stream: UnixStream) -> io::Result<UnixStream> {
        Ok(stream)
    }

    fn address(&self) -> Addr {
        Addr::custom("unix", "")
    }
}

/// Serves `listener` until `stop` becomes true, or its sender is gone. Returns when every connection is closed: idle ones at once, begun
/// requests when they are answered, all the rest after `drain_timeout`.
pub async fn serve<L, E>(listener: L, endpoint: Arc<E>, channel: Channel, limits: ConnectionLimits, stop: watch::Receiver<bool>)
where
    L: Listener,
    E: Endpoint<Output = Response> + 'static,
{
    let connections_max = u32::try_from(limits.connections_max).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
    let places = Arc::new(Semaphore::new(connections_max as usize));
    let local = LocalAddr(listener.address());
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
                let addresses = (local.clone(), RemoteAddr(peer));
                tokio::spawn(connection::<L, E>(raw, addresses, Arc::clone(&endpoint), channel, limits, stop.clone(), place));
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

/// Whether the failure is over with the connection that had it. All others (descriptors, memory) last, and retrying at once would spin.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection<L: Listener, E: Endpoint<Output = Response> + 'static>(
    raw: L::Raw,
    (local, peer): (LocalAddr, RemoteAddr),
    endpoint: Arc<E>,
    channel: Channel,
    limits: ConnectionLimits,
    stop: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let Ok(Ok(io)) = timeout(limits.header_timeout, L::prepare(raw)).await else { return };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let mut request: Request = (request, local.clone(), peer.clone(), Scheme::HTTP).into();
        if channel != Channel::Public {
            request.extensions_mut().insert(channel);
        }
        let endpoint = &endpoint;
        async move { Ok::<hyper::Response<_>, Infallible>(endpoint.get_response(request).await.into()) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(BUFFER_BYTES_MAX);
    let mut serving = pin!(http.serve_connection(TokioIo::new(io), service));
    // How a connection ends (reset, timeout, bad HTTP) is its peer's affair; answers were given where there was somebody to hear them.
    tokio::select! {
        _ = serving.as_mut() => {}
        () = stopped(stop) => {
            serving.as_mut().graceful_shutdown();
            let _ = timeout(limits.drain_timeout, serving).await;
        }
    }
}
