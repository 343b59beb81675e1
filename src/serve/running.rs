//! A running server: its listeners and its sweep, from the start until the store is closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};

use super::listen::{Listeners, SocketFile};
use super::tls::Certificate;
use super::{App, RunError};
use crate::config::Limits;
use crate::engine::Engine;
use crate::engine::figure_series::RECORD_EVERY;
use crate::http::net::connection::{ConnectionLimits, Stage};
use crate::meter::RateLimitedLog;
use crate::store::{Store, StoreError};

/// The time between two sweeps.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long connections are served after a stop signal before idle ones are closed: a request that a proxy
/// has just sent on one of them gets its answer.
const CLOSE_DELAY: Duration = Duration::from_millis(300);
/// How long requests in progress may take after a stop signal.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests: longer than a proxy keeps one (nginx: 60 s), so
/// that the proxy closes it and no request arrives on a connection that is just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

pub struct RunningServer {
    app: App,
    serving: JoinHandle<()>,
    sweeping: JoinHandle<crate::engine::Error>,
    stage: watch::Sender<Stage>,
    files: Vec<SocketFile>,
}

impl RunningServer {
    /// Starts to accept connections and to sweep.
    pub(super) fn start(
        app: App,
        mut listeners: Listeners,
        certificate: Option<Arc<Certificate>>,
        limits: &Limits,
    ) -> Self {
        let (stage, stages) = watch::channel(Stage::Serving);
        let limits = ConnectionLimits {
            connections_max: limits.connections_max,
            header_timeout: limits.header_timeout,
            idle_timeout: IDLE_TIMEOUT.max(limits.header_timeout),
            close_delay: CLOSE_DELAY,
            drain_timeout: DRAIN_TIMEOUT,
        };
        let files = std::mem::take(&mut listeners.files);
        let sweeping = tokio::spawn(sweep(app.engine().clone(), stages.clone()));
        tokio::spawn(record(app.engine().clone(), stages.clone()));
        let (wire, metrics) = (app.wire().clone(), app.metrics().clone());
        let serving = async move {
            listeners.serve(wire, certificate.as_deref(), limits, &metrics, stages).await;
        };
        Self { app, serving: tokio::spawn(serving), sweeping, stage, files }
    }

    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// Returns only when the store has failed.
    pub async fn failed(&mut self) -> RunError {
        store_failed((&mut self.sweeping).await)
    }

    /// Is no longer ready, but accepts for `delay`; then completes requests in progress.
    ///
    /// # Errors
    /// The store failed meanwhile.
    pub(super) async fn drain(&mut self, delay: Duration) -> Result<(), RunError> {
        let mut outcome = Ok(());
        if !delay.is_zero() {
            let _ = self.stage.send(Stage::Draining);
            if let Ok(broken) = timeout(delay, &mut self.sweeping).await {
                outcome = Err(store_failed(broken));
            }
        }
        self.stop_accepting();
        let _ = (&mut self.serving).await;
        outcome
    }

    fn stop_accepting(&self) {
        self.app.engine().stop_waiting();
        let _ = self.stage.send(Stage::Stopping);
    }

    /// Removes the socket files and closes the store, whatever is in progress.
    pub async fn close(self) {
        self.stop_accepting();
        self.files.iter().for_each(SocketFile::remove);
        self.app.close().await;
    }
}

fn store_failed(broken: Result<crate::engine::Error, JoinError>) -> RunError {
    match broken {
        Ok(error @ crate::engine::Error::Store(StoreError::GoneBack(_))) => RunError::GoneBack(error),
        Ok(error) => RunError::StoreFailed(error),
        Err(error) => RunError::Io(io::Error::other(error)),
    }
}

/// Sweeps while the server runs. Returns only when the store has failed.
async fn sweep<S: Store>(engine: Arc<Engine<S>>, mut stage: watch::Receiver<Stage>) -> crate::engine::Error {
    // In an outage both fail at each try.
    let (keys_failed, sweep_failed) = (RateLimitedLog::new(), RateLimitedLog::new());
    loop {
        match engine.ready() {
            // A slow disk, and a database that other machines run, may still recover.
            Ok(()) | Err(crate::engine::Error::Store(StoreError::Busy | StoreError::Outage(_))) => {}
            Err(error) => return error,
        }
        if let Err(error) = engine.tend_keys().await
            && let Some(attempts) = keys_failed.record_now()
        {
            tracing::warn!(
                %error,
                attempts,
                "signing key maintenance failed, will retry; at most one line a minute"
            );
        }
        engine.write_uses(false).await;
        match engine.sweep().await {
            Ok(swept) if swept.more => {}
            Ok(_) => tokio::select! {
                () = sleep(SWEEP_EVERY) => {}
                () = stop_requested(&mut stage) => std::future::pending().await,
            },
            Err(error) => {
                if let Some(attempts) = sweep_failed.record_now() {
                    tracing::warn!(%error, attempts, "sweep failed, will retry; at most one line a minute");
                }
                sleep(SWEEP_EVERY).await;
            }
        }
    }
}

/// Records the figures that the console shows, until the server stops.
async fn record<S: Store>(engine: Arc<Engine<S>>, mut stage: watch::Receiver<Stage>) {
    loop {
        if let Err(error) = engine.record_figures().await {
            tracing::debug!(%error, "the figures of the console have a gap");
        }
        tokio::select! {
            () = sleep(RECORD_EVERY) => {}
            () = stop_requested(&mut stage) => return,
        }
    }
}

async fn stop_requested(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage == Stage::Stopping).await;
}
