//! Where connections come from: TCP, a Unix socket, and either of them with TLS in front of HTTP.

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

/// How long an answer may lie unread at the peer before the system gives its connection up.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MS_MAX: u32 = 30_000;
/// What a peer on a Unix socket is called.
pub(crate) const UNIX: &str = "unix";

/// Where connections come from.
pub trait Listener: Send + 'static {
    /// A connection as it is accepted.
    type Raw: Send + 'static;
    /// A connection ready to speak HTTP.
    type Io: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection and who is at its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, Addr)>> + Send;

    /// Makes a connection ready, in its own task, within `header_timeout`: the place for a handshake.
    fn prepare(raw: Self::Raw) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Where it listens.
    fn address(&self) -> Addr;

    /// What is spoken here.
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

/// A listener that speaks TLS, and nothing else (SES-22). A handshake takes the certificate that is current
/// when it begins.
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
