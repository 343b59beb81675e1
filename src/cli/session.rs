//! `keyfob session …`: open, list, show and end sessions.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use serde_json::json;

use super::explain::{deadline, explain};
use super::{
    AdminClient, Failure, Listing, Output, encoded, given, now, pairs, print_done, print_result, table_lines,
    when, words,
};
use crate::domain::time::Timestamp;
use crate::http::api::session_object::{FamilyObject, SessionObject};
use crate::http::api::sessions::{OpenedBody, SessionPage};
use crate::http::request::json::read_text;
use crate::http::request::types::FreeObject;

/// The largest page of the route.
const PAGE_MAX: u64 = 200;

/// Commands for sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Opens a session, and prints its tokens once.
    Create(CreateSessionArgs),
    /// Lists sessions, oldest first.
    List(Filter),
    /// Shows one session, with when, why and by whom it ended.
    Show {
        /// The session id, `sid` in tokens.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Ends a session and revokes its tokens.
    Revoke {
        /// The session id, `sid` in tokens.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

/// The session to open. The subject was authenticated elsewhere.
#[derive(Debug, Args, Serialize)]
#[command(after_help = "\
Example:
  keyfob session create --subject alice --client-id shop --amr pwd,otp --claims '{\"plan\":\"pro\"}'")]
pub struct CreateSessionArgs {
    /// The subject that signed in.
    #[arg(long)]
    subject: String,
    /// The client to open it for.
    #[arg(long)]
    client_id: String,
    /// The granted scope, as names joined by spaces; by default all scopes of the client.
    #[arg(long)]
    scope: Option<String>,
    /// The audience of the access tokens; by default the client's only audience.
    #[arg(long)]
    audience: Option<String>,
    /// The authentication context class.
    #[arg(long)]
    acr: Option<String>,
    /// The authentication methods (RFC 8176). Repeat it, or separate them with commas.
    #[arg(long, value_delimiter = ',')]
    amr: Option<Vec<String>>,
    /// Claims for tokens and introspection: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    claims: Option<FreeObject>,
    /// Private data of the session: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object)]
    data: Option<FreeObject>,
    /// Uses the longer timeouts of the policy.
    #[arg(long)]
    remember: bool,
}

/// Which sessions to list.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only sessions of this subject.
    #[arg(long)]
    subject: Option<String>,
    /// Only sessions of this client.
    #[arg(long)]
    client_id: Option<String>,
    /// Only sessions in this state.
    #[arg(long, value_parser = ["active", "expired", "ended"])]
    state: Option<String>,
    /// The largest number to list; by default all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl SessionCommand {
    /// Runs the command.
    pub async fn run(self, admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
        let now = now();
        match self {
            Self::Create(opening) => {
                let body = given(&opening).into();
                let opened: OpenedBody = admin.call(Method::POST, "/v1/sessions", Some(&body)).await?;
                print_result(output, &opened, || opened_lines(&opened, now)).map_err(|failure| {
                    let id = &opened.session.id;
                    failure.of_secret(&format!(
                        "session {id} is open, and its tokens could not be shown: end it with `keyfob \
                         session revoke {id}`"
                    ))
                })
            }
            Self::List(filter) => list(filter, admin, output, now).await,
            Self::Show { id } => {
                let session: SessionObject = admin.get(&path(&id)).await?;
                print_result(output, &session, || session_lines(&session, now))
            }
            Self::Revoke { id } => {
                admin.call::<()>(Method::DELETE, &path(&id), None).await?;
                print_done(
                    output,
                    &json!({ "ended": id }),
                    &format!("session {id} has ended, and its tokens are invalid"),
                )
            }
        }
    }
}

async fn list(
    filter: Filter,
    admin: &mut AdminClient,
    output: Output,
    now: Timestamp,
) -> Result<(), Failure> {
    let mut listing =
        Listing::new(output, &["SESSION", "SUBJECT", "CLIENT", "STATE", "LAST USED", "EXPIRES"]);
    let mut cursor: Option<String> = None;
    let mut left = filter.limit.unwrap_or(u64::MAX);
    loop {
        let query = pairs(&[
            ("limit", Some(&left.min(PAGE_MAX).to_string())),
            ("subject", filter.subject.as_deref()),
            ("client_id", filter.client_id.as_deref()),
            ("state", filter.state.as_deref()),
            ("cursor", cursor.as_deref()),
        ]);
        let page: SessionPage = admin.get(&format!("/v1/sessions?{query}")).await?;
        left = left.saturating_sub(page.items.len() as u64);
        for session in &page.items {
            listing.add(session, || cells(session, now))?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
        if left == 0 {
            eprintln!("keyfob: there may be more; list them with a greater --limit, or without it");
            break;
        }
        listing.flush()?;
    }
    listing.finish()
}

fn cells(session: &SessionObject, now: Timestamp) -> [String; 6] {
    let (state, expires) = match &session.ended {
        Some(end) => (format!("ended ({})", end.reason.0.as_str()), "-".to_owned()),
        None => (session.state.0.as_str().to_owned(), when(deadline(session), now)),
    };
    let SessionObject { id, subject, client_id, last_used_at, .. } = session;
    [id.clone(), subject.clone(), client_id.clone(), state, when(last_used_at.0, now), expires]
}

fn opened_lines(opened: &OpenedBody, now: Timestamp) -> Vec<String> {
    let session = &opened.session;
    let mut lines = vec![
        line("session", &session.id),
        line("subject", &session.subject),
        line("client", &session.client_id),
        line("scope", or_dash(&opened.scope)),
        String::new(),
        line("session_token", &opened.session_token),
        line("access_token", &opened.access_token),
    ];
    lines.extend(opened.refresh_token.as_ref().map(|token| line("refresh_token", token)));
    lines.push(format!(
        "These tokens are secrets and are shown this once. The access token is valid for {} seconds.",
        opened.expires_in
    ));
    lines.push(explain(session, now));
    lines
}

fn session_lines(session: &SessionObject, now: Timestamp) -> Vec<String> {
    let mut lines = vec![
        line("session", &session.id),
        line("subject", &session.subject),
        line("client_id", &session.client_id),
        line("state", session.state.0.as_str()),
        line("scope", or_dash(&session.scope)),
        line("acr", session.acr.as_deref().unwrap_or("-")),
        line("amr", &words(session.amr.iter().map(String::as_str))),
        line("remembered", if session.remember { "yes" } else { "no" }),
        line("opened", &format!("{} by {}", when(session.created_at.0, now), session.opened_by)),
        line("authenticated", &when(session.authenticated_at.0, now)),
        line("last used", &when(session.last_used_at.0, now)),
    ];
    let device = &session.device;
    for (name, value) in [
        ("ip", device.ip.as_deref()),
        ("label", device.label.as_deref()),
        ("user_agent", device.user_agent.as_deref()),
    ] {
        lines.extend(value.map(|value| line(name, or_dash(value))));
    }
    for (name, object) in [("claims", Some(&session.claims)), ("data", session.data.as_ref())] {
        let json = object.and_then(|object| serde_json::to_string(object).ok());
        lines.extend(json.filter(|json| json != "{}").map(|json| line(name, &json)));
    }
    lines.extend([String::new(), explain(session, now)]);
    lines.extend(family_lines(&session.families, now));
    lines
}

fn family_lines(families: &[FamilyObject], now: Timestamp) -> Vec<String> {
    if families.is_empty() {
        return vec![];
    }
    let row = |family: &FamilyObject| {
        [
            family.id.to_string(),
            family.state.0.as_str().to_owned(),
            family.client_id.clone(),
            or_dash(&family.scope).to_owned(),
            or_dash(&family.audience).to_owned(),
            family.generation.to_string(),
            when(family.refreshed_at.0, now),
        ]
    };
    let headings = ["FAMILY", "STATE", "CLIENT", "SCOPE", "AUDIENCE", "REFRESHES", "LAST REFRESH"];
    let table = table_lines(headings, families.iter().map(row));
    std::iter::once(String::new()).chain(table).collect()
}

fn line(name: &str, value: &str) -> String {
    format!("{name:<15} {value}")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn path(id: &str) -> String {
    format!("/v1/sessions/{}", encoded(id))
}

fn object(json: &str) -> Result<FreeObject, String> {
    read_text(json.as_bytes()).map_err(|problem| {
        format!("{}; expected a JSON object, such as {{\"plan\":\"pro\"}}", problem.detail())
    })
}
