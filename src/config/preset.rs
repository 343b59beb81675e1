//! The presets of NIST SP 800-63B-4: the timeouts they set, what they reject and what they warn about.

use super::sheet::{INHERITED_ORIGIN, Setting, Sheet};
use crate::domain::policy::{LateRetry, Policy};
use crate::domain::time::parse_duration;

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

/// An authenticator assurance level, as a preset of a policy. The timeouts that it sets are also its limits.
pub(super) struct Preset {
    pub name: &'static str,
    /// The overall timeout.
    pub absolute_lifetime: &'static str,
    overall: Force,
    /// The inactivity timeout.
    pub idle_timeout: &'static str,
    /// `None` if the level has no such limit.
    inactivity: Option<Force>,
    /// Whether `late_retry` can be `answer`.
    pub answers_late: bool,
    section: &'static str,
}

pub(super) const PRESETS: &[&Preset] = &[
    &Preset {
        name: "aal1",
        absolute_lifetime: "30d",
        overall: Force::Should,
        // AAL1 requires no inactivity timeout, so it is the default of remembered sessions.
        idle_timeout: "14d",
        inactivity: None,
        answers_late: true,
        section: "NIST SP 800-63B-4 §2.1.3",
    },
    &Preset {
        name: "aal2",
        absolute_lifetime: "24h",
        overall: Force::Should,
        idle_timeout: "1h",
        inactivity: Some(Force::Should),
        answers_late: false,
        section: "NIST SP 800-63B-4 §2.2.3",
    },
    &Preset {
        name: "aal3",
        absolute_lifetime: "12h",
        overall: Force::Shall,
        idle_timeout: "15m",
        inactivity: Some(Force::Should),
        answers_late: false,
        section: "NIST SP 800-63B-4 §2.3.3",
    },
];

impl Preset {
    /// The origin of settings from this preset.
    pub fn origin(&self) -> String {
        format!("preset {}", self.name)
    }

    /// Records a fault for each exceeded SHALL and a warning for each exceeded SHOULD. The limits
    /// apply to remembered sessions too: no cookie extends an authentication beyond the overall timeout
    /// (§5.1). Two levels refuse late retries that are answered: a spent token has no time limit then.
    pub fn judge(&self, sheet: &mut Sheet, table: &str, policy: &Policy) {
        let Self { name, section, .. } = self;
        let origin = sheet.setting(&format!("{table}.preset"));
        let origin = origin.map(|preset| format!(" ({})", preset.origin)).unwrap_or_default();
        if policy.late_retry == LateRetry::Answer && !self.answers_late {
            let rule = "a spent token is answered only within refresh_retry_window";
            let rule = format!("expected \"end_session\" or \"refuse\": under preset {name}{origin} {rule}");
            sheet.refuse(&format!("{table}.late_retry"), &rule);
        }
        for (lifetimes, prefix) in [(policy.lifetimes, ""), (policy.remember, "remember.")] {
            let overall = (
                "absolute_lifetime",
                lifetimes.absolute_lifetime,
                self.absolute_lifetime,
                Some(self.overall),
            );
            let inactivity = ("idle_timeout", lifetimes.idle_timeout, self.idle_timeout, self.inactivity);
            for (timeout, value, most, force) in [overall, inactivity] {
                let exceeds = value > parse_duration(most).expect("limits are durations");
                let key = format!("{table}.{prefix}{timeout}");
                let (Some(setting), Some(force)) = (sheet.setting(&key).filter(|_| exceeds), force) else {
                    continue;
                };
                match force {
                    Force::Shall => {
                        let rule = format!(
                            "expected at most {most:?}, as preset {name}{origin} requires ({section}, SHALL)"
                        );
                        sheet.refuse(&key, &rule);
                    }
                    // An inherited value is reported for the policy that sets it.
                    Force::Should if setting.origin == INHERITED_ORIGIN => {}
                    Force::Should => {
                        let Setting { value, origin, .. } = setting;
                        let rule = format!("preset {name} recommends at most {most:?} ({section}, SHOULD)");
                        let warning = format!("{key} is {value:?} ({origin}): {rule}");
                        sheet.warnings.push(warning);
                    }
                }
            }
        }
    }
}
