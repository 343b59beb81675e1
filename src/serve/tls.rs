//! The TLS certificate and key: read at the start, and again on a reload.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::Tls;
use crate::files::{self, FileError, FileRule};

/// A longer file is rejected; no chain or key is as long.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why these files cannot be used for TLS, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{setting} names {}, which cannot be read ({cause}): put the PEM file there, readable by the \
             user that runs keyfob, or name another", path.display())]
    Unreadable { setting: &'static str, path: PathBuf, cause: io::Error },
    /// Its owner, mode or type is not safe. The group may read the key, as for keys that several services
    /// share.
    #[error("{setting}: {error}")]
    Unsafe { setting: &'static str, error: FileError },
    #[error("server.tls.cert names {}, which holds no valid certificate: it must be PEM, the server's own \
             certificate first, then the intermediates", .0.display())]
    NoCertificate(PathBuf),
    #[error("server.tls.key names {}, which holds no valid private key: it must be PEM (PKCS #8, PKCS #1 or \
             SEC 1), not encrypted", .0.display())]
    NoKey(PathBuf),
    #[error("the private key {} (server.tls.key) does not match the first certificate in {} \
             (server.tls.cert): name two files that belong together", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    /// rustls does not support the algorithm or key size.
    #[error("{} and {} ([server.tls]) cannot be used: {cause}; use an ECDSA key on P-256 or P-384, an \
             Ed25519 key, or an RSA key of 2048 to 8192 bits", cert.display(), key.display())]
    Unsupported { cert: PathBuf, key: PathBuf, cause: rustls::Error },
}

/// The files, and the TLS configuration last read from them.
#[derive(Debug)]
pub struct Certificate {
    files: Tls,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Certificate {
    pub fn load(files: &Tls) -> Result<Self, TlsError> {
        Ok(Self { files: files.clone(), current: Arc::new(ArcSwap::from_pointee(read(files)?)) })
    }

    /// Reads the files again for later handshakes. Unusable files change nothing.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// The configuration that new handshakes use.
    pub fn current(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.current.clone()
    }
}

/// The configured certificate chain, the server's own certificate first; never empty.
pub fn chain(files: &Tls) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = file("server.tls.cert", &files.cert, FileRule::Public)?;
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))
}

/// TLS 1.2 and 1.3 with the default suites of rustls, and ALPN for HTTP/1.1.
fn read(files: &Tls) -> Result<ServerConfig, TlsError> {
    let chain = chain(files)?;
    let key = key(&files.key)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().expect("the provider has suites for both versions");
    let mut config =
        builder.with_no_client_auth().with_single_cert(chain, key).map_err(|cause| unusable(files, cause))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = file("server.tls.key", path, FileRule::Secret)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(path.to_owned()))
}

fn file(setting: &'static str, path: &Path, rule: FileRule) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let unreadable = |cause| TlsError::Unreadable { setting, path: path.to_owned(), cause };
    match files::read(path, rule, FILE_BYTES_MAX) {
        Ok((bytes, warning)) => {
            if let Some(warning) = warning {
                tracing::warn!("{setting}: {warning}");
            }
            bytes.ok_or_else(|| unreadable(io::Error::other("it is longer than 1 MiB")))
        }
        Err(FileError::Io(cause)) => Err(unreadable(cause)),
        Err(error) => Err(TlsError::Unsafe { setting, error }),
    }
}

fn unusable(files: &Tls, cause: rustls::Error) -> TlsError {
    let Tls { cert, key } = files.clone();
    match cause {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { cert, key }
        }
        rustls::Error::InvalidCertificate(_) => TlsError::NoCertificate(cert),
        cause => TlsError::Unsupported { cert, key, cause },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use tempfile::TempDir;

    use super::*;

    fn made(directory: &TempDir, name: &str) -> (String, Tls) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = Tls {
            cert: directory.path().join(format!("{name}.pem")),
            key: directory.path().join(format!("{name}.key")),
        };
        fs::write(&files.cert, cert.pem()).unwrap();
        fs::write(&files.key, signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o640)).unwrap();
        (signing_key.serialize_pem(), files)
    }

    fn refused(files: &Tls) -> String {
        Certificate::load(files).expect_err("it cannot be used").to_string()
    }

    #[test]
    fn each_error_names_the_setting_the_file_and_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let (pem, valid) = made(&directory, "a");
        let (_, other) = made(&directory, "b");
        assert!(Certificate::load(&valid).is_ok(), "a key that its group can read is accepted");

        let error = refused(&Tls { cert: "/nonexistent/c.pem".into(), ..valid.clone() });
        assert!(
            error.starts_with("server.tls.cert names /nonexistent/c.pem, which cannot be read (No such file"),
            "{error}"
        );
        let error = refused(&Tls { key: directory.path().into(), ..valid.clone() });
        assert!(error.starts_with("server.tls.key: ") && error.contains("is not a regular file"), "{error}");
        let error = refused(&Tls { cert: valid.key.clone(), ..valid.clone() });
        assert!(error.contains("holds no valid certificate") && error.contains("a.key"), "{error}");
        let error = refused(&Tls { key: valid.cert.clone(), ..valid.clone() });
        assert!(error.contains("chmod o=") || error.contains("holds no valid private key"), "{error}");
        let error = refused(&Tls { key: other.key, ..valid.clone() });
        assert!(
            error.contains("b.key")
                && error.contains("does not match the first certificate in")
                && error.contains("a.pem"),
            "{error}"
        );

        fs::set_permissions(&valid.key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = refused(&valid);
        assert!(
            error.contains("other users can access") && error.contains("0644") && error.contains("chmod o= "),
            "{error}"
        );
        fs::set_permissions(&valid.key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&valid.key, pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).unwrap();
        let error = refused(&valid);
        assert!(error.contains("holds no valid private key") && error.contains("not encrypted"), "{error}");
        fs::write(&valid.cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        fs::write(&valid.key, &pem).unwrap();
        let error = refused(&valid);
        assert!(error.contains("holds no valid certificate"), "{error}");
        assert!(!error.contains(pem.lines().nth(1).unwrap()), "an error never repeats the key");
    }

    #[test]
    fn an_invalid_renewal_changes_nothing_and_a_valid_one_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let (_, files) = made(&directory, "a");
        let certificate = Certificate::load(&files).unwrap();
        let before = certificate.current().load_full();
        let valid = fs::read(&files.cert).unwrap();
        fs::write(&files.cert, "").unwrap();
        assert!(certificate.reload().is_err());
        assert!(Arc::ptr_eq(&before, &certificate.current().load()));
        fs::write(&files.cert, valid).unwrap();
        certificate.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &certificate.current().load()));
    }
}
