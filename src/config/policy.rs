//! The policies: each inherits from `default`, and all of them hold together.

use std::collections::BTreeMap;

use super::parse::{duration, number_within, one_of};
use super::sheet::Sheet;
use crate::domain::policy::{LateRetry, Lifetimes, Policy, WhenFull};

/// The policy that others inherit from, and that a client uses if it names none.
pub const DEFAULT_POLICY: &str = "default";

/// Reads every policy. There is always one called `default`.
pub(super) fn read(sheet: &mut Sheet) -> BTreeMap<String, Policy> {
    let mut names = sheet.names_below("policy");
    names.remove(DEFAULT_POLICY);
    let policies: BTreeMap<_, _> =
        std::iter::once(DEFAULT_POLICY.to_owned()).chain(names).map(|name| (name.clone(), read_one(sheet, &name))).collect();
    if let Some(default) = policies.get(DEFAULT_POLICY) {
        judge(sheet, DEFAULT_POLICY, default);
    }
    for (name, policy) in &policies {
        // What is wrong with the default is wrong with its heirs too: said once.
        if name != DEFAULT_POLICY && sheet.is_sound("policy.default") {
            judge(sheet, name, policy);
        }
    }
    policies
}

fn read_one(sheet: &mut Sheet, name: &str) -> Policy {
    let table = format!("policy.{name}");
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        sheet.refuse(&table, "a policy's name has 1 to 64 letters, digits, - and _");
    }
    let preset = "presets are not in this version: write the timeouts that you want, and remove it";
    sheet.refuse_all_of(&format!("{table}.preset"), preset);
    Policy {
        access_token_ttl: sheet.inherit(name, "access_token_ttl", "5m", duration),
        lifetimes: Lifetimes {
            idle_timeout: sheet.inherit(name, "idle_timeout", "30m", duration),
            absolute_lifetime: sheet.inherit(name, "absolute_lifetime", "24h", duration),
        },
        refresh_retry_window: sheet.inherit(name, "refresh_retry_window", "10s", duration),
        late_retry: sheet.inherit(name, "late_retry", "end_session", late_retry()),
        max_sessions_per_subject: sheet.inherit(name, "max_sessions_per_subject", "0", number_within(0, u32::MAX)),
        when_full: sheet.inherit(name, "when_full", "evict_oldest", when_full()),
        remember: Lifetimes {
            idle_timeout: sheet.inherit(name, "remember.idle_timeout", "14d", duration),
            absolute_lifetime: sheet.inherit(name, "remember.absolute_lifetime", "30d", duration),
        },
    }
}

fn late_retry() -> impl Fn(&str) -> Result<LateRetry, String> {
    one_of(&[LateRetry::EndSession, LateRetry::Refuse], |value| match value {
        LateRetry::EndSession => "end_session",
        LateRetry::Refuse => "refuse",
    })
}

fn when_full() -> impl Fn(&str) -> Result<WhenFull, String> {
    one_of(&[WhenFull::EvictOldest, WhenFull::Refuse], |value| match value {
        WhenFull::EvictOldest => "evict_oldest",
        WhenFull::Refuse => "refuse",
    })
}

/// Whether the settings can be together; if not, the fault also names the other setting of the pair.
fn judge(sheet: &mut Sheet, name: &str, policy: &Policy) {
    let table = format!("policy.{name}");
    let Err(fault) = policy.validate() else { return };
    if !sheet.is_sound(&table) {
        return;
    }
    let other = match fault.key {
        "refresh_retry_window" => Some("access_token_ttl"),
        "idle_timeout" => Some("absolute_lifetime"),
        "remember.idle_timeout" => Some("remember.absolute_lifetime"),
        _ => None,
    };
    let other = other.and_then(|other| sheet.setting(&format!("{table}.{other}")));
    let other = other.map(|other| format!("; {} is {:?} ({})", other.key, other.value, other.origin)).unwrap_or_default();
    sheet.refuse(&format!("{table}.{}", fault.key), &format!("expected {}{other}", fault.expected));
}
