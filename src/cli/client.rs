//! `keyfob client …`: the registered clients.

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::door::{Door, encoded};
use super::print::{Table, print_json, print_lines, print_table};
use super::{Failure, Output};

const CREATE_EXAMPLES: &str = "\
Examples:
  keyfob client create shop --permission sessions,introspect --grant refresh_token --scope read,write
      a backend that signs people in, and asks about their tokens
  keyfob client create api --permission introspect --serves https://api.example.com
      a resource server: it may ask about tokens for that audience
  keyfob client create phone --public --grant refresh_token
      an application on people's devices; the backend with --opens-for phone opens its sessions
  keyfob client create job --grant client_credentials --scope report
      a program that gets tokens for itself";

/// What can be done with clients.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Registers a client, and prints its secret once.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Its name: 1 to 64 characters of [A-Za-z0-9._~-]; a random one if left out.
        id: Option<String>,
        /// It cannot keep a secret: it only refreshes and revokes its own tokens.
        #[arg(long)]
        public: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists all clients.
    List,
    /// Shows one client.
    Show {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Changes a client; what is not named stays, a list that is named replaces the old one, and "" empties
    /// it.
    Update {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        settings: Settings,
        /// Shuts it out: its requests are refused and its tokens inactive.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Lets it in again.
        #[arg(long)]
        enable: bool,
    },
    /// Gives a client a new secret, and prints it once.
    RotateSecret {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// How long the old secret stays valid, such as 1h.
        #[arg(long, default_value = "0s")]
        keep_old_for: String,
    },
    /// Deletes a client and ends all that it was issued.
    Delete {
        /// Its name.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

/// The settings of a client. Each list may be given several times, or once with commas; "" is the empty list.
#[derive(Debug, Args)]
pub struct Settings {
    /// What it may do: sessions, introspect, introspect:any, events, metrics, admin. As with every list here,
    /// "" is none.
    #[arg(long = "permission", value_delimiter = ',')]
    permissions: Option<Vec<String>>,
    /// The grants it may use: refresh_token, client_credentials.
    #[arg(long = "grant", value_delimiter = ',')]
    grants: Option<Vec<String>>,
    /// The scopes it may ask for.
    #[arg(long = "scope", value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// The audiences it may ask for.
    #[arg(long = "audience", value_delimiter = ',')]
    audiences: Option<Vec<String>>,
    /// The audiences that it is itself: it may introspect the tokens issued for them.
    #[arg(long = "serves", value_delimiter = ',')]
    serves: Option<Vec<String>>,
    /// The clients that it may open sessions for.
    #[arg(long = "opens-for", value_delimiter = ',')]
    opens_for: Option<Vec<String>>,
    /// The name of its policy.
    #[arg(long)]
    policy: Option<String>,
    /// The form of its access tokens: paseto or jwt.
    #[arg(long)]
    access_token_format: Option<String>,
}

impl Settings {
    fn is_empty(&self) -> bool {
        let lists =
            [&self.permissions, &self.grants, &self.scopes, &self.audiences, &self.serves, &self.opens_for];
        lists.iter().all(|list| list.is_none()) && self.policy.is_none() && self.access_token_format.is_none()
    }

    fn into_body(self) -> Map<String, Value> {
        let lists = [
            ("permissions", self.permissions),
            ("grants", self.grants),
            ("scopes", self.scopes),
            ("audiences", self.audiences),
            ("serves", self.serves),
            ("opens_for", self.opens_for),
        ];
        let texts = [("policy", self.policy), ("access_token_format", self.access_token_format)];
        let lists =
            lists.into_iter().filter_map(|(name, list)| Some((name.to_owned(), json!(listed(list?)))));
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text?))));
        lists.chain(texts).collect()
    }
}

/// The items of a list option: an empty text is the empty list.
pub fn listed(items: Vec<String>) -> Vec<String> {
    if items == [""] { vec![] } else { items }
}

