//! The directory of the database: created, restricted to its owner, or refused.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::StartError;
use super::file::{failed, log};
use crate::files::{FileError, check_directory, directory_of, sync_directory_of};

/// A directory of this name is for keyfob alone, by convention.
const OURS: &str = "data";
const OWNER_ONLY: u32 = 0o700;
const OTHERS: u32 = 0o077;

/// Creates the directory with mode 0700 if it is missing. It must belong to our user or to root. If other
/// users can write to it, one of ours named `data` is restricted to 0700; any other is refused, since other
/// programs may use it. It must be writable.
///
/// # Errors
/// `Unsafe`, `OwnedByAnother`, `OpenDirectory`, `NotADirectory`, `ReadOnly`; `File` when it cannot be
/// created.
pub fn prepare_directory(directory: &Path) -> Result<(), StartError> {
    let metadata = match fs::metadata(directory) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(directory),
        Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => {
            return Err(StartError::NotADirectory(directory.to_owned()));
        }
        Err(cause) => return Err(failed("reading the metadata of", directory, directory, cause)),
    };
    if !metadata.is_dir() {
        return Err(StartError::NotADirectory(directory.to_owned()));
    }
    let ours = directory.file_name().is_some_and(|name| name == OURS) && metadata.uid() == geteuid().as_raw();
    let tightened = ours
        && metadata.mode() & OTHERS != 0
        && fs::set_permissions(directory, Permissions::from_mode(OWNER_ONLY)).is_ok();
    if !tightened {
        log(check_directory(directory, &metadata).map_err(|error| rejected(directory, error))?);
    }
    access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|errno| StartError::ReadOnly { directory: directory.to_owned(), cause: errno.into() })
}

/// Checks the directory of an admin socket that is not beside the store: it obeys the same rule, unchanged.
///
/// # Errors
/// `Unsafe`, `OwnedByAnother`, `OpenDirectory`, `File`.
pub fn check_socket_directory(directory: &Path) -> Result<(), StartError> {
    let metadata = fs::metadata(directory)
        .map_err(|cause| failed("reading the metadata of", directory, directory, cause))?;
    log(check_directory(directory, &metadata).map_err(|error| rejected(directory, error))?);
    Ok(())
}

fn rejected(directory: &Path, error: FileError) -> StartError {
    match error {
        FileError::Owner { path, owner, user: 0 } => StartError::OwnedByAnother { path, owner },
        FileError::Access { mode, .. } => StartError::OpenDirectory { directory: directory.to_owned(), mode },
        error => StartError::Unsafe(error),
    }
}

fn make(directory: &Path) -> Result<(), StartError> {
    fs::create_dir_all(directory_of(directory))
        .and_then(|()| DirBuilder::new().mode(OWNER_ONLY).create(directory))
        // The umask may have cleared bits of the owner too.
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(OWNER_ONLY)))
        .and_then(|()| sync_directory_of(directory))
        .map_err(|cause| failed("creating the directory", directory, directory, cause))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn directory(parent: &Path, name: &str, mode: u32) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_missing_directory_is_created_for_its_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b/keyfob");
        prepare_directory(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        prepare_directory(&path).expect("it is accepted the second time");
    }

    #[test]
    fn a_directory_named_data_is_restricted_to_its_owner() {
        for open in [0o755, 0o777, 0o1777, 0o750] {
            let parent = tempfile::tempdir().unwrap();
            let path = directory(parent.path(), "data", open);
            prepare_directory(&path).unwrap();
            assert_eq!(mode(&path), 0o700, "{open:o}");
        }
    }

    #[test]
    fn a_directory_of_another_name_that_others_can_write_to_is_refused_not_changed() {
        for open in [0o777, 0o1777, 0o770, 0o702] {
            let parent = tempfile::tempdir().unwrap();
            let path = directory(parent.path(), "shared", open);
            let error = prepare_directory(&path).unwrap_err();
            assert!(matches!(error, StartError::OpenDirectory { mode, .. } if mode == open), "{error}");
            assert!(error.to_string().contains("chmod 700"), "{error}");
            assert_eq!(mode(&path), open);
        }
        let parent = tempfile::tempdir().unwrap();
        let path = directory(parent.path(), "keyfob", 0o755);
        prepare_directory(&path).expect("reading its file names is permitted");
        assert_eq!(mode(&path), 0o755);
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(prepare_directory(file.path()), Err(StartError::NotADirectory(_))));
        assert!(matches!(prepare_directory(&file.path().join("data")), Err(StartError::NotADirectory(_))));
    }
}
