//! `grant_type=client_credentials`: a client's own access token (RFC 6749 §4.4).

use std::sync::Arc;

use super::issue::Issued;
use super::{Engine, Result};
use crate::domain::client::{Client, Grant};
use crate::domain::family::Stamp;
use crate::domain::scope::ScopeSet;
use crate::store::Store;

impl<S: Store> Engine<S> {
    /// Issues a client's own token. The client may always request the issuer as its audience, which is what
    /// keyfob's own routes require.
    ///
    /// # Errors
    /// `UnauthorizedClient` without the grant; `InvalidScope`; `InvalidTarget`.
    pub fn client_credentials(
        &self,
        client: &Arc<Client>,
        scope: Option<&str>,
        resource: Option<&str>,
    ) -> Result<Issued> {
        client.check_grant(Grant::ClientCredentials)?;
        let asked = scope.map(ScopeSet::requested).transpose()?;
        let scope = client.grant_scope(asked.as_ref())?;
        let audience = match resource {
            Some(resource) if *resource == *self.rules.issuer => resource.into(),
            resource => client.grant_audience(resource, &self.rules.issuer)?,
        };
        let now = self.clock.now().wall;
        let stamp = Stamp {
            issued_at: now.seconds(),
            expires_at: now.floor().plus(self.policy(client).access_token_ttl).seconds(),
            key: self.signing_key(client.access_token_format)?,
            format: client.access_token_format,
            claims_version: 0,
        };
        let issued = self.issue_for_client(client, audience, scope, &stamp, now)?;
        self.counts.tokens.one(client.access_token_format);
        Ok(issued)
    }
}
