//! Openings that can be repeated: their tokens are derived from the caller's key and a stored salt, so a
//! repetition gets them again, and the store alone does not yield them.

use super::issue::{ForSession, Opened};
use super::{Engine, Result};
use crate::domain::caller::Caller;
use crate::domain::client::{Client, Grant};
use crate::domain::family::{RetryWindow, Stamp};
use crate::domain::id::{Hash, Salt, SessionId, TokenId};
use crate::domain::refusal::{Refusal, Refused};
use crate::domain::session::{OpeningKey, REPEAT_WINDOW, Repeatable, Repeated, Session};
use crate::domain::time::Moment;
use crate::store::Store;
use crate::token::opaque::{Link, OpaqueKind, Secret};

/// The key of an opening, and the request that it stands for.
#[derive(Clone, Debug)]
pub struct RepeatKey {
    /// The key that the caller chose.
    pub key: OpeningKey,
    /// The hash of the request.
    pub request: Hash,
}

/// The inputs from which the secrets of an opening that can be repeated are derived.
pub(super) struct Derivation<'a> {
    pub key: &'a OpeningKey,
    pub salt: Salt,
}

impl Link {
    /// The first session token, or with a family its first refresh token.
    pub(super) fn first(session: SessionId, family: Option<u16>) -> Self {
        Self { session, family: family.unwrap_or(0), generation: 0 }
    }
}

impl<S: Store> Engine<S> {
    /// The secret of a token of a new session: derived, or random where the opening cannot be repeated.
    pub(super) fn opening_secret(
        &self,
        derivation: Option<&Derivation>,
        kind: OpaqueKind,
        link: Link,
    ) -> Secret {
        derivation.map_or_else(
            || Secret::new(self.clock.random()),
            |from| self.opaque.opened(kind, link, &from.salt, from.key),
        )
    }

    /// The `jti` of the access token of an opening.
    fn opening_token_id(&self, salt: &Salt, session: &Session, stamp: &Stamp) -> TokenId {
        let link = Link::first(session.id, session.own_family);
        self.opaque.token_id(link, salt, &session.scope, &session.audience, stamp.format)
    }

    /// What a repetition of this opening is recognised by and answered from, and the `jti` of its access
    /// token.
    pub(super) fn repeatable(
        &self,
        caller: &Caller,
        repeat: &RepeatKey,
        salt: Salt,
        session: &Session,
        stamp: Stamp,
        now: Moment,
    ) -> (Repeatable, TokenId) {
        let incarnation = caller.party().map(|caller| caller.client.incarnation).unwrap_or_default();
        let name = self.opaque.opening_name(caller.name(), incarnation, &repeat.key);
        let id = self.opening_token_id(&salt, session, &stamp);
        let window = RetryWindow {
            salt,
            opened: now.into(),
            length: REPEAT_WINDOW,
            retries: 0,
            stamp,
            kept: false,
            late: false,
            after_late: false,
        };
        (Repeatable { name, request: repeat.request, window: Some(window) }, id)
    }

    /// The answer of the opening that this request repeats.
    ///
    /// # Errors
    /// `Conflict` if the key was used for another request, the session is not as it was opened, or the client
    /// may no longer have what it was granted.
    pub(super) async fn repeat_opening(
        &self,
        client: &Client,
        repeat: &RepeatKey,
        repeated: Repeated,
        now: Moment,
    ) -> Result<Opened> {
        let registry = self.store.registry();
        let used = self.activity.knows(&repeated.session.id);
        let granted = (repeated.session.own_family.is_none() || client.has_grant(Grant::RefreshToken))
            && client.grant_scope(Some(&repeated.session.scope)).is_ok()
            && client.grant_audience(Some(&repeated.session.audience), &self.rules.issuer).is_ok();
        let window = repeated.window_for(&repeat.request, now, &registry.cuts);
        let window = window.filter(|_| granted && !used);
        let RetryWindow { salt, stamp, .. } = window.cloned().ok_or_else(not_repeatable)?;
        let session = repeated.session;
        let derivation = Some(Derivation { key: &repeat.key, salt: salt.clone() });
        let secret = |kind, family| {
            let link = Link::first(session.id, family);
            (link, self.opening_secret(derivation.as_ref(), kind, link))
        };
        let (link, session_secret) = secret(OpaqueKind::Session, None);
        if session_secret.hash(OpaqueKind::Session) != session.token {
            return Err(not_repeatable().into());
        }
        let session_token = self.text(OpaqueKind::Session, link, session_secret);
        let refresh_token = session.own_family.map(|family| {
            let (link, secret) = secret(OpaqueKind::Refresh, Some(family));
            self.text(OpaqueKind::Refresh, link, secret)
        });
        let id = self.opening_token_id(&salt, &session, &stamp);
        let access = if self.may_issue_again(&session, client, &id, &stamp, now.wall) {
            self.issue_for_session(&session, ForSession::from(&session), id, &stamp, now.wall)?
        } else {
            self.issue_new(&session, &session, client, now.wall)?
        };
        self.counts.tokens.one(client.access_token_format);
        let data = Some(self.store.data(session.id).await?);
        Ok(Opened { session, data, session_token, access, refresh_token })
    }
}

fn not_repeatable() -> Refused {
    let why = "this Idempotency-Key was used, and the answer cannot be repeated: the request is another, its \
               session was used, changed or has ended, its client was changed, or 10 minutes have passed; \
               nothing was opened; open with a new key";
    Refusal::Conflict.because(why)
}