impl ClientCommand {
    /// Ends the program, as for any wrong usage, when a change changes nothing.
    pub fn refuse_no_change(&self) {
        let Self::Update { settings, disable: false, enable: false, .. } = self else { return };
        if settings.is_empty() {
            let mut command = super::command();
            command.build();
            let update = ["client", "update"]
                .iter()
                .try_fold(&mut command, |command, name| command.find_subcommand_mut(name));
            let missing = "name something to change, such as --permission or --disable";
            update
                .expect("the command that was just read")
                .error(ErrorKind::MissingRequiredArgument, missing)
                .exit();
        }
    }

    /// Carries the command out.
    pub async fn run(self, door: &mut Door, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create { id, public, settings } => {
                let mut body = settings.into_body();
                if let Some(id) = id {
                    body.insert("client_id".into(), json!(id));
                }
                if public {
                    body.insert("kind".into(), json!("public"));
                }
                let created = door.call(Method::POST, "/v1/clients", Some(&Value::Object(body))).await?;
                show(&created, output).map_err(|failure| unseen(failure, &created))
            }
            Self::List => list(door, output).await,
            Self::Show { id } => show(&door.call(Method::GET, &path(&id), None).await?, output),
            Self::Update { id, settings, disable, enable } => {
                let mut body = settings.into_body();
                if disable || enable {
                    body.insert("disabled".into(), json!(disable));
                }
                show(&door.call(Method::PATCH, &path(&id), Some(&Value::Object(body))).await?, output)
            }
            Self::RotateSecret { id, keep_old_for } => {
                let body = json!({ "keep_old_for": keep_old_for });
                let rotated = door.call(Method::POST, &format!("{}/secret", path(&id)), Some(&body)).await?;
                show(&rotated, output).map_err(|failure| unseen(failure, &rotated))
            }
            Self::Delete { id } => {
                door.call(Method::DELETE, &path(&id), None).await?;
                match output {
                    Output::Human => {
                        print_lines(&[format!("deleted {id}, and ended all that it was issued")])
                    }
                    Output::Json => print_json(&json!({ "deleted": id })),
                }
            }
        }
    }
}

async fn list(door: &mut Door, output: Output) -> Result<(), Failure> {
    let mut items = vec![];
    let mut cursor = String::new();
    loop {
        let page = door.call(Method::GET, &format!("/v1/clients?limit=100{cursor}"), None).await?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    match output {
        Output::Json => print_json(&Value::Array(items)),
        Output::Human => {
            let mut table = Table::new(&["CLIENT", "KIND", "PERMISSIONS", "GRANTS", "POLICY", "STATE"]);
            for client in &items {
                let state = if client["disabled"] == json!(true) { "disabled" } else { "enabled" };
                let text = |name: &str| client[name].as_str().unwrap_or_default().to_owned();
                table.row([
                    text("client_id"),
                    text("kind"),
                    words(&client["permissions"]),
                    words(&client["grants"]),
                    text("policy"),
                    state.into(),
                ]);
            }
            print_table(table)
        }
    }
}

fn show(client: &Value, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return print_json(client);
    }
    let mut lines = vec![];
    for (name, value) in client.as_object().into_iter().flatten().filter(|(name, _)| *name != "client_secret")
    {
        let shown = match value {
            Value::Array(_) => words(value),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        lines.push(format!("{name:<20} {shown}"));
    }
    if let Some(secret) = client["client_secret"].as_str() {
        lines.push(format!("{:<20} {secret}", "client_secret"));
        lines.push("The secret is shown this once.".into());
    }
    print_lines(&lines)
}

/// What to do about a new secret that nobody saw.
fn unseen(failure: Failure, client: &Value) -> Failure {
    match (client["client_id"].as_str(), client["client_secret"].as_str()) {
        (Some(id), Some(_)) => failure
            .of_secret(&format!("{id} has a new secret that could not be shown: make another with `keyfob client rotate-secret {id}`")),
        _ => failure,
    }
}

fn words(list: &Value) -> String {
    let words: Vec<&str> = list.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if words.is_empty() { "-".into() } else { words.join(" ") }
}

fn path(id: &str) -> String {
    format!("/v1/clients/{}", encoded(id))
}
