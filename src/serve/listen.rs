//! The listeners: the configured address, and the admin socket beside the store.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::service_manager::Passed;
use super::tls::Certificate;
use crate::config::Listen;
use crate::http::metrics::Metrics;
use crate::http::net::connection::{Channel, ConnectionLimits, serve};
use crate::http::net::listener::TlsListener;
use crate::http::wire::Wire;

/// An address that cannot be listened on, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}{mend}")]
pub struct ListenError {
    address: String,
    cause: io::Error,
    mend: &'static str,
}

/// Everything the server listens on.
pub struct Listeners {
    public: Vec<Public>,
    admin: UnixListener,
    /// The socket files that are ours.
    files: Vec<SocketFile>,
}

/// A socket file that was made here.
pub struct SocketFile {
    path: PathBuf,
    /// Which file it was, for another server may have put its own in the place since: device, inode, which is
    /// soon used again, and time.
    made: Option<[i128; 3]>,
}

/// A listener for the world.
pub enum Public {
    /// An address.
    Tcp(TcpListener),
    /// A socket file.
    Unix(UnixListener),
}

impl Listeners {
    /// Binds both, or takes the sockets that were passed in the place of `listen`. The admin socket is for
    /// its owner alone (0600). A socket file that nobody listens on any more is removed.
    pub async fn bind(
        listen: &Listen,
        passed: Vec<Passed>,
        admin_socket: &Path,
    ) -> Result<Self, ListenError> {
        let mut files = vec![];
        let passed_on = |cause| ListenError::new("a socket passed by systemd", cause);
        let public = match listen {
            _ if !passed.is_empty() => {
                passed.into_iter().map(Passed::into_listener).collect::<io::Result<_>>().map_err(passed_on)?
            }
            Listen::Tcp(address) => vec![Public::Tcp(
                TcpListener::bind(address).await.map_err(|cause| ListenError::new(address, cause))?,
            )],
            Listen::Unix(path) => {
                // Who may connect is for the directory to say; the API authenticates by itself.
                let public = bind_socket(path, 0o666)?;
                files.push(SocketFile::at(path));
                vec![Public::Unix(public)]
            }
        };
        let admin = bind_socket(admin_socket, 0o600)?;
        files.push(SocketFile::at(admin_socket));
        Ok(Self { public, admin, files })
    }

    /// Where the world finds us, for a person.
    pub fn addresses(&self) -> String {
        self.public.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The socket files to remove at the end.
    pub fn take_files(&mut self) -> Vec<SocketFile> {
        std::mem::take(&mut self.files)
    }

    /// Serves until `stopped`, to the world by TLS if there is a certificate.
    pub async fn serve(
        self,
        wire: Arc<Wire>,
        certificate: Option<&Certificate>,
        limits: ConnectionLimits,
        metrics: &Metrics,
        stopped: watch::Receiver<bool>,
    ) {
        let mut serving = JoinSet::new();
        let current = certificate.map(Certificate::current);
        let of = |channel| metrics.connections(channel).clone();
        for public in self.public {
            let (wire, stopped, open) = (wire.clone(), stopped.clone(), of(Channel::Public));
            match (public, current.clone()) {
                (Public::Tcp(tcp), None) => {
                    serving.spawn(serve(tcp, wire, Channel::Public, limits, open, stopped))
                }
                (Public::Unix(unix), None) => {
                    serving.spawn(serve(unix, wire, Channel::Public, limits, open, stopped))
                }
                (Public::Tcp(tcp), Some(by)) => serving.spawn(serve(
                    TlsListener::new(tcp, by),
                    wire,
                    Channel::Public,
                    limits,
                    open,
                    stopped,
                )),
                (Public::Unix(unix), Some(by)) => serving.spawn(serve(
                    TlsListener::new(unix, by),
                    wire,
                    Channel::Public,
                    limits,
                    open,
                    stopped,
                )),
            };
        }
        serving.spawn(serve(
            self.admin,
            wire,
            Channel::AdminSocket,
            limits,
            of(Channel::AdminSocket),
            stopped,
        ));
        serving.join_all().await;
    }
}

impl SocketFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), made: identity(path) }
    }

    /// Removes it, if it is still the one that was made.
    pub fn remove(&self) {
        if self.made.is_some() && identity(&self.path) == self.made {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<[i128; 3]> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    Some([metadata.dev().into(), metadata.ino().into(), changed])
}

impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or(Err(fmt::Error), |address| address.fmt(f)),
            Self::Unix(listener) => {
                match listener.local_addr().ok().as_ref().and_then(|address| address.as_pathname()) {
                    Some(path) => write!(f, "unix:{}", path.display()),
                    None => f.write_str("unix:"),
                }
            }
        }
    }
}

/// Binds a socket file. It has its mode from the first moment on: there is no time at which others could
/// connect.
fn bind_socket(path: &Path, mode: u32) -> Result<UnixListener, ListenError> {
    let failed = |cause| ListenError::new(&path.display().to_string(), cause);
    if is_socket(path) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(failed(io::ErrorKind::AddrInUse.into()));
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let old = umask(Mode::from_raw_mode(!mode & 0o777));
    let bound = UnixListener::bind(path);
    umask(old);
    let listener = bound.map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl ListenError {
    fn new(address: &str, cause: io::Error) -> Self {
        let mend = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there: stop it, or set [server] listen to another address"
            }
            io::ErrorKind::PermissionDenied => {
                "; the operating system does not let this user: choose a port above 1023 or another place"
            }
            io::ErrorKind::AddrNotAvailable => {
                "; this machine has no such address: set [server] listen to one that it has"
            }
            _ => "",
        };
        Self { address: address.into(), cause, mend }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second server took the first one's socket away without a word, and lost its own when the first one
    /// stopped.
    #[tokio::test]
    async fn a_socket_that_somebody_listens_on_is_not_taken_away_nor_is_another_ones_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyfob.sock");
        let first = bind_socket(&path, 0o600).unwrap();
        let file = SocketFile::at(&path);
        let refused = bind_socket(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("another program listens there"), "{refused}");
        drop(first);
        let _second = bind_socket(&path, 0o600).expect("the first one left its file behind");
        file.remove();
        assert!(path.exists(), "it is the second one's by now");
        SocketFile::at(&path).remove();
        assert!(!path.exists());
    }
}
