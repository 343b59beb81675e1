//! `keyfob token decode`: the content of a token, offline.

use clap::Args;
use serde_json::{Map, Value, json};

use super::TokenArgument;
use crate::cli::print::PRINTED_DEPTH_MAX;
use crate::cli::{Failure, Output, now, print_result, when};
use crate::domain::algorithm::Algorithm;
use crate::domain::time::Timestamp;
use crate::http::request::json as body;
use crate::token::jwt::{self, ForeignHeader};
use crate::token::opaque::{Link, Opaque, OpaqueKind};
use crate::token::paserk::parse_public;
use crate::token::paseto;
use crate::token::public_key::PublicKey;

/// A token to decode.
#[derive(Debug, Args)]
pub struct Decode {
    #[command(flatten)]
    token: TokenArgument,
    /// Verifies the token with this public key: k4.public.… from /.well-known/paserk.json, or a JWK from
    /// /.well-known/jwks.json.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
}

/// The readable parts of a token, in order.
type Parts = Vec<(&'static str, Value)>;

impl Decode {
    /// Runs the command.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let key = self.key.as_deref().map(public_key).transpose()?;
        let text = self.token.read()?;
        let opaque_kind = OpaqueKind::ALL.iter().copied().find(|kind| text.starts_with(kind.as_str()));
        let (parts, lines) = match opaque_kind {
            Some(kind) => opaque(kind, &text, key.is_some())?,
            None if text.starts_with("kfc_") => {
                return Err(Failure::refused(
                    "this is a client's secret, not a token; anyone who has it can act as that client",
                ));
            }
            None => access_token(&text, key.as_ref())?,
        };
        let kid = key.map(|key| key.id().to_string());
        let verified = [("verified", json!(kid.is_some())), ("verified_with", json!(kid))];
        let object: Map<_, _> =
            verified.into_iter().chain(parts).map(|(name, value)| (name.to_owned(), value)).collect();
        print_result(output, &object, || {
            [vec![verdict(kid.as_deref(), opaque_kind.is_none())], lines].concat()
        })
    }
}

/// The error never repeats the text: it may be a secret key.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if let Some(bytes) = parse_public(text) {
        return PublicKey::from_bytes(Algorithm::EdDsa, &bytes)
            .map_err(|invalid| Failure::refused(format!("--key is not a public key: {invalid}")));
    }
    PublicKey::from_jwk(text).ok_or_else(|| {
        Failure::refused(
            "--key is not a public key: expected k4.public. and 43 characters, or a JWK of Ed25519 or P-256",
        )
    })
}

fn verdict(kid: Option<&str>, verifiable: bool) -> String {
    let unverified = "NOT VERIFIED: this token may be forged.";
    match kid {
        Some(kid) => format!(
            "VERIFIED: signed by the key {kid}. Only the server knows whether it was revoked: keyfob token \
             introspect"
        ),
        None if verifiable => {
            format!("{unverified} Verify it with --key k4.public.…, or use: keyfob token introspect")
        }
        None => format!("{unverified} Only the server can verify it: keyfob token introspect"),
    }
}

/// An access token of either format, verified if there is a key.
fn access_token(text: &str, key: Option<&PublicKey>) -> Result<(Parts, Vec<String>), Failure> {
    let foreign = || {
        Failure::refused(
            "this is not a keyfob token, or not a complete one: expected v4.public.…, a JWT (three parts), \
             kfr_… or kfs_…",
        )
    };
    let (parts, verified) = if let Some(token) = paseto::UnverifiedPaseto::parse(text) {
        let (payload, footer) = token.expose_unverified().ok_or_else(foreign)?;
        let verified = key.is_none_or(|key| match key {
            PublicKey::Ed25519(key) => token.verify(key, b"").is_some(),
            PublicKey::P256(_) => false,
        });
        (vec![("payload", json_or_text(&payload)), ("footer", json_or_text(&footer))], verified)
    } else {
        let token = jwt::UnverifiedJwt::parse(text).ok_or_else(foreign)?;
        let (header, payload) = token.expose_unverified().map_err(|why| match why {
            ForeignHeader::Unreadable => foreign(),
            ForeignHeader::Algorithm | ForeignHeader::Critical => {
                Failure::refused(format!("this is not a JWT of keyfob: {why}"))
            }
        })?;
        let verified = key.is_none_or(|key| token.verify(key).is_some());
        (vec![("header", header), ("payload", json_or_text(&payload))], verified)
    };
    if !verified {
        return Err(Failure::refused(
            "this key did not sign this token: it was altered, or another key signed it",
        ));
    }
    let lines = shown(&parts, now());
    Ok((parts, lines))
}

fn json_or_text(bytes: &[u8]) -> Value {
    body::value(bytes, PRINTED_DEPTH_MAX).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

fn shown(parts: &Parts, now: Timestamp) -> Vec<String> {
    let present = parts.iter().filter(|(_, part)| *part != json!(""));
    let mut lines: Vec<_> = present.map(|(name, part)| format!("{name} {part:#}")).collect();
    let payload =
        parts.iter().find(|(name, _)| *name == "payload").map_or(&Value::Null, |(_, payload)| payload);
    for (name, verb) in [("iat", "issued"), ("exp", "expires")] {
        match &payload[name] {
            Value::String(at) => {
                lines.extend(at.parse().ok().map(|at| format!("{verb} {}", when(at, now))));
            }
            Value::Number(at) => lines
                .extend(at.as_i64().map(|at| format!("{verb} {}", when(Timestamp::from_seconds(at), now)))),
            _ => {}
        }
    }
    lines
}

/// The public part of an opaque token. The rest is secret and never printed.
fn opaque(kind: OpaqueKind, text: &str, with_key: bool) -> Result<(Parts, Vec<String>), Failure> {
    let (name, words) = match kind {
        OpaqueKind::Refresh => ("refresh_token", "refresh token"),
        OpaqueKind::Session => ("session_token", "session token"),
    };
    let invalid = || {
        Failure::refused(format!(
            "this starts like a {words} but is not valid: it was truncated or altered, or has another version"
        ))
    };
    let (_, Link { session, family, generation }) = Opaque::expose_unverified(text).ok_or_else(invalid)?;
    if with_key {
        let why = format!(
            "a {words} has no public-key signature: only the server can verify it; use `keyfob token \
             introspect`"
        );
        return Err(Failure::refused(why));
    }
    let mut parts = vec![("token", json!(name)), ("session_id", json!(session.to_string()))];
    parts.extend(match kind {
        OpaqueKind::Refresh => vec![("family", json!(family)), ("generation", json!(generation))],
        OpaqueKind::Session => vec![("renewals", json!(generation))],
    });
    let members = parts
        .iter()
        .skip(1)
        .map(|(name, value)| format!("{name:<12} {}", value.as_str().map_or(value.to_string(), Into::into)));
    let lines = std::iter::once(format!("a {words}; its secret is not shown")).chain(members);
    let lines = lines.collect();
    Ok((parts, lines))
}
