//! Listeners: TCP, Unix sockets, and either of them with TLS.

use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use poem::Addr;
use poem::http::uri::Scheme;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long sent bytes may stay unacknowledged before the system closes the connection.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;
/// The name of the transport in the address of a peer on a Unix socket.
pub(crate) const UNIX: &str = "unix";

/// A source of connections.
pub trait Listener: Send + 'static {
    /// A connection as it is accepted.
    type Raw: Send + 'static;
    /// A connection ready to speak HTTP.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection and the address of its peer.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, Addr)>> + Send;

    /// Makes a connection ready, for example by a TLS handshake. Runs in the connection's own task, for at
    /// most `header_timeout`.
    fn prepare(raw: Self::Raw) -> impl Future<Output = io::Result<Self::Io>> + Send;

    fn address(&self) -> Addr;

    /// The scheme of requests on these connections.
    fn scheme(&self) -> Scheme {
        Scheme::HTTP
    }
}

impl Listener for TcpListener {
    type Raw = TcpStream;
    type Io = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Addr)> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((stream, Addr::SocketAddr(peer)))
    }

    async fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS_MAX)?;
        Ok(stream)
    }

    fn address(&self) -> Addr {
        self.local_addr().map_or_else(|_| Addr::default(), Addr::SocketAddr)
    }
}

impl Listener for UnixListener {
    type Raw = UnixStream;
    type Io = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Addr)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, Addr::custom(UNIX, "")))
    }

    async fn prepare(stream: UnixStream) -> io::Result<UnixStream> {
        Ok(stream)
    }

    fn address(&self) -> Addr {
        Addr::custom(UNIX, "")
    }
}

/// A listener that accepts TLS only (SES-22). A handshake uses the certificate that is current when it
/// starts.
#[derive(Debug)]
pub struct TlsListener<L> {
    listener: L,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl<L> TlsListener<L> {
    /// Puts TLS in front of `listener`.
    pub fn new(listener: L, current: Arc<ArcSwap<ServerConfig>>) -> Self {
        Self { listener, current }
    }
}

impl<L: Listener + Sync> Listener for TlsListener<L> {
    type Raw = (L::Raw, Arc<ServerConfig>);
    type Io = TlsStream<L::Io>;

    async fn accept(&self) -> io::Result<(Self::Raw, Addr)> {
        let (raw, peer) = self.listener.accept().await?;
        Ok(((raw, self.current.load_full()), peer))
    }

    async fn prepare((raw, config): Self::Raw) -> io::Result<Self::Io> {
        TlsAcceptor::from(config).accept(L::prepare(raw).await?).await
    }

    fn address(&self) -> Addr {
        self.listener.address()
    }

    fn scheme(&self) -> Scheme {
        Scheme::HTTPS
    }
}
