//! `keyfob token …`: ask about a token, end it, or look into it offline.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::door::Door;
use super::print::{print_json, print_lines};
use super::times::when_at;
use super::{Failure, Output};
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::token::paseto::TOKEN_BYTES_MAX;

mod decode;

pub use decode::Decode;

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    #[command(flatten)]
    Ask(AskCommand),
    /// Prints what a token says, offline. Verifies nothing unless given a key.
    Decode(Decode),
}

/// What is asked of the server.
#[derive(Debug, Subcommand)]
pub enum AskCommand {
    /// Says whether a token is good at this moment, and what it is for.
    Introspect(TokenArgument),
    /// Ends a token for good, as an administrator: a refresh token with its family, a session token with its
    /// session, an access token alone.
    Revoke(TokenArgument),
}

/// A token.
#[derive(Debug, Args)]
pub struct TokenArgument {
    /// The token, or - to read it from standard input. Other users of this machine can see arguments, and
    /// shells remember them: - is better.
    token: String,
}

impl AskCommand {
    /// Carries the command out.
    pub async fn run(self, door: &mut Door, output: Output) -> Result<(), Failure> {
        match self {
            Self::Introspect(argument) => {
                let told = door.form("/oauth2/introspect", &[("token", &argument.read()?)]).await?;
                match output {
                    Output::Human => print_lines(&introspection(&told, Clock::system().now().wall)),
                    Output::Json => print_json(&told),
                }
            }
            Self::Revoke(argument) => {
                door.form("/oauth2/revoke", &[("token", &argument.read()?)]).await?;
                match output {
                    Output::Human => print_lines(&["if it was a token of ours, it is dead now".to_owned()]),
                    Output::Json => print_json(&json!({ "revoked": true })),
                }
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
        let most = TOKEN_BYTES_MAX as u64 + 2;
        io::stdin()
            .take(most)
            .read_to_string(&mut text)
            .map_err(|cause| Failure::refused(format!("standard input: {cause}")))?;
        match text.trim() {
            "" => Err(Failure::refused("there is no token on standard input")),
            token => Ok(token.to_owned()),
        }
    }
}

fn introspection(told: &Value, now: Timestamp) -> Vec<String> {
    if told["active"] != json!(true) {
        return vec![
            "inactive: it is unknown, malformed, expired or revoked; which of them is not told".to_owned(),
        ];
    }
    let shown = |name: &str, value: &Value| match (name, value) {
        ("exp" | "iat" | "nbf" | "auth_time", Value::Number(seconds)) => {
            when_at(Timestamp::from_seconds(seconds.as_i64().unwrap_or_default()), now)
        }
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    let members = told.as_object().into_iter().flatten().filter(|(name, _)| *name != "active");
    std::iter::once("active".to_owned())
        .chain(members.map(|(name, value)| format!("{name:<12} {}", shown(name, value))))
        .collect()
}
