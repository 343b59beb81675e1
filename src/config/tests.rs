//! Loading from files, variables and flags: a valid configuration, or errors that name each invalid setting.

use std::fs;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;
use crate::domain::client::{ClientKind, Permission};
use crate::domain::id::Hash;
use crate::domain::policy::{LateRetry, WhenFull};
use crate::domain::time::Timestamp;

mod presets;

/// A directory with a `config.toml` of this text, as sources.
struct Fixture {
    directory: tempfile::TempDir,
    sources: Sources,
}

fn place(toml: &str) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.toml"), toml).unwrap();
    let sources = Sources { directory: directory.path().to_owned(), ..Sources::default() };
    Fixture { directory, sources }
}

impl Fixture {
    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.sources.overrides.push((key.into(), value.into()));
        self
    }

    fn load(&self) -> Config {
        Config::load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error without the directory's name.
    fn error(&self) -> String {
        let error = Config::load(&self.sources).expect_err("it is invalid").to_string();
        error.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

fn origin_of(config: &Config, key: &str) -> (String, String) {
    let setting = config
        .effective()
        .iter()
        .find(|setting| setting.key == key)
        .unwrap_or_else(|| panic!("{key} is shown"));
    (setting.value.clone(), setting.origin.clone())
}

const HASH_HEX: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn an_empty_directory_gives_the_defaults() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        Config::load(&Sources { directory: directory.path().to_owned(), ..Sources::default() }).unwrap();
    assert_eq!(config.server.listen, Listen::Tcp("127.0.0.1:8080".into()));
    assert_eq!(config.server.issuer, "http://127.0.0.1:8080");
    assert_eq!(config.store.path, PathBuf::from("data/keyfob.redb"));
    assert_eq!((config.store.cache_bytes, config.limits.body_bytes_max), (256 << 20, 64 << 10));
    assert_eq!(config.keys.master_key, MasterKeySource::File("data/master.key".into()));
    assert_eq!(config.keys.rotate_every, Duration::from_secs(90 * 86_400));
    assert_eq!(
        config.policies,
        BTreeMap::from([("default".to_owned(), Policy::default())]),
        "the defaults of the domain"
    );
    assert_eq!(
        config.cookie,
        Cookie { name: "__Host-keyfob".into(), same_site: SameSite::Lax, origins: vec![] }
    );
    assert!(config.effective().iter().all(|setting| setting.origin == "default"));
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(config.warnings[0].contains("Safari drops a __Host- cookie"));
}

/// The shipped file states the defaults: with every setting uncommented the configuration is the same, and no
/// setting is missing.
#[test]
fn the_shipped_file_holds_every_setting_with_its_default() {
    let shipped = include_str!("../../config.toml");
    let uncommented: String = shipped
        .lines()
        .map(|line| line.strip_prefix('#').filter(|l| !l.starts_with(' ')).unwrap_or(line).to_owned() + "\n")
        .collect();
    let (defaults, shipped, written) = (place("").load(), place(shipped).load(), place(&uncommented).load());
    assert_eq!(shipped, defaults);
    let plain = |config: &Config| {
        config
            .effective()
            .iter()
            .map(|setting| (setting.key.clone(), setting.value.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(&written), plain(&defaults));
    assert!(
        written.effective().iter().all(|setting| setting.origin.ends_with("config.toml")),
        "{:?}",
        written.effective()
    );
    assert_eq!(Config { settings: vec![], ..written }, Config { settings: vec![], ..defaults });
}

#[test]
fn the_example_client_of_the_shipped_file_is_valid() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), format!("kfc_{}\n", "A".repeat(43))).unwrap();
    let lines = include_str!("../../config.toml").lines().skip_while(|line| *line != "# [[client]]");
    let example: String = lines.map(|line| line.trim_start_matches("# ").to_owned() + "\n").collect();
    let config = place(&example.replace("/run/secrets/backend", secret.path().to_str().unwrap())).load();
    assert_eq!(config.clients.len(), 1);
    assert_eq!(config.clients[0].permissions, [Permission::Sessions, Permission::Introspect]);
}

