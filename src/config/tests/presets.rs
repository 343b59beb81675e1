//! The presets of NIST SP 800-63B-4, as a configuration meets them (standards, section 4.3).

use super::*;
use crate::domain::policy::Lifetimes;

const MINUTE_S: u64 = 60;
const HOUR_S: u64 = 60 * MINUTE_S;
const DAY_S: u64 = 24 * HOUR_S;

fn lifetimes(idle_s: u64, absolute_s: u64) -> Lifetimes {
    Lifetimes {
        idle_timeout: Duration::from_secs(idle_s),
        absolute_lifetime: Duration::from_secs(absolute_s),
    }
}

/// With the warning that every loopback issuer brings taken away.
fn warnings(config: &Config) -> Vec<&str> {
    config
        .warnings
        .iter()
        .map(String::as_str)
        .filter(|warning| !warning.starts_with("server.issuer"))
        .collect()
}

/// NST-01, NST-02, NST-03: the numbers of the final text, with an end to each session, also to a remembered
/// one.
#[test]
fn a_preset_gives_both_timeouts_also_to_remembered_sessions() {
    for (preset, expected) in [
        ("aal1", lifetimes(14 * DAY_S, 30 * DAY_S)),
        ("aal2", lifetimes(HOUR_S, 24 * HOUR_S)),
        ("aal3", lifetimes(15 * MINUTE_S, 12 * HOUR_S)),
    ] {
        let config = place("").env("KEYFOB_POLICY__DEFAULT__PRESET", preset).load();
        let policy = &config.policies["default"];
        assert_eq!((policy.lifetimes, policy.remember), (expected, expected), "{preset}");
        assert_eq!(warnings(&config), [""; 0], "what a preset gives is within what it asks");
        let untouched = Policy { lifetimes: expected, remember: expected, ..Policy::default() };
        assert_eq!(*policy, untouched, "{preset} gives timeouts and nothing else");
    }
}

#[test]
fn what_a_preset_sets_and_what_it_changed_is_reported() {
    let config = place("[policy.default]\npreset = \"aal2\"\nidle_timeout = \"20m\"\n").load();
    assert_eq!(origin_of(&config, "policy.default.absolute_lifetime"), ("24h".into(), "preset aal2".into()));
    assert_eq!(
        origin_of(&config, "policy.default.remember.idle_timeout"),
        ("1h".into(), "preset aal2".into())
    );
    assert_eq!(origin_of(&config, "policy.default.preset").0, "aal2");
    assert!(
        origin_of(&config, "policy.default.idle_timeout").1.ends_with("config.toml"),
        "what the file says wins"
    );
    let changes = config.preset_changes.iter();
    let changes: Vec<_> =
        changes.map(|change| (change.preset, &*change.key, &*change.value, &*change.otherwise)).collect();
    let expected = [
        ("aal2", "policy.default.remember.idle_timeout", "1h", "14d"),
        ("aal2", "policy.default.remember.absolute_lifetime", "24h", "30d"),
    ];
    assert_eq!(changes, expected, "24h is the default anyway, and 20m was said");
}

/// NST-03: a SHALL limits every policy.
#[test]
fn more_than_aal3_shall_have_is_refused_with_the_rule_and_its_section() {
    let aal3 = |more: &str| place(&format!("[policy.default]\npreset = \"aal3\"\n{more}")).error();
    assert_eq!(
        aal3("absolute_lifetime = \"12h1ms\"\n"),
        "policy.default.absolute_lifetime = \"12h1ms\" (config.toml): expected at most \"12h\", \
         as preset aal3 (config.toml) requires (NIST SP 800-63B-4 §2.3.3, SHALL)"
    );
    let remembered = aal3("[policy.default.remember]\nabsolute_lifetime = \"30d\"\n");
    assert!(
        remembered.starts_with(
            "policy.default.remember.absolute_lifetime = \"30d\" (config.toml): expected at most"
        ),
        "{remembered}"
    );
    let child = aal3("[policy.kiosk]\nabsolute_lifetime = \"13h\"\n");
    assert!(
        child.starts_with("policy.kiosk.absolute_lifetime = \"13h\" (config.toml): expected at most"),
        "{child}"
    );
    assert!(child.contains("preset aal3 (policy.default)"), "{child}");
    let both = aal3("absolute_lifetime = \"13h\"\n[policy.kiosk]\n");
    assert_eq!(both.lines().count(), 1, "what is inherited is said once: {both}");
    let variable = place("[policy.kiosk]\npreset = \"aal3\"\n")
        .env("KEYFOB_POLICY__KIOSK__ABSOLUTE_LIFETIME", "13h")
        .error();
    assert!(
        variable.starts_with(
            "policy.kiosk.absolute_lifetime = \"13h\" (environment variable KEYFOB_POLICY__KIOSK__"
        ),
        "{variable}"
    );
    place("[policy.default]\npreset = \"aal3\"\nabsolute_lifetime = \"12h\"\n").load();
}

