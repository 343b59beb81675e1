//! TLS to the database: the real binary verifies the certificate of the server and its name.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::tempdir;

use crate::binary::{Replica, is_active, open};
use crate::cluster::{Cluster, UNPRIVILEGED};
use crate::database::Database;
use crate::harness::process::free_port;

/// Writes a certificate of `localhost` to `NAME.pem`, and its key, which PostgreSQL may read, to `NAME.key`.
fn certify(directory: &Path, name: &str) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(directory.join(format!("{name}.pem")), cert.pem()).unwrap();
    let key = directory.join(format!("{name}.key"));
    fs::write(&key, signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&key, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_database_with_a_trusted_certificate_of_its_name_is_used() {
    let directory = tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    certify(directory.path(), "server");
    certify(directory.path(), "other");
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let settings = [
        "listen_addresses=localhost".to_owned(),
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", file("server.pem")),
        format!("ssl_key_file={}", file("server.key")),
    ];
    let cluster = Cluster::with(port, &settings.each_ref().map(String::as_str));
    let url = |host: &str, roots: &str| {
        format!("postgres://keyfob@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={}", file(roots))
    };

    for (host, roots, why) in [
        ("localhost", "other.pem", "invalid peer certificate"),
        ("127.0.0.1", "server.pem", "certificate not valid for name"),
    ] {
        let said = Replica::new(&url(host, roots)).refuses(&["init"]);
        assert!(said.contains(why), "{host}, {roots}: {said}");
    }

    let replica = Replica::new(&url("localhost", "server.pem"));
    let server = replica.serve();
    let app = replica.application();
    let session = open(&server, &app, "alice");
    assert!(is_active(&server, &app, &session["session_token"]));
    let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl \
                     JOIN pg_stat_activity USING (pid) WHERE application_name = 'keyfob'";
    let database = Database { url: cluster.url() };
    assert_eq!(database.text(&format!("SELECT ({encrypted})::text")).await, "true");
}