#[test]
fn the_example_gate_of_the_shipped_file_is_valid() {
    let lines = include_str!("../../config.toml").lines().skip_while(|line| *line != "# [[gate]]");
    let example: String = lines
        .take_while(|line| !line.is_empty())
        .map(|line| line.trim_start_matches("# ").to_owned() + "\n")
        .collect();
    let config = place(&example).load();
    assert_eq!(config.gates.len(), 1);
    let gate = &config.gates[0];
    assert_eq!((&*gate.name, gate.gate.scope.as_str(), gate.gate.acr.len()), ("api", "read", 2));
    assert_eq!((gate.gate.max_age, gate.headers.len()), (Some(Duration::from_secs(12 * 3600)), 2));
}

/// An empty requirement would admit every session.
#[test]
fn a_gate_with_an_empty_or_invalid_setting_prevents_the_start() {
    for (toml, key, why) in [
        ("", "gate[#1]", "name is missing"),
        ("name = \"a b\"", "gate[#1].name", "1 to 64 letters"),
        ("name = \"..\"", "gate[..].name", "1 to 64 letters"),
        ("name = \"a\"\nacr = \"\"", "gate[a].acr", "is empty"),
        ("name = \"a\"\nacr = []", "gate[a].acr", "is empty"),
        ("name = \"a\"\nscope = [\"\"]", "gate[a].scope", "is empty"),
        ("name = \"a\"\naudience = \" \"", "gate[a].audience", "is empty"),
        ("name = \"a\"\nmax_age = \"\"", "gate[a].max_age", "a duration"),
        ("name = \"a\"\nheaders = [\"subject\"]", "gate[a].headers", "one of: X-Keyfob-Subject"),
        ("name = \"a\"\nscopes = \"a\"", "gate[a].scopes", "did you mean gate[a].scope?"),
        ("name = \"a\"\n[[gate]]\nname = \"a\"", "gate[a]", "is declared twice; each name may occur once"),
    ] {
        let faults = place(&format!("[[gate]]\n{toml}\n")).error();
        assert!(faults.contains(key) && faults.contains(why), "{toml}: {faults}");
    }
}

#[test]
fn a_flag_overrides_a_variable_and_a_variable_the_file() {
    let toml = "[limits]\nparameters_max = 1\nconnections_max = 1\nwrite_queue_max = 1\n";
    let config = place(toml)
        .env("KEYFOB_LIMITS__CONNECTIONS_MAX", "2")
        .env("KEYFOB_LIMITS__WRITE_QUEUE_MAX", "2")
        .flag("limits.write_queue_max", "3")
        .load();
    assert_eq!(
        (config.limits.parameters_max, config.limits.connections_max, config.limits.write_queue_max),
        (1, 2, 3)
    );
    let (_, file) = origin_of(&config, "limits.parameters_max");
    assert!(file.ends_with("/config.toml"), "{file}");
    assert_eq!(
        origin_of(&config, "limits.connections_max"),
        ("2".into(), "environment variable KEYFOB_LIMITS__CONNECTIONS_MAX".into())
    );
    assert_eq!(origin_of(&config, "limits.write_queue_max"), ("3".into(), "the command line".into()));
    assert_eq!(origin_of(&config, "limits.header_timeout"), ("10s".into(), "default".into()));
}

/// A default that had been read counted as set, so that forms without credentials could have 64 KiB.
#[test]
fn forms_without_credentials_have_a_limit_of_their_own_unless_that_of_bodies_is_changed() {
    let limit = |toml: &str| place(toml).load().limits.form_bytes_max;
    assert_eq!(limit(""), 16 << 10);
    assert_eq!(limit("[limits]\nbody_bytes_max = \"64KiB\"\n"), 16 << 10, "the default");
    assert_eq!(limit("[limits]\nbody_bytes_max = \"1KiB\"\n"), 1 << 10);
    assert_eq!(limit("[limits]\nbody_bytes_max = \"1MiB\"\n"), 1 << 20);
}

