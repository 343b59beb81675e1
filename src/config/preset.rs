//! The presets of NIST SP 800-63B-4: the timeouts they set, what they reject and what they warn about.

use std::time::Duration;

use super::sheet::{INHERITED_ORIGIN, Sheet};
use crate::domain::policy::{Lifetimes, Policy};
use crate::domain::time::parse_duration;

/// An authenticator assurance level, as a preset of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    Aal1,
    Aal2,
    Aal3,
}

/// A setting to which a preset gave another value than it would have without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetChange {
    /// The preset, such as `aal2`.
    pub preset: &'static str,
    /// The whole key, such as `policy.default.idle_timeout`.
    pub key: String,
    /// The value that the preset gave.
    pub value: String,
    /// The value without the preset.
    pub otherwise: String,
}

/// Requirement level of a limit (RFC 2119).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    /// Exceeding it is an error.
    Shall,
    /// Exceeding it is a warning.
    Should,
}

/// The limit of one timeout.
struct Limit {
    force: Force,
    timeout: &'static str,
    of: fn(&Lifetimes) -> Duration,
    most: &'static str,
}

const fn overall(force: Force, most: &'static str) -> Limit {
    Limit { force, timeout: "absolute_lifetime", of: |lifetimes| lifetimes.absolute_lifetime, most }
}

const fn inactivity(most: &'static str) -> Limit {
    Limit { force: Force::Should, timeout: "idle_timeout", of: |lifetimes| lifetimes.idle_timeout, most }
}

const AAL1: &[Limit] = &[overall(Force::Should, "30d")];
const AAL2: &[Limit] = &[overall(Force::Should, "24h"), inactivity("1h")];
const AAL3: &[Limit] = &[overall(Force::Shall, "12h"), inactivity("15m")];

impl Preset {
    pub const ALL: &[Self] = &[Self::Aal1, Self::Aal2, Self::Aal3];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aal1 => "aal1",
            Self::Aal2 => "aal2",
            Self::Aal3 => "aal3",
        }
    }

    /// The inactivity timeout. AAL1 requires none, so it is the default of remembered sessions.
    pub fn idle_timeout(self) -> &'static str {
        match self {
            Self::Aal1 => "14d",
            Self::Aal2 => "1h",
            Self::Aal3 => "15m",
        }
    }

    /// The overall timeout.
    pub fn absolute_lifetime(self) -> &'static str {
        match self {
            Self::Aal1 => "30d",
            Self::Aal2 => "24h",
            Self::Aal3 => "12h",
        }
    }

    /// The origin of settings from this preset.
    pub fn origin(self) -> String {
        format!("preset {}", self.as_str())
    }

    fn section(self) -> &'static str {
        match self {
            Self::Aal1 => "NIST SP 800-63B-4 §2.1.3",
            Self::Aal2 => "NIST SP 800-63B-4 §2.2.3",
            Self::Aal3 => "NIST SP 800-63B-4 §2.3.3",
        }
    }

    fn limits(self) -> &'static [Limit] {
        match self {
            Self::Aal1 => AAL1,
            Self::Aal2 => AAL2,
            Self::Aal3 => AAL3,
        }
    }

    /// Records a fault for each exceeded SHALL and returns a warning for each exceeded SHOULD. The limits
    /// apply to remembered sessions too: no cookie extends an authentication beyond the overall timeout
    /// (§5.1).
    pub fn judge(self, sheet: &mut Sheet, table: &str, policy: &Policy) -> Vec<String> {
        let mut warnings = vec![];
        for (lifetimes, prefix) in [(&policy.lifetimes, ""), (&policy.remember, "remember.")] {
            for limit in self.limits() {
                let most = parse_duration(limit.most).expect("limits are durations");
                let key = format!("{table}.{prefix}{}", limit.timeout);
                let Some(setting) = sheet.setting(&key).filter(|_| (limit.of)(lifetimes) > most).cloned()
                else {
                    continue;
                };
                let (preset, section) = (self.as_str(), self.section());
                match limit.force {
                    Force::Shall => {
                        let origin = sheet
                            .setting(&format!("{table}.preset"))
                            .map(|preset| format!(" ({})", preset.origin));
                        let origin = origin.unwrap_or_default();
                        let rule = format!(
                            "expected at most {:?}: preset {preset}{origin} SHALL not exceed that ({section})",
                            limit.most
                        );
                        sheet.refuse(&key, &rule);
                    }
                    // An inherited value is reported for the policy that sets it.
                    Force::Should if setting.origin == INHERITED_ORIGIN => {}
                    Force::Should => warnings.push(format!(
                        "{key} is {:?} ({}): preset {preset} SHOULD not exceed {:?} ({section})",
                        setting.value, setting.origin, limit.most
                    )),
                }
            }
        }
        warnings
    }
}
