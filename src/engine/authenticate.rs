//! Who is calling: by secret, by bearer token, by name alone (public clients), or through the admin socket.

use std::net::IpAddr;
use std::sync::Arc;

use super::counts::AuthFailure;
use super::{Engine, Result};
use crate::domain::access::IssuedFor;
use crate::domain::caller::Caller;
use crate::domain::client::{Client, ClientKind, Permission};
use crate::domain::id::ClientId;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::RevokedToken;
use crate::store::Store;
use crate::token::client_secret::hash_client_secret;

/// What a request presented, already taken apart (RFC 6749 §2.3.1).
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// Nothing.
    None,
    /// Something that is not well formed, such as Basic without a colon.
    Malformed,
    /// A client's name and secret.
    Secret {
        /// The name.
        id: &'a str,
        /// The secret.
        secret: &'a str,
    },
    /// A client's name alone.
    Name(&'a str),
    /// A bearer token.
    Bearer(&'a str),
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    /// The peer's address, or what a trusted proxy says of it; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it came through the admin socket.
    pub admin_socket: bool,
}

/// A caller, and whether a bearer token said so: then a missing privilege is 401, not 403 (RFC 7662 §2.3).
#[derive(Clone, Debug)]
pub struct Authenticated {
    /// Who calls.
    pub caller: Caller,
    /// Whether by a bearer token.
    pub by_bearer: bool,
}

impl Authenticated {
    /// Refuses a caller without `permission`, in the terms of how it authenticated (RFC 6750 §3.1).
    ///
    /// # Errors
    /// `Forbidden`, or `InsufficientScope` for a bearer.
    pub fn require(&self, permission: Permission) -> std::result::Result<(), Refused> {
        let refused = |refused: Refused| {
            if self.by_bearer { Refusal::InsufficientScope.because(refused.detail) } else { refused }
        };
        self.caller.require(permission).map_err(refused)
    }
}

impl<S: Store> Engine<S> {
    /// Authenticates a caller that must be able to prove who it is: the management routes and introspection.
    ///
    /// # Errors
    /// `InvalidClient`, `InvalidToken`, or `TooMany` after too many failures from one address.
    pub async fn authenticate(&self, credentials: Credentials<'_>, source: Source) -> Result<Authenticated> {
        let caller = match credentials {
            Credentials::None if source.admin_socket => Caller::AdminSocket,
            Credentials::None => {
                return Err(Refusal::InvalidClient
                    .because("authenticate with HTTP Basic or a bearer token")
                    .into());
            }
            Credentials::Bearer(token) => Caller::Client(self.bearer(token).await?),
            Credentials::Secret { id, secret } => Caller::Client(self.by_secret(id, secret, source)?),
            Credentials::Name(id) => {
                return Err(self.failed(why_not(self.client_named(id).as_deref()), id, source).into());
            }
            Credentials::Malformed => return Err(self.failed(AuthFailure::Malformed, "", source).into()),
        };
        Ok(Authenticated { caller, by_bearer: matches!(credentials, Credentials::Bearer(_)) })
    }

    /// Authenticates a client at the token and revocation endpoints, where public clients give only their
    /// name.
    ///
    /// # Errors
    /// `InvalidClient`, or `TooMany` after too many failures from one address.
    pub fn identify(&self, credentials: Credentials<'_>, source: Source) -> Result<Caller> {
        match credentials {
            Credentials::None if source.admin_socket => Ok(Caller::AdminSocket),
            Credentials::None => Err(Refusal::InvalidClient
                .because("authenticate with HTTP Basic or with client_id and client_secret")
                .into()),
            Credentials::Bearer(_) => Err(Refusal::InvalidClient
                .because("a bearer token does not authenticate a client here")
                .into()),
            Credentials::Secret { id, secret } => Ok(Caller::Client(self.by_secret(id, secret, source)?)),
            Credentials::Malformed => Err(self.failed(AuthFailure::Malformed, "", source).into()),
            Credentials::Name(id) => match self.client_named(id) {
                Some(client) if client.kind == ClientKind::Public && !client.disabled => {
                    Ok(Caller::Client(client))
                }
                other => Err(self.failed(why_not(other.as_deref()), id, source).into()),
            },
        }
    }

    /// Unknown clients, wrong secrets and disabled clients get the same answer; the secret is hashed for each
    /// of them (INT-32).
    fn by_secret(&self, id: &str, secret: &str, source: Source) -> std::result::Result<Arc<Client>, Refused> {
        let presented = hash_client_secret(secret);
        let now = self.clock.now().wall;
        let good = |client: &Client| {
            !client.disabled && presented.is_some_and(|hash| client.knows_secret(&hash, now))
        };
        match self.client_named(id) {
            Some(client) if good(&client) => Ok(client),
            other => Err(self.failed(why_not(other.as_deref()), id, source)),
        }
    }

    fn client_named(&self, id: &str) -> Option<Arc<Client>> {
        let id: ClientId = id.parse().ok()?;
        self.store.registry().clients.get(&id).cloned()
    }

    /// One answer for every failure, and 429 when one address fails too often.
    fn failed(&self, why: AuthFailure, id: &str, source: Source) -> Refused {
        let now = self.clock.now();
        self.counts.auth_failed(why, self.client_named(id).as_deref().map(|client| &client.id), now);
        match self.throttle.fail(source.address, now) {
            Some(retry_after) => {
                self.counts.throttled.one();
                Refusal::TooMany { retry_after }.because("too many failed authentications from this address")
            }
            None => Refusal::InvalidClient.because("client authentication failed"),
        }
    }

    /// A bearer token opens a route only if it is a client's own (never a person's) and meant for us. The
    /// client's rights are read from its record at this moment, not from the token.
    async fn bearer(&self, text: &str) -> Result<Arc<Client>> {
        let refused = || {
            self.counts.auth_failed(AuthFailure::BearerToken, None, self.clock.now());
            Refusal::InvalidToken.because("the bearer token is not a valid token of a client for this issuer")
        };
        let token = self.verifier.verify(text, &self.keyring.load()).ok_or_else(refused)?;
        let IssuedFor::Client { issued } = token.issued_for else {
            return Err(refused().into());
        };
        let now = self.clock.now().wall.seconds();
        if *token.issuer != *self.rules.issuer
            || *token.audience != *self.rules.issuer
            || now < token.not_before
            || now >= token.expires_at
        {
            return Err(refused().into());
        }
        let registry = self.store.registry();
        if registry.cuts.end_of(&token.client_id, issued).is_some() {
            return Err(refused().into());
        }
        if self.store.is_revoked(RevokedToken { id: token.id, expires_at: token.expires_at }).await? {
            return Err(refused().into());
        }
        let client = registry.clients.get(&token.client_id).filter(|client| !client.disabled);
        Ok(client.cloned().ok_or_else(refused)?)
    }
}

/// Why whoever gave this client's name is not it. The caller learns nothing of this.
fn why_not(client: Option<&Client>) -> AuthFailure {
    match client {
        None => AuthFailure::UnknownClient,
        Some(client) if client.disabled => AuthFailure::DisabledClient,
        Some(_) => AuthFailure::WrongSecret,
    }
}
