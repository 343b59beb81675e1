//! The protocol of systemd: passed sockets, readiness, status, watchdog. Without systemd all of it does
//! nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::engine::{self, Engine};
use crate::store::{Store, StoreError};

/// A listening socket that the service manager passed (sd_listen_fds(3)).
#[derive(Debug)]
pub enum PassedSocket {
    Tcp(std::net::TcpListener),
    /// The service manager owns its file.
    Unix(std::os::unix::net::UnixListener),
}

/// Takes the sockets that were passed to this process. It changes the environment, so no other thread may run
/// yet.
///
/// # Errors
/// A descriptor that is no stream socket.
pub fn passed() -> io::Result<Vec<PassedSocket>> {
    // listenfd would also accept sockets without LISTEN_PID, which may be meant for another process.
    if std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(vec![]);
    }
    let mut sockets = ListenFd::from_env();
    (0..sockets.len()).map(|index| take(&mut sockets, index)).collect()
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<PassedSocket> {
    let expected = |_| {
        io::Error::other(format!(
            "the socket {index} that systemd passed is neither TCP nor a Unix stream socket; fix \
             ListenStream= in the unit"
        ))
    };
    let once = "each index is taken once";
    match sockets.take_tcp_listener(index) {
        Ok(tcp) => Ok(PassedSocket::Tcp(tcp.expect(once))),
        Err(_) => Ok(PassedSocket::Unix(sockets.take_unix_listener(index).map_err(expected)?.expect(once))),
    }
}

/// Sets the line that `systemctl status` shows.
pub fn status(what: &str) {
    notify(&[NotifyState::Status(what)]);
}

/// Reports that the server is ready, after a start or a reload.
pub fn ready(what: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// Reports that a reload started. systemd matches it with the next `ready` by the time sent along.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Reports that the server is stopping.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing requests in progress")]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// Notifies the watchdog twice per timeout, while the engine is ready. As a task it also proves that the
/// runtime makes progress. Does nothing without a watchdog.
pub async fn watch<S: Store>(engine: Arc<Engine<S>>) {
    if let Some(timeout) = sd_notify::watchdog_enabled() {
        // A restart does not bring back a database that other machines run.
        let is_ready = || matches!(engine.ready(), Ok(()) | Err(engine::Error::Store(StoreError::Outage(_))));
        notify_while_ready(timeout, is_ready, || notify(&[NotifyState::Watchdog])).await;
    }
}

async fn notify_while_ready(timeout: Duration, is_ready: impl Fn() -> bool, notify: impl Fn()) {
    let mut interval = tokio::time::interval((timeout / 2).max(Duration::from_millis(1)));
    loop {
        interval.tick().await;
        if is_ready() {
            notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_notified_twice_per_timeout_while_the_engine_is_ready() {
        let (ready, sent) = (Cell::new(true), Cell::new(0));
        let mut notifying = std::pin::pin!(notify_while_ready(
            Duration::from_secs(30),
            || ready.get(),
            || sent.set(sent.get() + 1)
        ));
        let mut pass = async |seconds| {
            timeout(Duration::from_secs(seconds), notifying.as_mut()).await.expect_err("it never ends")
        };
        pass(61).await;
        assert_eq!(sent.get(), 5, "at once, and every 15 seconds");
        ready.set(false);
        pass(60).await;
        assert_eq!(sent.get(), 5);
        ready.set(true);
        pass(15).await;
        assert_eq!(sent.get(), 6);
    }
}