#[test]
fn variables_without_a_double_underscore_are_ignored() {
    let injected = place("")
        .env("KEYFOB_SERVICE_HOST", "10.0.0.1")
        .env("KEYFOB_PORT", "tcp://10.0.0.1:80")
        .env("KEYFOB_PORT_8080_TCP", "x")
        .env("SERVER__LISTEN", "x");
    assert_eq!(injected.load(), place("").load());
}

#[test]
fn values_of_variables_stay_text() {
    let config = place("")
        .env("KEYFOB_STORE__PATH", "1234567890")
        .env("KEYFOB_POLICY__DEFAULT__REFRESH_RETRY_WINDOW", "0")
        .env("KEYFOB_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, fd00::/8")
        .env("KEYFOB_COOKIE__ORIGINS", "[\"https://a.example\"]")
        .load();
    assert_eq!(config.store.path, PathBuf::from("1234567890"));
    assert_eq!(config.store.directory(), Path::new("."));
    assert_eq!(config.policies["default"].refresh_retry_window, Duration::ZERO);
    let networks: Vec<String> = config.server.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(config.cookie.origins, ["https://a.example"]);
}

#[test]
fn a_named_file_must_exist_and_the_default_file_need_not() {
    let mut place = place("[limits]\nparameters_max = 7\n");
    place.sources.file = Some(place.directory.path().join("other.toml"));
    assert!(
        place.error().starts_with("other.toml: there is no such configuration file"),
        "{}",
        place.error()
    );
    fs::write(place.directory.path().join("other.toml"), "").unwrap();
    assert_eq!(place.load().limits.parameters_max, 64, "config.toml is not read as well");
}

