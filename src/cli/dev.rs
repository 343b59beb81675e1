//! `keyfob dev`: a server of its own for one command, for development and tests.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use clap::{Args, ValueHint};
use rustix::process::{Pid, Signal, getppid, kill_process};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use tokio::process::Child;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Failure, runtime};
use crate::config::{Config, DevelopmentSources};
use crate::domain::client::{Client, ClientKind};
use crate::engine::clock::Clock;
use crate::http::request::request_id;
use crate::serve::{AppError, DevTime, RunError, RunningServer, Storage, start_dev};
use crate::telemetry;
use crate::token::client_secret::{client_secret, hash_client_secret};
use crate::token::opaque::SecretText;

const DETAILS: &str = "\
COMMAND gets KEYFOB_URL, KEYFOB_CLIENT_ID and KEYFOB_CLIENT_SECRET in its environment. \
The secret is new at each
start. The server is on a free port of 127.0.0.1; \
it ends with COMMAND, and the exit code is that of COMMAND (128 and
the number of the signal that ended it; 127 if there is no such program, 126 if it cannot be run).

Examples:
  keyfob dev -- uvicorn main:app --reload
  keyfob dev --clients pyproject.toml --memory -- pytest
  keyfob dev --clock -- ./expiry-tests          POST /dev/clock {\"advance\":\"31m\"} moves the time forward";

/// Options of `keyfob dev`.
#[derive(Debug, Args)]
#[command(after_help = DETAILS)]
pub struct DevArgs {
    /// The clients: the [[client]] tables of a TOML file, or [[tool.keyfob.client]] of a pyproject.toml.
    /// Without it, there is one client, dev.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    clients: Option<PathBuf>,
    /// The client whose credentials COMMAND gets. Default: the first.
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Serves POST /dev/clock, which moves the time of the server forward. Implies --memory.
    #[arg(long)]
    clock: bool,
    /// Keeps the store in memory instead of .keyfob in this directory.
    #[arg(long)]
    memory: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

/// Becomes the command of `keyfob dev`, so that the kernel signals it when `keyfob dev` is killed.
#[derive(Debug, Args)]
pub struct DevExec {
    /// The process id of `keyfob dev`.
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// A signal, and whether the command must get it from us: a key of the terminal signals the command, too.
struct Received {
    signal: Signal,
    is_ours_alone: bool,
}

impl DevArgs {
    /// Runs the command beside a server.
    pub fn run(self, file: Option<&Path>) -> Result<(), Failure> {
        let secret = client_secret(&Clock::system().random());
        let sources = DevelopmentSources {
            file,
            clients: self.clients.as_deref(),
            client: self.client.as_deref(),
            secret: hash_client_secret(secret.expose()).expect("a new secret has a valid format"),
            in_memory: self.memory || self.clock,
        };
        let (config, client) = sources.load().map_err(Failure::refused)?;
        if self.clock && client.kind == ClientKind::Public {
            return Err(Failure::refused(format!(
                "the client {} is public: without a secret it cannot move the clock; name another with \
                 --client",
                client.id
            )));
        }
        telemetry::init(&config.log, request_id::current).map_err(Failure::refused)?;
        let signals = listen_for_signals().map_err(Failure::refused)?;
        // On this thread: the kernel signals the command when the thread that started it ends.
        runtime()?.block_on(self.serve(&config, &client, &secret, signals))
    }

    async fn serve(
        self,
        config: &Config,
        client: &Client,
        secret: &SecretText,
        mut signals: UnboundedReceiver<Received>,
    ) -> Result<(), Failure> {
        let storage = match (self.clock, self.memory) {
            (true, _) => {
                let (clock, ahead) = Clock::advanceable();
                Storage::Memory(Some(DevTime { clock, ahead, client: client.id.clone() }))
            }
            (false, true) => Storage::Memory(None),
            (false, false) => Storage::Disk,
        };
        let (mut server, url) = start_dev(config, storage).await.map_err(|error| match error {
            RunError::App(AppError::Lock(held)) => {
                Failure::refused(format!("{held}; --memory needs no store"))
            }
            error => Failure::refused(error),
        })?;
        let _ = writeln!(
            io::stderr(),
            "keyfob dev: {url} for the client {}; documentation: {url}/docs",
            client.id
        );
        let outcome = match signals.try_recv() {
            Ok(received) => Err(Failure::Ended(code_of_signal(received.signal.as_raw()))),
            Err(_) => match self.spawn(&url, client, secret) {
                Ok(child) => until_ended(child, &mut server, signals).await,
                Err(cause) => Err(Failure::refused(format!("the command cannot be started: {cause}"))),
            },
        };
        server.close().await;
        outcome
    }

    fn spawn(&self, url: &str, client: &Client, secret: &SecretText) -> io::Result<Child> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["dev-exec", &std::process::id().to_string(), "--"]).args(&self.command);
        command.env("KEYFOB_URL", url).env("KEYFOB_CLIENT_ID", client.id.as_str());
        match client.kind {
            ClientKind::Confidential => command.env("KEYFOB_CLIENT_SECRET", secret.expose()),
            ClientKind::Public => command.env_remove("KEYFOB_CLIENT_SECRET"),
        };
        command.spawn()
    }
}

/// Waits for the command, and passes signals on to it. A server that fails ends it.
async fn until_ended(
    mut child: Child,
    server: &mut RunningServer,
    mut signals: UnboundedReceiver<Received>,
) -> Result<(), Failure> {
    let mut failed = None;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(Failure::refused)?;
                return match failed {
                    Some(error) => Err(Failure::refused(error)),
                    None if status.success() => Ok(()),
                    None => Err(Failure::Ended(code_of(status))),
                };
            }
            Some(Received { signal, is_ours_alone: true }) = signals.recv() => signal_child(&child, signal),
            error = server.failed(), if failed.is_none() => {
                failed = Some(error);
                signal_child(&child, Signal::TERM);
            }
        }
    }
}

