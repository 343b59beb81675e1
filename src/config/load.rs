//! Reads every section of the merged sources: all keys with their defaults and limits.

use std::path::PathBuf;

use super::address::{self, Listen, admin_socket, issuer_text, listen, origin_text, url_or_none};
use super::fault::ConfigError;
use super::format::{
    Format, boolean, cookie_name, duration_within, file_path, log_level, number_within, one_of, size_within,
    variable,
};
use super::sheet::{DEFAULT_ORIGIN, Sheet};
use super::source::Sources;
use super::{
    Config, Cookie, Keys, Limits, Log, LogFormat, MasterKeySource, SameSite, Server, Store, Tls, client,
    database, gate, policy,
};

/// The default for forms whose caller may authenticate by the form: it is read before that.
const FORM_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;
const ISSUER: &str = "http://127.0.0.1:8080";
/// The name of the systemd credential (systemd.exec, `LoadCredential=`) with the master key, and of the key
/// file beside the database.
const MASTER_KEY: &str = "master.key";

impl Config {
    /// Reads the file, the environment and the flags; a later source overrides an earlier one.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; every setting that is unknown, invalid or inconsistent with
    /// others.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let (figment, faults) = sources.merge()?;
        let mut sheet = Sheet::new(&figment, faults);
        let config = read(&mut sheet, sources);
        Ok(Self { settings: sheet.finish()?, ..config })
    }
}

pub(super) fn read(sheet: &mut Sheet, sources: &Sources) -> Config {
    let server = server(sheet);
    let shared = database::read(sheet, sources);
    let store = Store {
        shared,
        path: sheet.read("store.path", "data/keyfob.redb", &file_path()),
        cache_bytes: sheet.read("store.cache_bytes", "256MiB", &size_within(1 << 20, 1 << 40)),
        reserve_bytes: sheet.read("store.reserve_bytes", "64MiB", &size_within(0, 1 << 40)),
    };
    let keys = Keys {
        master_key: master_key(sheet, sources, &store),
        rotate_every: sheet.read("keys.rotate_every", "90d", &duration_within("1h", "400d")),
    };
    let (policies, preset_changes) = policy::read(sheet, store.shared.is_some());
    let cookie = Cookie {
        name: sheet.read("cookie.name", "__Host-keyfob", &cookie_name()),
        same_site: sheet.read("cookie.same_site", "Lax", &one_of(SameSite::ALL, SameSite::as_str)),
        origins: sheet.list("cookie.origins", &[], &origin_text()),
    };
    let gates = gate::read(sheet);
    let events_retention = sheet.read("events.retention", "30d", &duration_within("1s", "3650d"));
    let body_bytes_max = sheet.read("limits.body_bytes_max", "64KiB", &size_within(1, 64 << 20));
    let limits = Limits {
        body_bytes_max,
        form_bytes_max: if body_bytes_max == BODY_BYTES_MAX { FORM_BYTES_MAX } else { body_bytes_max },
        buffered_bytes_max: sheet.read("limits.buffered_bytes_max", "64MiB", &size_within(1 << 20, 1 << 40)),
        parameters_max: sheet.read("limits.parameters_max", "64", &number_within(1, 10_000)),
        header_timeout: sheet.read("limits.header_timeout", "10s", &duration_within("1ms", "1h")),
        request_timeout: sheet.read("limits.request_timeout", "30s", &duration_within("1ms", "1h")),
        connections_max: sheet.read("limits.connections_max", "10000", &number_within(1, 1_000_000)),
        write_queue_max: sheet.read("limits.write_queue_max", "4096", &number_within(1, 1_000_000)),
        failed_auth_per_minute: sheet.read(
            "limits.failed_auth_per_minute",
            "30",
            &number_within(1, 1_000_000),
        ),
    };
    let log = Log {
        format: sheet.read("log.format", "text", &one_of(LogFormat::ALL, LogFormat::as_str)),
        level: sheet.read("log.level", "info", &log_level()),
    };
    let clients = client::read(sheet, &policies);
    warn(sheet, &server, &cookie);
    let (warnings, settings) = (std::mem::take(&mut sheet.warnings), vec![]);
    Config {
        server,
        store,
        keys,
        policies,
        cookie,
        gates,
        events_retention,
        limits,
        log,
        clients,
        warnings,
        preset_changes,
        settings,
    }
}