#[test]
fn a_file_that_is_no_toml_is_rejected_with_its_position_and_without_its_text() {
    let error = place(&format!("[log]\nlevel = \"info\"\n[[client]]\nsecret_sha256 = {HASH_HEX}\n")).error();
    assert!(error.starts_with("config.toml:4:"), "{error}");
    assert!(!error.contains(&HASH_HEX[..8]), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn an_unknown_key_is_rejected_with_the_nearest_known_one() {
    assert_eq!(
        place("[policy.default]\nidle_timout = \"5m\"\n").error(),
        "policy.default.idle_timout (config.toml): there is no such setting; did you mean \
         policy.default.idle_timeout?"
    );
    assert_eq!(
        place("").env("KEYFOB_SERVER__LISTN", "x").error(),
        "server.listn (environment variable KEYFOB_SERVER__LISTN): there is no such setting; did you mean \
         server.listen?"
    );
    for (toml, expected) in [
        ("[server]\nlevel = \"info\"\n", "did you mean log.level?"),
        ("[polcy.default]\nidle_timeout = \"5m\"\n", "did you mean policy.default.idle_timeout?"),
        (
            "[store]\nquux_and_other_things = 1\n",
            "those of store are: cache_bytes, max_staleness, password_file",
        ),
        ("[[client]]\nid = \"a\"\n", "those of client[#1] are: access_token_format, audiences, client_id"),
        ("[[gate]]\nname = \"a\"\npath = \"/\"\n", "those of gate[a] are: acr, audience, client_ids"),
        ("something_else_altogether = 1\n", "the tables are server, store"),
        ("[kitchen_sink]\n", "the tables are server, store"),
        ("[server.listen]\nhost = \"x\"\n", "there is no such setting"),
        ("server = 3\n", "server (config.toml): expected a table"),
        ("[policy]\nkiosk = \"5m\"\n", "policy.kiosk (config.toml): expected a table"),
        ("[client]\nclient_id = \"a\"\n", "each under [[client]]"),
        (
            "[[client]]\nclient_id = \"a\"\nkind = \"public\"\nscope = [\"a\"]\n",
            "did you mean client[a].scopes?",
        ),
    ] {
        let error = place(toml).error();
        assert!(error.contains(expected), "{toml}: {error}");
    }
    assert!(place("").env("KEYFOB_SERVER__", "x").error().contains("is not the name of a setting"));
}

#[test]
fn an_invalid_value_is_rejected_with_its_origin_and_what_would_be_valid() {
    for (toml, expected) in [
        (
            "[limits]\nparameters_max = 0\n",
            "limits.parameters_max = \"0\" (config.toml): expected a whole number from 1 to 10000",
        ),
        (
            "[limits]\nparameters_max = true\n",
            "limits.parameters_max = \"true\" (config.toml): expected a whole number",
        ),
        (
            "[limits]\nparameters_max = 1.5\n",
            "limits.parameters_max = \"1.5\" (config.toml): expected a whole number",
        ),
        (
            "[limits]\nparameters_max = [1]\n",
            "limits.parameters_max (config.toml): expected one value, got a list",
        ),
        (
            "[limits]\nbody_bytes_max = 0\n",
            "limits.body_bytes_max = \"0\" (config.toml): expected a size from 1 to 64MiB",
        ),
        (
            "[limits]\nheader_timeout = \"0s\"\n",
            "limits.header_timeout = \"0s\" (config.toml): expected a duration from 1ms to 1h, such as",
        ),
        (
            "[limits]\nrequest_timeout = 30\n",
            "limits.request_timeout = \"30\" (config.toml): expected a duration from 1ms to 1h",
        ),
        ("[limits]\nfailed_auth_per_minute = 0\n", "limits.failed_auth_per_minute = \"0\""),
        ("[limits]\nconnections_max = 0\n", "limits.connections_max = \"0\""),
        ("[limits]\nwrite_queue_max = 0\n", "limits.write_queue_max = \"0\""),
        ("[server]\nissuer = \"http://id.example.com\"\n", "http is refused unless the host is loopback"),
        ("[server]\nlisten = 8080\n", "server.listen = \"8080\" (config.toml): expected host:port"),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]\n",
            "server.trusted_proxies = \"proxy\" (config.toml): expected an address or a network",
        ),
        (
            "[server]\ntrusted_proxies = [[\"10.0.0.0/8\"]]\n",
            "server.trusted_proxies (config.toml): expected a list of texts",
        ),
        (
            "[server.tls]\ncert = \"a\"\n",
            "server.tls.cert = \"a\" (config.toml): [server.tls] needs both cert and key",
        ),
        (
            "[server.tls]\nkey = \"b\"\n",
            "server.tls.key = \"b\" (config.toml): [server.tls] needs both cert and key",
        ),
        (
            "[server.tls]\ncert = \"a/\"\nkey = \"b\"\n",
            "server.tls.cert = \"a/\" (config.toml): expected the path of a file",
        ),
        (
            "[server.tls]\ncret = \"a\"\nkey = \"b\"\n",
            "server.tls.cret (config.toml): there is no such setting; did you mean server.tls.cert?",
        ),
        (
            "[server.tls]\ncert = \"a\"\nkey = \"b\"\n",
            "server.issuer = \"http://127.0.0.1:8080\" (default): with [server.tls] it must be https",
        ),
        (
            "[server]\nmetrics_public = 1\n",
            "server.metrics_public = \"1\" (config.toml): expected true or false",
        ),
        ("[store]\npath = \"data/\"\n", "store.path = \"data/\" (config.toml): expected the path of a file"),
        ("[keys]\nrotate_every = \"0\"\n", "keys.rotate_every"),
        ("[cookie]\nname = \"__host-x\"\n", "__Host-, spelt exactly so"),
        (
            "[cookie]\nsame_site = \"lax\"\n",
            "cookie.same_site = \"lax\" (config.toml): expected one of: Strict, Lax, None",
        ),
        ("[cookie]\norigins = [\"https://app.example.com/\"]\n", "slash at the end"),
        ("[log]\nlevel = \"inof\"\n", "expected off, error, warn"),
        ("[log]\nformat = \"xml\"\n", "expected one of: text, json"),
        (
            "[policy.kiosk]\npreset = \"AAL2\"\n",
            "policy.kiosk.preset = \"AAL2\" (config.toml): expected one of: aal1, aal2, aal3",
        ),
        ("[policy.\"a b\"]\nidle_timeout = \"5m\"\n", "a policy's name has"),
        (
            "[policy.kiosk]\nlate_retry = \"answer\"\nrefresh_retry_window = \"0s\"\n",
            "policy.kiosk.late_retry = \"answer\" (config.toml): expected \"end_session\" or \"refuse\": \
             with a window of \"0s\" no retry is answered; policy.kiosk.refresh_retry_window is \"0s\" \
             (config.toml)",
        ),
    ] {
        let error = place(toml).error();
        assert!(error.contains(expected), "{toml}: {error}");
    }
    assert!(!place("").load().server.metrics_public, "the metrics need authentication by default");
    assert!(place("[server]\nmetrics_public = true\n").load().server.metrics_public);
}

