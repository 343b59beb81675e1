//! The presets of NIST SP 800-63B-4: the timeouts they give, what they refuse and what they warn of.

use std::time::Duration;

use super::parse::duration;
use super::sheet::{INHERITED_ORIGIN, Sheet};
use crate::domain::policy::{Lifetimes, Policy};

/// An authenticator assurance level, as a preset of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preset {
    Aal1,
    Aal2,
    Aal3,
}

/// Something that a preset set otherwise than it would be without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresetChange {
    /// The preset, such as `aal2`.
    pub preset: &'static str,
    /// The whole key, such as `policy.default.idle_timeout`.
    pub key: String,
    /// What the preset made it.
    pub value: String,
    /// What it would be without the preset.
    pub otherwise: String,
}

/// How much a limit binds (RFC 2119).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Force {
    /// What breaks it is refused.
    Shall,
    /// What breaks it is warned of.
    Should,
}

/// A limit of one timeout.
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

    /// The inactivity timeout that it gives. AAL1 asks for none; it gets the one that remembered sessions
    /// have anyway.
    pub fn idle_timeout(self) -> &'static str {
        match self {
            Self::Aal1 => "14d",
            Self::Aal2 => "1h",
            Self::Aal3 => "15m",
        }
    }

    /// The overall timeout that it gives.
    pub fn absolute_lifetime(self) -> &'static str {
        match self {
            Self::Aal1 => "30d",
            Self::Aal2 => "24h",
            Self::Aal3 => "12h",
        }
    }

    /// The origin of what it gives.
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

    /// Refuses what breaks a SHALL and answers a warning for each SHOULD. A remembered session is held to the
    /// same: no cookie stands for an authentication beyond the overall timeout (§5.1).
    pub fn judge(self, sheet: &mut Sheet, table: &str, policy: &Policy) -> Vec<String> {
        let mut warnings = vec![];
        for (lifetimes, prefix) in [(&policy.lifetimes, ""), (&policy.remember, "remember.")] {
            for limit in self.limits() {
                let most = duration(limit.most).expect("the limits are durations");
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
                    // What an heir inherits is said of the policy that it comes from.
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
