//! Configuration errors: each names the setting, its origin, and what is wrong or would be valid.

use std::fmt;
use std::path::PathBuf;

/// Replaces a secret in output.
pub(super) const HIDDEN: &str = "(not shown)";

/// Why the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML.
    #[error(
        "{}{}: {problem}",
        path.display(),
        position.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default()
    )]
    File {
        path: PathBuf,
        /// Line and column, from 1, where they are known.
        position: Option<(usize, usize)>,
        problem: String,
    },
    /// All invalid settings, so that one run shows everything to fix.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Settings(Vec<Fault>),
}

/// One invalid setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The whole key, such as `policy.default.idle_timeout`.
    pub key: String,
    /// Its value, redacted if it may be a secret; `None` if the key itself is invalid.
    pub value: Option<String>,
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

/// The value as an error may show it. A value that looks like a secret is redacted in any setting.
pub(super) fn shown(key: &str, value: &str) -> String {
    let credentials_in_url = value.contains("://") && value.contains('@');
    let may_be_the_key = key == "keys.master_key_env";
    if is_secret(key)
        || may_be_the_key
        || ["kfc_", "kfr_", "kfs_"].iter().any(|prefix| value.contains(prefix))
        || credentials_in_url
    {
        return HIDDEN.to_owned();
    }
    format!("{value:?}")
}

/// The address with the password replaced. The password ends at the last `@` before the host.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
    match authority.rsplit_once('@').map(|(user, _)| (user, user.split_once(':'))) {
        Some((user, Some((name, _)))) => format!("{scheme}://{name}:…{}", &rest[user.len()..]),
        _ => url.to_owned(),
    }
}

/// Whether the setting holds a secret.
pub(super) fn is_secret(key: &str) -> bool {
    key.ends_with(".secret_sha256")
}