#[test]
fn all_errors_are_reported_at_once() {
    let error =
        place("[limits]\nparameters_max = 0\n[log]\nformat = \"xml\"\n").env("KEYFOB_NO__SUCH", "1").error();
    assert_eq!(error.lines().count(), 3, "{error}");
}

/// C-16: the window is bounded, by itself and by the lifetime of the token that it repeats.
#[test]
fn inconsistent_settings_are_both_named_with_their_origins() {
    assert_eq!(
        place("[policy.default]\naccess_token_ttl = \"15s\"\n").error(),
        "policy.default.refresh_retry_window = \"10s\" (default): expected from \"0s\" (strict) to \"5m\", \
         and at most half of access_token_ttl; policy.default.access_token_ttl is \"15s\" (config.toml)"
    );
    let kiosk = place("[policy.kiosk]\n").env("KEYFOB_POLICY__KIOSK__IDLE_TIMEOUT", "2d").error();
    assert!(
        kiosk.starts_with(
            "policy.kiosk.idle_timeout = \"2d\" (environment variable KEYFOB_POLICY__KIOSK__IDLE_TIMEOUT)"
        ),
        "{kiosk}"
    );
    assert!(kiosk.ends_with("policy.kiosk.absolute_lifetime is \"24h\" (policy.default)"), "{kiosk}");
    let both = place("[policy.default]\nidle_timeout = \"2d\"\n[policy.kiosk]\n").error();
    assert_eq!(both.lines().count(), 1, "an inherited fault is reported once: {both}");
    let keys = place("[keys]\nmaster_key_file = \"a\"\nmaster_key_env = \"B\"\n").error();
    assert!(keys.contains("the master key has one source"), "{keys}");
}

#[test]
fn policies_inherit_what_they_do_not_set() {
    let toml = "[policy.default]\nidle_timeout = \"1h\"\nlate_retry = \"refuse\"\n[policy.default.remember]\n\
                idle_timeout = \"7d\"\n\
                [policy.kiosk]\nabsolute_lifetime = \"8h\"\nwhen_full = \"refuse\"\nmax_sessions_per_subject \
                = 1\n\
                [policy.kiosk.remember]\nabsolute_lifetime = \"10d\"\n[policy.plain]\n";
    let config = place(toml).load();
    let (default, kiosk) = (&config.policies["default"], &config.policies["kiosk"]);
    assert_eq!(&config.policies["plain"], default, "an empty table is a policy too");
    assert_eq!(kiosk.lifetimes.idle_timeout, Duration::from_secs(3600));
    assert_eq!(kiosk.lifetimes.absolute_lifetime, Duration::from_secs(8 * 3600));
    assert_eq!(kiosk.remember.idle_timeout, Duration::from_secs(7 * 86_400));
    assert_eq!(kiosk.remember.absolute_lifetime, Duration::from_secs(10 * 86_400));
    assert_eq!(
        (kiosk.late_retry, kiosk.when_full, kiosk.max_sessions_per_subject),
        (LateRetry::Refuse, WhenFull::Refuse, 1)
    );
    assert_eq!((default.when_full, default.max_sessions_per_subject), (WhenFull::EvictOldest, 0));
    assert_eq!(origin_of(&config, "policy.kiosk.idle_timeout"), ("1h".into(), "policy.default".into()));
    assert_eq!(
        origin_of(&config, "policy.kiosk.remember.idle_timeout"),
        ("7d".into(), "policy.default".into())
    );
    let by_variable = place("").env("KEYFOB_POLICY__KIOSK__IDLE_TIMEOUT", "10m").load();
    assert_eq!(by_variable.policies["kiosk"].lifetimes.idle_timeout, Duration::from_secs(600));
}

