//! Configuration: file, environment and flags become a valid [`Config`], or an error that says what to fix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::client::Client;
use crate::domain::gate::NamedGate;
use crate::domain::names::names;
use crate::domain::network::Network;
use crate::domain::policy::Policy;
use crate::files::directory_of;

mod address;
mod client;
mod database;
mod development;
mod fault;
mod format;
mod gate;
mod load;
mod policy;
mod preset;
pub(crate) mod reference;
mod sheet;
mod source;
#[cfg(test)]
mod tests;

pub use address::{AdminSocketPath, Listen};
pub use database::DatabaseUrl;
pub use development::DevelopmentSources;
pub use fault::{ConfigError, Fault};
pub use format::{Format, size_within};
pub use policy::DEFAULT_POLICY;
pub use preset::PresetChange;
pub use sheet::{DEFAULT_ORIGIN, Setting};
pub use source::Sources;

/// The whole configuration; each value is valid, alone and beside the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub server: Server,
    pub store: Store,
    pub keys: Keys,
    /// `[policy.*]`, by name, inheritance resolved; [`DEFAULT_POLICY`] always exists.
    pub policies: BTreeMap<String, Policy>,
    pub cookie: Cookie,
    /// `[[gate]]`
    pub gates: Vec<NamedGate>,
    /// `[events] retention`: how long events and ended sessions are kept.
    pub events_retention: Duration,
    pub limits: Limits,
    pub log: Log,
    /// `[[client]]`, without times.
    pub clients: Vec<Client>,
    /// Warnings to log at the start.
    pub warnings: Vec<String>,
    /// Settings to which a preset gave another value than they would have without it.
    pub preset_changes: Vec<PresetChange>,
    settings: Vec<Setting>,
}

/// How clients reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub listen: Listen,
    /// TLS for `listen`; `None` where a proxy terminates TLS.
    pub tls: Option<Tls>,
    /// Whether responses carry `Strict-Transport-Security` (RFC 6797).
    pub strict_transport: bool,
    /// The public base URL: an origin, `https` unless the host is loopback.
    pub issuer: String,
    /// The authorization endpoint of the application, for the metadata.
    pub authorization_endpoint: Option<String>,
    /// The proxies whose `X-Forwarded-For` and `X-Request-Id` are trusted.
    pub trusted_proxies: Vec<Network>,
    /// The socket for the administration commands.
    pub admin_socket: AdminSocketPath,
    /// Whether `/metrics` needs no authentication.
    pub metrics_public: bool,
    /// Whether the operator's console is served at `/console`.
    pub console: bool,
    /// How long the server goes on accepting after a stop signal, while it is no longer ready.
    pub drain_delay: Duration,
}

/// The certificate and key files, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, the server's own certificate first.
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
    /// The most memory that the cache of the database uses.
    pub cache_bytes: usize,
    /// What openings leave free on its disk.
    pub reserve_bytes: usize,
    /// A database of PostgreSQL instead of the file. The directory of `path` still has the other files.
    pub shared: Option<SharedStore>,
}

/// A database that several replicas share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStore {
    pub url: DatabaseUrl,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The password file that `PGPASSFILE` names.
    pub passfile: Option<PathBuf>,
    /// How old the proof may be that the database is still the primary.
    pub max_staleness: Duration,
    /// Whether nothing is acknowledged that only one machine has.
    pub require_synchronous: bool,
    /// The name of this replica; empty for a generated one.
    pub replica: Box<str>,
}

impl Store {
    /// The directory of the database, which also holds the other files of the installation.
    pub fn directory(&self) -> &Path {
        directory_of(&self.path)
    }
}

/// The master key and the rotation of signing keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub master_key: MasterKeySource,
    /// How long a signing key signs before the next one replaces it.
    pub rotate_every: Duration,
}

/// Where the master key is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file; the first start creates it.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// A systemd credential: the file that systemd provides for it.
    Credential(PathBuf),
}

/// The session cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub same_site: SameSite,
    /// Origins besides the issuer's whose pages may end or change the session.
    pub origins: Vec<String>,
}

names! {
    /// The `SameSite` attribute (RFC 6265bis §5.7).
    pub enum SameSite {
        Strict = "Strict",
        Lax = "Lax",
        None = "None",
    }
}

/// Limits; each is greater than zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub body_bytes_max: usize,
    /// The same at `/oauth2/*` without an `Authorization` header: 16 KiB unless `body_bytes_max` is set.
    pub form_bytes_max: usize,
    /// What all unfinished requests may hold together.
    pub buffered_bytes_max: usize,
    /// The most parameters of one form or query.
    pub parameters_max: usize,
    /// The longest time to receive the header of a request.
    pub header_timeout: Duration,
    /// The longest time to answer a request.
    pub request_timeout: Duration,
    pub connections_max: usize,
    /// The most writes in the queue of the store.
    pub write_queue_max: usize,
    /// The most failed authentications per minute from one address.
    pub failed_auth_per_minute: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or directives of `tracing_subscriber::filter::Targets`.
    pub level: String,
}

names! {
    /// The format of the log.
    pub enum LogFormat {
        /// One line of text per event.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

impl Config {
    /// The effective settings with their origins, sorted by key. Secrets are redacted.
    pub fn effective(&self) -> &[Setting] {
        &self.settings
    }
}
