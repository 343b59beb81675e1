//! Configuration: sources (file, environment, flags) become an already valid [`Config`], or an error that
//! says what to mend.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::domain::network::Network;
use crate::domain::policy::Policy;
use crate::files::directory_of;

mod address;
mod client;
mod fault;
mod load;
mod parse;
mod policy;
mod preset;
pub mod reference;
mod sheet;
mod source;
#[cfg(test)]
mod tests;

pub use address::Listen;
pub use client::DeclaredClient;
pub use fault::{ConfigError, Fault};
pub use parse::size_within;
pub use policy::DEFAULT_POLICY;
pub use preset::PresetChange;
pub use sheet::{DEFAULT_ORIGIN, Setting};
pub use source::Sources;

/// Everything that is configured, valid by itself and together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[store]`
    pub store: Store,
    /// `[keys]`
    pub keys: Keys,
    /// `[policy.*]`, by name, each complete; [`DEFAULT_POLICY`] is always there.
    pub policies: BTreeMap<String, Policy>,
    /// `[cookie]`
    pub cookie: Cookie,
    /// `[events] retention`: how long events, and ended sessions that explain themselves, are kept.
    pub events_retention: Duration,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
    /// `[[client]]`
    pub clients: Vec<DeclaredClient>,
    /// What is allowed and may still surprise, each a sentence to log at the start.
    pub warnings: Vec<String>,
    /// What the presets of policies set otherwise than it would be without them.
    pub preset_changes: Vec<PresetChange>,
    settings: Vec<Setting>,
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it listens.
    pub listen: Listen,
    /// What it speaks TLS with there; without it TLS is a proxy's.
    pub tls: Option<Tls>,
    /// Whether browsers are told to come by https only (RFC 6797).
    pub strict_transport: bool,
    /// The public base URL: an origin, `https` unless the host is loopback.
    pub issuer: String,
    /// Whose `X-Forwarded-For` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<Network>,
    /// Whether whoever reaches the server may read the metrics.
    pub metrics_public: bool,
}

/// The files of TLS, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and those that lead to its root, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The database file.
    pub path: PathBuf,
    /// How much of it may be held in memory.
    pub cache_bytes: usize,
}

impl Store {
    /// The directory of the database, where the other files of an installation live.
    pub fn directory(&self) -> &Path {
        directory_of(&self.path)
    }
}

/// The keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Where the master key is.
    pub master_key: MasterKeySource,
    /// How long a signing key signs before the next one does.
    pub rotate_every: Duration,
}

/// Where the master key is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file; the first start makes it if it is beside the database.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(String),
    /// A systemd credential: the file that systemd made of it.
    Credential(PathBuf),
}

/// The session cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Its `SameSite` attribute.
    pub same_site: SameSite,
    /// Further origins whose pages may end or change the session.
    pub origins: Vec<String>,
}

/// The `SameSite` attribute (RFC 6265bis §5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Sent to our own pages' requests only.
    Strict,
    /// Sent also when somebody follows a link to us.
    Lax,
    /// Sent always.
    None,
}

impl SameSite {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// Limits; none of them is zero, and zero would never mean "no limit".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body.
    pub body_bytes_max: usize,
    /// The most parameters of one form.
    pub parameters_max: usize,
    /// How long a request's header may take to arrive.
    pub header_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// Connections at one time.
    pub connections_max: usize,
    /// Writes that may wait at one time.
    pub write_queue_max: usize,
    /// Failed authentications per minute: per address, and per client from one address.
    pub failed_auth_per_minute: u32,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// For a person or for a machine.
    pub format: LogFormat,
    /// A level, or directives as of `tracing_subscriber::EnvFilter`.
    pub level: String,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for a person.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads the sources: the file, then the environment, then the flags; later wins.
    ///
    /// # Errors
    /// A file that cannot be read or is not TOML; every setting that is unknown, malformed or impossible
    /// beside the others.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load::load(sources)
    }

    /// The effective configuration, setting by setting with its origin, sorted by key. Secrets are redacted.
    pub fn effective(&self) -> &[Setting] {
        &self.settings
    }
}
