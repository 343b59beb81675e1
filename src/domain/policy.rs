//! Policies: the lifetimes of sessions and tokens, and what happens at their limits.

use std::time::Duration;

use super::names::names;
use super::text::TextPattern;

/// The name of a policy.
pub const POLICY_NAME: TextPattern = TextPattern { min: 1, max: 64, regex: "^[A-Za-z0-9_-]*$" };

/// The longest retry window of a policy.
pub const RETRY_WINDOW_MAX: Duration = Duration::from_secs(300);
/// The longest lifetime: 400 days, the limit of browsers for cookies (RFC 6265bis §5.5).
pub const LIFETIME_MAX: Duration = Duration::from_secs(400 * 86_400);
/// The longest lifetime of an access token.
pub const ACCESS_TOKEN_TTL_MAX: Duration = Duration::from_secs(86_400);

/// One named policy, with everything that it inherits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The lifetime of an access token. Whole seconds.
    pub access_token_ttl: Duration,
    /// The timeouts of an ordinary session.
    pub lifetimes: Lifetimes,
    /// The timeouts of a session opened with `remember`.
    pub remember: Lifetimes,
    /// How long the previous refresh token is answered with its successor. Zero is strict.
    pub refresh_retry_window: Duration,
    /// What happens to the previous token after its window.
    pub late_retry: LateRetry,
    /// The most active sessions per subject and client; 0 means no limit.
    pub max_sessions_per_subject: u32,
    /// What an opening does at that limit.
    pub when_full: WhenFull,
}

/// The two timeouts of a session (NIST SP 800-63B-4 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Counted from the last activity.
    pub idle_timeout: Duration,
    /// Counted from the authentication; only a renewal extends it.
    pub absolute_lifetime: Duration,
}

names! {
    /// What happens when the previous refresh token is presented after its window (`late_retry`).
    pub enum LateRetry {
        /// It is reuse: the session ends.
        EndSession = "end_session",
        /// It is refused, and nothing else happens.
        Refuse = "refuse",
        /// It gets the current refresh token and a fresh access token, until its successor is used.
        Answer = "answer",
    }
}

names! {
    /// What an opening does at `max_sessions_per_subject` (`when_full`).
    pub enum WhenFull {
        /// The least recently used session is ended.
        EvictOldest = "evict_oldest",
        /// The opening is refused.
        Refuse = "refuse",
    }
}

/// An invalid setting, and what would be valid.
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

    /// Whether the settings are valid together.
    ///
    /// # Errors
    /// The first invalid setting.
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
        if self.late_retry == LateRetry::Answer && self.refresh_retry_window.is_zero() {
            return fault(
                "late_retry",
                "\"end_session\" or \"refuse\": with a window of \"0s\" no retry is answered",
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
                return fault(idle_key, "from \"1s\" to absolute_lifetime");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NST-01: every policy has a limit. C-16: the window is bounded.
    #[test]
    fn an_invalid_policy_is_refused_and_the_setting_named() {
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
        let late = |policy| Policy { late_retry: LateRetry::Answer, ..policy };
        assert_eq!(late(Policy::default()).validate(), Ok(()));
        assert_eq!(late(strict).validate().unwrap_err().key, "late_retry");
    }

    #[test]
    fn each_setting_is_valid_at_its_limit_and_not_beyond() {
        let seconds = Duration::from_secs;
        let fault = |change: &dyn Fn(&mut Policy)| {
            // Lifetimes that exclude no other setting.
            let longest = Lifetimes { idle_timeout: seconds(1), absolute_lifetime: LIFETIME_MAX };
            let mut policy = Policy { lifetimes: longest, remember: longest, ..Policy::default() };
            policy.access_token_ttl = ACCESS_TOKEN_TTL_MAX;
            change(&mut policy);
            policy.validate().err().map(|fault| fault.key)
        };
        let beyond = Duration::from_millis(1);
        for (key, valid, set) in [
            (
                "access_token_ttl",
                seconds(86_400),
                (|p, d| p.access_token_ttl = d) as fn(&mut Policy, Duration),
            ),
            ("refresh_retry_window", seconds(300), |p, d| p.refresh_retry_window = d),
            ("refresh_retry_window", seconds(30), |p, d| {
                (p.access_token_ttl, p.refresh_retry_window) = (Duration::from_secs(60), d);
            }),
            ("absolute_lifetime", seconds(400 * 86_400), |p, d| p.lifetimes.absolute_lifetime = d),
            ("idle_timeout", seconds(400 * 86_400), |p, d| p.lifetimes.idle_timeout = d),
            ("remember.absolute_lifetime", seconds(400 * 86_400), |p, d| p.remember.absolute_lifetime = d),
            ("remember.idle_timeout", seconds(400 * 86_400), |p, d| p.remember.idle_timeout = d),
        ] {
            assert_eq!(fault(&|policy| set(policy, valid)), None, "{key}");
            assert_eq!(fault(&|policy| set(policy, valid + beyond)), Some(key));
        }
        let lowest = |lifetime| Lifetimes { idle_timeout: lifetime, absolute_lifetime: lifetime };
        assert_eq!(fault(&|policy| policy.access_token_ttl = seconds(1)), Some("refresh_retry_window"));
        assert_eq!(fault(&|policy| policy.lifetimes = lowest(seconds(1))), None);
        assert_eq!(
            fault(&|policy| policy.lifetimes = lowest(Duration::from_millis(999))),
            Some("absolute_lifetime")
        );
        assert_eq!(
            fault(&|policy| policy.lifetimes.idle_timeout = Duration::from_millis(999)),
            Some("idle_timeout")
        );
    }

    /// The values that docs/configuration.md states.
    #[test]
    fn the_default_policy_has_half_an_hour_and_a_day_and_with_remember_14_and_30_days() {
        let policy = Policy::default();
        let seconds =
            |lifetimes: Lifetimes| (lifetimes.idle_timeout.as_secs(), lifetimes.absolute_lifetime.as_secs());
        assert_eq!(seconds(policy.lifetimes(false)), (1_800, 86_400));
        assert_eq!(seconds(policy.lifetimes(true)), (14 * 86_400, 30 * 86_400));
    }
}
