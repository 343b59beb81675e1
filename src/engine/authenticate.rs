//! Authentication of callers: by secret, by bearer token, by `client_id` alone (public clients), or by the
//! admin socket.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Engine, Result, validity};
use crate::domain::access::IssuedFor;
use crate::domain::caller::{Caller, Granted, Needs};
use crate::domain::client::{AuthFailure, Client};
use crate::domain::id::ClientId;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::RevokedToken;
use crate::store::{Registry, Store};
use crate::token::client_secret::PresentedSecret;

/// The credentials of a request (RFC 6749 §2.3.1).
#[derive(Clone, Copy)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub enum PresentedCredentials<'a> {
    None,
    /// Malformed credentials, such as Basic without a colon.
    Malformed,
    /// A client's identifier and secret.
    Secret {
        id: &'a str,
        secret: PresentedSecret,
    },
    /// A client's identifier alone.
    Name(&'a str),
    Bearer(&'a str),
    /// The session token in the cookie of the operator's console.
    Console {
        token: &'a str,
        /// Whether the request counts as activity.
        is_use: bool,
    },
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Source {
    /// The address of the peer, or the one that a trusted proxy reports; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it came through the admin socket.
    pub admin_socket: bool,
}

/// A caller, and whether a bearer token authenticated it: then a missing permission is 401 at introspection
/// (RFC 7662 §2.3).
#[derive(Clone, Debug)]
pub struct Authenticated {
    pub caller: Caller,
    pub by_bearer: bool,
}

impl Authenticated {
    /// The proof that the caller has the permission that `P` needs. The refusal depends on how the caller
    /// authenticated (RFC 6750 §3.1).
    ///
    /// # Errors
    /// `Forbidden`, or `InsufficientScope` for a bearer.
    pub fn require<P: Needs>(&self) -> std::result::Result<Granted<P>, Refused> {
        let refused = |refused: Refused| {
            if self.by_bearer { Refusal::InsufficientScope.because(refused.detail) } else { refused }
        };
        self.caller.require().map_err(refused)
    }
}

impl<S: Store> Engine<S> {
    /// Authenticates a caller at `/v1` and at introspection, where a `client_id` alone does not authenticate.
    ///
    /// # Errors
    /// `InvalidClient`, `InvalidToken`, or `TooMany` after too many failures from one address.
    pub async fn authenticate(
        &self,
        credentials: PresentedCredentials<'_>,
        source: Source,
    ) -> Result<Authenticated> {
        let (registry, _) = self.store.current().await?;
        let caller = match credentials {
            PresentedCredentials::None if source.admin_socket => Caller::AdminSocket,
            PresentedCredentials::None => {
                return Err(Refusal::InvalidClient
                    .because("authenticate with HTTP Basic or a bearer token")
                    .into());
            }
            PresentedCredentials::Bearer(token) => Caller::Client(self.bearer(&registry, token).await?),
            PresentedCredentials::Console { token, is_use } => {
                // Boxed, so that the future of an introspection stays small.
                let operator = Box::pin(self.operator(token, is_use)).await?.ok_or_else(|| {
                    Refusal::InvalidToken
                        .because("the session of the console has ended or expired: run `keyfob console`")
                })?;
                Caller::Operator(operator)
            }
            PresentedCredentials::Secret { id, secret } => {
                Caller::Client(self.by_secret(&registry, id, secret, source)?)
            }
            // Without a secret, the client is not authenticated here.
            PresentedCredentials::Name(id) => {
                let now = self.clock.now().wall;
                let check = |client: &Client| client.check_secret(None, now);
                Caller::Client(self.checked(&registry, id, source, check)?)
            }
            PresentedCredentials::Malformed => {
                return Err(self.failed(&registry, AuthFailure::Malformed, "", source).into());
            }
        };
        Ok(Authenticated { caller, by_bearer: matches!(credentials, PresentedCredentials::Bearer(_)) })
    }

    /// Authenticates a client at the token and revocation endpoints, where public clients send only their
    /// `client_id`.
    ///
    /// # Errors
    /// `InvalidClient`, or `TooMany` after too many failures from one address.
    pub async fn identify(&self, credentials: PresentedCredentials<'_>, source: Source) -> Result<Caller> {
        let (registry, _) = self.store.current().await?;
        match credentials {
            PresentedCredentials::None if source.admin_socket => Ok(Caller::AdminSocket),
            PresentedCredentials::None => Err(Refusal::InvalidClient
                .because("authenticate with HTTP Basic or with client_id and client_secret")
                .into()),
            PresentedCredentials::Bearer(_) | PresentedCredentials::Console { .. } => {
                Err(Refusal::InvalidClient
                    .because("a bearer token does not authenticate a client here")
                    .into())
            }
            PresentedCredentials::Secret { id, secret } => {
                Ok(Caller::Client(self.by_secret(&registry, id, secret, source)?))
            }
            PresentedCredentials::Malformed => {
                Err(self.failed(&registry, AuthFailure::Malformed, "", source).into())
            }
            PresentedCredentials::Name(id) => {
                Ok(Caller::Client(self.checked(&registry, id, source, Client::check_name)?))
            }
        }
    }

    /// Unknown clients, wrong secrets and disabled clients get the same answer; the secret was hashed for
    /// each of them (INT-32).
    fn by_secret(
        &self,
        registry: &Registry,
        id: &str,
        secret: PresentedSecret,
        source: Source,
    ) -> std::result::Result<Arc<Client>, Refused> {
        let now = self.clock.now().wall;
        self.checked(registry, id, source, |client| client.check_secret(secret.0.as_ref(), now))
    }

    fn checked(
        &self,
        registry: &Registry,
        id: &str,
        source: Source,
        check: impl Fn(&Client) -> std::result::Result<(), AuthFailure>,
    ) -> std::result::Result<Arc<Client>, Refused> {
        let client = client_named(registry, id).ok_or(AuthFailure::UnknownClient);
        let checked = client.and_then(|client| check(&client).map(|()| client));
        checked.map_err(|why| self.failed(registry, why, id, source))
    }

    /// The one refusal of failed authentications; 429 after too many from one address.
    pub(super) fn failed(&self, registry: &Registry, why: AuthFailure, id: &str, source: Source) -> Refused {
        let now = self.clock.now();
        self.counts.auth_failed(why, client_named(registry, id).as_deref().map(|client| &client.id), now);
        match self.throttle.fail(source.address, now) {
            Some(retry_after) => {
                self.counts.throttled.one();
                Refusal::TooMany { retry_after }
                    .because("too many failed authentications from this address; try again later")
            }
            None if why == AuthFailure::Malformed => {
                Refusal::InvalidClient.because("the Basic credentials cannot be decoded")
            }
            None => Refusal::InvalidClient.because("client authentication failed"),
        }
    }

    /// A bearer token authenticates only if it is a client's own and its audience is the issuer. The client's
    /// permissions are read from its record, not from the token.
    async fn bearer(&self, registry: &Registry, text: &str) -> Result<Arc<Client>> {
        let refused = || {
            self.counts.auth_failed(AuthFailure::BearerToken, None, self.clock.now());
            Refusal::InvalidToken
                .because("the bearer token is invalid, or is not a client's own token (client_credentials)")
        };
        let token = self.verifier.access(text, &self.keyring()).ok_or_else(refused)?;
        if !matches!(token.issued_for, IssuedFor::Client { .. }) || *token.audience != *self.rules.issuer {
            return Err(refused().into());
        }
        let revoked = RevokedToken { id: token.id, expires_at: token.expires_at };
        let revoked = self.store.is_revoked(revoked).await?;
        let validity = validity(registry, &token.client_id, self.clock.now().wall);
        if validity.access_token(&token, &self.rules.issuer, None, revoked).is_err() {
            return Err(refused().into());
        }
        Ok(registry.cuts.registered.get(&token.client_id).cloned().ok_or_else(refused)?)
    }
}

fn client_named(registry: &Registry, id: &str) -> Option<Arc<Client>> {
    let id: ClientId = id.parse().ok()?;
    registry.cuts.registered.get(&id).cloned()
}
