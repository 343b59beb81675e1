//! Policies: how long things live, and what happens at the edges.

use std::time::Duration;

/// The longest retry window a policy may ask for.
pub const RETRY_WINDOW_MAX: Duration = Duration::from_secs(300);
/// The longest life of anything: 400 days, as long as a browser keeps a cookie (RFC 6265bis §5.5).
pub const LIFETIME_MAX: Duration = Duration::from_secs(400 * 86_400);
/// The longest life of an access token: a day. Longer ones belong to refresh tokens.
pub const ACCESS_TOKEN_TTL_MAX: Duration = Duration::from_secs(86_400);

/// One named policy, complete: what it inherits is already in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an access token lives. Whole seconds.
    pub access_token_ttl: Duration,
    /// The timeouts of an ordinary session.
    pub lifetimes: Lifetimes,
    /// The timeouts of a session opened with `remember`.
    pub remember: Lifetimes,
    /// For how long the spent refresh token still answers its successor. Zero is strict.
    pub refresh_retry_window: Duration,
    /// What the previous token does after its window.
    pub late_retry: LateRetry,
    /// Live sessions per subject and client; 0 means any number.
    pub max_sessions_per_subject: u32,
    /// What an opening does when that number is reached.
    pub when_full: WhenFull,
}

/// The two timeouts of a session (NIST SP 800-63B-4 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// From the last activity; sliding.
    pub idle_timeout: Duration,
    /// From the authentication; only another authentication moves it.
    pub absolute_lifetime: Duration,
}

/// What the previous refresh token does after its window (`late_retry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateRetry {
    /// Counts as reuse: the session ends.
    EndSession,
    /// Is refused, and nothing else happens.
    Refuse,
}

/// What an opening does when a subject has all the sessions it may have (`when_full`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The session used least recently makes room.
    EvictOldest,
    /// The opening is refused.
    Refuse,
}

/// A setting that cannot be, and what would be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    /// The key within the policy, such as `remember.idle_timeout`.
    pub key: &'static str,
    /// What would be valid.
    pub expected: &'static str,
}

impl Default for Policy {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        Self {
            access_token_ttl: Duration::from_secs(300),
            lifetimes: Lifetimes {
                idle_timeout: Duration::from_secs(HOUR / 2),
                absolute_lifetime: Duration::from_secs(DAY),
            },
            remember: Lifetimes {
                idle_timeout: Duration::from_secs(14 * DAY),
                absolute_lifetime: Duration::from_secs(30 * DAY),
            },
            refresh_retry_window: Duration::from_secs(10),
            late_retry: LateRetry::EndSession,
            max_sessions_per_subject: 0,
            when_full: WhenFull::EvictOldest,
        }
    }
}

impl Policy {
    /// The timeouts of a session, ordinary or remembered.
    pub fn lifetimes(&self, remember: bool) -> Lifetimes {
        if remember { self.remember } else { self.lifetimes }
    }

    /// Whether the settings can be together.
    pub fn validate(&self) -> Result<(), PolicyFault> {
        let fault = |key, expected| Err(PolicyFault { key, expected });
        let ttl = self.access_token_ttl;
        if ttl.as_secs() == 0 || ttl.subsec_nanos() != 0 || ttl > ACCESS_TOKEN_TTL_MAX {
            return fault("access_token_ttl", "whole seconds, from \"1s\" to \"24h\"");
        }
        if self.refresh_retry_window > RETRY_WINDOW_MAX || self.refresh_retry_window * 2 > ttl {
            return fault(
                "refresh_retry_window",
                "from \"0s\" (strict) to \"5m\", and at most half of access_token_ttl",
            );
        }
        for (lifetimes, idle_key, absolute_key) in [
            (self.lifetimes, "idle_timeout", "absolute_lifetime"),
            (self.remember, "remember.idle_timeout", "remember.absolute_lifetime"),
        ] {
            if lifetimes.absolute_lifetime < Duration::from_secs(1)
                || lifetimes.absolute_lifetime > LIFETIME_MAX
            {
                return fault(absolute_key, "from \"1s\" to \"400d\"");
            }
            if lifetimes.idle_timeout < Duration::from_secs(1)
                || lifetimes.idle_timeout > lifetimes.absolute_lifetime
            {
                return fault(idle_key, "from \"1s\" to the absolute_lifetime beside it");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NST-01: no policy is without an end. C-16: the window is bounded.
    #[test]
    fn a_policy_that_cannot_be_is_refused_by_its_key() {
        assert_eq!(Policy::default().validate(), Ok(()));
        let broken = |change: fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.validate().unwrap_err().key
        };
        assert_eq!(broken(|p| p.access_token_ttl = Duration::ZERO), "access_token_ttl");
        assert_eq!(broken(|p| p.access_token_ttl = Duration::from_millis(1500)), "access_token_ttl");
        assert_eq!(broken(|p| p.refresh_retry_window = Duration::from_secs(151)), "refresh_retry_window");
        assert_eq!(broken(|p| p.lifetimes.absolute_lifetime = Duration::MAX), "absolute_lifetime");
        assert_eq!(broken(|p| p.lifetimes.idle_timeout = Duration::from_secs(86_401)), "idle_timeout");
        assert_eq!(broken(|p| p.remember.idle_timeout = Duration::ZERO), "remember.idle_timeout");
        let strict = Policy { refresh_retry_window: Duration::ZERO, ..Policy::default() };
        assert_eq!(strict.validate(), Ok(()));
    }
}
