//! Running: listen, sweep, read the certificate again when told to, and on a signal answer what was begun,
//! then close the store.

use std::io::{self, Write};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use super::listen::{self, Listeners, SocketFile};
use super::service_manager::{self, Passed};
use super::tls::{Certificate, TlsError};
use super::{App, AppError, open_files, places};
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::clock::Clock;
use crate::first_start::{Places, Starter};
use crate::http::net::connection::ConnectionLimits;
use crate::meter::Stopwatch;
use crate::store::redb::Redb;
use crate::store::{Store, StoreError};

/// How often the sweep looks for something to do.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long begun requests may take after the stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may idle between two requests: longer than a proxy keeps one (nginx: 60 s), so that
/// it is the proxy that closes, and no request meets a connection that we are just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// When the sizes of the tables are looked at first, and how often at most.
const MEASURE_FIRST: Duration = Duration::from_secs(5);
const MEASURE_EVERY: Duration = Duration::from_secs(60);

/// Why the server did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The store or the engine could not start.
    #[error(transparent)]
    App(#[from] AppError),
    /// An address could not be listened on.
    #[error(transparent)]
    Listen(#[from] listen::ListenError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system refused something else.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store failed while running. What was acknowledged is on the disk; a restart is safe.
    #[error("{0}; everything that was acknowledged is on the disk, so start again when the cause is mended")]
    StoreFailed(crate::engine::Error),
}

/// Serves until SIGTERM or SIGINT. SIGHUP has the certificate read again.
///
/// # Errors
/// Whatever keeps it from starting, and a store that fails while running.
pub fn run(config: &Config) -> Result<(), RunError> {
    // While this is the only thread.
    let passed = service_manager::passed()?;
    // On one core a second worker would only get in the first one's way.
    let mut runtime = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(serve(config, passed))
}

async fn serve(config: &Config, passed: Vec<Passed>) -> Result<(), RunError> {
    let watch = Stopwatch::start();
    for warning in config.warnings.iter().chain(&open_files::allow(config.limits.connections_max)) {
        tracing::warn!("{warning}");
    }
    // Before anything is said to listen: a signal that comes at once must not end the process unclean.
    let mut signals = Signals::listen()?;
    service_manager::status("opening the store");
    let certificate = config.server.tls.as_ref().map(Certificate::load).transpose()?.map(Arc::new);
    let places = places(config);
    let (app, first) = App::start(config, Starter::Serve, Clock::system()).await?;
    let mut listeners = Listeners::bind(&config.server.listen, passed, &places.admin_socket).await?;
    let (addresses, files) = (listeners.addresses(), listeners.take_files());
    log_start(config, &app, &addresses, &watch);
    greet(config, &places, &addresses, first);
    let measured = Arc::downgrade(app.store());
    thread::Builder::new().name("measure".into()).spawn(move || measure(&measured))?;
    let serves = format!("serving {} on {addresses}", config.server.issuer);
    let (stop, stopped) = watch::channel(false);
    let limits = connection_limits(config);
    let serving = {
        let (wire, metrics, certificate, stopped) =
            (app.wire().clone(), app.metrics.clone(), certificate.clone(), stopped.clone());
        tokio::spawn(
            async move { listeners.serve(wire, certificate.as_deref(), limits, &metrics, stopped).await },
        )
    };
    let failed = tokio::spawn(sweep(app.engine.clone(), stopped));
    service_manager::ready(&serves);
    tokio::spawn(service_manager::watch(app.engine.clone()));
    let outcome = tokio::select! {
        () = signals.stop(|| reload(certificate.as_deref(), &serves)) => Ok(()),
        broken = failed => Err(RunError::StoreFailed(broken.map_err(io::Error::other)?)),
    };
    tracing::info!("stopping: answering what was begun");
    service_manager::stopping();
    app.engine.stop_waiting();
    let _ = stop.send(true);
    // A connection that cannot be drained is cut, and all are when we are told twice; the store is closed all
    // the same.
    tokio::select! {
        _ = serving => {}
        () = signals.stop(|| {}) => tracing::warn!("told again to stop: what was begun is cut off"),
    }
    files.iter().for_each(SocketFile::remove);
    app.close().await;
    tracing::info!(ran_for_s = watch.nanos() / 1_000_000_000, "stopped");
    outcome
}

/// Reads the certificate again. Nothing else of the configuration is read while the server runs.
fn reload(certificate: Option<&Certificate>, serves: &str) {
    service_manager::reloading();
    match certificate.map(Certificate::reload) {
        None => {
            tracing::info!("there is no certificate to read again; other settings count from the next start")
        }
        Some(Ok(())) => tracing::info!("the certificate was read again: handshakes take it from now on"),
        Some(Err(error)) => tracing::error!(
            "the certificate is not renewed, and the one from before stays: {error}; then reload again"
        ),
    }
    service_manager::ready(serves);
}

/// What is running where, for whoever reads the log afterwards.
fn log_start(config: &Config, app: &App, addresses: &str, watch: &Stopwatch) {
    let figures = app.store().figures().unwrap_or_default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = addresses,
        issuer = config.server.issuer,
        store = %config.store.path.display(),
        store_bytes = figures.file_bytes,
        sessions_live = figures.live,
        clients = app.store().registry().clients.len(),
        took_ms = watch.nanos() / 1_000_000,
        "listening"
    );
}

