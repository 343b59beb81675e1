//! Unix sockets at paths longer than a socket address can hold (`sun_path`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::directory_of;

/// `sun_path` has 108 bytes on Linux, the last of which is zero.
const PATH_BYTES_MAX: usize = 107;

/// A path to bind or connect a socket at. A long one leads through its open directory in `/proc`.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    /// Keeps the directory open, without which the path is invalid.
    _directory: Option<OwnedFd>,
}

impl SocketPath {
    /// The path for the socket at `path`.
    ///
    /// # Errors
    /// The directory of a long path cannot be opened.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory_of(path), flags, Mode::empty())?;
        let name = path.file_name().unwrap_or_default();
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path: short, _directory: Some(directory) })
    }

    /// The path while this value exists.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_is_bound_and_found_in_a_deep_directory() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("long-name-".repeat(11)).join("s");
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("admin.sock");
        assert!(path.as_os_str().len() > PATH_BYTES_MAX && UnixListener::bind(&path).is_err());
        let _listener = UnixListener::bind(SocketPath::of(&path).unwrap().as_path()).unwrap();
        assert!(path.exists());
        UnixStream::connect(SocketPath::of(&path).unwrap().as_path()).unwrap();
        assert_eq!(
            SocketPath::of(Path::new("data/admin.sock")).unwrap().as_path(),
            Path::new("data/admin.sock")
        );
        assert!(SocketPath::of(&directory.path().join("x".repeat(200)).join("admin.sock")).is_err());
    }
}
