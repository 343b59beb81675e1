//! The master key: 32 random bytes, stored as 43 characters of base64url and a newline.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use super::{StartError, file};
use crate::config::MasterKeySource;
use crate::token::keys::SecretKey;

const OTHERS: u32 = 0o077;
/// A longer file is not read.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// Writes a new master key, mode 0600. Never replaces one: what an old key encrypted would be lost.
///
/// # Errors
/// `ReadOnly`, `File`.
pub fn create_master_key(path: &Path, key: &SecretKey) -> Result<(), StartError> {
    if path.symlink_metadata().is_ok() {
        return Err(StartError::File {
            action: "creating the master key",
            path: path.to_owned(),
            cause: io::ErrorKind::AlreadyExists.into(),
        });
    }
    let mut text = master_key_text(key);
    text.push('\n');
    file::write(path, text.as_bytes())
}

/// The master key in base64url, a secret.
pub fn master_key_text(key: &SecretKey) -> Zeroizing<String> {
    // With capacity for the newline, so that no copy is left in memory by growing.
    let mut text = Zeroizing::new(String::with_capacity(44));
    text.push_str(&Zeroizing::new(Base64UrlUnpadded::encode_string(key.expose_bytes())));
    text
}

/// Reads the master key from its source. `variable` reads the environment.
///
/// # Errors
/// `MissingKey`, `MissingVariable`, `ReadableKey` when others can read the file (systemd protects its
/// credentials itself), `MalformedKey`, `File`.
pub fn read_master_key(
    source: &MasterKeySource,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<SecretKey, StartError> {
    match source {
        MasterKeySource::File(path) => {
            let metadata = fs::metadata(path).map_err(|cause| unreadable(path, cause))?;
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & OTHERS != 0 {
                return Err(StartError::ReadableKey { path: path.to_owned(), mode });
            }
            read_file(path)
        }
        MasterKeySource::Credential(path) => read_file(path),
        MasterKeySource::Environment(name) => {
            let text =
                Zeroizing::new(variable(name).ok_or_else(|| StartError::MissingVariable(name.clone()))?);
            parse(&text).ok_or_else(|| StartError::MalformedKey(format!("the environment variable {name}")))
        }
    }
}

fn read_file(path: &Path) -> Result<SecretKey, StartError> {
    let metadata = fs::metadata(path).map_err(|cause| unreadable(path, cause))?;
    let malformed = || StartError::MalformedKey(path.display().to_string());
    if !metadata.is_file() || metadata.len() > KEY_FILE_BYTES_MAX {
        return Err(malformed());
    }
    let bytes = Zeroizing::new(fs::read(path).map_err(|cause| unreadable(path, cause))?);
    std::str::from_utf8(&bytes).ok().and_then(parse).ok_or_else(malformed)
}

fn parse(text: &str) -> Option<SecretKey> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut key = Zeroizing::new([0; 32]);
    let decoded = Base64UrlUnpadded::decode(text, &mut *key).ok()?;
    (decoded.len() == 32).then(|| SecretKey::new(*key))
}

fn unreadable(path: &Path, cause: io::Error) -> StartError {
    match cause.kind() {
        io::ErrorKind::NotFound => StartError::MissingKey(path.to_owned()),
        _ => StartError::File { action: "reading the master key", path: path.to_owned(), cause },
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    fn key_file(directory: &Path, text: &str, mode: u32) -> PathBuf {
        let path = directory.join("master.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_key_is_read_as_written_and_only_its_owner_can_read_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        create_master_key(&path, &SecretKey::new([251; 32])).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().len(), 44);
        let read = read_master_key(&MasterKeySource::File(path.clone()), none).unwrap();
        assert_eq!(read.expose_bytes(), &[251; 32]);
        let text = master_key_text(&read);
        let by_variable = read_master_key(&MasterKeySource::Environment("KEY".into()), |name| {
            (name == "KEY").then(|| text.to_string())
        });
        assert_eq!(by_variable.unwrap().expose_bytes(), &[251; 32]);
    }

    #[test]
    fn an_existing_key_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = key_file(directory.path(), "existing", 0o600);
        assert!(create_master_key(&path, &SecretKey::new([1; 32])).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "existing");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let text = master_key_text(&SecretKey::new([1; 32]));
        for mode in [0o640, 0o604, 0o620, 0o644] {
            let path = key_file(directory.path(), &text, mode);
            let error = read_master_key(&MasterKeySource::File(path.clone()), none).unwrap_err();
            assert!(matches!(error, StartError::ReadableKey { .. }), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(
                read_master_key(&MasterKeySource::Credential(path), none).is_ok(),
                "systemd protects the directory"
            );
        }
    }

    /// The message has nothing of the text, most of which may be the key.
    #[test]
    fn a_malformed_key_is_refused_and_not_printed() {
        let directory = tempfile::tempdir().unwrap();
        let valid = "A".repeat(43);
        for malformed in [
            "",
            "\n",
            &valid[..42],
            &format!("{valid}A"),
            &format!("{valid}\n\n"),
            &format!(" {valid}"),
            &format!("{}B", &valid[..42]),
            &format!("{}+", &valid[..42]),
            &"A".repeat(2000),
        ] {
            let path = key_file(directory.path(), malformed, 0o600);
            for error in [
                read_master_key(&MasterKeySource::File(path), none).unwrap_err(),
                read_master_key(&MasterKeySource::Environment("KEY".into()), |_| Some(malformed.to_owned()))
                    .unwrap_err(),
            ] {
                assert!(matches!(error, StartError::MalformedKey(_)), "{malformed:?}: {error}");
                assert!(!error.to_string().contains("AAAA"), "{error}");
            }
        }
    }

    #[test]
    fn a_missing_key_is_named() {
        let missing = read_master_key(&MasterKeySource::File("/nonexistent/master.key".into()), none)
            .unwrap_err()
            .to_string();
        assert!(missing.starts_with("the master key /nonexistent/master.key is missing"), "{missing}");
        let unset =
            read_master_key(&MasterKeySource::Environment("KEY".into()), none).unwrap_err().to_string();
        assert!(unset.contains("KEY") && unset.contains("not set"), "{unset}");
    }
}