/// Looks at the sizes of the tables, which walks the whole file: so seldom that it takes a thousandth of the
/// time. In a thread that nobody waits for: the end of the process ends it.
fn measure(store: &Weak<Redb>) {
    thread::sleep(MEASURE_FIRST);
    while let Some(store) = store.upgrade() {
        let watch = Stopwatch::start();
        if let Err(error) = store.measure() {
            tracing::warn!(%error, "the sizes of the tables are not known");
        }
        drop(store);
        thread::sleep(MEASURE_EVERY.max(Duration::from_nanos(watch.nanos().saturating_mul(1000))));
    }
}

/// Sweeps for as long as the server runs. Returns only when the store has failed.
async fn sweep<S: Store>(engine: Arc<Engine<S>>, mut stopped: watch::Receiver<bool>) -> crate::engine::Error {
    loop {
        match engine.ready() {
            // A disk that is slow may yet answer.
            Ok(()) | Err(crate::engine::Error::Store(StoreError::Busy)) => {}
            Err(error) => return error,
        }
        if let Err(error) = engine.tend_keys().await {
            tracing::warn!(%error, "the signing keys are tended later");
        }
        engine.write_uses(false).await;
        match engine.sweep().await {
            Ok(swept) if swept.more => {}
            Ok(_) => tokio::select! {
                () = sleep(SWEEP_EVERY) => {}
                () = told(&mut stopped) => std::future::pending().await,
            },
            Err(error) => {
                tracing::warn!(%error, "the sweep is put off");
                sleep(SWEEP_EVERY).await;
            }
        }
    }
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// What the server is told: SIGTERM and SIGINT to stop, SIGHUP to reload. From `listen` on they no longer end
/// the process by themselves.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when told to stop; until then reloads when told to.
    async fn stop(&mut self, reload: impl Fn()) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hup.recv() => reload(),
            }
        }
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits {
        connections_max: config.limits.connections_max,
        header_timeout: config.limits.header_timeout,
        idle_timeout: IDLE_TIMEOUT.max(config.limits.header_timeout),
        drain_timeout: DRAIN_TIMEOUT,
    }
}

/// Tells a person what to do next. Goes to standard output, so that it stays apart from the log.
fn greet(config: &Config, places: &Places, addresses: &str, first: bool) {
    let issuer = &config.server.issuer;
    let mut lines = vec![format!("keyfob {} listens on {addresses}", env!("CARGO_PKG_VERSION"))];
    lines.push(format!("  documentation   {issuer}/docs"));
    lines.push(format!(
        "  administrator   {}{}",
        places.admin_json.display(),
        if first { " (just made)" } else { "" }
    ));
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
