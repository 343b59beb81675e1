//! Runs the server: listen, sweep, reload the certificate on SIGHUP, and stop in order on SIGTERM or SIGINT.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::installation::{places, wait_for_previous};
use super::listen::{self, Listeners};
use super::running::{DRAIN_TIMEOUT, RunningServer};
use super::service_manager::{self, PassedSocket};
use super::tls::Certificate;
use super::{App, AppError, RunError, open_files};
use crate::config::{AdminSocketPath, Config};
use crate::engine::clock::Clock;
use crate::files::directory_of;
use crate::first_start::{Places, Starter, check_socket_directory};
use crate::meter::Stopwatch;
use crate::store::Store;
use crate::store::any::AnyStore;

/// The longest path that curl takes for a socket.
const SOCKET_PATH_BYTES: usize = 107;
/// When the table sizes are measured first, and the shortest time between two measurements.
const MEASURE_FIRST: Duration = Duration::from_secs(5);
const MEASURE_EVERY: Duration = Duration::from_secs(60);

/// Serves until SIGTERM or SIGINT. SIGHUP reloads the certificate. `json`: reports the address as a line of
/// JSON.
///
/// # Errors
/// Whatever prevents the start, and a store that fails while running.
pub fn run(config: &Config, json: bool) -> Result<(), RunError> {
    // It changes the environment, so before any other thread starts.
    let passed = service_manager::passed()?;
    // On one core a second worker thread would only slow down the first.
    let mut runtime = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(serve(config, passed, json))
}

async fn serve(config: &Config, passed: Vec<PassedSocket>, json: bool) -> Result<(), RunError> {
    let watch = Stopwatch::start();
    for warning in config.warnings.iter().chain(&open_files::raise_limit(config.limits.connections_max)) {
        tracing::warn!("{warning}");
    }
    // Before the server reports that it listens: from then on a signal must stop it in order.
    let mut signals = Signals::listen()?;
    service_manager::status("opening the store");
    let certificate = config.server.tls.as_ref().map(Certificate::load).transpose()?.map(Arc::new);
    let mut places = places(config);
    tokio::select! {
        () = wait_for_previous(&places) => {}
        () = signals.stop(|| {}) => return Ok(()),
    }
    let (config, passed) = listen::choose_port(config, passed).await?;
    let config = &config;
    let (app, first) = App::start(config, Starter::Serve, Clock::system()).await?;
    if let AdminSocketPath::Path(path) = &config.server.admin_socket {
        check_socket_directory(directory_of(path)).map_err(AppError::from)?;
    }
    let listeners = Listeners::bind(&config.server.listen, passed, places.admin_socket.as_deref()).await?;
    if listeners.admin.is_none() {
        places.admin_socket = None;
        app.note_no_socket()?;
    }
    let addresses = listeners.addresses();
    log_start(config, &app, &addresses, &watch).await;
    if json {
        print_lines(&[started(config, &places, &listeners, first).to_string()]);
    } else {
        greet(config, &places, &addresses, first);
    }
    let measured = Arc::downgrade(app.store());
    thread::Builder::new().name("measure".into()).spawn(move || measure(&measured))?;
    let serves = format!("serving {} on {addresses}", config.server.issuer);
    let mut server = RunningServer::start(app, listeners, certificate.clone(), &config.limits);
    service_manager::ready(&serves);
    tokio::spawn(service_manager::watch(server.app().engine().clone()));
    let mut outcome = tokio::select! {
        () = signals.stop(|| reload(certificate.as_deref(), &serves)) => Ok(()),
        error = server.failed() => Err(error),
    };
    let delay = if outcome.is_ok() { config.server.drain_delay } else { Duration::ZERO };
    tracing::info!(drain_delay_s = delay.as_secs_f64(), "stopping: finishing requests in progress");
    service_manager::stopping();
    server.app().mark_stopping(delay + DRAIN_TIMEOUT);
    server.app().engine().drain();
    // Connections are aborted after the drain timeout, or at once on a second signal. The store is closed in
    // either case.
    tokio::select! {
        drained = server.drain(delay) => outcome = outcome.and(drained),
        () = signals.stop(|| {}) => tracing::warn!("second stop signal: aborting requests in progress"),
    }
    server.close().await;
    tracing::info!(ran_for_s = watch.nanos() / 1_000_000_000, "stopped");
    outcome
}

