//! What the engine has answered and refused since the start, by kind; for whoever watches it.

use super::Engine;
use crate::domain::access::TokenFormat;
use crate::domain::id::{ClientId, Position};
use crate::domain::names::names;
use crate::domain::session::NotRefreshed;
use crate::domain::time::Moment;
use crate::meter::{Counter, RateLimitedLog, Tally};
use crate::store::{Figures, Store, Swept};

/// The form of a token that somebody asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An access token with a good signature.
    Access,
    /// A genuine refresh token.
    Refresh,
    /// A genuine session token.
    Session,
    /// Anything else.
    Unknown,
    /// It was not looked at.
    Unread,
}

names!(TokenKind { Access = "access", Refresh = "refresh", Session = "session", Unknown = "unknown", Unread = "unread" });

/// What an introspection answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Introspected {
    /// The token is good.
    Active,
    /// It is not, or not the caller's to know.
    Inactive,
    /// The caller may not introspect.
    Refused,
}

names!(Introspected { Active = "active", Inactive = "inactive", Refused = "refused" });

/// What there is to count of introspections.
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

/// What became of a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshOutcome {
    /// A new pair.
    Rotated,
    /// The same pair again.
    Retried,
    /// A spent token: the session was ended.
    Reused,
    /// The previous token after its window, which was only refused.
    Late,
    /// A token that is newer than the store: the session was ended.
    StoreRollback,
    /// Any other no.
    Refused,
}

names!(RefreshOutcome {
    Rotated = "rotated",
    Retried = "retried",
    Reused = "reused",
    Late = "late",
    StoreRollback = "store_rollback",
    Refused = "refused",
});

impl From<NotRefreshed> for RefreshOutcome {
    fn from(why: NotRefreshed) -> Self {
        match why {
            NotRefreshed::Reused => Self::Reused,
            NotRefreshed::Late => Self::Late,
            NotRefreshed::StoreRollback => Self::StoreRollback,
            NotRefreshed::BindingMismatch
            | NotRefreshed::Inactive
            | NotRefreshed::Exhausted
            | NotRefreshed::Scope
            | NotRefreshed::Target
            | NotRefreshed::TooManyRetries => Self::Refused,
        }
    }
}

/// Why somebody is not who they say they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// There is no client of that name.
    UnknownClient,
    /// The secret is not the client's, or there is none where it has one.
    WrongSecret,
    /// The client is shut out.
    DisabledClient,
    /// The credentials do not read.
    Malformed,
    /// A bearer token that is not good.
    BearerToken,
}

names!(AuthFailure {
    UnknownClient = "unknown_client",
    WrongSecret = "wrong_secret",
    DisabledClient = "disabled_client",
    Malformed = "malformed",
    BearerToken = "bearer_token",
});

/// What the sweep takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Sessions that have explained themselves for long enough.
    Sessions,
    /// Salts of closed retry windows.
    RetryWindows,
    /// Events past their retention.
    Events,
    /// Revocations of tokens that have expired by themselves.
    RevokedTokens,
}

names!(Removed { Sessions = "sessions", RetryWindows = "retry_windows", Events = "events", RevokedTokens = "revoked_tokens" });

/// The counters.
pub struct Counts {
    /// Introspections.
    pub introspections: Tally<(TokenKind, Introspected)>,
    /// Refreshes.
    pub refreshes: Tally<RefreshOutcome>,
    /// Access tokens handed out.
    pub tokens: Tally<TokenFormat>,
    /// Failed authentications.
    pub auth_failures: Tally<AuthFailure>,
    /// Those of them that were answered 429.
    pub throttled: Counter,
    /// What the sweep has removed.
    pub removed: Tally<Removed>,
    said: [RateLimitedLog; AuthFailure::ALL.len()],
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            introspections: Tally::new(INTROSPECTIONS),
            refreshes: Tally::new(RefreshOutcome::ALL),
            tokens: Tally::new(TokenFormat::ALL),
            auth_failures: Tally::new(AuthFailure::ALL),
            throttled: Counter::default(),
            removed: Tally::new(Removed::ALL),
            said: [const { RateLimitedLog::new() }; AuthFailure::ALL.len()],
        }
    }

    /// Counts a failed authentication, and logs it, though not more than once a minute for each cause.
    /// `client` is a registered one: what else was given for a name may be anything, even a secret.
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

impl<S: Store> Engine<S> {
    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The position of the last event.
    pub fn head(&self) -> Position {
        self.store.head()
    }

    /// What the store holds and has done.
    ///
    /// # Errors
    /// A store that cannot answer.
    pub fn figures(&self) -> super::Result<Figures> {
        Ok(self.store.figures()?)
    }
}
