//! The listeners: the configured address, and the admin socket beside the store.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::umask;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::service_manager::PassedSocket;
use super::tls::Certificate;
use crate::config::{Config, Listen};
use crate::files::SocketPath;
use crate::http::metrics::Metrics;
use crate::http::net::channel::Channel;
use crate::http::net::connection::{ConnectionLimits, Stage, serve};
use crate::http::net::listener::{Listener, TlsListener};
use crate::http::wire::Service;

/// How often an address in use is tried again, and how many times: about a second.
const RETRY_EVERY: Duration = Duration::from_millis(20);
const TRIES_MAX: u32 = 50;

/// Why an address cannot be listened on, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}{fix}")]
pub struct ListenError {
    address: String,
    cause: io::Error,
    fix: &'static str,
}

/// All sockets the server listens on.
pub struct Listeners {
    public: Vec<Public>,
    /// `None` if it is switched off, or the file system has no sockets.
    pub admin: Option<UnixListener>,
    /// The socket files that this process created, to be removed at the end.
    pub files: Vec<SocketFile>,
}

/// A socket file that this process created.
pub struct SocketFile {
    path: PathBuf,
    /// Device, inode and ctime, to tell it from a file that another server has put there since: inode numbers
    /// are reused.
    identity: Option<[i128; 3]>,
}

/// A public listener: it authenticates its callers.
pub enum Public {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds `listen` before the store is opened if its port is 0, since the first tokens name the issuer.
/// Returns the configuration with the real port in the issuer, and the sockets with the bound one.
pub async fn choose_port(
    config: &Config,
    mut passed: Vec<PassedSocket>,
) -> Result<(Config, Vec<PassedSocket>), ListenError> {
    let mut config = config.clone();
    let Listen::Tcp(address) = &config.server.listen else { return Ok((config, passed)) };
    if passed.is_empty() && config.server.listen.port() == Some(0) {
        let bound = TcpListener::bind(address).await.and_then(TcpListener::into_std);
        passed.push(PassedSocket::Tcp(bound.map_err(|cause| ListenError::new(address, cause))?));
    }
    let port = passed.iter().find_map(|socket| match socket {
        PassedSocket::Tcp(tcp) => tcp.local_addr().ok().map(|address| address.port()),
        PassedSocket::Unix(_) => None,
    });
    if let (Some(base), Some(port)) = (config.server.issuer.strip_suffix(":0"), port) {
        config.server.issuer = format!("{base}:{port}");
    }
    Ok((config, passed))
}

impl Listeners {
    /// Binds both; sockets that the service manager passed replace `listen`. The admin socket has mode 0600;
    /// where the file system has no sockets, there is a warning and no admin socket. A socket file without a
    /// listening process is removed.
    pub async fn bind(
        listen: &Listen,
        passed: Vec<PassedSocket>,
        admin_socket: Option<&Path>,
    ) -> Result<Self, ListenError> {
        let mut files = vec![];
        let unusable = |cause| ListenError::new("a socket passed by systemd", cause);
        let public = match listen {
            _ if !passed.is_empty() => {
                passed.into_iter().map(Public::from_passed).collect::<io::Result<_>>().map_err(unusable)?
            }
            Listen::Tcp(address) => vec![Public::Tcp(
                when_free(async || {
                    TcpListener::bind(address).await.map_err(|cause| ListenError::new(address, cause))
                })
                .await?,
            )],
            Listen::Unix(path) => {
                // The permissions of the directory decide who may connect; the API authenticates callers.
                let public = when_free(async || bind_socket(path, 0o666)).await?;
                files.push(SocketFile::at(path));
                vec![Public::Unix(public)]
            }
        };
        let mut admin = None;
        if let Some(path) = admin_socket {
            match when_free(async || bind_socket(path, 0o600)).await {
                Ok(bound) => {
                    files.push(SocketFile::at(path));
                    admin = Some(bound);
                }
                Err(error) if has_no_sockets(&error.cause) => {
                    tracing::warn!(
                        "no admin socket: the file system of {} has no sockets ({}); set [server] \
                         admin_socket to a path elsewhere, or to \"none\"",
                        path.display(),
                        error.cause
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { public, admin, files })
    }

    /// The public addresses, for messages.
    pub fn addresses(&self) -> String {
        self.public.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// The URL of the first public address.
    pub fn url(&self, scheme: &str) -> Option<String> {
        self.public.first().map(|public| match public {
            Public::Tcp(_) => format!("{scheme}://{public}"),
            Public::Unix(_) => public.to_string(),
        })
    }

    /// Serves until `stage` is `Stopping`; public listeners use TLS if there is a certificate.
    pub async fn serve(
        self,
        wire: Arc<Service>,
        certificate: Option<&Certificate>,
        limits: ConnectionLimits,
        metrics: &Metrics,
        stage: watch::Receiver<Stage>,
    ) {
        let mut serving = Serving { wire, limits, metrics, stage, tasks: JoinSet::new() };
        let certificate = certificate.map(Certificate::current);
        for public in self.public {
            match (public, certificate.clone()) {
                (Public::Tcp(tcp), None) => serving.start(tcp, Channel::Public),
                (Public::Unix(unix), None) => serving.start(unix, Channel::Public),
                (Public::Tcp(tcp), Some(by)) => serving.start(TlsListener::new(tcp, by), Channel::Public),
                (Public::Unix(unix), Some(by)) => serving.start(TlsListener::new(unix, by), Channel::Public),
            }
        }
        if let Some(admin) = self.admin {
            serving.start(admin, Channel::AdminSocket);
        }
        serving.tasks.join_all().await;
    }
}

/// The listeners in service, and what they have in common.
struct Serving<'m> {
    wire: Arc<Service>,
    limits: ConnectionLimits,
    metrics: &'m Metrics,
    stage: watch::Receiver<Stage>,
    tasks: JoinSet<()>,
}

impl Serving<'_> {
    fn start(&mut self, listener: impl Listener + Sync, channel: Channel) {
        let (open, buffered) = (self.metrics.connections(channel).clone(), self.metrics.buffered.clone());
        let (wire, stage) = (self.wire.clone(), self.stage.clone());
        self.tasks.spawn(serve(listener, wire, channel, self.limits, open, buffered, stage));
    }
}

impl SocketFile {
    fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: identity(path) }
    }

