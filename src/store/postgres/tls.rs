//! TLS to the database: the server's certificate and its name are always verified.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client;

use super::error::PostgresError;
use crate::files::{self, FileRule};

/// The bundles of trusted certificates of Debian, Red Hat, SUSE and Alpine.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const BUNDLE_BYTES_MAX: u64 = 16 << 20;

/// Makes TLS connections to the database.
#[derive(Clone)]
pub(super) struct DatabaseTls(Option<Arc<ClientConfig>>);

impl DatabaseTls {
    /// For connections without TLS.
    pub fn none() -> Self {
        Self(None)
    }

    /// Trusts the certificates in `roots`, or those of the system.
    pub fn new(roots: Option<&Path>) -> Result<Self, PostgresError> {
        let system = || SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.exists());
        let Some(path) = roots.or_else(system) else {
            let why = "needs the trusted certificates of the system, which were not found: install them \
                       (package ca-certificates), or name a file with sslrootcert=FILE";
            return Err(PostgresError::Address(why.into()));
        };
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider supports TLS 1.2 and 1.3")
            .with_root_certificates(read_roots(path)?)
            .with_no_client_auth();
        Ok(Self(Some(Arc::new(config))))
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, PostgresError> {
    let unusable = |cause: String| PostgresError::File { path: PathBuf::from(path), cause };
    let (bytes, _) = files::read(path, FileRule::Public, BUNDLE_BYTES_MAX)
        .map_err(|error| unusable(format!("the trusted certificates cannot be read: {error}")))?;
    let bytes = bytes.ok_or_else(|| unusable("is longer than 16 MiB".into()))?;
    let mut roots = RootCertStore::empty();
    // A bundle can contain certificates that rustls does not accept.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(unusable("contains no certificate in PEM".into()));
    }
    Ok(roots)
}

impl MakeTlsConnect<Socket> for DatabaseTls {
    type Stream = EncryptedStream;
    type TlsConnect = HandshakeTo;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<HandshakeTo> {
        Ok(HandshakeTo { config: self.0.clone(), host: host.to_owned() })
    }
}

/// A handshake with one host.
pub(super) struct HandshakeTo {
    config: Option<Arc<ClientConfig>>,
    host: String,
}

impl TlsConnect<Socket> for HandshakeTo {
    type Stream = EncryptedStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<EncryptedStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("TLS is disabled"))?;
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            let stream = TlsConnector::from(config).connect(name, socket).await?;
            Ok(EncryptedStream(Box::new(stream)))
        })
    }
}

/// A connection under TLS. The password exchange is not bound to it: the certificate is verified.
pub(super) struct EncryptedStream(Box<client::TlsStream<Socket>>);

impl TlsStream for EncryptedStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for EncryptedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for EncryptedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