#[test]
fn the_default_issuer_follows_a_loopback_listen_address() {
    for (listen, issuer, warned) in [
        ("127.0.0.1:9000", "http://127.0.0.1:9000", false),
        ("[::1]:9000", "http://[::1]:9000", false),
        ("localhost:9000", "http://localhost:9000", false),
        ("127.0.0.1:0", "http://127.0.0.1:0", false),
        ("0.0.0.0:9000", "http://127.0.0.1:9000", true),
        ("192.0.2.1:9000", "http://127.0.0.1:8080", true),
        ("unix:/run/keyfob.sock", "http://127.0.0.1:8080", true),
    ] {
        let config = place("").flag("server.listen", listen).load();
        assert_eq!(config.server.issuer, issuer, "{listen}");
        assert_eq!(
            config.warnings.iter().any(|w| w.contains("server.issuer is not set")),
            warned,
            "{listen}: {:?}",
            config.warnings
        );
    }
    let apart = place("[server]\nissuer = \"http://localhost:8080\"\nlisten = \"127.0.0.1:9000\"\n").load();
    assert!(apart.warnings.iter().any(|w| w.contains("may not answer")), "{:?}", apart.warnings);
}

#[test]
fn port_0_in_the_issuer_needs_port_0_in_listen() {
    let chosen = place("").flag("server.listen", "127.0.0.1:0").flag("server.issuer", "http://localhost:0");
    assert_eq!(chosen.load().server.issuer, "http://localhost:0");
    for listen in ["127.0.0.1:8080", "unix:/run/keyfob.sock"] {
        let fixed = place("").flag("server.listen", listen).flag("server.issuer", "http://localhost:0");
        assert!(fixed.error().contains("with port 0 in server.listen"), "{}", fixed.error());
    }
}

/// CKE-01, CKE-05: browsers may drop the cookie, or another host may set it.
#[test]
fn a_cookie_without_the_host_prefix_is_warned_about() {
    let https = "[server]\nissuer = \"https://id.example.com\"\n";
    assert_eq!(place(https).load().warnings, Vec::<String>::new());
    let bare = place(&format!("{https}[cookie]\nname = \"sid\"\n")).load();
    assert!(
        bare.warnings.len() == 1 && bare.warnings[0].contains("without the prefix __Host-"),
        "{:?}",
        bare.warnings
    );
}

