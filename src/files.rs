//! Rules for files that hold in every room that touches the disk.

use std::fs::File;
use std::io;
use std::path::Path;

mod open;
mod socket;

pub use open::{FileError, FileRule, OpenMode, check_directory, open, read};
pub use socket::SocketPath;

/// The directory that contains `path`; `.` for a bare file name.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the creation, renaming or removal of `path` durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

/// `None` if what was to be read or removed does not exist.
pub fn if_present<T>(done: io::Result<T>) -> io::Result<Option<T>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        done => done.map(Some),
    }
}

/// Whether `path` is directly in `directory`, however both are written.
pub fn is_in(path: &Path, directory: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(directory_of(path)) == real(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_the_working_directory() {
        for (path, directory) in
            [("keyfob.redb", "."), ("data/keyfob.redb", "data"), ("/keyfob.redb", "/"), ("/", ".")]
        {
            assert_eq!(directory_of(Path::new(path)), Path::new(directory), "{path}");
        }
    }
}
