//! The accept loop: limits, the cap on connections, and the stop.

use std::sync::atomic::{AtomicUsize, Ordering};

use poem::{Addr, Endpoint};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Mutex, Notify, mpsc};

use super::*;
use crate::http::wire::tests::wire;
use crate::token::text_names::TextNames;

const LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: 2,
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(75),
    close_delay: Duration::from_millis(300),
    drain_timeout: Duration::from_secs(5),
};

impl<E: Endpoint<Output = Response> + 'static> Answers for E {
    async fn answer(&self, request: Request, _: &LastCredentials) -> Response {
        self.get_response(request).await
    }

    fn no_credentials(&self) -> LastCredentials {
        LastCredentials::new(TextNames::new(&[7; 16]))
    }
}

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
    let (stop, stopping) = watch::channel(Stage::Serving);
    let server = tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));

    let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), GET).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("cache-control: no-store"),
        "{answer}"
    );
    assert!(answer.ends_with("\"a None Public\""), "{answer}");

    let head = "HEAD /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), head).await;
    let length: usize =
        answer.split_once("content-length: ").unwrap().1.split("\r\n").next().unwrap().parse().unwrap();
    assert!(length > 1000 && answer.ends_with("\r\n\r\n"), "{answer}");

    // An idle connection does not delay the stop.
    let idle = TcpStream::connect(address).await.unwrap();
    stop.send(Stage::Stopping).unwrap();
    server.await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_request_over_the_admin_socket_is_marked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::AdminSocket,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let answer = exchange(&mut UnixStream::connect(&path).await.unwrap(), GET).await;
    assert!(answer.ends_with("\"a None AdminSocket\""), "{answer}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_the_connection_ends_announced_or_not_int_19() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let head =
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
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
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let panicking = "POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                     Content-Length: 16\r\n\r\n{\"name\":\"panic\"}";
    let answer = exchange(&mut client.connect().await, &format!("{panicking}{GET}")).await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_closes_its_connection() {
    let (mut client, listener) = memory();
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let started_at = tokio::time::Instant::now();
    exchange(&mut client.connect().await, "GET /v1/things/a HTTP/1.1\r\nHos").await;
    assert_eq!(started_at.elapsed().as_secs(), LIMITS.header_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_408() {
    let (mut client, listener) = memory();
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let answer = exchange(
        &mut client.connect().await,
        "POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("connection: close"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn connections_over_the_cap_wait_until_one_ends() {
    let (mut client, listener) = memory();
    let accepted = Arc::clone(&listener.accepted);
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
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
    let (stop, stopping) = watch::channel(Stage::Serving);
    let server = tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    // The paused clock advances by these ten seconds only.
    let _ = timeout(Duration::from_secs(10), std::future::pending::<()>()).await;
    let attempts = accepted.load(Ordering::Relaxed);
    assert!((2..=20).contains(&attempts), "{attempts} attempts in ten seconds");
    stop.send(Stage::Stopping).unwrap();
    server.await.unwrap();
}

/// Sends a request, reads the whole answer, and leaves the connection open.
async fn ask(stream: &mut DuplexStream) {
    stream.write_all(b"GET /v1/things/a HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = vec![];
    while !answer.ends_with(b"\"a None Public\"") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
}

/// How long it takes until the other end closes.
async fn closes_after(stream: &mut DuplexStream) -> Duration {
    let started_at = tokio::time::Instant::now();
    let _ = stream.read_to_end(&mut vec![]).await;
    started_at.elapsed()
}

fn serving(connections_max: usize) -> (MemoryClient, watch::Sender<Stage>) {
    let (client, listener) = memory();
    let (stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        ConnectionLimits { connections_max, ..LIMITS },
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    (client, stop)
}

/// Proxies keep idle connections for about a minute. One that the server closes first can meet the proxy's
/// next request, which may not be repeated.
#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays_open_longer_than_a_head_may_take() {
    let (mut client, _stop) = serving(100);
    let mut stream = client.connect().await;
    for _ in 0..3 {
        ask(&mut stream).await;
        sleep(Duration::from_secs(74)).await;
    }
    ask(&mut stream).await;
    assert_eq!(closes_after(&mut stream).await, LIMITS.idle_timeout);
    assert_eq!(
        closes_after(&mut client.connect().await).await,
        LIMITS.header_timeout,
        "a connection without a first request has less time"
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_byte_by_byte_has_the_same_deadline() {
    let (mut client, _stop) = serving(100);
    let mut stream = client.connect().await;
    ask(&mut stream).await;
    sleep(Duration::from_secs(60)).await;
    let started_at = tokio::time::Instant::now();
    let mut sent = 0;
    for byte in GET.bytes() {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sent += 1;
        sleep(Duration::from_millis(300)).await;
    }
    assert_eq!((sent, started_at.elapsed()), (34, Duration::from_millis(10_200)));
}

/// What exceeds the buffers on the way waits for the peer; that wait has a deadline.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_disconnected_and_one_that_reads_slowly_is_not() {
    let (mut client, _stop) = serving(100);
    let mut stream = client.connect().await;
    stream.write_all(b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut taken = vec![0; 16 * 1024];
    for _ in 0..4 {
        sleep(Duration::from_secs(60)).await;
        stream.read_exact(&mut taken).await.unwrap();
    }
    sleep(LIMITS.idle_timeout + Duration::from_secs(1)).await;
    let mut rest = vec![];
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() <= 64 * 1024, "only what was already sent arrives: {}", rest.len());
}

#[tokio::test(start_paused = true)]
async fn idle_connections_close_early_while_most_of_connections_max_are_open() {
    let (mut client, _stop) = serving(4);
    let mut streams = [client.connect().await, client.connect().await, client.connect().await];
    for stream in &mut streams {
        ask(stream).await;
    }
    let [first, _second, third] = &mut streams;
    assert_eq!(closes_after(first).await, LIMITS.header_timeout, "three of four");
    assert_eq!(closes_after(third).await, Duration::ZERO);
    let mut fourth = client.connect().await;
    ask(&mut fourth).await;
    assert_eq!(closes_after(&mut fourth).await, LIMITS.idle_timeout);
}

/// A handshake that the peer does not continue.
#[tokio::test(start_paused = true)]
async fn a_stalled_handshake_is_ended_by_the_timeout_and_by_the_stop() {
    let (mut client, mut listener) = memory();
    listener.unready = true;
    let (stop, stopping) = watch::channel(Stage::Serving);
    let server = tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    assert_eq!(closes_after(&mut client.connect().await).await, LIMITS.header_timeout);
    let _waiting = client.connect().await;
    settle().await;
    let stopped_at = tokio::time::Instant::now();
    stop.send(Stage::Stopping).unwrap();
    server.await.unwrap();
    assert_eq!(stopped_at.elapsed(), LIMITS.close_delay);
}

/// An endpoint that answers after `go`.
struct Waiting {
    called: Notify,
    go: Notify,
}

impl Endpoint for Waiting {
    type Output = Response;
    async fn call(&self, _: Request) -> poem::Result<Response> {
        self.called.notify_one();
        self.go.notified().await;
        Ok("done".into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_in_progress_is_answered_after_the_stop() {
    let (mut client, listener) = memory();
    let endpoint = Arc::new(Waiting { called: Notify::new(), go: Notify::new() });
    let (stop, stopping) = watch::channel(Stage::Serving);
    let server = tokio::spawn(serve(
        listener,
        Arc::clone(&endpoint),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let mut stream = client.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    endpoint.called.notified().await;
    stop.send(Stage::Stopping).unwrap();
    settle().await;
    assert!(!server.is_finished());
    let stopped_at = tokio::time::Instant::now();
    endpoint.go.notify_one();
    assert!(exchange(&mut stream, "").await.ends_with("done"), "and the connection is closed after it");
    server.await.unwrap();
    assert_eq!(stopped_at.elapsed(), Duration::ZERO, "the stop does not wait for the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_ends_delays_the_stop_by_the_drain_timeout_at_most() {
    let (mut client, listener) = memory();
    let endpoint = Arc::new(Waiting { called: Notify::new(), go: Notify::new() });
    let (stop, stopping) = watch::channel(Stage::Serving);
    let server = tokio::spawn(serve(
        listener,
        Arc::clone(&endpoint),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let mut stream = client.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    endpoint.called.notified().await;
    let stopped_at = tokio::time::Instant::now();
    drop(stop);
    server.await.unwrap();
    assert_eq!(stopped_at.elapsed().as_secs(), LIMITS.drain_timeout.as_secs());
}

/// RFC 9112 §9.6 lets a client close its sending half. Its request was processed and the answer dropped: a
/// refresh token was spent, and the client had nothing.
#[tokio::test(start_paused = true)]
async fn a_half_closed_connection_gets_its_answer() {
    let (mut client, listener) = memory();
    let endpoint = Arc::new(Waiting { called: Notify::new(), go: Notify::new() });
    let (_stop, stopping) = watch::channel(Stage::Serving);
    tokio::spawn(serve(
        listener,
        Arc::clone(&endpoint),
        Channel::Public,
        LIMITS,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let mut stream = client.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    endpoint.called.notified().await;
    settle().await;
    endpoint.go.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_connection_without_a_request_is_closed_at_once() {
    let (mut client, _stop) = serving(100);
    for sent in ["", "GET /v1/thi", "POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{"] {
        let mut stream = client.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(closes_after(&mut stream).await, Duration::ZERO, "{sent}");
    }
    let mut idle = client.connect().await;
    ask(&mut idle).await;
    idle.shutdown().await.unwrap();
    assert_eq!(closes_after(&mut idle).await, Duration::ZERO);
}

/// RFC 9112 §3.2.
#[tokio::test(start_paused = true)]
async fn a_request_without_exactly_one_valid_host_is_400_and_its_connection_is_closed() {
    let (mut client, _stop) = serving(100);
    for hosts in ["", "Host: x\r\nHost: x\r\n", "Host: a b/c\r\n"] {
        let request = format!("GET /v1/things/a HTTP/1.1\r\n{hosts}\r\n");
        let answer = exchange(&mut client.connect().await, &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("connection: close"),
            "{hosts}: {answer}"
        );
    }
    let answer = exchange(&mut client.connect().await, "GET /v1/things/a HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_over_16_kib_is_431() {
    let (mut client, _stop) = serving(100);
    let request =
        |length| format!("GET /v1/things/a HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(length));
    let answer = exchange(&mut client.connect().await, &request(17_000)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let mut stream = client.connect().await;
    stream.write_all(request(15_000).as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

/// 9,500 connections with 60 KB of head and an unfinished body each took 1.9 GB, before any authentication.
#[tokio::test(start_paused = true)]
async fn when_the_memory_budget_is_spent_the_largest_unfinished_request_is_closed() {
    let (mut client, listener) = memory();
    let (_stop, stopping) = watch::channel(Stage::Serving);
    let limits = ConnectionLimits { connections_max: 10, ..LIMITS };
    let budget = Arc::new(Budget::new(20_000));
    let wire = Arc::new(wire());
    tokio::spawn(serve(listener, wire, Channel::Public, limits, Arc::default(), budget.clone(), stopping));
    let mut head = client.connect().await;
    head.write_all(format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(9_000)).as_bytes()).await.unwrap();
    let post =
        "POST /oauth2/introspect HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let mut body = client.connect().await;
    let unfinished = format!("{post}X: {}\r\nContent-Length: 900\r\n\r\na=", "a".repeat(10_000));
    body.write_all(unfinished.as_bytes()).await.unwrap();
    settle().await;
    assert!(budget.held() > 19_000, "{}", budget.held());
    // A complete request is answered, and the largest of the others is closed for it.
    let mut healthy = client.connect().await;
    let request = format!("{post}X: {}\r\nContent-Length: 7\r\n\r\ntoken=a", "a".repeat(2_000));
    healthy.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    healthy.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    assert_eq!(closes_after(&mut body).await, Duration::ZERO);
    assert_eq!(budget.closed.get(), 1);
    assert!((9_000..10_000).contains(&budget.held()), "the head remains: {}", budget.held());
    drop(head);
    settle().await;
    assert_eq!(budget.held(), 0);
}

/// A proxy that sent a POST on such a connection answered 502: it may not repeat it.
#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_just_after_the_stop_is_answered() {
    let (mut client, listener) = memory();
    let (stop, stopping) = watch::channel(Stage::Serving);
    let limits = ConnectionLimits { connections_max: 4, ..LIMITS };
    let server = tokio::spawn(serve(
        listener,
        Arc::new(wire()),
        Channel::Public,
        limits,
        Arc::default(),
        Arc::default(),
        stopping,
    ));
    let mut idle = client.connect().await;
    ask(&mut idle).await;
    let mut accepted = client.connect().await;
    settle().await;
    let mut established = client.connect().await;
    stop.send(Stage::Stopping).unwrap();
    settle().await;
    for stream in [&mut idle, &mut accepted, &mut established] {
        let answer = exchange(stream, "GET /v1/things/a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
    }
    server.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stays_idle_after_the_stop_is_closed_after_the_close_delay() {
    let (mut client, stop) = serving(100);
    let mut stream = client.connect().await;
    ask(&mut stream).await;
    stop.send(Stage::Stopping).unwrap();
    assert_eq!(closes_after(&mut stream).await, LIMITS.close_delay);
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_accepts_connections_and_each_answer_closes_its_connection() {
    let (mut client, stop) = serving(100);
    let mut idle = client.connect().await;
    ask(&mut idle).await;
    stop.send(Stage::Draining).unwrap();
    sleep(Duration::from_secs(30)).await;
    for stream in [&mut idle, &mut client.connect().await] {
        let answer = exchange(stream, "GET /v1/things/a HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"), "{answer}");
    }
}

/// Connections in memory, so that the clock can be paused.
struct Memory {
    waiting: Mutex<mpsc::UnboundedReceiver<DuplexStream>>,
    accepted: Arc<AtomicUsize>,
    failing: bool,
    unready: bool,
}

struct MemoryClient(mpsc::UnboundedSender<DuplexStream>);

fn memory() -> (MemoryClient, Memory) {
    let (sender, waiting) = mpsc::unbounded_channel();
    (
        MemoryClient(sender),
        Memory { waiting: Mutex::new(waiting), accepted: Arc::default(), failing: false, unready: false },
    )
}

impl MemoryClient {
    async fn connect(&mut self) -> DuplexStream {
        let (near, far) = duplex(64 * 1024);
        self.0.send(far).unwrap();
        near
    }
}

impl Listener for Memory {
    type Raw = (DuplexStream, bool);
    type Io = DuplexStream;

    async fn accept(&self) -> io::Result<(Self::Raw, Addr)> {
        if self.failing {
            self.accepted.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
        }
        let Some(stream) = self.waiting.lock().await.recv().await else {
            return std::future::pending().await;
        };
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(((stream, self.unready), Addr::default()))
    }

    async fn prepare((stream, unready): Self::Raw) -> io::Result<DuplexStream> {
        if unready { std::future::pending().await } else { Ok(stream) }
    }

    fn address(&self) -> Addr {
        Addr::default()
    }
}

/// Lets every other task run as far as it can without time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