fn server(sheet: &mut Sheet) -> Server {
    let tls = tls(sheet);
    let listen = sheet.read("server.listen", "127.0.0.1:8080", &listen());
    let issuer = sheet.read("server.issuer", &issuer_of(&listen), &issuer_text());
    let network = Format::text(
        "an address or a network such as \"127.0.0.1/32\", \"10.0.0.0/8\" or \"fd00::/8\"",
        |text| text.parse().ok(),
    );
    let trusted_proxies = sheet.list("server.trusted_proxies", &["127.0.0.1/32"], &network);
    let origin = address::issuer(&issuer).ok();
    if tls.is_some() && origin.as_ref().is_some_and(|origin| !origin.https) {
        let how = "with [server.tls] it must be https: set it to the public URL of this server, such as \
                   \"https://id.example.com\"";
        sheet.refuse("server.issuer", how);
    }
    if origin.as_ref().is_some_and(|origin| origin.port == 0) && listen.port() != Some(0) {
        sheet.refuse(
            "server.issuer",
            "port 0 stands for the port that the operating system chooses, with port 0 in server.listen",
        );
    }
    // On a loopback host browsers would then refuse plain http on every other port, too.
    let strict_transport = tls.is_some() && origin.is_some_and(|origin| !origin.host.is_loopback());
    let authorization_endpoint = sheet.read("server.authorization_endpoint", "", &url_or_none());
    let metrics_public = sheet.read("server.metrics_public", "false", &boolean());
    let admin_socket = sheet.read("server.admin_socket", "auto", &admin_socket());
    let console = sheet.read("server.console", "true", &boolean());
    let drain_delay = sheet.read("server.drain_delay", "0s", &duration_within("0s", "60s"));
    Server {
        listen,
        tls,
        strict_transport,
        issuer,
        authorization_endpoint,
        trusted_proxies,
        admin_socket,
        metrics_public,
        console,
        drain_delay,
    }
}

/// Certificate and key, or neither, where a proxy terminates TLS.
fn tls(sheet: &mut Sheet) -> Option<Tls> {
    let (is_cert_set, is_key_set) = (sheet.has("server.tls.cert"), sheet.has("server.tls.key"));
    let (cert, key) =
        (sheet.optional("server.tls.cert", &file_path()), sheet.optional("server.tls.key", &file_path()));
    if is_cert_set != is_key_set {
        let set = if is_cert_set { "server.tls.cert" } else { "server.tls.key" };
        sheet.refuse(set, "[server.tls] needs both cert and key, each the path of a PEM file");
    }
    Some(Tls { cert: cert?, key: key? })
}

/// The default issuer: the address of the server on its own machine.
fn issuer_of(listen: &Listen) -> String {
    match listen.tcp() {
        Some((host, port)) if host.is_loopback() && port != 80 => {
            format!("http://{host}:{port}")
        }
        Some((host, port)) if host.is_unspecified() && port != 80 => {
            format!("http://127.0.0.1:{port}")
        }
        _ => ISSUER.to_owned(),
    }
}

fn master_key(sheet: &mut Sheet, sources: &Sources, store: &Store) -> MasterKeySource {
    let variable = sheet.optional("keys.master_key_env", &variable());
    let beside = store.directory().join(MASTER_KEY);
    let credential =
        sources.variable("CREDENTIALS_DIRECTORY").map(|directory| PathBuf::from(directory).join(MASTER_KEY));
    match (sheet.has("keys.master_key_file"), variable, credential.filter(|file| file.exists())) {
        (false, Some(variable), _) => MasterKeySource::Environment(variable),
        (false, None, Some(credential)) => MasterKeySource::Credential(credential),
        (is_set, variable, _) => {
            let file = sheet.read("keys.master_key_file", &beside.to_string_lossy(), &file_path());
            if is_set && variable.is_some() {
                sheet.refuse(
                    "keys.master_key_file",
                    "keys.master_key_env is set too: the master key has one source; remove one of them",
                );
            }
            MasterKeySource::File(file)
        }
    }
}

/// Warns about settings that are valid but may not do what the operator expects.
fn warn(sheet: &mut Sheet, server: &Server, cookie: &Cookie) {
    let Ok(issuer) = address::issuer(&server.issuer) else { return };
    let prefixed = cookie.name.starts_with("__Host-");
    if !issuer.https && prefixed {
        // CKE-05.
        sheet.warnings.push(format!(
            "server.issuer is {}: Safari drops a __Host- cookie over http; Chrome and Firefox accept it on a \
             loopback host",
            server.issuer
        ));
    }
    if !prefixed {
        // CKE-01.
        sheet.warnings.push(format!(
            "cookie.name is {:?}: without the prefix __Host- a sibling subdomain can set a cookie of this \
             name",
            cookie.name
        ));
    }
    let issuer_is_default =
        sheet.setting("server.issuer").is_some_and(|setting| setting.origin == DEFAULT_ORIGIN);
    let at = &server.listen;
    match at.tcp() {
        Some((host, port)) if host.is_loopback() && !issuer.https && issuer.port != port && port != 0 => {
            sheet.warnings.push(format!(
                "server.issuer is {}, but the server listens on {at}: tokens and metadata name an address \
                 that may not answer",
                server.issuer
            ))
        }
        Some((host, _)) if host.is_loopback() => {}
        _ if issuer_is_default => sheet.warnings.push(format!(
            "server.issuer is not set, so tokens and metadata name {}: set it to the public https URL of \
             this server",
            server.issuer
        )),
        _ => {}
    }
}
