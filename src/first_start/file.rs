//! Atomic writes of files that only their owner may read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::StartError;
use crate::files::{self, FileError, FileRule, OpenMode, directory_of, if_present, sync_directory_of};

/// Mode of secret files.
pub(super) const OWNER_ONLY: u32 = 0o600;

/// Replaces `path` atomically by a file with `bytes`, mode 0600, and syncs it. Call it under the instance
/// lock: the temporary name is fixed, so that crashes leave at most one file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    let directory = directory_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let written = write_through(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory_of(path));
    written.map_err(|cause| {
        let _ = fs::remove_file(&temporary);
        failed("writing", path, directory, cause)
    })
}

/// Opens a file of the installation, and logs what is unusual about it.
pub(super) fn open(path: &Path, rule: FileRule, mode: OpenMode) -> Result<File, StartError> {
    let opened = files::open(path, rule, mode).map_err(|error| rejected(path, error))?;
    log(opened.warning);
    Ok(opened.file)
}

/// Reads a file of the installation: `None` if it does not exist, `Some(None)` if it is longer than
/// `bytes_max`.
pub(super) fn read(
    path: &Path,
    rule: FileRule,
    bytes_max: u64,
) -> Result<Option<Option<Zeroizing<Vec<u8>>>>, StartError> {
    match files::read(path, rule, bytes_max) {
        Ok((bytes, warning)) => {
            log(warning);
            Ok(Some(bytes))
        }
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(rejected(path, error)),
    }
}

pub(super) fn log(warning: Option<String>) {
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
}

fn rejected(path: &Path, error: FileError) -> StartError {
    match error {
        FileError::Io(cause) => failed("opening", path, directory_of(path), cause),
        error => StartError::Unsafe(error),
    }
}

fn write_through(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if_present(fs::remove_file(path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Turns an I/O error into a start error: `ReadOnly` for missing permissions, else `File`.
pub(super) fn failed(action: &'static str, path: &Path, directory: &Path, cause: io::Error) -> StartError {
    match cause.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StartError::ReadOnly { directory: directory.to_owned(), cause }
        }
        _ => StartError::File { action, path: path.to_owned(), cause },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_for_its_owner_only_and_no_other_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.json");
        fs::write(&path, "old and longer").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(directory.path().join(".admin.json.new"), "left by a crash").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_that_is_not_writable_is_named_with_the_fix() {
        let path = Path::new("data/master.key");
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let error = failed("writing", path, Path::new("data"), kind.into()).to_string();
            assert!(
                error.starts_with("data cannot be written to") && error.contains("store.path"),
                "{error}"
            );
        }
        let error = failed("writing", path, Path::new("data"), io::ErrorKind::StorageFull.into()).to_string();
        assert!(error.starts_with("writing data/master.key failed"), "{error}");
    }
}
