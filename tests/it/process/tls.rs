//! TLS of the real binary, against a rustls client.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustix::process::Signal;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};
use tempfile::tempdir;

use crate::harness::process::{Process, exchange, free_port, keyfob};
use crate::harness::server::Answer;
use crate::process::service_manager::Manager;

const ISSUER: &str = "https://id.example.test";
const FILES: [(&str, &str); 2] =
    [("KEYFOB_SERVER__TLS__CERT", "cert.pem"), ("KEYFOB_SERVER__TLS__KEY", "key.pem")];

/// Writes a new certificate and its key to the paths of the settings.
pub(crate) fn certify(directory: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["id.example.test".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::set_permissions(directory.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    cert.der().clone()
}

pub(crate) fn start(directory: &Path, environment: &[(&str, &str)]) -> Process {
    let address = format!("127.0.0.1:{}", free_port());
    let mut command = keyfob(directory, &["serve", "--listen", &address, "--issuer", ISSUER]);
    Process::by(directory, command.envs(FILES).envs(environment.iter().copied()), address)
}

/// Sends a GET by one TLS version, trusting one certificate.
fn ask(
    server: &Process,
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
    path: &str,
) -> std::io::Result<(Answer, StreamOwned<ClientConnection, TcpStream>)> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let client =
        ClientConnection::new(Arc::new(config), ServerName::try_from("id.example.test").unwrap()).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(&server.address)?);
    let answer = exchange(&mut stream, "GET", path, None, "text/plain", "")?;
    Ok((answer, stream))
}

/// SES-22, CKE-21.
#[test]
fn a_tls_listener_accepts_tls_only_and_sends_strict_transport_security() {
    let directory = tempdir().unwrap();
    let certificate = certify(directory.path());
    let server = start(directory.path(), &[]);
    for version in [&version::TLS12, &version::TLS13] {
        let (answer, stream) =
            ask(&server, &certificate, version, "/.well-known/oauth-authorization-server").unwrap();
        assert_eq!((answer.status, answer.json()["issuer"].as_str()), (200, Some(ISSUER)));
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000; includeSubDomains");
        let (refused, _) = ask(&server, &certificate, version, "/v1/nothing").unwrap();
        assert_eq!(
            (refused.status, refused.header("strict-transport-security")),
            (404, "max-age=31536000; includeSubDomains")
        );
    }
    let plain = server.send("GET", "/readyz", None, "text/plain", "");
    assert!(plain.is_err(), "plain http has no answer: {plain:?}");
    let other = certify(tempdir().unwrap().path());
    assert!(ask(&server, &other, &version::TLS13, "/readyz").is_err(), "the client checks certificates");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_renewed_certificate_is_used_by_the_next_handshake_and_an_invalid_one_never() {
    let directory = tempdir().unwrap();
    let manager = Manager::in_directory(directory.path());
    let first = certify(directory.path());
    let server = start(directory.path(), &[manager.environment()]);
    manager.until_ready();
    let served =
        |certificate: &CertificateDer<'static>| ask(&server, certificate, &version::TLS13, "/readyz").is_ok();
    let reload = || {
        server.signal(Signal::HUP);
        manager.until_ready();
    };
    assert!(served(&first));

    // Half a renewal: the new certificate with the old key.
    let key = fs::read(directory.path().join("key.pem")).unwrap();
    let second = certify(directory.path());
    let new_key = fs::read(directory.path().join("key.pem")).unwrap();
    fs::write(directory.path().join("key.pem"), key).unwrap();
    reload();
    assert!(served(&first) && !served(&second));
    let log = fs::read_to_string(directory.path().join("log.txt")).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("ERROR"))
        .unwrap_or_else(|| panic!("no error is logged: {log}"));
    for word in ["the previous one stays in use", "key.pem", "cert.pem", "then reload again"] {
        assert!(line.contains(word), "{word:?} in {line}");
    }

    fs::write(directory.path().join("key.pem"), new_key).unwrap();
    reload();
    assert!(served(&second) && !served(&first));
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_start_without_a_usable_certificate_fails_before_any_file_is_created() {
    let directory = tempdir().unwrap();
    let refused = |environment: &[(&str, &str)]| {
        let mut command = keyfob(directory.path(), &["serve", "--listen", "127.0.0.1:0", "--issuer", ISSUER]);
        let output = command.envs(environment.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let error = refused(&FILES);
    assert!(
        error.contains("server.tls.cert names cert.pem, which cannot be read (No such file or directory"),
        "{error}"
    );
    let error = refused(&FILES[..1]);
    assert!(error.contains("server.tls.cert") && error.contains("needs both cert and key"), "{error}");
    certify(directory.path());
    fs::set_permissions(directory.path().join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&FILES);
    assert!(
        error.contains("server.tls.key: other users can access key.pem")
            && error.contains("chmod o= key.pem"),
        "{error}"
    );
    assert!(!directory.path().join("data").exists());
}

/// Without an admin socket the commands use `listen`. With TLS they used to refuse.
#[test]
fn commands_without_an_admin_socket_trust_exactly_the_configured_certificate() {
    let directory = tempdir().unwrap();
    certify(directory.path());
    let no_socket = ("KEYFOB_SERVER__ADMIN_SOCKET", "none");
    let server = start(directory.path(), &[no_socket]);
    let command = |line: &[&str]| {
        let settings =
            [("KEYFOB_SERVER__LISTEN", &*server.address), ("KEYFOB_SERVER__ISSUER", ISSUER), no_socket];
        keyfob(directory.path(), line).envs(FILES).envs(settings).output().unwrap()
    };
    let created = command(&["--json", "client", "create", "app"]);
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    assert!(command(&["ready"]).status.success());
    // The server still has the first one: another server could answer at its address.
    certify(directory.path());
    let refused = command(&["client", "list"]);
    let error = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(error.contains("another certificate than the first in server.tls.cert"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
