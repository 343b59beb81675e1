//! `grant_type=refresh_token`: rotation, retries, and the detection of reuse (standards, section 6). The
//! rules are in `domain/session/rotation.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::authenticate::Source;
use super::counts::RefreshOutcome;
use super::issue::{ForSession, Issued};
use super::{Engine, Result};
use crate::domain::client::{Client, Grant, Party};
use crate::domain::family::PresentedToken;
use crate::domain::id::{Salt, SessionId, TokenId};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{Decision, NotRefreshed, Refresh, Refreshed, Session};
use crate::domain::time::Timestamp;
use crate::store::{Lane, Store};
use crate::token::opaque::{Link, Opaque, OpaqueKind, SecretText};

/// An access token and the refresh token to use next.
pub struct TokenPair {
    pub access: Issued,
    pub refresh_token: SecretText,
}

/// What a refresh changes, as it was before.
struct Before {
    last_used_at: Timestamp,
    remember: bool,
    /// When the presented token was rotated, if it is the previous one of its family.
    rotated_at: Option<Timestamp>,
}

impl Before {
    fn of(session: &Session, next: Link) -> Self {
        let family = session.family(next.family).filter(|family| family.generation == next.generation);
        let rotated_at = family.map(|family| family.refreshed_at);
        Self { last_used_at: session.last_used_at, remember: session.remember, rotated_at }
    }
}

impl<S: Store> Engine<S> {
    /// Rotates a refresh token, or answers a retry with the pair that the token was rotated to.
    ///
    /// # Errors
    /// `InvalidGrant` for every invalid token; `InvalidScope` and `InvalidTarget`, which consume nothing;
    /// `TooMany` after 64 retries of one token; `UnauthorizedClient` without the grant.
    pub async fn refresh(
        &self,
        client: &Arc<Client>,
        token: &str,
        scope: Option<&str>,
        resource: Option<&str>,
        source: Source,
    ) -> Result<TokenPair> {
        let genuine = Opaque::decode(token, &self.opaque).filter(|token| token.kind == OpaqueKind::Refresh);
        let presented = client
            .check_grant(Grant::RefreshToken)
            .and_then(|()| genuine.ok_or_else(Refused::invalid_grant))
            .inspect_err(|_| self.counts.refreshes.one(RefreshOutcome::Refused))?;
        // The last generation has no successor; the domain refuses it by its number.
        let next = Link { generation: presented.link.generation.saturating_add(1), ..presented.link };
        let salt = Salt(self.clock.random());
        let successor = self.opaque.successor(next, &presented.secret, &salt).hash(OpaqueKind::Refresh);
        let refresh = Refresh {
            client: client.clone(),
            issuer: self.rules.issuer.clone(),
            family: next.family,
            presented: PresentedToken {
                generation: presented.link.generation,
                hash: presented.hash(),
                salt,
                successor,
            },
            scope: scope.map(str::parse),
            resource: resource.map(Into::into),
            policy: self.policy(client).clone(),
            key: self.signing_key(client.access_token_format)?,
            address: source.address.map(|address| self.keys.address_hash(address)),
        };
        let now = self.clock.now();
        let caller = Party { client: client.clone(), is_caller: true };
        let decided = self.update_session(next.session, Lane::Ordinary, now.wall, move |session, cuts| {
            let before = Before::of(session, next);
            let Decision { answer, events, data } = match cuts.current(&caller) {
                Ok(client) if client.has_grant(Grant::RefreshToken) => {
                    session.refresh(&refresh, client, now, cuts)
                }
                _ => Decision::answer(Err(NotRefreshed::NotCurrent)),
            };
            Decision { answer: (answer, before), events, data }
        });
        let decided = match decided.await? {
            Some((decided, before)) => {
                self.meter_refresh(client, &decided, &before, now.wall);
                decided
            }
            None => Err(NotRefreshed::Inactive),
        };
        self.counts.refreshes.one(match &decided {
            Ok(refreshed) if refreshed.late => RefreshOutcome::AnsweredLate,
            Ok(refreshed) if refreshed.retried => RefreshOutcome::Retried,
            Ok(_) => RefreshOutcome::Rotated,
            Err(why) => (*why).into(),
        });
        let refreshed = decided.map_err(|why| refused(why, client, next.session))?;
        let successor = self.opaque.successor(next, &presented.secret, &refreshed.salt);
        let access = self.issue_for_refresh(&refreshed, client, next, now.wall)?;
        self.counts.tokens.one(client.access_token_format);
        let refresh_token = self.text(OpaqueKind::Refresh, next, successor);
        Ok(TokenPair { access, refresh_token })
    }