/// NST-02: more than a SHOULD needs an explicit setting, and is logged at the start like every warning.
#[test]
fn more_than_a_preset_should_have_is_warned_of_with_its_section() {
    for (preset, key, value, most, section) in [
        ("aal1", "absolute_lifetime", "31d", "30d", "§2.1.3"),
        ("aal2", "absolute_lifetime", "25h", "24h", "§2.2.3"),
        ("aal2", "idle_timeout", "61m", "1h", "§2.2.3"),
        ("aal2", "remember.idle_timeout", "2h", "1h", "§2.2.3"),
        ("aal3", "idle_timeout", "16m", "15m", "§2.3.3"),
    ] {
        let config = place(&format!("[policy.web]\npreset = \"{preset}\"\n{key} = \"{value}\"\n")).load();
        let [warning] = warnings(&config)[..] else { panic!("{preset} {key}: {:?}", config.warnings) };
        assert!(warning.starts_with(&format!("policy.web.{key} is \"{value}\" (")), "{warning}");
        assert!(
            warning.ends_with(&format!(
                "preset {preset} recommends at most {most:?} (NIST SP 800-63B-4 {section}, SHOULD)"
            )),
            "{warning}"
        );
        let within = place(&format!("[policy.web]\npreset = \"{preset}\"\n{key} = \"{most}\"\n")).load();
        assert_eq!(warnings(&within), [""; 0], "{preset} {key}");
    }
    let inherited = place(
        "[policy.default]\npreset = \"aal2\"\nidle_timeout = \"2h\"\n[policy.a]\n\
         [policy.b]\nidle_timeout = \"3h\"\n",
    )
    .load();
    let keys: Vec<_> =
        warnings(&inherited).iter().map(|warning| warning.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        keys,
        ["policy.default.idle_timeout", "policy.b.idle_timeout"],
        "what is inherited is said once"
    );
}

#[test]
fn a_preset_stands_before_what_would_be_inherited_and_is_inherited_itself() {
    let own = place(
        "[policy.default]\nidle_timeout = \"10m\"\nabsolute_lifetime = \"20m\"\n[policy.kiosk]\n\
         preset = \"aal3\"\n",
    )
    .load();
    assert_eq!(own.policies["kiosk"].lifetimes, lifetimes(15 * MINUTE_S, 12 * HOUR_S));
    assert_eq!(
        own.policies["default"].lifetimes,
        lifetimes(10 * MINUTE_S, 20 * MINUTE_S),
        "the others are left alone"
    );
    assert!(own.effective().iter().all(|setting| setting.key != "policy.default.preset"));
    assert_eq!(own.preset_changes[0].otherwise, "10m", "otherwise it would be inherited");
    let child = place(
        "[policy.default]\npreset = \"aal3\"\nidle_timeout = \"5m\"\n[policy.plain]\n[policy.web]\n\
         preset = \"aal1\"\n",
    )
    .load();
    assert_eq!(child.policies["plain"], child.policies["default"]);
    assert_eq!(child.policies["plain"].lifetimes, lifetimes(5 * MINUTE_S, 12 * HOUR_S));
    assert_eq!(origin_of(&child, "policy.plain.preset"), ("aal3".into(), "policy.default".into()));
    assert_eq!(origin_of(&child, "policy.plain.absolute_lifetime"), ("12h".into(), "policy.default".into()));
    assert_eq!(
        child.policies["web"].lifetimes,
        lifetimes(14 * DAY_S, 30 * DAY_S),
        "a preset of its own replaces the inherited one"
    );
    let again = place(
        "[policy.default]\npreset = \"aal3\"\nidle_timeout = \"5m\"\n[policy.web]\npreset = \"aal3\"\n",
    )
    .load();
    assert_eq!(
        again.policies["web"].lifetimes,
        lifetimes(15 * MINUTE_S, 12 * HOUR_S),
        "named again, it begins anew"
    );
}

#[test]
fn a_preset_and_a_timeout_that_cannot_be_together_are_both_named() {
    assert_eq!(
        place("[policy.default]\npreset = \"aal2\"\nabsolute_lifetime = \"30m\"\n").error(),
        "policy.default.idle_timeout = \"1h\" (preset aal2): expected from \"1s\" to absolute_lifetime; \
         policy.default.absolute_lifetime is \"30m\" (config.toml)"
    );
}

/// A stolen spent token would be answered for as long as its successor is unused.
#[test]
fn late_retries_are_not_answered_at_aal2_and_aal3() {
    for preset in ["aal2", "aal3"] {
        let own =
            place(&format!("[policy.default]\npreset = \"{preset}\"\nlate_retry = \"answer\"\n")).error();
        let expected = format!(
            "policy.default.late_retry = \"answer\" (config.toml): expected \"end_session\" or \"refuse\": \
             under preset {preset} (config.toml) a spent token is answered only within refresh_retry_window"
        );
        assert!(own.contains(&expected), "{own}");
        let inherited = place(&format!(
            "[policy.default]\nlate_retry = \"answer\"\n[policy.kiosk]\npreset = \"{preset}\"\n"
        ));
        let inherited = inherited.error();
        assert!(inherited.contains("policy.kiosk.late_retry = \"answer\" (policy.default)"), "{inherited}");
    }
    place("[policy.default]\npreset = \"aal1\"\nlate_retry = \"answer\"\n").load();
    place("[policy.default]\npreset = \"aal3\"\nlate_retry = \"refuse\"\n").load();
}