/// Reloads the certificate, the only part of the configuration that is read while the server runs.
fn reload(certificate: Option<&Certificate>, serves: &str) {
    service_manager::reloading();
    match certificate.map(Certificate::reload) {
        None => {
            tracing::info!(
                "nothing to reload: no certificate is configured, and other settings need a restart"
            )
        }
        Some(Ok(())) => tracing::info!("certificate reloaded: new handshakes use it"),
        Some(Err(error)) => tracing::error!(
            "certificate not reloaded, the previous one stays in use: {error}; then reload again"
        ),
    }
    service_manager::ready(serves);
}

/// Logs what runs where.
async fn log_start(config: &Config, app: &App, addresses: &str, watch: &Stopwatch) {
    let figures = app.store().figures().await.unwrap_or_default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = addresses,
        issuer = config.server.issuer,
        store = %places(config).database.display(),
        store_bytes = figures.file_bytes,
        sessions_live = figures.active,
        clients = app.store().registry().cuts.registered.len(),
        took_ms = watch.nanos() / 1_000_000,
        "listening"
    );
}

/// Measures the table sizes, which reads the whole file: rarely enough to use at most 0.1 % of the time. Its
/// thread is not joined; it ends with the process.
fn measure(store: &Weak<AnyStore>) {
    thread::sleep(MEASURE_FIRST);
    while let Some(store) = store.upgrade() {
        let Some(file) = store.embedded() else { return };
        let watch = Stopwatch::start();
        if let Err(error) = file.measure() {
            tracing::warn!(%error, "cannot measure the table sizes");
        }
        drop(store);
        thread::sleep(MEASURE_EVERY.max(Duration::from_nanos(watch.nanos().saturating_mul(1000))));
    }
}

/// SIGTERM and SIGINT stop the server, SIGHUP reloads. From `listen` on they no longer end the process by
/// default.
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

    /// Returns at a stop signal; calls `reload` at each SIGHUP before.
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

/// Prints the address and the next steps to standard output, apart from the log.
fn greet(config: &Config, places: &Places, addresses: &str, first: bool) {
    let issuer = &config.server.issuer;
    let mut lines = vec![format!("keyfob {} listens on {addresses}", env!("CARGO_PKG_VERSION"))];
    lines.push(format!("  documentation   {issuer}/docs"));
    lines.push(format!(
        "  administrator   {}{}",
        places.admin_json.display(),
        if first { " (just created)" } else { "" }
    ));
    lines.push(format!("  try it          {}", try_it(config, places)));
    print_lines(&lines);
}

/// The same for a program that starts the server.
fn started(config: &Config, places: &Places, listeners: &Listeners, first: bool) -> Value {
    json!({
        "listening": listeners.url(if config.server.tls.is_some() { "https" } else { "http" }),
        "issuer": config.server.issuer,
        "documentation": format!("{}/docs", config.server.issuer),
        "credentials_file": places.admin_json.display().to_string(),
        "admin_socket": places.admin_socket.as_ref().map(|path| path.display().to_string()),
        "first_start": first,
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn print_lines(lines: &[String]) {
    let mut out = io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

/// A command to paste that opens a session: through the admin socket, or without one at the issuer.
fn try_it(config: &Config, places: &Places) -> String {
    let body = r#"-H 'Content-Type: application/json' -d '{"subject":"alice","client_id":"admin"}'"#;
    match &places.admin_socket {
        Some(socket) => {
            format!(
                "curl --unix-socket '{}' {body} http://localhost/v1/sessions",
                shell_path(socket).display()
            )
        }
        None => format!(
            r#"curl -u "admin:$(sed -n 's/.*"client_secret": "\(.*\)".*/\1/p' '{}')" {body} {}/v1/sessions"#,
            places.admin_json.display(),
            config.server.issuer
        ),
    }
}

/// A path that curl can connect to: relative to the working directory if that makes a long one shorter.
fn shell_path(socket: &Path) -> PathBuf {
    let relative =
        std::env::current_dir().ok().and_then(|here| socket.strip_prefix(here).ok().map(Path::to_owned));
    match relative {
        Some(relative) if socket.as_os_str().len() > SOCKET_PATH_BYTES => relative,
        _ => socket.to_owned(),
    }
}
