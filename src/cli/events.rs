//! `keyfob events tail`: the event log.

use std::io::{self, Write};
use std::time::Duration;

use clap::Subcommand;
use serde_json::Value;
use tokio::time::sleep;

use super::print::{INDENT, fold, printable, terminal_width};
use super::{AdminClient, Failure, Output, now, pairs, print_lines, when};
use crate::config::Config;
use crate::domain::time::Timestamp;
use crate::http::api::events::{EventObject, EventPage};

/// How long one request waits for an event, in seconds.
const WAIT_S: u32 = 25;
/// The time between two attempts to connect to a server that stopped.
const RECONNECT_EVERY: Duration = Duration::from_millis(200);

/// Commands for the event log.
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Prints the events, oldest first; with --json one object per line.
    Tail {
        /// Starts after this cursor; by default at the oldest event kept.
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// Prints further events as they happen, until interrupted. Waits for a server while none is running.
        #[arg(long)]
        follow: bool,
    },
}

impl EventsCommand {
    /// Runs the command. With `--follow` it continues after a restart of the server.
    pub async fn run(self, config: &Config, output: Output) -> Result<(), Failure> {
        let Self::Tail { after, follow } = self;
        let mut tail = Tail { after, follow, output };
        let mut admin = AdminClient::open(config).await?;
        loop {
            let printed = tail.print(&mut admin).await;
            admin.close().await;
            match printed {
                Ok(()) | Err(Failure::Disconnected(_)) if follow => admin = next_server(config).await?,
                printed => return printed,
            }
        }
    }
}

/// Waits until a server is running. Meanwhile the store is free for the server and for other commands.
async fn next_server(config: &Config) -> Result<AdminClient, Failure> {
    let mut reported = false;
    loop {
        sleep(RECONNECT_EVERY).await;
        if let Some(admin) = AdminClient::running(config).await? {
            return Ok(admin);
        }
        if !std::mem::replace(&mut reported, true) {
            let _ = writeln!(io::stderr(), "keyfob: no server is running; waiting for one");
        }
    }
}

/// What to print, and the cursor of the last event printed.
struct Tail {
    after: Option<String>,
    follow: bool,
    output: Output,
}

impl Tail {
    /// Prints all events there are, and with `--follow` those that a running server adds.
    async fn print(&mut self, admin: &mut AdminClient) -> Result<(), Failure> {
        let follow = self.follow && admin.is_server();
        loop {
            let wait = if follow && self.after.is_some() { WAIT_S } else { 0 };
            let query = pairs(&[("wait", Some(&wait.to_string())), ("after", self.after.as_deref())]);
            let page: EventPage = admin.get(&format!("/v1/events?limit=200&{query}")).await?;
            let now = now();
            for event in &page.items {
                let object = serde_json::to_value(event).map_err(Failure::refused)?;
                match self.output {
                    Output::Json => print_lines(&[object.to_string()])?,
                    Output::Human => print_lines(&lines(event, &object, now, terminal_width()))?,
                }
            }
            match page.items.last() {
                Some(last) => self.after = Some(last.cursor.clone()),
                None => self.after = self.after.take().or(Some(page.head)),
            }
            if page.items.is_empty() && !follow {
                return Ok(());
            }
        }
    }
}

/// One event as text: a single line in a pipe; on a terminal its members follow on indented lines.
fn lines(event: &EventObject, object: &Value, now: Timestamp, room: Option<usize>) -> Vec<String> {
    let head = [
        format!("{:>6}", event.cursor),
        when(event.at.0, now),
        format!("{:<16} by {}", event.r#type.0.as_str(), event.by),
    ];
    let names = [
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
    let members = names.iter().filter(|name| !object[**name].is_null());
    let members: Vec<String> =
        members.map(|name| printable(&format!("{name}={}", member(&object[*name]))).into_owned()).collect();
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

/// A value as it is where it cannot be mistaken for another member; otherwise quoted as JSON.
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
    fn a_value_cannot_forge_another_member() {
        for plain in ["alice", "żółw", "a/b?", "0198-aa"] {
            assert_eq!(member(&json!(plain)), plain);
        }
        for text in ["", "al client_id=root", "a=b", "al\"", "a\\u0020b", "a\nb", "a\u{a0}b", "\u{2028}"] {
            assert_eq!(member(&json!(text)), json!(text).to_string());
        }
        assert_eq!(member(&json!(7)), "7");
    }
}
