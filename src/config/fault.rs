//! What can be wrong with the configuration, said so that a person can mend it.

use std::fmt;
use std::path::PathBuf;

/// Stands where a secret would.
pub(super) const HIDDEN: &str = "(not shown)";

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML.
    #[error("{}{}: {problem}", path.display(), position.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default())]
    File {
        /// The file.
        path: PathBuf,
        /// Line and column, from 1, where they are known.
        position: Option<(usize, usize)>,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Settings that cannot be: all of them, so that one run is enough to mend them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<Fault>),
}

/// One setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The whole key, such as `policy.default.idle_timeout`.
    pub key: String,
    /// Its value; never a secret's, and `None` where the key itself is the fault.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: String,
    /// What is wrong, or what would be valid.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value} ({}): {}", self.key, self.origin, self.problem),
            None => write!(f, "{} ({}): {}", self.key, self.origin, self.problem),
        }
    }
}

/// The value as an error may show it. A secret pasted into the wrong place is recognised by its form and not
/// repeated.
pub(super) fn shown(key: &str, value: &str) -> String {
    let credentials_in_url = value.contains("://") && value.contains('@');
    let perhaps_a_key = key == "keys.master_key_env";
    if is_secret(key)
        || perhaps_a_key
        || ["kfc_", "kfr_", "kfs_"].iter().any(|prefix| value.contains(prefix))
        || credentials_in_url
    {
        return HIDDEN.to_owned();
    }
    format!("{value:?}")
}

/// Whether the setting's value is never shown.
pub(super) fn is_secret(key: &str) -> bool {
    key.ends_with(".secret_sha256")
}
