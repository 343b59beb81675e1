//! The master key: 32 random bytes, stored as 43 characters of base64url and a newline.

use std::io;
use std::path::Path;

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use super::{StartError, file};
use crate::config::MasterKeySource;
use crate::files::{FileRule, is_in};
use crate::token::keys::SecretKey;

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

/// Reads the master key from its source. A file in the store directory obeys the rule for that directory, any
/// other the rule for mounted secrets; systemd protects its credentials itself. `variable` reads the
/// environment.
///
/// # Errors
/// `MissingKey`, `MissingVariable`, `Unsafe`, `MalformedKey`, `File`.
pub fn read_master_key(
    source: &MasterKeySource,
    store_directory: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<SecretKey, StartError> {
    match source {
        MasterKeySource::File(path) if is_in(path, store_directory) => read_file(path, FileRule::Store),
        MasterKeySource::File(path) => read_file(path, FileRule::Secret),
        MasterKeySource::Credential(path) => read_file(path, FileRule::Public),
        MasterKeySource::Environment(name) => {
            let text =
                Zeroizing::new(variable(name).ok_or_else(|| StartError::MissingVariable(name.clone()))?);
            parse(&text).ok_or_else(|| StartError::MalformedKey(format!("the environment variable {name}")))
        }
    }
}

fn read_file(path: &Path, rule: FileRule) -> Result<SecretKey, StartError> {
    let bytes =
        file::read(path, rule, KEY_FILE_BYTES_MAX)?.ok_or_else(|| StartError::MissingKey(path.to_owned()))?;
    let text = bytes.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.and_then(parse).ok_or_else(|| StartError::MalformedKey(path.display().to_string()))
}

fn parse(text: &str) -> Option<SecretKey> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let mut key = Zeroizing::new([0; 32]);
    let decoded = Base64UrlUnpadded::decode(text, &mut *key).ok()?;
    (decoded.len() == 32).then(|| SecretKey::new(*key))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
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
        let read = read_master_key(&MasterKeySource::File(path), directory.path(), none).unwrap();
        assert_eq!(read.expose_bytes(), &[251; 32]);
        let text = master_key_text(&read);
        let variable = |name: &str| (name == "KEY").then(|| text.to_string());
        let by_variable =
            read_master_key(&MasterKeySource::Environment("KEY".into()), directory.path(), variable);
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
    fn a_key_that_others_can_access_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let text = master_key_text(&SecretKey::new([1; 32]));
        for mode in [0o604, 0o644, 0o602] {
            let path = key_file(directory.path(), &text, mode);
            for store in [directory.path(), Path::new("/elsewhere")] {
                let error = read_master_key(&MasterKeySource::File(path.clone()), store, none).unwrap_err();
                assert!(matches!(error, StartError::Unsafe(_)), "{error}");
                assert!(error.to_string().contains("run `chmod "), "{error}");
            }
        }
        let path = key_file(directory.path(), &text, 0o644);
        assert!(
            read_master_key(&MasterKeySource::Credential(path), directory.path(), none).is_ok(),
            "systemd protects the directory"
        );
    }

    /// Kubernetes mounts secrets as root:GROUP 0440 behind symbolic links.
    #[test]
    fn a_mounted_key_may_be_a_symbolic_link_and_readable_by_its_group() {
        let (mounted, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = key_file(mounted.path(), &master_key_text(&SecretKey::new([1; 32])), 0o440);
        let link = mounted.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read_master_key(&MasterKeySource::File(link), store.path(), none).is_ok());
        let beside = store.path().join("master.key");
        std::os::unix::fs::symlink(&path, &beside).unwrap();
        let error = read_master_key(&MasterKeySource::File(beside), store.path(), none).unwrap_err();
        assert!(error.to_string().contains("is a symbolic link"), "{error}");
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
                read_master_key(&MasterKeySource::File(path), directory.path(), none).unwrap_err(),
                read_master_key(&MasterKeySource::Environment("KEY".into()), directory.path(), |_| {
                    Some(malformed.to_owned())
                })
                .unwrap_err(),
            ] {
                assert!(matches!(error, StartError::MalformedKey(_)), "{malformed:?}: {error}");
                assert!(!error.to_string().contains("AAAA"), "{error}");
            }
        }
    }

    #[test]
    fn a_missing_key_is_named() {
        let missing = read_master_key(
            &MasterKeySource::File("/nonexistent/master.key".into()),
            Path::new("data"),
            none,
        )
        .unwrap_err()
        .to_string();
        assert!(missing.starts_with("the master key /nonexistent/master.key is missing"), "{missing}");
        let unset = read_master_key(&MasterKeySource::Environment("KEY".into()), Path::new("data"), none)
            .unwrap_err()
            .to_string();
        assert!(unset.contains("KEY") && unset.contains("not set"), "{unset}");
    }
}
