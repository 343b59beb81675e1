//! The accept loop: accepts connections, passes requests to the endpoint, and drains at the stop.
//!
//! poem's own loop has no limit on how long a head may take, spins when descriptors run out, and leaves
//! `TCP_NODELAY` off.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::http::{HeaderValue, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use self::activity::{Activity, Deadline, Phase, Tracked};
use self::received_body::ReceivedBody;
use crate::http::net::budget::{Budget, Member};
use crate::http::net::channel::Channel;
use crate::http::net::listener::Listener;
use crate::http::net::open_connections::{Connections, Open};
use crate::http::net::{at_once, host};
use crate::http::request::LastCredentials;

mod activity;
mod received_body;
#[cfg(test)]
mod tests;

/// The largest head of a request, and the most of a body that is buffered before it is read.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// How long accepting pauses after a failure; doubled at each further one.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// What answers the requests of connections.
pub trait Answers: Send + Sync + 'static {
    /// The answer to a request; `last` are the credentials of the request before on the same connection.
    fn answer(&self, request: Request, last: &LastCredentials) -> impl Future<Output = Response> + Send;

    /// The credentials of a new connection.
    fn no_credentials(&self) -> LastCredentials;
}

/// How far the stop of the server has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Serving,
    /// Still accepting; each answer closes its connection.
    Draining,
    /// No longer accepting. Requests in progress are finished.
    Stopping,
}

/// The limits of one listener.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How many connections may be open; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long a request's head may take from its first byte. The first head of a connection is timed from
    /// the end of the TLS handshake, which has the same limit.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests. While three quarters of `connections_max` are
    /// open, `header_timeout` where that is shorter.
    pub idle_timeout: Duration,
    /// How long connections are served after the stop, with `Connection: close`, before idle ones are closed.
    /// A proxy that reuses one in that time gets its answer.
    pub close_delay: Duration,
    /// How long requests in progress may take after the stop.
    pub drain_timeout: Duration,
}

/// Serves `listener` until `stage` becomes `Stopping` or its sender is dropped. Returns when every connection
/// is closed: idle ones after `close_delay`, those with a request in progress after its answer, at most
/// `drain_timeout` later.
pub async fn serve<L, E>(
    listener: L,
    endpoint: Arc<E>,
    channel: Channel,
    limits: ConnectionLimits,
    connections: Arc<Connections>,
    budget: Arc<Budget>,
    stage: watch::Receiver<Stage>,
) where
    L: Listener,
    E: Answers,
{
    let connections_max =
        u32::try_from(limits.connections_max).unwrap_or(u32::MAX >> 4).clamp(1, u32::MAX >> 4);
    let permits = Arc::new(Semaphore::new(connections_max as usize));
    let (local, scheme) = (LocalAddr(listener.address()), listener.scheme());
    let accept = |(raw, peer), permit| {
        let origin = (local.clone(), RemoteAddr(peer), scheme.clone());
        let counted = (permit, connections.count(), budget.join());
        tokio::spawn(connection::<L, E>(
            raw,
            origin,
            Arc::clone(&endpoint),
            channel,
            limits,
            stage.clone(),
            counted,
        ));
    };
    let mut back_off = BACK_OFF_MIN;
    loop {
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = stopped(stage.clone()) => break,
            next = next => next,
        };
        match accepted {
            Ok(accepted) => {
                back_off = BACK_OFF_MIN;
                accept(accepted, permit);
            }
            Err(error) if ends_with_its_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, wait_ms = back_off.as_millis(), "cannot accept connections");
                tokio::select! {
                    () = stopped(stage.clone()) => break,
                    () = sleep(back_off) => back_off = (back_off * 2).min(BACK_OFF_MAX),
                }
            }
        }
    }
    // Connections that the system has already established would be reset with the listener.
    while let Ok(permit) = Arc::clone(&permits).try_acquire_owned()
        && let Some(Ok(accepted)) = at_once(pin!(listener.accept())).await
    {
        accept(accepted, permit);
    }
    drop(listener);
    // All permits are free when every connection is closed.
    let _ = permits.acquire_many(connections_max).await;
}

