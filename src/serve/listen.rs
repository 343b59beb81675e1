//! The listeners: the configured address, and the admin socket beside the store.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::process::umask;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::config::Listen;
use crate::http::connection::{Channel, ConnectionLimits, serve};
use crate::http::metrics::Metrics;
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
    public: Public,
    admin: UnixListener,
    sockets: Vec<PathBuf>,
}

enum Public {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listeners {
    /// Binds both. The admin socket is for its owner alone (0600). A socket file left behind is removed: the instance lock says that
    /// nobody else is serving here.
    pub async fn bind(listen: &Listen, admin_socket: &Path) -> Result<Self, ListenError> {
        let mut sockets = vec![admin_socket.to_owned()];
        let public = match listen {
            Listen::Tcp(address) => Public::Tcp(TcpListener::bind(address).await.map_err(|cause| ListenError::new(address, cause))?),
            Listen::Unix(path) => {
                sockets.push(path.clone());
                // Who may connect is for the directory to say; the API authenticates by itself.
                Public::Unix(bind_socket(path, 0o666)?)
            }
        };
        let admin = bind_socket(admin_socket, 0o600)?;
        Ok(Self { public, admin, sockets })
    }

    /// Serves until `stopped`, and removes the socket files.
    pub async fn serve(self, wire: Arc<Wire>, limits: ConnectionLimits, metrics: &Metrics, stopped: watch::Receiver<bool>) {
        let of = |channel| metrics.connections(channel).clone();
        let admin = serve(self.admin, wire.clone(), Channel::AdminSocket, limits, of(Channel::AdminSocket), stopped.clone());
        let public = of(Channel::Public);
        match self.public {
            Public::Tcp(listener) => tokio::join!(admin, serve(listener, wire, Channel::Public, limits, public, stopped)),
            Public::Unix(listener) => tokio::join!(admin, serve(listener, wire, Channel::Public, limits, public, stopped)),
        };
        for socket in &self.sockets {
            let _ = fs::remove_file(socket);
        }
    }
}

/// Binds a socket file. It has its mode from the first moment on: there is no time at which others could connect.
fn bind_socket(path: &Path, mode: u32) -> Result<UnixListener, ListenError> {
    let failed = |cause| ListenError::new(&path.display().to_string(), cause);
    if is_socket(path) {
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
            io::ErrorKind::AddrInUse => "; another program listens there: stop it, or set [server] listen to another address",
            io::ErrorKind::PermissionDenied => "; the operating system does not let this user: choose a port above 1023 or another place",
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address: set [server] listen to one that it has",
            _ => "",
        };
        Self { address: address.into(), cause, mend }
    }
}
