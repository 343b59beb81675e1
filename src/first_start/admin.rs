//! `admin.json`: the administrator's credentials, written once, at the first start.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{StartError, file};
use crate::files::FileRule;

/// A longer file is not read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The content of `admin.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct AdminCredentials {
    pub client_id: String,
    pub client_secret: String,
    /// Base URL of the server that knows the client.
    pub issuer: String,
}

impl fmt::Debug for AdminCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminCredentials")
            .field("client_id", &self.client_id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl AdminCredentials {
    /// Writes the file, mode 0600. Call it only when the database exists: a later start takes the file as
    /// proof of that.
    ///
    /// # Errors
    /// `ReadOnly`, `File`.
    pub fn write(&self, path: &Path) -> Result<(), StartError> {
        let mut json =
            Zeroizing::new(serde_json::to_string_pretty(self).expect("three strings can be written as JSON"));
        json.push('\n');
        file::write(path, json.as_bytes())
    }

    /// Reads the file; `None` if it is missing or incomplete.
    ///
    /// # Errors
    /// `Unsafe`, `File`.
    pub fn read(path: &Path) -> Result<Option<Self>, StartError> {
        let bytes = file::read(path, FileRule::Store, FILE_BYTES_MAX)?.flatten();
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn credentials_are_read_as_written_and_never_printed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.json");
        assert_eq!(AdminCredentials::read(&path).unwrap(), None);
        let admin = AdminCredentials {
            client_id: "admin".into(),
            client_secret: "kfc_x".into(),
            issuer: "http://127.0.0.1:8080".into(),
        };
        admin.write(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "client_id": "admin", "client_secret": "kfc_x", "issuer": "http://127.0.0.1:8080",
            })
        );
        assert_eq!(AdminCredentials::read(&path).unwrap().as_ref(), Some(&admin));
        assert!(!format!("{admin:?}").contains("kfc_"));
    }
}
