//! `keyfob token decode`: what a token says, offline.

use clap::Args;
use serde_json::{Map, Value, json};

use super::TokenArgument;
use crate::cli::print::{print_json, print_lines};
use crate::cli::times::{when, when_at};
use crate::cli::{Failure, Output};
use crate::domain::time::Timestamp;
use crate::engine::clock::Clock;
use crate::token::jwt::{self, ForeignHeader};
use crate::token::opaque::{Link, Opaque, OpaqueKind};
use crate::token::paserk::{parse_public, public_id};
use crate::token::paseto::{self, PublicKey};

/// A token to look into.
#[derive(Debug, Args)]
pub struct Decode {
    #[command(flatten)]
    token: TokenArgument,
    /// The public key to verify it with: k4.public.… from /.well-known/paserk.json, which is k4.public. and
    /// the x of the JWK.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// What a token says: its readable parts by name, in their order.
type Parts = Vec<(&'static str, Value)>;

impl Decode {
    /// Prints what the token says.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let key = self.key.as_deref().map(public_key).transpose()?;
        let text = self.token.read()?;
        let opaque_kind = OpaqueKind::ALL.into_iter().find(|kind| text.starts_with(kind.prefix()));
        let (parts, lines) = match opaque_kind {
            Some(kind) => opaque(kind, &text, key.is_some())?,
            None if text.starts_with("kfc_") => {
                return Err(Failure::refused(
                    "this is a client's secret and no token; whoever has it is that client",
                ));
            }
            None => access_token(&text, key.as_ref())?,
        };
        let kid = key.map(|key| public_id(key.as_bytes()).to_string());
        match output {
            Output::Json => {
                let verified = [("verified", json!(kid.is_some())), ("verified_with", json!(kid))];
                let told: Map<_, _> =
                    verified.into_iter().chain(parts).map(|(name, value)| (name.to_owned(), value)).collect();
                print_json(&told.into())
            }
            Output::Human => {
                print_lines(&[vec![verdict(kid.as_deref(), opaque_kind.is_none())], lines].concat())
            }
        }
    }
}

/// Never repeats what it refuses: it might be a secret key.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    let bytes = parse_public(text)
        .ok_or_else(|| Failure::refused("--key is no public key: expected k4.public. and 43 characters"))?;
    PublicKey::from_bytes(&bytes)
        .map_err(|unsound| Failure::refused(format!("--key is no public key: {unsound}")))
}

fn verdict(kid: Option<&str>, verifiable: bool) -> String {
    let unverified = "NOT VERIFIED: anybody may have written this.";
    match kid {
        Some(kid) => format!(
            "VERIFIED: signed by the key {kid}. Whether it was revoked only the server knows: keyfob token introspect"
        ),
        None if verifiable => {
            format!("{unverified} Verify it with --key k4.public.…, or ask: keyfob token introspect")
        }
        None => format!(
            "{unverified} Only the server can say whether it is genuine and good: keyfob token introspect"
        ),
    }
}

/// An access token of either form, verified if there is a key.
fn access_token(text: &str, key: Option<&PublicKey>) -> Result<(Parts, Vec<String>), Failure> {
    let foreign = || {
        Failure::refused(
            "this is no token of keyfob's: expected v4.public.…, a JWT (three parts), kfr_… or kfs_…",
        )
    };
    let (parts, verified) = if let Some(token) = paseto::Unverified::parse(text) {
        let (payload, footer) = token.expose_unverified().ok_or_else(foreign)?;
        let verified = key.is_none_or(|key| token.verify(key, b"").is_some());
        (vec![("payload", json_or_text(&payload)), ("footer", json_or_text(&footer))], verified)
    } else {
        let token = jwt::Unverified::parse(text).ok_or_else(foreign)?;
        let (header, payload) = token.expose_unverified().map_err(|why| match why {
            ForeignHeader::Unreadable => foreign(),
            ForeignHeader::Algorithm | ForeignHeader::Critical => {
                Failure::refused(format!("this JWT is none of keyfob's: {why}"))
            }
        })?;
        let verified = key.is_none_or(|key| token.verify(key).is_some());
        (vec![("header", header), ("payload", json_or_text(&payload))], verified)
    };
    if !verified {
        return Err(Failure::refused(
            "this key did not sign this token: it was changed, or another key signed it",
        ));
    }
    let lines = shown(&parts, Clock::system().now().wall);
    Ok((parts, lines))
}

fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn shown(parts: &Parts, now: Timestamp) -> Vec<String> {
    let present = parts.iter().filter(|(_, part)| *part != json!(""));
    let mut lines: Vec<_> = present.map(|(name, part)| format!("{name} {part:#}")).collect();
    let payload =
        parts.iter().find(|(name, _)| *name == "payload").map_or(&Value::Null, |(_, payload)| payload);
    for (name, verb) in [("iat", "issued"), ("exp", "expires")] {
        match &payload[name] {
            Value::String(at) => lines.push(format!("{verb} {}", when(at, now))),
            Value::Number(at) => lines.extend(
                at.as_i64().map(|at| format!("{verb} {}", when_at(Timestamp::from_seconds(at), now))),
            ),
            _ => {}
        }
    }
    lines
}

/// What is public of an opaque token. The rest of it opens something, and is shown to nobody.
fn opaque(kind: OpaqueKind, text: &str, with_key: bool) -> Result<(Parts, Vec<String>), Failure> {
    let (name, words) = match kind {
        OpaqueKind::Refresh => ("refresh_token", "refresh token"),
        OpaqueKind::Session => ("session_token", "session token"),
    };
    let broken = || {
        Failure::refused(format!(
            "this begins like a {words} and is none: it was cut off or changed, or is of another version"
        ))
    };
    let (_, Link { session, family, generation }) = Opaque::expose_unverified(text).ok_or_else(broken)?;
    if with_key {
        let why = format!(
            "a {words} is not signed with a key that anybody else has: only the server can verify it; ask `keyfob token introspect`"
        );
        return Err(Failure::refused(why));
    }
    let mut parts = vec![("token", json!(name)), ("session_id", json!(session.to_string()))];
    parts.extend(match kind {
        OpaqueKind::Refresh => vec![("family", json!(family)), ("generation", json!(generation))],
        OpaqueKind::Session => vec![("renewals", json!(generation))],
    });
    let said = parts
        .iter()
        .skip(1)
        .map(|(name, value)| format!("{name:<12} {}", value.as_str().map_or(value.to_string(), Into::into)));
    let lines = std::iter::once(format!("a {words}; its secret is not shown")).chain(said);
    let lines = lines.collect();
    Ok((parts, lines))
}
