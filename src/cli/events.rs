//! `keyfob events tail`: the event log.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::Value;
use tokio::time::sleep;

use super::door::{Door, encoded};
use super::print::{INDENT, fold, print_lines, printable, terminal_width};
use super::times::when;
use super::{Failure, Output};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;

/// How long one request waits for an event, in seconds.
const WAIT_S: u32 = 25;
/// How often a server that went away is looked for.
const SERVER_EVERY: Duration = Duration::from_millis(200);

/// What can be done with the event log.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Prints what happened, oldest first; with --json one object a line.
    Tail {
        /// Begins after this cursor; without it at the oldest event that is kept.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Goes on as things happen, until it is interrupted. Waits for a server while none runs.
        #[arg(long)]
        follow: bool,
    },
}

impl EventsCommand {
    /// Carries the command out. The log goes on when the server does: with `--follow` the next one is waited
    /// for.
    pub async fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        let Self::Tail { after, follow } = self;
        let mut reader = Reader { after, follow, output };
        let mut door = Door::open(config).await?;
        loop {
            let read = reader.read(&mut door).await;
            door.close().await;
            match read {
                Ok(()) | Err(Failure::Gone(_)) if follow => door = next_server(config).await?,
                read => return read,
            }
        }
    }
}

/// Waits until a server runs. The store is left to it, and to other commands.
async fn next_server(config: &Config) -> Result<Door, Failure> {
    let mut told = false;
    loop {
        sleep(SERVER_EVERY).await;
        if let Some(door) = Door::running(config).await? {
            return Ok(door);
        }
        if !std::mem::replace(&mut told, true) {
            let _ = writeln!(io::stderr(), "keyfob: no server runs, so nothing happens; waiting for one");
        }
    }
}

/// Who reads the log, and how far.
struct Reader {
    after: Option<String>,
    follow: bool,
    output: Output,
}

impl Reader {
    /// Prints what there is; what a server has to tell later too, if it is followed.
    async fn read(&mut self, door: &mut Door) -> Result<(), Failure> {
        let follow = self.follow && door.is_server();
        loop {
            let place =
                self.after.as_deref().map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
            let wait = if follow && self.after.is_some() { WAIT_S } else { 0 };
            let page =
                door.call(Method::GET, &format!("/v1/events?limit=200&wait={wait}{place}"), None).await?;
            let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let now = Clock::system().now().wall;
            for event in items {
                match self.output {
                    Output::Json => print_lines(&[event.to_string()])?,
                    Output::Human => print_lines(&lines(event, now, terminal_width()))?,
                }
            }
            match items.last() {
                Some(last) => self.after = last["cursor"].as_str().map(Into::into),
                None => self.after = self.after.take().or_else(|| page["head"].as_str().map(Into::into)),
            }
            if items.is_empty() && !follow {
                return Ok(());
            }
        }
    }
}

/// One event for a person: a line, and on a terminal what there is to tell of it below.
fn lines(event: &Value, now: Timestamp, room: Option<usize>) -> Vec<String> {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let head = [
        format!("{:>6}", text("cursor")),
        when(text("at"), now),
        format!("{:<16} by {}", text("type"), text("by")),
    ];
    let told = [
        "session_id",
        "subject",
        "client_id",
        "family",
        "reason",
        "jti",
        "kid",
        "generations_behind",
        "note",
    ];
    let members = told.iter().filter(|name| !event[**name].is_null());
    let members: Vec<String> =
        members.map(|name| printable(&format!("{name}={}", member(&event[*name]))).into_owned()).collect();
    match room {
        None => vec![format!("{}  {}", head.join("  "), members.join(" "))],
        Some(room) => {
            let mut lines = fold("", &head, "  ", room);
            if !members.is_empty() {
                lines.extend(fold(INDENT, &members, " ", room));
            }
            lines
        }
    }
}

/// A value as it is where nobody could take it for more than one; otherwise in the quotes of JSON.
fn member(value: &Value) -> String {
    let json = value.to_string();
    match value.as_str() {
        Some(text)
            if !text.is_empty()
                && json.len() == text.len() + 2
                && !text.contains(|c: char| c.is_whitespace() || c == '=') =>
        {
            text.into()
        }
        _ => json,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_can_forge_a_member_by_what_is_in_another() {
        for plain in ["alice", "żółw", "a/b?", "0198-aa"] {
            assert_eq!(member(&json!(plain)), plain);
        }
        for text in ["", "al client_id=root", "a=b", "al\"", "a\\u0020b", "a\nb", "a\u{a0}b", "\u{2028}"] {
            assert_eq!(member(&json!(text)), json!(text).to_string());
        }
        assert_eq!(member(&json!(7)), "7");
    }
}
