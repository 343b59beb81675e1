//! `grant_type=refresh_token`: rotation, retries, and the detection of theft (standards, section 6). The
//! rules are in `domain/session.rs`.

use std::time::Duration;

use super::counts::RefreshOutcome;
use super::issue::{ForSession, Issued};
use super::{Engine, Result};
use crate::domain::client::{Client, Grant};
use crate::domain::family::Presented;
use crate::domain::id::{Salt, SessionId, TokenId};
use crate::domain::key::KeyStatus;
use crate::domain::policy::RETRY_WINDOW_MAX;
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{NotRefreshed, Refresh, Refreshed};
use crate::domain::time::{Moment, Timestamp};
use crate::engine::authenticate::Source;
use crate::store::{Lane, Store};
use crate::token::opaque::{Link, Opaque, OpaqueKind, SecretText};

/// A pair, new or once more.
pub struct TokenPair {
    /// The access token.
    pub access: Issued,
    /// The refresh token to use next.
    pub refresh_token: SecretText,
}

impl<S: Store> Engine<S> {
    /// Rotates a refresh token, or answers a retry with the pair that it was rotated to. It is on the disk
    /// when this returns.
    ///
    /// # Errors
    /// `InvalidGrant` for every token that is not good, whatever the reason; `InvalidScope` and
    /// `InvalidTarget`, which consume nothing; `TooMany` after 64 retries of one token; `UnauthorizedClient`
    /// without the grant.
    pub async fn refresh(
        &self,
        client: &Client,
        token: &str,
        scope: Option<&str>,
        resource: Option<&str>,
        source: Source,
    ) -> Result<TokenPair> {
        if !client.has_grant(Grant::RefreshToken) {
            self.counts.refreshes.one(RefreshOutcome::Refused);
            return Err(Refusal::UnauthorizedClient
                .because("the client does not have the grant refresh_token")
                .into());
        }
        let genuine = Opaque::decode(token, &self.opaque).filter(|token| token.kind == OpaqueKind::Refresh);
        let Some(presented) = genuine else {
            self.counts.refreshes.one(RefreshOutcome::Refused);
            return Err(Refused::invalid_grant().into());
        };
        // The very last generation has no next; the domain refuses it by its number.
        let next = Link {
            session: presented.session,
            family: presented.family,
            generation: presented.generation.saturating_add(1),
        };
        let salt = Salt(self.clock.random());
        let successor = self.opaque.successor(next, &presented.secret, &salt).hash(OpaqueKind::Refresh);
        let facts = Presented { generation: presented.generation, hash: presented.hash(), salt, successor };
        let now = self.clock.now();
        let decided = self.decide(client, &presented, facts, scope, resource, source, now).await?;
        self.counts.refreshes.one(match &decided {
            Ok(granted) if granted.retried => RefreshOutcome::Retried,
            Ok(_) => RefreshOutcome::Rotated,
            Err(why) => (*why).into(),
        });
        let granted = decided.map_err(|why| refused(why, client, presented.session))?;
        let successor = self.opaque.successor(next, &presented.secret, &granted.salt);
        let access = self.issue_for_grant(&granted, client, next, now.wall)?;
        self.counts.tokens.one(client.access_token_format);
        Ok(TokenPair {
            access,
            refresh_token: self.text(
                OpaqueKind::Refresh,
                next.session,
                next.family,
                next.generation,
                successor,
            ),
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "it only carries over into the transaction what its one caller has gathered"
    )]
    async fn decide(
        &self,
        client: &Client,
        presented: &Opaque,
        facts: Presented,
        scope: Option<&str>,
        resource: Option<&str>,
        source: Source,
        now: Moment,
    ) -> Result<std::result::Result<Refreshed, NotRefreshed>> {
        let scope = scope.map(str::parse);
        let resource = resource.map(str::to_owned);
        let (client_id, policy) = (client.id.clone(), self.policy(client).clone());
        let (family, format, key) =
            (presented.family, client.access_token_format, self.keyring.load().active().id);
        let address = source.address.map(|address| self.keys.address_hash(address));
        let granted = self.update_session(presented.session, Lane::Ordinary, move |session, cuts| {
            let refresh = Refresh {
                client: &client_id,
                family,
                presented: &facts,
                scope: scope.as_ref(),
                resource: resource.as_deref(),
                policy: &policy,
                key,
                format,
                address,
            };
            session.refresh(&refresh, now, cuts)
        });
        Ok(granted.await?.unwrap_or(Err(NotRefreshed::Dead)))
    }

    /// The access token of a generation. A retry gets the same one while it could still be issued; otherwise
    /// a fresh one (contract, section 6).
    fn issue_for_grant(
        &self,
        granted: &Refreshed,
        client: &Client,
        link: Link,
        now: Timestamp,
    ) -> Result<Issued> {
        let session = &granted.session;
        let family = session.family(granted.family).expect("the grant came from this family");
        let keyring = self.keyring.load();
        let id =
            self.opaque.token_id(link, &granted.salt, &granted.scope, &family.audience, granted.stamp.format);
        let key_is_good = keyring.find(&granted.stamp.key).is_some_and(|key| match key.status {
            KeyStatus::Retired => key.retired_at.is_some_and(|at| now < at.plus(RETRY_WINDOW_MAX)),
            KeyStatus::Active | KeyStatus::Next => true,
        });
        let same = key_is_good
            && granted.stamp.claims_version == session.claims_version
            && granted.stamp.format == client.access_token_format
            && !session.has_revoked(&id);
        let fresh = || {
            session.stamp(
                self.policy(client).access_token_ttl,
                keyring.active().id,
                client.access_token_format,
                now,
            )
        };
        let (id, stamp) =
            if same { (id, granted.stamp.clone()) } else { (TokenId(self.clock.random()), fresh()) };
        let grant = ForSession {
            family: Some(family.number),
            client_id: &family.client_id,
            audience: &family.audience,
            scope: granted.scope.clone(),
            authentication: &family.authentication,
            id,
            stamp: &stamp,
        };
        self.issue_for_session(session, grant, now)
    }
}

/// Logs what matters to an operator, and turns it into what a caller may learn.
fn refused(why: NotRefreshed, client: &Client, session: SessionId) -> Refused {
    let client = client.id.as_str();
    match why {
        NotRefreshed::Scope => {
            return Refusal::InvalidScope.because("the scope is malformed or wider than what was granted");
        }
        NotRefreshed::Target => {
            return Refusal::InvalidTarget.because("the resource is not the one that was granted");
        }
        NotRefreshed::TooManyRetries => {
            return Refusal::TooMany { retry_after: Duration::from_secs(1) }
                .because("this refresh token was retried too often");
        }
        NotRefreshed::Reused => {
            tracing::warn!(%session, client, "a spent refresh token came back: its session was ended")
        }
        NotRefreshed::StoreRollback => {
            tracing::error!(
                %session,
                client,
                "a refresh token is newer than the store, which was put back to an earlier state: it is refused, and its session is over"
            )
        }
        NotRefreshed::BindingMismatch => {
            tracing::warn!(%session, client, "a refresh token was presented by a client it was not issued to")
        }
        NotRefreshed::Exhausted => {
            tracing::warn!(%session, client, "a refresh token family has used up its generations")
        }
        NotRefreshed::Dead | NotRefreshed::Late => {}
    }
    Refused::invalid_grant()
}
