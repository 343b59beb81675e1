//! The command line. One file a command group; administration goes through the same routes as everybody's
//! (`door.rs`).

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueHint};
use http::StatusCode;
use serde_json::Value;

use self::door::Door;
use crate::config::{Config, Sources};

mod client;
mod completions;
mod config;
mod db;
mod door;
mod events;
mod explain;
mod init;
mod key;
mod listing;
mod man;
mod print;
mod progress;
mod ready;
mod serve;
mod session;
mod subject;
mod times;
mod token;

/// A session engine in one binary.
///
/// Opens sessions for people that your application has authenticated, issues and rotates their tokens,
/// answers whether a token is good, and logs people out. Commands go through the running server, or open the
/// store themselves where none runs.
#[derive(Debug, Parser)]
#[command(name = "keyfob", version, disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file; without it config.toml here, or /etc/keyfob/config.toml for a keyfob installed
    /// under /usr, if it exists.
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Options of every command")]
    config: Option<PathBuf>,
    /// Prints JSON for a program to read.
    #[arg(long, global = true, help_heading = "Options of every command")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  keyfob                                        start the server; the first start initialises
  keyfob client create shop --permission sessions,introspect --grant refresh_token
  keyfob session list --subject alice           who is signed in where
  keyfob subject revoke alice                   log alice out everywhere
  keyfob events tail --follow                   what happens, as it happens

Exit codes: 0 done, 1 refused or failed (the reason is on standard error), 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server; the first start initialises. This is what happens without a command.
    Serve(serve::ServeArgs),
    /// Initialises the store, and prints the administrator's credentials once.
    Init,
    /// Checks or shows the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Registered clients: the applications that may ask, and what they may.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Sessions: open, list, explain, end.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Subjects: log out everywhere.
    #[command(subcommand)]
    Subject(subject::SubjectCommand),
    /// Tokens: introspect, revoke, decode.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Signing keys: list, rotate, revoke.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// The event log: what happened, by whom.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// The store as a whole: check, measure, back up, restore.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Prints the OpenAPI document.
    Openapi,
    /// Says whether the server that runs here is ready; exit code 1 if it is not.
    Ready,
    /// Prints completions for a shell.
    Completions(completions::Completions),
    /// Writes the manual pages into a directory.
    #[command(hide = true)]
    Man(man::Man),
}

/// For whom to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A person.
    Human,
    /// A program.
    Json,
}

/// Why a command did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// Refused or failed: one line naming the cause and the mend. The program exits with 1.
    Refused(String),
    /// The same, because the server went away in the middle.
    Gone(String),
    /// Nobody reads any more what it prints. The program ends quietly, with 0.
    Unread,
}

impl Failure {
    /// Refused or failed, for this reason.
    pub fn refused(cause: impl Display) -> Self {
        Self::Refused(cause.to_string())
    }

    /// The same where a secret could not be printed: whoever closed the pipe has lost it too, and is told how
    /// to go on.
    pub fn of_secret(self, how_to_go_on: &str) -> Self {
        match self {
            Self::Refused(cause) | Self::Gone(cause) => Self::Refused(format!("{cause}; {how_to_go_on}")),
            Self::Unread => Self::Refused(format!("standard output was closed; {how_to_go_on}")),
        }
    }

    /// What a route said.
    fn from_problem(status: StatusCode, problem: &Value) -> Self {
        let said = problem["detail"]
            .as_str()
            .or(problem["error_description"].as_str())
            .or(problem["title"].as_str());
        Self::Refused(said.map_or_else(|| format!("the server answered {status}"), Into::into))
    }
}

/// The whole command line, for what is made from it.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Reads the command line and carries it out. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Client(command)) = &cli.command {
        command.refuse_no_change();
    }
    let output = if cli.json { Output::Json } else { Output::Human };
    match dispatch(cli, output) {
        Ok(()) | Err(Failure::Unread) => ExitCode::SUCCESS,
        Err(Failure::Refused(message) | Failure::Gone(message)) => {
            let _ = writeln!(std::io::stderr(), "keyfob: {}", print::printable(&message));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli, output: Output) -> Result<(), Failure> {
    let file = cli.config;
    let load = |flags| Config::load(&Sources::of_process(file.clone(), flags)).map_err(Failure::refused);
    match cli.command.unwrap_or(Command::Serve(serve::ServeArgs::default())) {
        Command::Serve(args) => serve::run(&load(args.overrides())?),
        Command::Init => init::run(&load(vec![])?, output),
        Command::Config(command) => command.run(|| load(vec![]), output),
        Command::Client(command) => {
            through_door(&load(vec![])?, async |door| command.run(door, output).await)
        }
        Command::Session(command) => {
            through_door(&load(vec![])?, async |door| command.run(door, output).await)
        }
        Command::Subject(command) => {
            through_door(&load(vec![])?, async |door| command.run(door, output).await)
        }
        Command::Token(token::TokenCommand::Ask(command)) => {
            through_door(&load(vec![])?, async |door| command.run(door, output).await)
        }
        Command::Token(token::TokenCommand::Decode(command)) => command.run(output),
        Command::Key(command) => through_door(&load(vec![])?, async |door| command.run(door, output).await),
        Command::Events(command) => runtime()?.block_on(command.run(&load(vec![])?, output)),
        Command::Db(command) => command.run(&load(vec![])?, output),
        Command::Openapi => {
            let document = runtime()?.block_on(crate::serve::openapi_document(&load(vec![])?));
            print::print_lines(&[document.map_err(Failure::refused)?])
        }
        Command::Ready => runtime()?.block_on(ready::run(&load(vec![])?, output)),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

/// Carries a command out at the routes, and closes what was opened for it.
fn through_door(
    config: &Config,
    command: impl AsyncFnOnce(&mut Door) -> Result<(), Failure>,
) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let mut door = Door::open(config).await?;
        let done = command(&mut door).await;
        door.close().await;
        done
    })
}

/// A runtime for one command.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::refused)
}