    /// Removes the file, unless another process has replaced it.
    pub fn remove(&self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<[i128; 3]> {
    let metadata = fs::symlink_metadata(path).ok()?;
    let changed = i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec());
    Some([metadata.dev().into(), metadata.ino().into(), changed])
}

impl Public {
    fn from_passed(passed: PassedSocket) -> io::Result<Self> {
        Ok(match passed {
            PassedSocket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            PassedSocket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(listener)?)
            }
        })
    }
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

/// Binds an address. A killed server may have released the lock but not yet its addresses, so it is tried
/// again.
async fn when_free<T>(bind: impl AsyncFn() -> Result<T, ListenError>) -> Result<T, ListenError> {
    for _ in 1..TRIES_MAX {
        match bind().await {
            Err(error) if error.cause.kind() == io::ErrorKind::AddrInUse => sleep(RETRY_EVERY).await,
            bound => return bound,
        }
    }
    bind().await
}

/// Binds a socket file. The umask gives it its mode at creation, so that at no time other users can connect.
fn bind_socket(path: &Path, mode: u32) -> Result<UnixListener, ListenError> {
    let failed = |cause| ListenError::new(&path.display().to_string(), cause);
    let short = SocketPath::of(path).map_err(failed)?;
    if is_socket(path) {
        if std::os::unix::net::UnixStream::connect(short.as_path()).is_ok() {
            return Err(failed(io::ErrorKind::AddrInUse.into()));
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let old = umask(Mode::from_raw_mode(!mode & 0o777));
    let bound = UnixListener::bind(short.as_path());
    umask(old);
    let listener = bound.map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// Whether binding failed because the file system cannot hold a socket, as bind mounts of container desktops.
fn has_no_sockets(cause: &io::Error) -> bool {
    let errno = Errno::from_io_error(cause);
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM].into_iter().any(|none| errno == Some(none))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl ListenError {
    fn new(address: &str, cause: io::Error) -> Self {
        let fix = match cause.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there: stop it, or set [server] listen to another address"
            }
            io::ErrorKind::PermissionDenied => {
                "; this user lacks the permission: choose a port above 1023, or another path"
            }
            io::ErrorKind::AddrNotAvailable => {
                "; this machine has no such address: set [server] listen to one that it has"
            }
            io::ErrorKind::NotFound => "; create its directory first, or set another path",
            _ => "; fix the cause and try again",
        };
        Self { address: address.into(), cause, fix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second server silently replaced the socket of the first, and lost its own when the first stopped.
    #[tokio::test]
    async fn a_socket_of_a_running_server_is_neither_replaced_nor_removed_by_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keyfob.sock");
        let first = bind_socket(&path, 0o600).unwrap();
        let file = SocketFile::at(&path);
        let refused = bind_socket(&path, 0o600).unwrap_err().to_string();
        assert!(refused.contains("another program listens there"), "{refused}");
        drop(first);
        let _second = bind_socket(&path, 0o600).expect("the first server left its file behind");
        file.remove();
        assert!(path.exists(), "it belongs to the second server now");
        SocketFile::at(&path).remove();
        assert!(!path.exists());
    }
}