    /// Counts the gap since the last use, or the delay of a retry, for the simulation of policies.
    fn meter_refresh(
        &self,
        client: &Client,
        decided: &std::result::Result<Refreshed, NotRefreshed>,
        before: &Before,
        now: Timestamp,
    ) {
        let meter = self.meters.of(&client.policy);
        let (is_use, is_retry) = match decided {
            Ok(refreshed) => (!refreshed.retried || refreshed.late, refreshed.retried),
            Err(why) => (false, matches!(why, NotRefreshed::Reused | NotRefreshed::Late)),
        };
        if is_use {
            meter.used(before.remember, now.since(before.last_used_at));
        }
        if let Some(rotated_at) = before.rotated_at.filter(|_| is_retry) {
            meter.retried(now.since(rotated_at));
        }
    }

    /// The access token of a generation. A retry within the window gets the same one while it could still be
    /// issued, else a fresh one (contract, section 6).
    fn issue_for_refresh(
        &self,
        refreshed: &Refreshed,
        client: &Client,
        link: Link,
        now: Timestamp,
    ) -> Result<Issued> {
        let (session, stamp) = (&refreshed.session, &refreshed.stamp);
        let family = session.family(refreshed.family).expect("the refresh was granted to this family");
        let id =
            self.opaque.token_id(link, &refreshed.salt, &refreshed.scope, &family.audience, stamp.format);
        let same = !refreshed.late && self.may_issue_again(session, client, &id, stamp, now);
        let (id, stamp) = if same {
            (id, stamp.clone())
        } else {
            (TokenId(self.clock.random()), self.stamp(session, client, now)?)
        };
        let grant = ForSession { scope: refreshed.scope.clone(), ..family.into() };
        self.issue_for_session(session, grant, id, &stamp, now)
    }
}

/// Logs what an operator should know, and returns what the caller may learn.
fn refused(why: NotRefreshed, client: &Client, session: SessionId) -> Refused {
    let client = client.id.as_str();
    match why {
        NotRefreshed::Scope => {
            return Refusal::InvalidScope.because(
                "the scope is malformed, or wider than what was granted and the client may request now",
            );
        }
        NotRefreshed::Target => {
            return Refusal::InvalidTarget.because(
                "the resource is not the one that was granted, or the client may not request it now",
            );
        }
        NotRefreshed::NotCurrent => {
            return Refused::caller_changed();
        }
        NotRefreshed::TooManyRetries => {
            return Refusal::TooMany { retry_after: Duration::from_secs(1) }
                .because("this refresh token was retried too often");
        }
        NotRefreshed::Reused => {
            tracing::warn!(%session, client, "a spent refresh token was presented: its session was ended")
        }
        NotRefreshed::StoreRollback => {
            tracing::error!(
                %session,
                client,
                "a refresh token is newer than the store, which was restored to an earlier state: the token \
                 was refused and its session ended"
            )
        }
        NotRefreshed::BindingMismatch => {
            tracing::warn!(%session, client, "a client presented a refresh token that was issued to another \
                                              client")
        }
        NotRefreshed::Exhausted => {
            tracing::warn!(%session, client, "a refresh token family has used all its generations")
        }
        NotRefreshed::Inactive | NotRefreshed::Late => {}
    }
    Refused::invalid_grant()
}
