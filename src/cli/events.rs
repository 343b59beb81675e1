//! `keyfob events tail`: the event log.

use std::io::{self, Write};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::door::{Door, encoded};
use super::print::printable;
use super::times::when;
use super::{Failure, Output};
use crate::engine::clock::Clock;

/// How long one request waits for an event, in seconds.
const WAIT_S: u32 = 25;

/// What can be done with the event log.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Prints what happened, oldest first; with --json one object a line.
    Tail {
        /// Begins after this cursor; without it at the oldest event that is kept.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Goes on as things happen, until it is interrupted.
        #[arg(long)]
        follow: bool,
    },
}

impl EventsCommand {
    /// Carries the command out.
    pub async fn run(self, door: &mut Door, output: Output) -> Result<(), Failure> {
        let Self::Tail { mut after, follow } = self;
        loop {
            let place = after.as_deref().map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
            let wait = if follow && after.is_some() { WAIT_S } else { 0 };
            let page = door.call(Method::GET, &format!("/v1/events?limit=200&wait={wait}{place}"), None).await?;
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !items.iter().all(|event| print(event, output)) {
                return Ok(());
            }
            match items.last() {
                Some(last) => after = last["cursor"].as_str().map(Into::into),
                None if follow => after = after.or_else(|| page["head"].as_str().map(Into::into)),
                None => return Ok(()),
            }
        }
    }
}

/// Prints one event. False when nobody reads any more.
fn print(event: &Value, output: Output) -> bool {
    let line = match output {
        Output::Json => event.to_string(),
        Output::Human => {
            let at = when(event["at"].as_str().unwrap_or_default(), Clock::system().now().wall);
            let text = |name: &str| event[name].as_str().unwrap_or_default();
            let told = ["session_id", "subject", "client_id", "family", "reason", "jti", "kid", "generations_behind", "note"];
            let members = told.iter().filter(|name| !event[**name].is_null());
            let members: Vec<String> = members.map(|name| format!("{name}={}", event[*name].to_string().trim_matches('"'))).collect();
            format!("{:>6}  {at}  {:<16} by {}  {}", text("cursor"), text("type"), text("by"), members.join(" "))
        }
    };
    writeln!(io::stdout().lock(), "{}", printable(&line)).is_ok()
}
