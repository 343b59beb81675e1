//! What systemd, or who speaks like it, passes to us and is told: sockets, readiness, the watchdog. Without
//! it all of this does nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};

use crate::engine::Engine;
use crate::store::Store;

/// A socket that was passed, already listening (sd_listen_fds(3)).
#[derive(Debug)]
pub enum Passed {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket; its file belongs to who made it.
    Unix(std::os::unix::net::UnixListener),
}

/// Takes the sockets that were passed to this very process. To be called before there is another thread: it
/// changes the environment.
///
/// # Errors
/// A descriptor that is neither kind of stream socket.
pub fn passed() -> io::Result<Vec<Passed>> {
    // listenfd would also take sockets that name no process; those are not for us to take.
    if std::env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(vec![]);
    }
    let mut sockets = ListenFd::from_env();
    (0..sockets.len()).map(|index| take(&mut sockets, index)).collect()
}

fn take(sockets: &mut ListenFd, index: usize) -> io::Result<Passed> {
    let expected = |_| {
        io::Error::other(format!(
            "the socket {index} that systemd passed is neither TCP nor a Unix stream socket; mend ListenStream= in the unit"
        ))
    };
    let once = "each is taken once";
    match sockets.take_tcp_listener(index) {
        Ok(tcp) => Ok(Passed::Tcp(tcp.expect(once))),
        Err(_) => Ok(Passed::Unix(sockets.take_unix_listener(index).map_err(expected)?.expect(once))),
    }
}

impl Passed {
    /// As the runtime has it.
    pub fn into_listener(self) -> io::Result<super::listen::Public> {
        Ok(match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                super::listen::Public::Tcp(TcpListener::from_std(listener)?)
            }
            Self::Unix(listener) => {
                listener.set_nonblocking(true)?;
                super::listen::Public::Unix(UnixListener::from_std(listener)?)
            }
        })
    }
}

/// Says what the server is doing, for `systemctl status`.
pub fn status(what: &str) {
    tell(&[NotifyState::Status(what)]);
}

/// The store is open and the listeners are bound; or a reload is over.
pub fn ready(what: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(what)]);
}

/// A reload begins. systemd waits for the next `ready`, and tells by the time which reload it was for.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// The stop begins.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("answering what was begun")]);
}

/// A service manager that cannot be told is its own trouble, said once in a while.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Tells the watchdog, at half of the time that it waits, that we live: from a task, so for as long as the
/// runtime runs tasks, and only while the engine can do its work. Does nothing where nobody watches.
pub async fn watch<S: Store>(engine: Arc<Engine<S>>) {
    if let Some(patience) = sd_notify::watchdog_enabled() {
        beat(patience, || engine.ready().is_ok(), || tell(&[NotifyState::Watchdog])).await;
    }
}

async fn beat(patience: Duration, is_well: impl Fn() -> bool, tell: impl Fn()) {
    let mut beats = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        beats.tick().await;
        if is_well() {
            tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_hears_at_half_its_patience_and_only_while_all_is_well() {
        let (well, told) = (Cell::new(true), Cell::new(0));
        let patience = Duration::from_secs(30);
        let mut beating = std::pin::pin!(beat(patience, || well.get(), || told.set(told.get() + 1)));
        let mut pass = async |seconds| {
            timeout(Duration::from_secs(seconds), beating.as_mut()).await.expect_err("it goes on")
        };
        pass(61).await;
        assert_eq!(told.get(), 5, "at once, and every 15 seconds");
        well.set(false);
        pass(60).await;
        assert_eq!(told.get(), 5);
        well.set(true);
        pass(15).await;
        assert_eq!(told.get(), 6);
    }
}