#[test]
fn the_master_key_is_beside_the_database_by_default() {
    let moved = place("[store]\npath = \"/var/lib/keyfob/keyfob.redb\"\n");
    assert_eq!(moved.load().keys.master_key, MasterKeySource::File("/var/lib/keyfob/master.key".into()));
    let named =
        place("[keys]\nmaster_key_env = \"KEYFOB_MASTER_KEY\"\n").env("KEYFOB_MASTER_KEY", "not read here");
    assert_eq!(named.load().keys.master_key, MasterKeySource::Environment("KEYFOB_MASTER_KEY".into()));
    let credentials = tempfile::tempdir().unwrap();
    let systemd = |toml: &str| {
        place(toml).env("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap()).load().keys.master_key
    };
    assert_eq!(
        systemd(""),
        MasterKeySource::File("data/master.key".into()),
        "there is no credential of that name"
    );
    fs::write(credentials.path().join("master.key"), "").unwrap();
    assert_eq!(systemd(""), MasterKeySource::Credential(credentials.path().join("master.key")));
    assert_eq!(
        systemd("[keys]\nmaster_key_file = \"my.key\"\n"),
        MasterKeySource::File("my.key".into()),
        "an explicit setting overrides the credential"
    );
}

#[test]
fn a_declared_client_has_the_fields_of_a_created_one() {
    let toml = format!(
        "[policy.web]\n[[client]]\nclient_id = \"backend\"\nsecret_sha256 = \"{HASH_HEX}\"\npermissions = \
         [\"sessions\", \"introspect:any\", \"sessions\"]\n\
         grants = [\"refresh_token\", \"client_credentials\"]\nscopes = [\"write\", \"read\"]\naudiences = \
         [\"https://api.example\"]\n\
         serves = [\"https://api.example\"]\nopens_for = [\"app\"]\npolicy = \"web\"\naccess_token_format = \
         \"jwt\"\ndisabled = true\n\
         [[client]]\nclient_id = \"app\"\nkind = \"public\"\n"
    );
    let config = place(&toml).load();
    let backend = &config.clients[0];
    assert_eq!(
        (backend.id.as_str(), &*backend.policy, backend.scopes.as_str()),
        ("backend", "web", "read write")
    );
    assert_eq!(backend.permissions, [Permission::Sessions, Permission::IntrospectAny]);
    assert_eq!(backend.opens_for, ["app".parse().unwrap()]);
    assert!(backend.declared && backend.disabled);
    assert!(
        backend.knows_secret(&Hash(Sha256::digest("test").into()), Timestamp::from_seconds(9)),
        "it is the hash that sha256sum prints"
    );
    let app = &config.clients[1];
    assert_eq!((app.kind, &*app.secrets, &*app.policy), (ClientKind::Public, &[][..], "default"));
}

#[test]
fn an_invalid_declared_client_is_rejected() {
    let public = "kind = \"public\"\n";
    let sha = format!("secret_sha256 = \"{HASH_HEX}\"\n");
    for (client, expected) in [
        (
            format!("client_id = \"a\"\npolicy = \"web\"\n{sha}"),
            "client[a].policy = \"web\" (config.toml): expected one of the configured policies: default",
        ),
        (
            format!("client_id = \"a\"\npermissions = [\"root\"]\n{sha}"),
            "client[a].permissions = \"root\" (config.toml): expected one of: sessions, introspect, \
             introspect:any",
        ),
        (
            format!("client_id = \"a\"\ngrants = [\"password\"]\n{sha}"),
            "expected one of: refresh_token, client_credentials",
        ),
        (format!("client_id = \"a\"\nscopes = [\"a\\\"b\"]\n{sha}"), "expected a scope"),
        (format!("client_id = \"a\"\nserves = [\"\"]\n{sha}"), "client[a].serves"),
        (
            format!("client_id = \"a b\"\n{sha}"),
            "client[#1].client_id = \"a b\" (config.toml): expected a client id",
        ),
        (format!("client_id = \"admin\"\n{sha}"), "the administrator client"),
        (format!("client_id = \"admin.sock\"\n{sha}"), "reserved for keyfob itself"),
        (sha.clone(), "client[#1] (config.toml): client_id is missing"),
        (
            "client_id = \"a\"\n".into(),
            "client[a] (config.toml): a confidential client needs secret_sha256 or secret_file",
        ),
        (format!("client_id = \"a\"\n{public}{sha}"), "a public client has no secret"),
        (
            format!("client_id = \"a\"\n{public}permissions = [\"events\"]\n"),
            "client[a].permissions = \"events\" (config.toml): must be absent: a public client only",
        ),
        (format!("client_id = \"a\"\n{sha}secret_file = \"x\"\n"), "one secret; remove"),
        (
            format!("client_id = \"a\"\n{sha}[[client]]\nclient_id = \"a\"\n{sha}"),
            "client[a] (config.toml): is declared twice",
        ),
        (
            "client_id = \"a\"\nsecret_file = \"/nonexistent/x\"\n".into(),
            "client[a].secret_file = \"/nonexistent/x\" (config.toml): cannot be read",
        ),
    ] {
        let error = place(&format!("[[client]]\n{client}")).error();
        assert!(error.contains(expected), "{client}: {error}");
    }
}

#[test]
fn a_secret_file_holds_one_secret_and_at_most_one_newline() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let secret = format!("kfc_{}", "A".repeat(43));
    let toml = format!("[[client]]\nclient_id = \"a\"\nsecret_file = {:?}\n", file.path());
    for text in [secret.clone(), format!("{secret}\n")] {
        fs::write(file.path(), text).unwrap();
        assert_eq!(place(&toml).load().clients[0].secrets[0].hash, Hash(Sha256::digest(&secret).into()));
    }
    for invalid in [
        format!("{secret}\n\n"),
        format!(" {secret}"),
        secret.replace("kfc_", "kfr_"),
        secret[..46].to_owned(),
        format!("{}B", &secret[..46]),
        String::new(),
        "x".repeat(5000),
    ] {
        fs::write(file.path(), &invalid).unwrap();
        let error = place(&toml).error();
        assert!(
            error.contains("expected a file with one client secret") && !error.contains("AAAA"),
            "{invalid}: {error}"
        );
    }
}