fn signal_child(child: &Child, signal: Signal) {
    // Without an id the child has been waited for.
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
        let _ = kill_process(pid, signal);
    }
}

fn listen_for_signals() -> io::Result<UnboundedReceiver<Received>> {
    let listened = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, Signal::USR1, Signal::USR2];
    let mut signals = SignalsInfo::<WithRawSiginfo>::new(listened.map(Signal::as_raw))?;
    let (sender, receiver) = unbounded_channel();
    thread::Builder::new().name("signals".into()).spawn(move || {
        for info in signals.forever() {
            if let Some(signal) = Signal::from_named_raw(info.si_signo) {
                // Positive codes are of the kernel (sigaction(2)), which at a hang-up signals the leader
                // alone.
                let is_ours_alone = info.si_code <= 0 || signal == Signal::HUP;
                let _ = sender.send(Received { signal, is_ours_alone });
            }
        }
    })?;
    Ok(receiver)
}

/// As a shell reports it.
fn code_of(status: ExitStatus) -> u8 {
    match status.code() {
        Some(code) => u8::try_from(code).unwrap_or(1),
        None => code_of_signal(status.signal().unwrap_or_default()),
    }
}

fn code_of_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(1)
}

impl DevExec {
    /// Becomes the command.
    pub fn run(self) -> Result<(), Failure> {
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM)).map_err(Failure::refused)?;
        if getppid().map(Pid::as_raw_pid) != Some(self.parent) {
            return Err(Failure::refused(
                "this command is started by `keyfob dev`, which is not its parent process",
            ));
        }
        let (program, arguments) = self.command.split_first().expect("clap requires one word");
        let cause = Command::new(program).args(arguments).exec();
        let _ = writeln!(io::stderr(), "keyfob: {} cannot be started: {cause}", program.display());
        Err(Failure::Ended(if cause.kind() == ErrorKind::NotFound { 127 } else { 126 }))
    }
}