async fn stopped(mut stage: watch::Receiver<Stage>) {
    // An error means that the sender was dropped, which also means stop.
    let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
}

/// Whether the stage has changed since the server started. Takes no lock.
fn is_closing(stage: &watch::Receiver<Stage>) -> bool {
    !matches!(stage.has_changed(), Ok(false))
}

/// Whether a failure to accept concerns one connection only. Any other (descriptors, memory) lasts, and an
/// immediate retry would spin.
fn ends_with_its_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

async fn connection<L: Listener, E: Answers>(
    raw: L::Raw,
    (local, peer, scheme): (LocalAddr, RemoteAddr, Scheme),
    endpoint: Arc<E>,
    channel: Channel,
    limits: ConnectionLimits,
    stage: watch::Receiver<Stage>,
    (permit, _open, member): (OwnedSemaphorePermit, Open, Member),
) {
    let prepared = tokio::select! {
        prepared = timeout(limits.header_timeout, L::prepare(raw)) => prepared,
        () = async { stopped(stage.clone()).await; sleep(limits.close_delay).await } => return,
    };
    let Ok(Ok(io)) = prepared else { return };
    let (activity, last) = (Arc::new(Activity::new(member)), endpoint.no_credentials());
    let service = service_fn(|request: hyper::Request<Incoming>| {
        activity.enter(Phase::Request);
        let is_acceptable = host::is_acceptable(request.version(), request.headers());
        let (parts, incoming) = request.into_parts();
        let body = BoxBody::new(ReceivedBody::new(incoming, Arc::clone(&activity)));
        let parts = (parts, local.clone(), peer.clone(), scheme.clone()).into();
        let mut request = Request::from_parts(parts, body.into());
        if channel != Channel::Public {
            request.extensions_mut().insert(channel);
        }
        let (endpoint, activity, stage, last) = (&endpoint, &activity, &stage, &last);
        async move {
            // What cannot be read as a request is answered like this by hyper, too.
            let response: Response = if is_acceptable {
                endpoint.answer(request, last).await
            } else {
                StatusCode::BAD_REQUEST.into()
            };
            let mut response: hyper::Response<_> = response.into();
            if is_closing(stage) || !is_acceptable {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            activity.answered();
            Ok::<hyper::Response<_>, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).half_close(true).max_buf_size(BUFFER_BYTES_MAX);
    let mut serving =
        pin!(http.serve_connection(TokioIo::new(Tracked::new(io, Arc::clone(&activity))), service));
    let mut deadline =
        Deadline::new(Arc::clone(&activity), limits.header_timeout, || limits.idle_timeout_now(&permit));
    // How a connection ends (reset, timeout, invalid HTTP) is not logged: each request was answered or had no
    // reader any more.
    tokio::select! {
        () = until_deadline(serving.as_mut(), &mut deadline) => return,
        () = stopped(stage.clone()) => {}
    }
    let stopping = async {
        let closing = timeout(limits.close_delay, until_deadline(serving.as_mut(), &mut deadline)).await;
        if closing.is_err() {
            serving.as_mut().graceful_shutdown();
            until_deadline(serving, &mut deadline).await;
        }
    };
    let _ = timeout(limits.drain_timeout, stopping).await;
}

/// Serves a connection until it ends or its deadline passes.
async fn until_deadline<C: Future, F: Fn() -> Duration>(
    mut serving: Pin<&mut C>,
    deadline: &mut Deadline<F>,
) {
    std::future::poll_fn(|context| match serving.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => deadline.poll(context),
    })
    .await;
}

impl ConnectionLimits {
    /// The idle timeout, shortened while three quarters of `connections_max` are open.
    fn idle_timeout_now(&self, permit: &OwnedSemaphorePermit) -> Duration {
        let is_crowded = permit.semaphore().available_permits() <= self.connections_max / 4;
        if is_crowded { self.idle_timeout.min(self.header_timeout) } else { self.idle_timeout }
    }
}
