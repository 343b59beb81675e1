//! Counters of what the engine answered and refused since the start, for the metrics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::access::TokenFormat;
use crate::domain::caller::Caller;
use crate::domain::client::AuthFailure;
use crate::domain::id::ClientId;
use crate::domain::names::names;
use crate::domain::session::NotRefreshed;
use crate::domain::time::Moment;
use crate::meter::{Counter, RateLimitedLog, Tally};
use crate::store::Swept;

/// How many clients have a limit of their own in the log; beyond, all start again.
const UNSERVED_MAX: usize = 1024;

names! {
    /// The kind of an introspected token.
    pub enum TokenKind {
        /// An access token with a valid signature.
        Access = "access",
        /// A genuine refresh token.
        Refresh = "refresh",
        /// A genuine session token.
        Session = "session",
        /// Anything else.
        Unknown = "unknown",
        /// Not read: the caller was refused.
        Unread = "unread",
    }
}

names! {
    /// The result of an introspection.
    pub enum Introspected {
        Active = "active",
        /// The token is inactive, or the caller may not learn about it.
        Inactive = "inactive",
        /// The caller does not have the permission.
        Refused = "refused",
    }
}

names! {
    /// The result of a check.
    pub enum CheckOutcome {
        /// The token is valid and every requirement is met.
        Active = "active",
        /// The token is valid and a requirement is not met.
        Denied = "denied",
        /// The token is not valid, or the caller may not learn about it.
        Inactive = "inactive",
    }
}

/// The combinations that occur.
const INTROSPECTIONS: &[(TokenKind, Introspected)] = &[
    (TokenKind::Access, Introspected::Active),
    (TokenKind::Session, Introspected::Active),
    (TokenKind::Refresh, Introspected::Active),
    (TokenKind::Access, Introspected::Inactive),
    (TokenKind::Session, Introspected::Inactive),
    (TokenKind::Refresh, Introspected::Inactive),
    (TokenKind::Unknown, Introspected::Inactive),
    (TokenKind::Unread, Introspected::Refused),
];

names! {
    /// The result of a refresh.
    pub enum RefreshOutcome {
        /// A new pair.
        Rotated = "rotated",
        /// The same pair again.
        Retried = "retried",
        /// The previous token was presented after its window: the same refresh token, and a fresh access
        /// token.
        AnsweredLate = "answered_late",
        /// A spent token was presented: the session was ended.
        Reused = "reused",
        /// The previous token was presented after its window, and only refused.
        Late = "late",
        /// The token was newer than the store: the session was ended.
        StoreRollback = "store_rollback",
        /// Any other refusal.
        Refused = "refused",
    }
}

impl From<NotRefreshed> for RefreshOutcome {
    fn from(why: NotRefreshed) -> Self {
        match why {
            NotRefreshed::Reused => Self::Reused,
            NotRefreshed::Late => Self::Late,
            NotRefreshed::StoreRollback => Self::StoreRollback,
            NotRefreshed::BindingMismatch
            | NotRefreshed::Inactive
            | NotRefreshed::NotCurrent
            | NotRefreshed::Exhausted
            | NotRefreshed::Scope
            | NotRefreshed::Target
            | NotRefreshed::TooManyRetries => Self::Refused,
        }
    }
}

names! {
    pub enum Removed {
        /// Ended and expired sessions after their retention.
        Sessions = "sessions",
        /// Salts of closed retry windows.
        RetryWindows = "retry_windows",
        /// Events after their retention.
        Events = "events",
        /// Revocations of tokens that have expired.
        RevokedTokens = "revoked_tokens",
    }
}

pub struct EngineCounters {
    pub introspections: Tally<(TokenKind, Introspected)>,
    /// Checks of tokens by backends.
    pub checks: Tally<CheckOutcome>,
    pub refreshes: Tally<RefreshOutcome>,
    pub tokens: Tally<TokenFormat>,
    pub auth_failures: Tally<AuthFailure>,
    /// Failed authentications that were answered 429.
    pub throttled: Counter,
    /// Records that the sweep removed.
    pub removed: Tally<Removed>,
    said: [RateLimitedLog; AuthFailure::ALL.len()],
    /// By client: limits the lines of [`EngineCounters::unserved`].
    unserved: Mutex<HashMap<ClientId, RateLimitedLog>>,
}

impl EngineCounters {
    pub(super) fn new() -> Self {
        Self {
            introspections: Tally::new(INTROSPECTIONS),
            checks: Tally::new(CheckOutcome::ALL),
            refreshes: Tally::new(RefreshOutcome::ALL),
            tokens: Tally::new(TokenFormat::ALL),
            auth_failures: Tally::new(AuthFailure::ALL),
            throttled: Counter::default(),
            removed: Tally::new(Removed::ALL),
            said: [const { RateLimitedLog::new() }; AuthFailure::ALL.len()],
            unserved: Mutex::default(),
        }
    }

    /// Counts a failed authentication, and logs it at most once a minute per cause. `client` is a registered
    /// one: any other `client_id` that was sent may be a secret.
    pub(super) fn auth_failed(&self, why: AuthFailure, client: Option<&ClientId>, now: Moment) {
        self.auth_failures.one(why);
        let said =
            AuthFailure::ALL.iter().zip(&self.said).find(|(cause, _)| **cause == why).map(|(_, said)| said);
        if let Some(failures) = said.and_then(|said| said.record(now.elapsed_ms)) {
            let client = client.map(ClientId::as_str);
            tracing::warn!(
                cause = why.as_str(),
                client,
                failures,
                "authentication failed; at most one line a minute for each cause"
            );
        }
    }

    /// Logs, at most once a minute for each client, that a valid access token is inactive for it only because
    /// it does not serve the audience: the answer does not say so.
    pub(super) fn unserved(&self, caller: &Caller, audience: &str, now: Moment) {
        let Caller::Client(client) = caller else { return };
        let mut unserved = self.unserved.lock().unwrap_or_else(PoisonError::into_inner);
        if unserved.len() >= UNSERVED_MAX {
            unserved.clear();
        }
        let limit = unserved.entry(client.id.clone()).or_default();
        if let Some(tokens) = limit.record(now.elapsed_ms) {
            tracing::info!(
                client = client.id.as_str(),
                aud = audience,
                tokens,
                "a valid access token is inactive for this client because it does not serve the audience; \
                 add the audience to its serves, or issue the tokens for an audience that it serves (keyfob \
                 token introspect --as shows the case); at most one line a minute for each client"
            );
        }
    }

    pub(super) fn swept(&self, swept: &Swept) {
        let removed = [
            (Removed::Sessions, swept.purged),
            (Removed::RetryWindows, swept.windows),
            (Removed::Events, swept.events),
            (Removed::RevokedTokens, swept.tokens),
        ];
        removed.into_iter().for_each(|(what, number)| self.removed.add(what, number as u64));
    }
}
