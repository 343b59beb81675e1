//! `keyfob token …`: introspect, revoke, or decode a token offline.

use std::io::{self, Read};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::print::tree;
use super::{AdminClient, Failure, Output, now, print_done, print_result, when};
use crate::domain::time::Timestamp;
use crate::http::api::introspect::Introspection;
use crate::token::paseto::TOKEN_BYTES_MAX;

mod decode;

pub use decode::Decode;

/// Commands for tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    #[command(flatten)]
    Online(OnlineCommand),
    /// Prints the content of a token offline. The signature is only verified with --key.
    Decode(Decode),
}

/// Commands that need the store.
#[derive(Debug, Subcommand)]
pub enum OnlineCommand {
    /// Prints whether a token is active, and its members (RFC 7662).
    Introspect {
        /// Answers as for this client, and explains why a token is inactive for it. Needs the admin socket.
        #[arg(long = "as", value_name = "CLIENT", value_parser = NonEmptyStringValueParser::new())]
        client: Option<String>,
        #[command(flatten)]
        token: TokenArgument,
    },
    /// Revokes a token: a refresh token with its family, a session token with its session, an access token
    /// alone.
    Revoke(TokenArgument),
}

/// A token.
#[derive(Debug, Args)]
pub struct TokenArgument {
    /// The token, or - to read it from standard input. Prefer -: other users of this machine can see
    /// arguments, and shells record them.
    token: String,
}

impl OnlineCommand {
    /// Runs the command.
    pub async fn run(self, admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
        match self {
            Self::Introspect { client, token } => {
                if client.is_some() && !admin.is_through_socket() {
                    return Err(Failure::refused(
                        "--as needs the admin socket, which this server does not have: set [server] \
                         admin_socket",
                    ));
                }
                let fields = [("token", Some(token.read()?)), ("as", client.clone())];
                let fields = fields.each_ref().map(|(name, value)| (*name, value.as_deref()));
                let state: Introspection = admin.form("/oauth2/introspect", &fields).await?;
                print_result(output, &state, || introspection(&state, now()))
            }
            Self::Revoke(argument) => {
                admin.form::<()>("/oauth2/revoke", &[("token", Some(&argument.read()?))]).await?;
                print_done(
                    output,
                    &json!({ "revoked": true }),
                    "revoked, if it was a token of this installation",
                )
            }
        }
    }
}

impl TokenArgument {
    fn read(self) -> Result<String, Failure> {
        if self.token != "-" {
            return Ok(self.token);
        }
        let mut text = String::new();
        let bytes_max = TOKEN_BYTES_MAX as u64 + 2;
        io::stdin()
            .take(bytes_max)
            .read_to_string(&mut text)
            .map_err(|cause| Failure::refused(format!("standard input: {cause}")))?;
        match text.trim() {
            "" => Err(Failure::refused("there is no token on standard input")),
            token => Ok(token.to_owned()),
        }
    }
}

fn introspection(state: &Introspection, now: Timestamp) -> Vec<String> {
    if !state.active {
        if let (Some(reason), Some(explanation)) = (&state.reason, &state.explanation) {
            return vec![format!("inactive ({reason}): {explanation}")];
        }
        return vec!["inactive: unknown, malformed, expired or revoked".to_owned()];
    }
    let shown = |name: &str, value: &Value| match (name, value) {
        ("exp" | "iat" | "nbf" | "auth_time", Value::Number(seconds)) => {
            when(Timestamp::from_seconds(seconds.as_i64().unwrap_or_default()), now)
        }
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    let object = tree(state).unwrap_or_default();
    let members = object.as_object().into_iter().flatten().filter(|(name, _)| *name != "active");
    std::iter::once("active".to_owned())
        .chain(members.map(|(name, value)| format!("{name:<12} {}", shown(name, value))))
        .collect()
}
