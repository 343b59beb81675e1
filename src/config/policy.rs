//! The policies: each inherits from `default`, and its settings must be consistent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::format::{duration, number_within, one_of};
use super::preset::{PRESETS, Preset, PresetChange};
use super::sheet::{DEFAULT_ORIGIN, Sheet};
use crate::domain::policy::{LateRetry, Lifetimes, Policy, WhenFull};

/// The policy that others inherit from, and that clients use by default.
pub const DEFAULT_POLICY: &str = "default";

/// How long a failover of the database can last.
const FAILOVER: Duration = Duration::from_secs(60);

/// Reads every policy, and what their presets changed. `default` always exists.
pub(super) fn read(sheet: &mut Sheet, is_shared: bool) -> (BTreeMap<String, Policy>, Vec<PresetChange>) {
    let mut names = sheet.names_below("policy");
    names.remove(DEFAULT_POLICY);
    let (mut policies, mut changes) = (BTreeMap::new(), vec![]);
    for name in std::iter::once(DEFAULT_POLICY.to_owned()).chain(names) {
        let (policy, preset) = read_one(sheet, &name, is_shared, &mut changes);
        // A fault of the default is inherited by the others: it is reported once.
        if name == DEFAULT_POLICY || sheet.is_valid("policy.default") {
            judge(sheet, &name, &policy, preset);
        }
        policies.insert(name, policy);
    }
    (policies, changes)
}

fn read_one(
    sheet: &mut Sheet,
    name: &str,
    is_shared: bool,
    changes: &mut Vec<PresetChange>,
) -> (Policy, Option<&'static Preset>) {
    let table = format!("policy.{name}");
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    {
        sheet.refuse(&table, "a policy's name has 1 to 64 letters, digits, - and _");
    }
    let preset = one_of(PRESETS, |preset| preset.name);
    let own = sheet.optional(&format!("{table}.preset"), &preset);
    let effective = own.or_else(|| sheet.inherit_optional(name, "preset", &preset));
    // An inherited preset has already set the timeouts that are inherited. An own preset overrides those.
    let mut lifetimes = |sheet: &mut Sheet, prefix: &str, idle: &str, absolute: &str| {
        let (idle_key, absolute_key) =
            (format!("{prefix}idle_timeout"), format!("{prefix}absolute_lifetime"));
        let mut timeout = |key: &str, given: fn(&Preset) -> &'static str, default: &str| match own {
            Some(preset) => preset_timeout(sheet, name, preset, key, (given(preset), default), changes),
            None => sheet.inherit(name, key, default, &duration()),
        };
        Lifetimes {
            idle_timeout: timeout(&idle_key, |preset| preset.idle_timeout, idle),
            absolute_lifetime: timeout(&absolute_key, |preset| preset.absolute_lifetime, absolute),
        }
    };
    let (lifetimes, remember) =
        (lifetimes(sheet, "", "30m", "24h"), lifetimes(sheet, "remember.", "14d", "30d"));
    let refresh_retry_window = sheet.inherit(name, "refresh_retry_window", "10s", &duration());
    let can_answer = !refresh_retry_window.is_zero() && effective.is_none_or(|preset| preset.answers_late);
    let late_retry = late_retry(sheet, name, is_shared.then_some(can_answer));
    if is_shared && late_retry == LateRetry::EndSession && refresh_retry_window < FAILOVER {
        sheet.warnings.push(format!(
            "policy.{name}.late_retry is \"end_session\", and policy.{name}.refresh_retry_window is shorter \
             than a failover of the database can last (60s): clients that retry a refresh after one lose \
             their sessions"
        ));
    }
    let policy = Policy {
        access_token_ttl: sheet.inherit(name, "access_token_ttl", "5m", &duration()),
        lifetimes,
        refresh_retry_window,
        late_retry,
        max_sessions_per_subject: sheet.inherit(
            name,
            "max_sessions_per_subject",
            "0",
            &number_within(0, u32::MAX),
        ),
        when_full: sheet.inherit(name, "when_full", "evict_oldest", &one_of(WhenFull::ALL, WhenFull::as_str)),
        remember,
    };
    (policy, effective)
}

/// A failover of the database outlasts the retry window, so over a shared store the default is to answer late
/// retries, where the policy permits it.
fn late_retry(sheet: &mut Sheet, policy: &str, shared_can_answer: Option<bool>) -> LateRetry {
    const NAME: &str = "late_retry";
    let format = one_of(LateRetry::ALL, LateRetry::as_str);
    let is_set = |key: &str| sheet.setting(key).is_some_and(|setting| setting.origin != DEFAULT_ORIGIN);
    match shared_can_answer {
        Some(can_answer) if !is_set("policy.default.late_retry") => {
            let default = if can_answer { LateRetry::Answer } else { LateRetry::EndSession };
            sheet.read(&format!("policy.{policy}.{NAME}"), default.as_str(), &format)
        }
        _ => sheet.inherit(policy, NAME, LateRetry::EndSession.as_str(), &format),
    }
}

/// Reads a timeout that a preset sets, and records whether the preset changed it.
fn preset_timeout(
    sheet: &mut Sheet,
    policy: &str,
    preset: &Preset,
    name: &str,
    (given, default): (&str, &str),
    changes: &mut Vec<PresetChange>,
) -> Duration {
    let key = format!("policy.{policy}.{name}");
    let (otherwise, _) = sheet.inherited(name, default, &duration());
    let value = sheet.read_or(&key, given, &preset.origin(), &duration());
    let was_given = sheet.setting(&key).is_some_and(|setting| setting.origin == preset.origin());
    if was_given && duration().parse(&otherwise) != Ok(value) {
        changes.push(PresetChange { preset: preset.name, key, value: given.to_owned(), otherwise });
    }
    value
}

/// Records a fault if two settings are inconsistent, naming both; else what the preset says about them.
fn judge(sheet: &mut Sheet, name: &str, policy: &Policy, preset: Option<&Preset>) {
    let table = format!("policy.{name}");
    if !sheet.is_valid(&table) {
        return;
    }
    let Err(fault) = policy.validate() else {
        return preset.map_or((), |preset| preset.judge(sheet, &table, policy));
    };
    let other = match fault.key {
        "refresh_retry_window" => Some("access_token_ttl"),
        "late_retry" => Some("refresh_retry_window"),
        "idle_timeout" => Some("absolute_lifetime"),
        "remember.idle_timeout" => Some("remember.absolute_lifetime"),
        _ => None,
    };
    let other = other.and_then(|other| sheet.setting(&format!("{table}.{other}")));
    let other = other
        .map(|other| format!("; {} is {:?} ({})", other.key, other.value, other.origin))
        .unwrap_or_default();
    sheet.refuse(&format!("{table}.{}", fault.key), &format!("expected {}{other}", fault.expected));
}