/// No error, no `Debug` output and no effective setting contains a secret.
#[test]
fn secrets_are_never_shown() {
    let secret = format!("kfc_{}", "S3cr3t".repeat(8).split_at(43).0);
    let config = place(&format!("[[client]]\nclient_id = \"a\"\nsecret_sha256 = \"{HASH_HEX}\"\n")).load();
    assert_eq!(origin_of(&config, "client[a].secret_sha256").0, "(not shown)");
    assert!(!format!("{config:?} {:?}", config.effective()).contains(&HASH_HEX[..8]));
    for (toml, variable) in [
        (format!("[[client]]\nclient_id = \"a\"\nsecret_sha256 = \"{secret}\"\n"), None),
        (format!("[[client]]\nclient_id = \"a\"\nsecret = \"{secret}\"\n"), None),
        (format!("[[client]]\nclient_id = \"a\"\nsecret_file = \"{secret}\"\n"), None),
        (format!("[[client]]\nclient_id = \"{secret}/\"\n"), None),
        (format!("[server]\nlisten = \"{secret}\"\n"), None),
        (format!("[keys]\nmaster_key = \"{secret}\"\n"), None),
        ("[server]\nissuer = \"https://user:S3cr3tS3cr3t@id.example\"\n".into(), None),
        (String::new(), Some(("KEYFOB_KEYS__MASTER_KEY", "S3cr3tS3cr3t"))),
        (String::new(), Some(("KEYFOB_CLIENT__SECRET", "S3cr3tS3cr3t"))),
        (String::new(), Some(("KEYFOB_KEYS__MASTER_KEY_ENV", "S3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS"))),
    ] {
        let place = place(&toml);
        let place = variable.into_iter().fold(place, |place, (name, value)| place.env(name, value));
        let error = Config::load(&place.sources).expect_err(&toml);
        assert!(!format!("{error} {error:?}").contains("S3cr3tS3cr3t"), "{toml}: {error}");
    }
}

/// SES-22: with TLS of our own the issuer is https. CKE-21: HSTS announces it to browsers, unless that
/// would affect other services on a loopback host.
#[test]
fn tls_needs_an_https_issuer_and_sends_hsts_unless_the_host_is_loopback() {
    let with_issuer = |issuer: &str| {
        place("[server.tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n").flag("server.issuer", issuer)
    };
    let server = with_issuer("https://id.example.com").load().server;
    assert_eq!(server.tls, Some(Tls { cert: "c.pem".into(), key: "k.pem".into() }));
    assert!(server.strict_transport);
    assert!(!with_issuer("https://localhost:8443").load().server.strict_transport);
    assert!(with_issuer("http://localhost:8080").error().contains("with [server.tls] it must be https"));
    let behind_a_proxy = place("").flag("server.issuer", "https://id.example.com").load().server;
    assert_eq!(
        (behind_a_proxy.tls, behind_a_proxy.strict_transport),
        (None, false),
        "HSTS is then up to the proxy"
    );
}
