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

use super::metrics::{Connections, Open};

/// The largest head of a request, and the most of a body that is buffered before it is read.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long an answer may lie unread at the peer before its connection is given up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;
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
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX)?;
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
                tokio::spawn(connection::<L, E>(
                    raw,
                    addresses,
                    Arc::clone(&endpoint),
                    channel,
                    limits,
                    stop.clone(),
                    (place, connections.open()),
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
    _place: (OwnedSemaphorePermit, Open),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::{Mutex, Notify, mpsc};

    use super::super::wire::tests::wire;
    use super::*;

    const LIMITS: ConnectionLimits =
        ConnectionLimits { connections_max: 2, header_timeout: Duration::from_secs(10), drain_timeout: Duration::from_secs(5) };

    /// Sends `request` as it is, and reads until the other end closes.
    async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    const GET: &str = "GET /v1/things/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

    #[tokio::test]
    async fn a_request_over_tcp_passes_the_whole_stack_and_the_stop_ends_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));

        let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("cache-control: no-store"), "{answer}");
        assert!(answer.ends_with("\"a None Public\""), "{answer}");

        let head = "HEAD /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), head).await;
        let length: usize = answer.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse().unwrap();
        assert!(length > 1000 && answer.ends_with("\r\n\r\n"), "{answer}");

        // An idle connection does not hold up the stop.
        let idle = TcpStream::connect(address).await.unwrap();
        stop.send(true).unwrap();
        server.await.unwrap();
        drop(idle);
    }

    #[tokio::test]
    async fn a_request_over_the_admin_socket_is_marked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, Arc::new(wire()), Channel::AdminSocket, LIMITS, Arc::default(), stopping));
        let answer = exchange(&mut UnixStream::connect(&path).await.unwrap(), GET).await;
        assert!(answer.ends_with("\"a None AdminSocket\""), "{answer}");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_413_and_the_connection_ends_announced_or_not_int_19() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));
        let head = "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        let body = "a".repeat(3000);
        for request in [
            format!("{head}Content-Length: 3000\r\n\r\n{body}"),
            format!("{head}Content-Length: 3000\r\nExpect: 100-continue\r\n\r\n"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\nbb8\r\n{body}\r\n0\r\n\r\n"),
        ] {
            let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), &request).await;
            assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("connection: close"), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_panic_costs_one_request_and_not_the_connection() {
        let (mut client, listener) = memory();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));
        let panicking =
            "POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"name\":\"panic\"}";
        let answer = exchange(&mut client.connect().await, &format!("{panicking}{GET}")).await;
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("HTTP/1.1 200 OK"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_arrive_ends_its_connection() {
        let (mut client, listener) = memory();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));
        let begun = tokio::time::Instant::now();
        exchange(&mut client.connect().await, "GET /v1/things/a HTTP/1.1\r\nHos").await;
        assert_eq!(begun.elapsed().as_secs(), LIMITS.header_timeout.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_408() {
        let (mut client, listener) = memory();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));
        let answer = exchange(&mut client.connect().await, "POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{").await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn connections_over_the_cap_wait_until_one_ends() {
        let (mut client, listener) = memory();
        let accepted = Arc::clone(&listener.accepted);
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));
        let first = client.connect().await;
        let _second = client.connect().await;
        let mut third = client.connect().await;
        settle().await;
        assert_eq!(accepted.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(exchange(&mut third, GET).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test(start_paused = true)]
    async fn running_out_of_descriptors_does_not_spin() {
        let (_client, mut listener) = memory();
        listener.failing = true;
        let accepted = Arc::clone(&listener.accepted);
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::new(wire()), Channel::Public, LIMITS, Arc::default(), stopping));
        // The clock stands still except for this: ten seconds in which nothing else happens.
        let _ = timeout(Duration::from_secs(10), std::future::pending::<()>()).await;
        let attempts = accepted.load(Ordering::Relaxed);
        assert!((2..=20).contains(&attempts), "{attempts} attempts in ten seconds");
        stop.send(true).unwrap();
        server.await.unwrap();
    }

    /// An endpoint that answers when it is told to.
    struct Waiting {
        begun: Notify,
        go: Notify,
    }

    impl Endpoint for Waiting {
        type Output = Response;
        async fn call(&self, _: Request) -> poem::Result<Response> {
            self.begun.notify_one();
            self.go.notified().await;
            Ok("done".into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_begun_request_is_answered_after_the_stop() {
        let (mut client, listener) = memory();
        let endpoint = Arc::new(Waiting { begun: Notify::new(), go: Notify::new() });
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::clone(&endpoint), Channel::Public, LIMITS, Arc::default(), stopping));
        let mut stream = client.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        endpoint.begun.notified().await;
        stop.send(true).unwrap();
        settle().await;
        assert!(!server.is_finished());
        let stopped_at = tokio::time::Instant::now();
        endpoint.go.notify_one();
        assert!(exchange(&mut stream, "").await.ends_with("done"), "and the connection is closed after it");
        server.await.unwrap();
        assert_eq!(stopped_at.elapsed(), Duration::ZERO, "nothing waits for the deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_does_not_hold_up_the_stop_for_ever() {
        let (mut client, listener) = memory();
        let endpoint = Arc::new(Waiting { begun: Notify::new(), go: Notify::new() });
        let (stop, stopping) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::clone(&endpoint), Channel::Public, LIMITS, Arc::default(), stopping));
        let mut stream = client.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        endpoint.begun.notified().await;
        let stopped_at = tokio::time::Instant::now();
        drop(stop);
        server.await.unwrap();
        assert_eq!(stopped_at.elapsed().as_secs(), LIMITS.drain_timeout.as_secs());
    }

    /// Connections without sockets, so that time can stand still.
    struct Memory {
        waiting: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
        accepted: Arc<AtomicUsize>,
        failing: bool,
    }

    struct MemoryClient(mpsc::UnboundedSender<DuplexStream>);

    fn memory() -> (MemoryClient, Memory) {
        let (sender, waiting) = mpsc::unbounded_channel();
        (MemoryClient(sender), Memory { waiting: Mutex::new(waiting), accepted: Arc::default(), failing: false })
    }

    impl MemoryClient {
        async fn connect(&mut self) -> DuplexStream {
            let (near, far) = duplex(64 * 1024);
            self.0.send(far).unwrap();
            near
        }
    }

    impl Listener for Memory {
        type Raw = DuplexStream;
        type Io = DuplexStream;

        async fn accept(&self) -> io::Result<(DuplexStream, Addr)> {
            if self.failing {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
            }
            let Some(stream) = self.waiting.lock().await.recv().await else { return std::future::pending().await };
            self.accepted.fetch_add(1, Ordering::Relaxed);
            Ok((stream, Addr::default()))
        }

        async fn prepare(stream: DuplexStream) -> io::Result<DuplexStream> {
            Ok(stream)
        }

        fn address(&self) -> Addr {
            Addr::default()
        }
    }

    /// Lets every other task do what it can do without time passing.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}
