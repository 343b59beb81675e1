//! The certificate that we speak TLS with: read at the start, and again when somebody says that it was
//! renewed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::config::Tls;

const OTHERS: u32 = 0o007;
/// More than any chain or key has; a longer file is not read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why TLS cannot be spoken with these files, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{setting} names {}, which cannot be read ({cause}): put the PEM file there, readable for the user that runs keyfob, or name another", path.display())]
    Unreadable { setting: &'static str, path: PathBuf, cause: io::Error },
    /// Others can read the key. Its group may: so do systems that keep such keys for several services.
    #[error("other users can read the private key {} (mode {mode:04o}), which server.tls.key names: run `chmod o= {}`", path.display(), path.display())]
    ReadableKey { path: PathBuf, mode: u32 },
    /// The file holds something else.
    #[error("server.tls.cert names {}, which holds no certificate that can be read: it must be PEM, the server's own certificate first, then those that lead to its root", .0.display())]
    NoCertificate(PathBuf),
    /// The file holds something else.
    #[error("server.tls.key names {}, which holds no private key that can be read: it must be PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted", .0.display())]
    NoKey(PathBuf),
    /// They do not go together.
    #[error("the private key {} (server.tls.key) is not that of the first certificate in {} (server.tls.cert): name two files that were made together", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    /// TLS is not spoken with such a certificate or key.
    #[error("{} and {} ([server.tls]) cannot be used: {cause}; take an ECDSA key on P-256 or P-384, an Ed25519 key, or an RSA key of 2048 to 8192 bits", cert.display(), key.display())]
    Unsupported { cert: PathBuf, key: PathBuf, cause: rustls::Error },
}

/// The files, and what was last read from them.
#[derive(Debug)]
pub struct Certificate {
    files: Tls,
    current: Arc<ArcSwap<ServerConfig>>,
}

impl Certificate {
    /// Reads the files.
    pub fn load(files: &Tls) -> Result<Self, TlsError> {
        Ok(Self { files: files.clone(), current: Arc::new(ArcSwap::from_pointee(read(files)?)) })
    }

    /// Reads the files again, for the handshakes from now on. What cannot be used changes nothing.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// What handshakes take.
    pub fn current(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.current.clone()
    }
}

/// TLS 1.2 and 1.3 with the suites that rustls holds safe, and HTTP/1.1 inside.
fn read(files: &Tls) -> Result<ServerConfig, TlsError> {
    let chain = file("server.tls.cert", &files.cert)?;
    let chain = CertificateDer::pem_slice_iter(&chain).collect::<Result<Vec<_>, _>>();
    let chain = chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| TlsError::NoCertificate(files.cert.clone()))?;
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
    let pem = file("server.tls.key", path)?;
    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o7777);
    if mode & OTHERS != 0 {
        return Err(TlsError::ReadableKey { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NoKey(path.to_owned()))
}

fn file(setting: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = fs::metadata(path).and_then(|metadata| {
        if metadata.is_file() && metadata.len() <= FILE_BYTES_MAX {
            fs::read(path)
        } else {
            Err(io::Error::other("it is not a file of at most 1 MiB"))
        }
    });
    read.map(Zeroizing::new).map_err(|cause| TlsError::Unreadable { setting, path: path.to_owned(), cause })
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
    fn each_fault_names_the_setting_the_file_and_the_mend() {
        let directory = tempfile::tempdir().unwrap();
        let (pem, good) = made(&directory, "a");
        let (_, other) = made(&directory, "b");
        assert!(Certificate::load(&good).is_ok(), "a key that its group can read is as many systems have it");

        let error = refused(&Tls { cert: "/nonexistent/c.pem".into(), ..good.clone() });
        assert!(
            error.starts_with("server.tls.cert names /nonexistent/c.pem, which cannot be read (No such file"),
            "{error}"
        );
        let error = refused(&Tls { key: directory.path().into(), ..good.clone() });
        assert!(error.starts_with("server.tls.key names ") && error.contains("not a file"), "{error}");
        let error = refused(&Tls { cert: good.key.clone(), ..good.clone() });
        assert!(error.contains("holds no certificate") && error.contains("a.key"), "{error}");
        let error = refused(&Tls { key: good.cert.clone(), ..good.clone() });
        assert!(error.contains("chmod o=") || error.contains("holds no private key"), "{error}");
        let error = refused(&Tls { key: other.key, ..good.clone() });
        assert!(
            error.contains("b.key")
                && error.contains("is not that of the first certificate in")
                && error.contains("a.pem"),
            "{error}"
        );

        fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = refused(&good);
        assert!(
            error.contains("other users can read") && error.contains("0644") && error.contains("chmod o= "),
            "{error}"
        );
        fs::set_permissions(&good.key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&good.key, pem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).unwrap();
        let error = refused(&good);
        assert!(error.contains("holds no private key") && error.contains("not encrypted"), "{error}");
        fs::write(&good.cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        fs::write(&good.key, &pem).unwrap();
        let error = refused(&good);
        assert!(error.contains("holds no certificate"), "{error}");
        assert!(!error.contains(pem.lines().nth(1).unwrap()), "a key is never repeated");
    }

    #[test]
    fn a_bad_renewal_changes_nothing_and_a_good_one_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let (_, files) = made(&directory, "a");
        let certificate = Certificate::load(&files).unwrap();
        let before = certificate.current().load_full();
        let good = fs::read(&files.cert).unwrap();
        fs::write(&files.cert, "").unwrap();
        assert!(certificate.reload().is_err());
        assert!(Arc::ptr_eq(&before, &certificate.current().load()));
        fs::write(&files.cert, good).unwrap();
        certificate.reload().unwrap();
        assert!(!Arc::ptr_eq(&before, &certificate.current().load()));
    }
}
