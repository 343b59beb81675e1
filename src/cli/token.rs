//! `keyfob token …`: ask about a token, end it, or look into it offline.

use std::io::{self, Read};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::door::Door;
use super::print::{print_json, print_lines};
use super::times::{when, when_at};
use super::{Failure, Output};
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::token::paserk::{parse_public, public_id};
use crate::token::paseto::{PublicKey, TOKEN_BYTES_MAX, Unverified};

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    #[command(flatten)]
    Ask(AskCommand),
    /// Prints what an access token says, offline. Verifies nothing unless given a key.
    Decode(Decode),
}

/// What is asked of the server.
#[derive(Debug, Subcommand)]
pub enum AskCommand {
    /// Says whether a token is good at this moment, and what it is for.
    Introspect(TokenArgument),
    /// Ends a token for good, as an administrator: a refresh token with its family, a session token with its session, an access token alone.
    Revoke(TokenArgument),
}

/// A token.
#[derive(Debug, Args)]
pub struct TokenArgument {
    /// The token, or - to read it from standard input. Other users of this machine can see arguments, and shells remember them: - is better.
    token: String,
}

/// A token to look into.
#[derive(Debug, Args)]
pub struct Decode {
    #[command(flatten)]
    token: TokenArgument,
    /// The public key to verify it with (k4.public.…, from /.well-known/paserk.json).
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
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
        Ok(())
    }
}

impl TokenArgument {
    fn read(self) -> Result<String, Failure> {
        if self.token != "-" {
            return Ok(self.token);
        }
        let mut text = String::new();
        let most = TOKEN_BYTES_MAX as u64 + 2;
        io::stdin().take(most).read_to_string(&mut text).map_err(|cause| Failure::refused(format!("standard input: {cause}")))?;
        match text.trim() {
            "" => Err(Failure::refused("there is no token on standard input")),
            token => Ok(token.to_owned()),
        }
    }
}

impl Decode {
    /// Prints what the token says.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let key = self.key.as_deref().map(public_key).transpose()?;
        let text = self.token.read()?;
        if ["kfr_", "kfs_"].iter().any(|prefix| text.starts_with(prefix)) {
            return Err(Failure::refused("this is an opaque token: only the server can read it; ask `keyfob token introspect`"));
        }
        let malformed = || Failure::refused("this is not a PASETO v4.public token");
        let token = Unverified::parse(&text).ok_or_else(malformed)?;
        let (payload, footer) = token.expose_unverified().ok_or_else(malformed)?;
        if key.as_ref().is_some_and(|key| token.verify(key, b"").is_none()) {
            return Err(Failure::refused("this key did not sign this token: it was changed, or another key signed it"));
        }
        let kid = key.map(|key| public_id(key.as_bytes()).to_string());
        let (payload, footer) = (json_or_text(&payload), json_or_text(&footer));
        match output {
            Output::Json => print_json(&json!({ "verified": kid.is_some(), "verified_with": kid, "payload": payload, "footer": footer })),
            Output::Human => print_lines(&decoded(kid.as_deref(), &payload, &footer, Clock::system().now().wall)),
        }
        Ok(())
    }
}

/// Never repeats what it refuses: it might be a secret key.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let bytes = parse_public(text).ok_or_else(|| Failure::refused("--key is no public key: expected k4.public. and 43 characters"))?;
    PublicKey::from_bytes(&bytes).map_err(|unsound| Failure::refused(format!("--key is no public key: {unsound}")))
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn decoded(kid: Option<&str>, payload: &Value, footer: &Value, now: Timestamp) -> Vec<String> {
    let mut lines = vec![match kid {
        Some(kid) => format!("VERIFIED: signed by the key {kid}. Whether it was revoked only the server knows: keyfob token introspect"),
        None => "NOT VERIFIED: anybody may have written this. Verify it with --key k4.public.…, or ask: keyfob token introspect".to_owned(),
    }];
    lines.push(format!("payload {payload:#}"));
    if *footer != json!("") {
        lines.push(format!("footer {footer:#}"));
    }
    for (name, verb) in [("iat", "issued"), ("exp", "expires")] {
        if let Some(at) = payload[name].as_str() {
            lines.push(format!("{verb} {}", when(at, now)));
        }
    }
    lines
}

fn introspection(told: &Value, now: Timestamp) -> Vec<String> {
    if told["active"] != json!(true) {
        return vec!["inactive: it is unknown, malformed, expired or revoked; which of them is not told".to_owned()];
    }
    let shown = |name: &str, value: &Value| match (name, value) {
        ("exp" | "iat" | "nbf" | "auth_time", Value::Number(seconds)) => {
            when_at(Timestamp::from_seconds(seconds.as_i64().unwrap_or_default()), now)
        }
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    let members = told.as_object().into_iter().flatten().filter(|(name, _)| *name != "active");
    std::iter::once("active".to_owned()).chain(members.map(|(name, value)| format!("{name:<12} {}", shown(name, value)))).collect()
}
