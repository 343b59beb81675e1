//! The question of a backend: is this token valid here, and does its session meet the requirements?

use super::counts::CheckOutcome;
use super::read::View;
use super::signed_in::SignedIn;
use super::{Engine, Result};
use crate::domain::caller::{Granted, IntrospectTokens, ReadSessions};
use crate::domain::gate::{Denied, Gate};
use crate::domain::id::Position;
use crate::domain::scope::ScopeSet;
use crate::domain::session::Session;
use crate::domain::time::Timestamp;
use crate::store::Store;

/// A valid token and its session.
#[derive(Debug)]
pub struct CheckResult {
    /// The session as the caller may see it.
    pub view: View,
    /// Whether the caller may read the session; otherwise it learns only what tokens tell.
    pub may_read: bool,
    /// The facts of the token.
    pub token: CheckedToken,
    /// The requirement that is not met.
    pub denied: Option<Denied>,
    /// The answer takes account of every event up to this one.
    pub as_of: Position,
}

/// The facts of a token. An audience and a family are those of an access token.
#[derive(Debug)]
pub struct CheckedToken {
    pub scope: ScopeSet,
    /// `aud`.
    pub audience: Option<Box<str>>,
    /// `fam`.
    pub family: Option<u16>,
    /// When it expires; a session token does with its session.
    pub expires_at: Timestamp,
}

impl<S: Store> Engine<S> {
    /// The session of a valid token that the caller may check, and whether it meets `gate`; `None` for every
    /// other token. Counts as activity if `is_use` and the requirements are met.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub async fn check(
        &self,
        caller: &Granted<IntrospectTokens>,
        token: &str,
        gate: &Gate,
        is_use: bool,
    ) -> Result<Option<CheckResult>> {
        // Read before the state, so that the answer is at least as new as this position.
        let as_of = self.store.head();
        let now = self.clock.now().wall;
        let found = self.by_token(token, now).await?.filter(|found| {
            let audience = found.access.as_ref().map(|access| &*access.audience);
            let may_check = caller.may_check(&found.session, &found.client_id, audience);
            if let Some(audience) = audience.filter(|_| !may_check) {
                self.counts.unserved(caller, audience, self.clock.now());
            }
            may_check
        });
        let Some(mut found) = found else {
            self.counts.checks.one(CheckOutcome::Inactive);
            return Ok(None);
        };
        let denied = gate.admit(&found.client_id, &found.scope, &found.authentication, now).err();
        self.counts.checks.one(if denied.is_some() { CheckOutcome::Denied } else { CheckOutcome::Active });
        if is_use && denied.is_none() {
            self.count_use(&mut found, now);
        }
        let SignedIn { session, scope, access, .. } = found;
        let expires_at = access.as_ref().map_or_else(|| session.deadline(), |access| access.expires_at);
        let (audience, family) = access.map_or((None, None), |a| (Some(a.audience), a.family));
        let token = CheckedToken { scope, audience, family, expires_at };
        let (view, may_read) = self.view_of_checked(caller, session, now).await?;
        Ok(Some(CheckResult { view, may_read, token, denied, as_of }))
    }

    /// The session as a read shows it, if the caller may read it.
    async fn view_of_checked(
        &self,
        caller: &Granted<IntrospectTokens>,
        session: Session,
        now: Timestamp,
    ) -> Result<(View, bool)> {
        if caller.require::<ReadSessions>().is_ok_and(|reader| reader.may_see(&session)) {
            return Ok((self.view(caller, session, now).await?, true));
        }
        Ok((self.view_with(session, None, now), false))
    }
}
