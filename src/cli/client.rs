//! `keyfob client …`: the registered clients.

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, Subcommand};
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    AdminClient, Failure, Listing, Output, encoded, given, pairs, print_done, print_lines, print_result,
    words,
};
use crate::domain::client::ClientKind;
use crate::http::api::client_object::RegisteredClient;
use crate::http::api::clients::ClientPage;
use crate::http::api::well_known::Metadata;

const CREATE_EXAMPLES: &str = "\
Examples:
  keyfob client create shop --permission sessions,introspect --grant refresh_token --scope read,write
      a backend that opens sessions for its users and introspects their tokens
  keyfob client create api --permission introspect --serves https://api.example.com
      a resource server: it may introspect tokens for that audience
  keyfob client create phone --public --grant refresh_token
      an application on users' devices; a backend with --opens-for phone opens its sessions
  keyfob client create job --grant client_credentials --scope report
      a program that gets tokens for itself (client credentials)";

const NO_AUDIENCE: &str = "\
Without an audience its access tokens are for keyfob itself: no service can introspect them. \
Name the service that
they are for: `keyfob client update {id} --audience https://api.example.com`, \
and the same for the service: --serves.";

/// Commands for clients.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Registers a client, and prints its secret once.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// The client id: 1 to 64 characters of [A-Za-z0-9._~-]; by default a random one.
        id: Option<String>,
        /// The client cannot keep a secret; it may only refresh and revoke its own tokens.
        #[arg(long)]
        public: bool,
        /// Prints three lines for a .env file: KEYFOB_URL, KEYFOB_CLIENT_ID and KEYFOB_CLIENT_SECRET.
        #[arg(long, conflicts_with = "public")]
        env: bool,
        #[command(flatten)]
        settings: Settings,
    },
    /// Lists all clients.
    List,
    /// Shows one client.
    Show {
        /// The client id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Changes a client. Options left out keep their value; a list replaces the old list, and "" empties it.
    Update {
        /// The client id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        #[command(flatten)]
        settings: Settings,
        /// Disables it: its requests are rejected and its tokens are inactive.
        #[arg(long, conflicts_with = "enable")]
        disable: bool,
        /// Enables it again.
        #[arg(long)]
        enable: bool,
    },
    /// Creates a new secret for a client, and prints it once. Without --keep-old-for the tokens that the
    /// client got for itself end too.
    RotateSecret {
        /// The client id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
        /// How long the old secret stays valid, such as 1h.
        #[arg(long, default_value = "0s")]
        keep_old_for: String,
    },
    /// Ends the access tokens that a client got for itself; its secret and its sessions are not changed.
    RevokeTokens {
        /// The client id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
    /// Deletes a client, and ends its sessions and tokens.
    Delete {
        /// The client id.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

/// The settings of a client. Repeat a list option, or separate its items with commas; "" is the empty list.
#[derive(Debug, Args, Serialize)]
pub struct Settings {
    /// Its permissions: sessions, introspect, introspect:any, events, metrics, admin. "" is the
    /// empty list, as for every list option.
    #[arg(long = "permission", value_delimiter = ',')]
    permissions: Option<Vec<String>>,
    /// The grants it may use: refresh_token, client_credentials.
    #[arg(long = "grant", value_delimiter = ',')]
    grants: Option<Vec<String>>,
    /// The scopes it may request.
    #[arg(long = "scope", value_delimiter = ',')]
    scopes: Option<Vec<String>>,
    /// The audiences it may request.
    #[arg(long = "audience", value_delimiter = ',')]
    audiences: Option<Vec<String>>,
    /// The audiences of which it is the resource server: it may introspect tokens issued for them.
    #[arg(long = "serves", value_delimiter = ',')]
    serves: Option<Vec<String>>,
    /// The clients for which it may open sessions.
    #[arg(long = "opens-for", value_delimiter = ',')]
    opens_for: Option<Vec<String>>,
    /// The name of its policy.
    #[arg(long)]
    policy: Option<String>,
    /// The format of its access tokens: paseto, jwt or jwt_es256.
    #[arg(long)]
    access_token_format: Option<String>,
}

impl ClientCommand {
    /// Exits with a usage error if an update names nothing to change.
    pub fn require_change(&self, mut program: clap::Command) {
        let Self::Update { settings, disable: false, enable: false, .. } = self else { return };
        if given(settings).is_empty() {
            program.build();
            let update = ["client", "update"]
                .iter()
                .try_fold(&mut program, |command, name| command.find_subcommand_mut(name));
            let missing = "name something to change, such as --permission or --disable";
            update
                .expect("it is the command that was parsed")
                .error(ErrorKind::MissingRequiredArgument, missing)
                .exit();
        }
    }

    /// Runs the command.
    pub async fn run(self, admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
        match self {
            Self::Create { id, public, env, settings } => {
                let url = if env { Some(url(admin).await?) } else { None };
                let mut body = given(&settings);
                if let Some(id) = id {
                    body.insert("client_id".into(), json!(id));
                }
                if public {
                    body.insert("kind".into(), json!("public"));
                }
                let created: RegisteredClient =
                    admin.call(Method::POST, "/v1/clients", Some(&Value::Object(body))).await?;
                print_with_secret(&created, || match url {
                    Some(url) => print_lines(&env_lines(&url, &created)),
                    None => show(&created, output),
                })
            }
            Self::List => list(admin, output).await,
            Self::Show { id } => show(&admin.get(&path(&id)).await?, output),
            Self::Update { id, settings, disable, enable } => {
                let mut body = given(&settings);
                if disable || enable {
                    body.insert("disabled".into(), json!(disable));
                }
                show(&admin.call(Method::PATCH, &path(&id), Some(&Value::Object(body))).await?, output)
            }
            Self::RotateSecret { id, keep_old_for } => {
                let body = json!({ "keep_old_for": keep_old_for });
                let path = format!("{}/secret", path(&id));
                let client: RegisteredClient = admin.call(Method::POST, &path, Some(&body)).await?;
                print_with_secret(&client, || show(&client, output))
            }
            Self::RevokeTokens { id } => {
                admin.call::<()>(Method::POST, &format!("{}/tokens/revoke", path(&id)), None).await?;
                print_result(output, &json!({ "revoked": id }), || {
                    vec![format!("the tokens that {id} got for itself are invalid")]
                })
            }
            Self::Delete { id } => {
                admin.call::<()>(Method::DELETE, &path(&id), None).await?;
                print_done(
                    output,
                    &json!({ "deleted": id }),
                    &format!("deleted {id}; its sessions have ended and its tokens are invalid"),
                )
            }
        }
    }
}

async fn list(admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
    let mut listing = Listing::new(output, &["CLIENT", "KIND", "PERMISSIONS", "GRANTS", "POLICY", "STATE"]);
    let mut cursor: Option<String> = None;
    loop {
        let query = pairs(&[("limit", Some("100")), ("cursor", cursor.as_deref())]);
        let page: ClientPage = admin.get(&format!("/v1/clients?{query}")).await?;
        for client in &page.items {
            listing.add(client, || {
                [
                    client.client_id.clone(),
                    client.kind.0.as_str().to_owned(),
                    words(client.permissions.iter().map(|permission| permission.0.as_str())),
                    words(client.grants.iter().map(|grant| grant.0.as_str())),
                    client.policy.clone(),
                    if client.disabled { "disabled" } else { "enabled" }.to_owned(),
                ]
            })?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return listing.finish();
        }
    }
}

fn show(client: &RegisteredClient, output: Output) -> Result<(), Failure> {
    print_result(output, client, || {
        let Ok(Value::Object(mut members)) = serde_json::to_value(client) else { return vec![] };
        members.remove("client_secret");
        let line = |(name, value): (&String, &Value)| {
            let shown = match value {
                Value::Array(items) => words(items.iter().filter_map(Value::as_str)),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            format!("{name:<20} {shown}")
        };
        let mut lines: Vec<String> = members.iter().map(line).collect();
        if let Some(secret) = &client.client_secret {
            lines.push(format!("{:<20} {secret}", "client_secret"));
            lines.push("The secret is shown this once.".into());
        }
        if client.kind.0 == ClientKind::Public && client.audiences.is_empty() {
            lines.extend(NO_AUDIENCE.replace("{id}", &client.client_id).lines().map(str::to_owned));
        }
        lines
    })
}

/// The URL for `KEYFOB_URL`: the issuer of the server.
async fn url(admin: &mut AdminClient) -> Result<String, Failure> {
    let metadata: Metadata = admin.get("/.well-known/oauth-authorization-server").await?;
    if metadata.issuer.ends_with(":0") {
        return Err(Failure::refused("the port of the server is chosen when it starts: start it first"));
    }
    Ok(metadata.issuer)
}

/// A `.env` file. No value needs quotes: an origin, a client id, and base64url.
fn env_lines(url: &str, client: &RegisteredClient) -> [String; 3] {
    [
        format!("KEYFOB_URL={url}"),
        format!("KEYFOB_CLIENT_ID={}", client.client_id),
        format!("KEYFOB_CLIENT_SECRET={}", client.client_secret.as_deref().unwrap_or_default()),
    ]
}

/// Prints a client with a new secret; if that fails, the error says how to get another.
fn print_with_secret(
    client: &RegisteredClient,
    print: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let RegisteredClient { client_id: id, client_secret, .. } = client;
    print().map_err(|failure| match client_secret {
        Some(_) => failure.of_secret(&format!(
            "{id} has a new secret that could not be shown: create another with `keyfob client rotate-secret \
             {id}`"
        )),
        None => failure,
    })
}

fn path(id: &str) -> String {
    format!("/v1/clients/{}", encoded(id))
}
