//! Running: listen, sweep, and on a signal answer what was begun, then close the store.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use super::listen::{self, Listeners};
use super::{App, AppError, places};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::first_start::{Places, Starter};
use crate::http::connection::ConnectionLimits;
use crate::store::Store;

/// How often the sweep looks for something to do.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long begun requests may take after the stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store or the engine could not start.
    #[error(transparent)]
    App(#[from] AppError),
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    /// The operating system refused something else.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store failed while running. What was acknowledged is on the disk; a restart is safe.
    #[error("{0}; everything that was acknowledged is on the disk, so start again when the cause is mended")]
    StoreFailed(crate::engine::Error),
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting, and a store that fails while running.
pub fn run(config: &Config) -> Result<(), RunError> {
    // On one core a second worker would only get in the first one's way.
    let mut runtime = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(serve(config))
}

async fn serve(config: &Config) -> Result<(), RunError> {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    // Before anything is said to listen: a signal that comes at once must not end the process unclean.
    let signals = Signals::listen()?;
    let places = places(config);
    let (app, first) = App::start(config, Starter::Serve, Clock::system()).await?;
    let listeners = Listeners::bind(&config.server.listen, &places.admin_socket).await?;
    greet(config, &places, first);
    let (stop, stopped) = watch::channel(false);
    let serving = tokio::spawn(listeners.serve(app.wire().clone(), connection_limits(config), stopped.clone()));
    let failed = tokio::spawn(sweep(app.engine.clone(), stopped));
    let outcome = tokio::select! {
        () = signals.stop() => Ok(()),
        broken = failed => Err(RunError::StoreFailed(broken.map_err(io::Error::other)?)),
    };
    tracing::info!("stopping: answering what was begun");
    let _ = stop.send(true);
    // A connection that cannot be drained is cut; the store is closed all the same.
    let _ = serving.await;
    app.close().await;
    tracing::info!("stopped");
    outcome
}

/// Sweeps for as long as the server runs. Returns only when the store has failed.
async fn sweep<S: Store>(engine: Arc<Engine<S>>, mut stopped: watch::Receiver<bool>) -> crate::engine::Error {
    loop {
        if let Err(error) = engine.ready() {
            return error;
        }
        if let Err(error) = engine.tend_keys().await {
            tracing::warn!("the signing keys are tended later: {error}");
        }
        engine.write_uses(false).await;
        match engine.sweep().await {
            Ok(swept) if swept.more => {}
            Ok(_) => tokio::select! {
                () = sleep(SWEEP_EVERY) => {}
                () = told(&mut stopped) => std::future::pending().await,
            },
            Err(error) => {
                tracing::warn!("the sweep is put off: {error}");
                sleep(SWEEP_EVERY).await;
            }
        }
    }
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// What tells the server to stop: SIGTERM and SIGINT. From `listen` on they no longer end the process by themselves.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn stop(mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: config.limits.connections_max,
        header_timeout: config.limits.header_timeout,
        drain_timeout: DRAIN_TIMEOUT,
    }
}

/// Tells a person what to do next. Goes to standard output, so that it stays apart from the log.
fn greet(config: &Config, places: &Places, first: bool) {
    let issuer = &config.server.issuer;
    let mut lines = vec![format!("keyfob {} listens on {}", env!("CARGO_PKG_VERSION"), config.server.listen)];
    lines.push(format!("  documentation   {issuer}/docs"));
    lines.push(format!("  administrator   {}{}", places.admin_json.display(), if first { " (just made)" } else { "" }));
    lines.push(format!("  try it          {}", try_it(places)));
    let mut out = io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

/// A command that opens a session, through the admin socket, as it stands.
fn try_it(places: &Places) -> String {
    format!(
        r#"curl --unix-socket '{}' -H 'Content-Type: application/json' -d '{{"subject":"alice","client_id":"admin"}}' http://localhost/v1/sessions"#,
        places.admin_socket.display()
    )
}
