//! The command line, a file for each group of commands. Administration uses the HTTP routes
//! (`admin_client.rs`).

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueHint};

use self::admin_client::{AdminClient, encoded, given, pairs, runtime, with_admin_client};
use self::listing::Listing;
pub use self::outcome::{Failure, Output};
use self::print::{print_done, print_json, print_lines, print_result, printable, table_lines, words};
use self::progress::{Progress, bytes_text, percent};
use self::times::{now, when};
use crate::config::{Config, Sources};

mod admin_client;
mod client;
mod completions;
mod config;
mod console;
mod db;
mod dev;
mod events;
mod explain;
mod init;
mod key;
mod listing;
mod man;
mod outcome;
mod pinned;
mod policy;
mod print;
mod progress;
mod ready;
mod serve;
mod session;
mod subject;
mod times;
mod token;

/// A session server in one binary.
///
/// Opens sessions for users whom your application has authenticated, issues, rotates and introspects their
/// tokens, and ends sessions. Commands use the running server; if none is running they open the store
/// themselves.
#[derive(Debug, Parser)]
#[command(name = "keyfob", version, disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file. Default: config.toml in this directory, or /etc/keyfob/config.toml for a
    /// keyfob installed under /usr, if it exists.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        help_heading = "Options of every command"
    )]
    config: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true, help_heading = "Options of every command")]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  keyfob                                        start the server; the first start initialises the store
  keyfob client create shop --permission sessions,introspect --grant refresh_token
  keyfob session list --subject alice           list the sessions of alice
  keyfob subject revoke alice                   log alice out everywhere
  keyfob events tail --follow                   print events as they happen

Exit codes: 0 success, 1 rejected or failed (the reason is on standard error), 2 invalid usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server; the first start initialises the store. This is the default command.
    Serve(serve::ServeArgs),
    /// Initialises the store, and prints the administrator's credentials once.
    Init,
    /// Checks or shows the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Manages clients: the applications that may call the API, and their permissions.
    #[command(subcommand)]
    Client(client::ClientCommand),
    /// Prints a link to the operator's console, a page in the browser; the link works once and for a minute.
    Console(console::ConsoleArgs),
    /// Manages sessions: open, list, explain, end.
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// Manages subjects: log out everywhere.
    #[command(subcommand)]
    Subject(subject::SubjectCommand),
    /// Inspects tokens: introspect, revoke, decode.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Tries out policies.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Manages signing keys: list, rotate, revoke.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Reads the event log.
    #[command(subcommand)]
    Events(events::EventsCommand),
    /// Maintains the store: check, measure, back up, restore.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Runs a command beside a server of its own, for development and tests.
    Dev(dev::DevArgs),
    /// Becomes the command of `keyfob dev`.
    #[command(hide = true)]
    DevExec(dev::DevExec),
    /// Prints the OpenAPI document.
    Openapi,
    /// Checks whether the running server is ready; exit code 1 if not.
    Ready,
    /// Prints a shell completion script.
    Completions(completions::Completions),
    /// Writes the manual pages into a directory.
    #[command(hide = true)]
    Man(man::Man),
}

/// The definition of the command line, for completions, manual pages and tests.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the command line and runs the command. Exit codes: 0 success, 1 rejected or failed, 2 invalid
/// usage.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Client(command)) = &cli.command {
        command.require_change(self::command());
    }
    let output = if cli.json { Output::Json } else { Output::Human };
    match dispatch(cli, output) {
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(Failure::Ended(code)) => ExitCode::from(code),
        Err(Failure::Refused(message) | Failure::Disconnected(message)) => {
            let _ = writeln!(std::io::stderr(), "keyfob: {}", printable(&message));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli, output: Output) -> Result<(), Failure> {
    let file = cli.config;
    let load = |flags| Config::load(&Sources::of_process(file.clone(), flags)).map_err(Failure::refused);
    match cli.command.unwrap_or(Command::Serve(serve::ServeArgs::default())) {
        Command::Serve(args) => serve::run(&load(args.overrides())?, output),
        Command::Init => init::run(&load(vec![])?, output),
        Command::Config(command) => command.run(|| load(vec![]), output),
        Command::Client(command) => {
            with_admin_client(&load(vec![])?, async |admin| command.run(admin, output).await)
        }
        Command::Console(args) => runtime()?.block_on(args.run(&load(vec![])?, output)),
        Command::Session(command) => {
            with_admin_client(&load(vec![])?, async |admin| command.run(admin, output).await)
        }
        Command::Subject(command) => {
            with_admin_client(&load(vec![])?, async |admin| command.run(admin, output).await)
        }
        Command::Token(token::TokenCommand::Online(command)) => {
            with_admin_client(&load(vec![])?, async |admin| command.run(admin, output).await)
        }
        Command::Token(token::TokenCommand::Decode(command)) => command.run(output),
        Command::Policy(command) => {
            with_admin_client(&load(vec![])?, async |admin| command.run(admin, output).await)
        }
        Command::Key(command) => {
            with_admin_client(&load(vec![])?, async |admin| command.run(admin, output).await)
        }
        Command::Events(command) => runtime()?.block_on(command.run(&load(vec![])?, output)),
        Command::Db(command) => command.run(&load(vec![])?, output),
        Command::Dev(args) => args.run(file.as_deref()),
        Command::DevExec(args) => args.run(),
        Command::Openapi => {
            let document = runtime()?.block_on(crate::serve::openapi_document(&load(vec![])?));
            print_lines(&[document.map_err(Failure::refused)?])
        }
        Command::Ready => runtime()?.block_on(ready::run(&load(vec![])?, output)),
        Command::Completions(completions) => completions.run(command()),
        Command::Man(man) => man.run(command()),
    }
}
