//! `keyfob session …`: one sign-in of a subject, and what became of it.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::client::listed;
use super::door::{Door, encoded};
use super::explain::{deadline, explain};
use super::listing::Listing;
use super::print::{Table, print_json, print_lines};
use super::times::{when, when_at};
use super::{Failure, Output};
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;

/// The largest page that the route gives.
const PAGE_MAX: u64 = 200;

/// What can be done with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Opens a session, and prints its tokens once.
    Create(Opening),
    /// Lists sessions, in the order of their opening.
    List(Filter),
    /// Shows one session, and says since when, by whom and why it ended.
    Show {
        /// Its identifier, `sid` in tokens.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Ends a session, and all tokens issued in it.
    Revoke {
        /// Its identifier, `sid` in tokens.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

/// A sign-in that was checked elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  keyfob session create --subject alice --client-id shop --amr pwd,otp --claims '{\"plan\":\"pro\"}'")]
pub struct Opening {
    /// Who signed in.
    #[arg(long)]
    subject: String,
    /// The client to open it for.
    #[arg(long)]
    client_id: String,
    /// What is granted, as names joined by spaces; everything the client may ask for if left out.
    #[arg(long)]
    scope: Option<String>,
    /// For whom the access tokens are; the client's only audience if left out.
    #[arg(long)]
    audience: Option<String>,
    /// To which level the subject authenticated.
    #[arg(long)]
    acr: Option<String>,
    /// By which methods (RFC 8176). May be given several times, or once with commas.
    #[arg(long, value_delimiter = ',')]
    amr: Vec<String>,
    /// Goes into tokens and introspection: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    claims: Option<Value>,
    /// Private to the session: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    data: Option<Value>,
    /// Asks for the longer timeouts of the policy.
    #[arg(long)]
    remember: bool,
}

/// Which sessions to list.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only this subject's.
    #[arg(long)]
    subject: Option<String>,
    /// Only this client's.
    #[arg(long)]
    client_id: Option<String>,
    /// Only those in this state.
    #[arg(long, value_parser = ["active", "expired", "ended"])]
    state: Option<String>,
    /// At most so many; all if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl SessionCommand {
    /// Carries the command out.
    pub async fn run(self, door: &mut Door, output: Output) -> Result<(), Failure> {
        let now = Clock::system().now().wall;
        match self {
            Self::Create(opening) => {
                let opened = door.call(Method::POST, "/v1/sessions", Some(&opening.into_body())).await?;
                let printed = match output {
                    Output::Human => print_opened(&opened, now),
                    Output::Json => print_json(&opened),
                };
                printed.map_err(|failure| unseen(failure, &opened))
            }
            Self::List(filter) => list(filter, door, output, now).await,
            Self::Show { id } => {
                let session = door.call(Method::GET, &path(&id), None).await?;
                match output {
                    Output::Human => print_session(&session, now),
                    Output::Json => print_json(&session),
                }
            }
            Self::Revoke { id } => {
                door.call(Method::DELETE, &path(&id), None).await?;
                match output {
                    Output::Human => {
                        print_lines(&[format!("session {id} is over, and every token issued in it is dead")])
                    }
                    Output::Json => print_json(&json!({ "ended": id })),
                }
            }
        }
    }
}

impl Opening {
    fn into_body(self) -> Value {
        let amr = listed(self.amr);
        let given = [
            ("subject", Some(json!(self.subject))),
            ("client_id", Some(json!(self.client_id))),
            ("scope", self.scope.map(Value::from)),
            ("audience", self.audience.map(Value::from)),
            ("acr", self.acr.map(Value::from)),
            ("amr", (!amr.is_empty()).then(|| json!(amr))),
            ("claims", self.claims),
            ("data", self.data),
            ("remember", self.remember.then_some(Value::Bool(true))),
        ];
        given
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect::<Map<_, _>>()
            .into()
    }
}

impl Filter {
    fn query(&self) -> String {
        let given = [("subject", &self.subject), ("client_id", &self.client_id), ("state", &self.state)];
        given
            .into_iter()
            .filter_map(|(name, value)| Some(format!("&{name}={}", encoded(value.as_deref()?))))
            .collect()
    }
}

async fn list(filter: Filter, door: &mut Door, output: Output, now: Timestamp) -> Result<(), Failure> {
    let mut listing =
        Listing::new(output, &["SESSION", "SUBJECT", "CLIENT", "STATE", "LAST USED", "EXPIRES"]);
    let (query, mut cursor) = (filter.query(), String::new());
    let mut left = filter.limit.unwrap_or(u64::MAX);
    loop {
        let mut page = door
            .call(Method::GET, &format!("/v1/sessions?limit={}{query}{cursor}", left.min(PAGE_MAX)), None)
            .await?;
        let items = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        left = left.saturating_sub(items.len() as u64);
        for item in items {
            let cells = cells(&item, now);
            listing.add(item, cells);
        }
        let Some(next) = page["next_cursor"].as_str() else { break };
        if left == 0 {
            eprintln!("keyfob: there may be more; ask for them with a greater --limit, or without it");
            break;
        }
        listing.flush()?;
        cursor = format!("&cursor={}", encoded(next));
    }
    listing.finish()
}

fn cells(session: &Value, now: Timestamp) -> [String; 6] {
    let text = |name: &str| session[name].as_str().unwrap_or_default().to_owned();
    let (state, expires) = match session["ended"]["reason"].as_str() {
        Some(reason) => (format!("ended ({reason})"), "-".to_owned()),
        None => (
            text("state"),
            deadline(session).map_or_else(|| "-".to_owned(), |deadline| when_at(deadline, now)),
        ),
    };
    [text("id"), text("subject"), text("client_id"), state, when(&text("last_used_at"), now), expires]
}

fn print_opened(opened: &Value, now: Timestamp) -> Result<(), Failure> {
    let session = &opened["session"];
    let mut lines = vec![
        line("session", &text(&session["id"])),
        line("subject", &text(&session["subject"])),
        line("client", &text(&session["client_id"])),
        line("scope", &text(&opened["scope"])),
        String::new(),
        line("session_token", &text(&opened["session_token"])),
        line("access_token", &text(&opened["access_token"])),
    ];
    if opened["refresh_token"].is_string() {
        lines.push(line("refresh_token", &text(&opened["refresh_token"])));
    }
    let seconds = &opened["expires_in"];
    lines.push(format!(
        "These tokens are secrets and are shown this once. The access token is good for {seconds} seconds."
    ));
    lines.push(explain(session, now));
    print_lines(&lines)
}

/// What to do about tokens that nobody saw.
fn unseen(failure: Failure, opened: &Value) -> Failure {
    let id = text(&opened["session"]["id"]);
    failure.of_secret(&format!(
        "the session is open and its tokens could not be shown: end it with `keyfob session revoke {id}` and open another"
    ))
}

fn print_session(session: &Value, now: Timestamp) -> Result<(), Failure> {
    let at = |name: &str| when(session[name].as_str().unwrap_or_default(), now);
    let mut lines = vec![line("session", &text(&session["id"]))];
    lines.extend(
        ["subject", "client_id", "state", "scope", "acr", "amr"]
            .map(|name| line(name, &text(&session[name]))),
    );
    lines.push(line("remembered", if session["remember"] == json!(true) { "yes" } else { "no" }));
    lines.push(line("opened", &format!("{} by {}", at("created_at"), text(&session["opened_by"]))));
    lines.push(line("authenticated", &at("authenticated_at")));
    lines.push(line("last used", &at("last_used_at")));
    for (name, value) in session["device"].as_object().into_iter().flatten() {
        lines.push(line(name, &text(value)));
    }
    for name in ["claims", "data"] {
        if session[name].as_object().is_some_and(|object| !object.is_empty()) {
            lines.push(line(name, &session[name].to_string()));
        }
    }
    lines.extend([String::new(), explain(session, now)]);
    lines.extend(families(session, now));
    print_lines(&lines)
}

fn families(session: &Value, now: Timestamp) -> Vec<String> {
    let families = session["families"].as_array().filter(|families| !families.is_empty());
    let Some(families) = families else { return vec![] };
    let mut table =
        Table::new(&["FAMILY", "STATE", "CLIENT", "SCOPE", "AUDIENCE", "REFRESHES", "LAST REFRESH"]);
    for family in families {
        let cell = |name: &str| text(&family[name]);
        let refreshed = when(&cell("refreshed_at"), now);
        table.row([
            cell("id"),
            cell("state"),
            cell("client_id"),
            cell("scope"),
            cell("audience"),
            cell("generation"),
            refreshed,
        ]);
    }
    std::iter::once(String::new()).chain(table.take_lines()).collect()
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<15} {value}")
}

/// A member for a person: texts as they are, lists as words, and a dash for nothing.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn path(id: &str) -> String {
    format!("/v1/sessions/{}", encoded(id))
}

fn object(json: &str) -> Result<Value, String> {
    serde_json::from_str(json)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| "expected a JSON object, such as {\"plan\":\"pro\"}".to_owned())
}
