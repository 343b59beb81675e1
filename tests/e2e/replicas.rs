//! Several replicas over a PostgreSQL, in the place of the one server: `KEYFOB_REPLICAS=3 cargo test --test
//! e2e`. Each connection is passed to the next replica, so that what one acknowledges is asked of another.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::cluster::Cluster;
use crate::house::{Running, free_port, output, serve, start, wait_for};

/// How many replicas are in the place of each server; one is the embedded store.
pub fn number() -> usize {
    let number = std::env::var("KEYFOB_REPLICAS").unwrap_or_else(|_| "1".into());
    number.parse().expect("KEYFOB_REPLICAS is a number")
}

/// Starts them, the first one in `directory`, and HAProxy in front of them at `listen`.
pub fn serve_all(directory: &Path, listen: &str, issuer: &str, settings: &[(&str, &str)]) -> Vec<Running> {
    use_database(directory);
    let (mut running, mut backends) = (vec![], String::new());
    for replica in 1..=number() {
        let place =
            if replica == 1 { directory.to_owned() } else { directory.join(format!("replica{replica}")) };
        if replica > 1 {
            std::fs::create_dir_all(place.join("data")).unwrap();
            for name in ["config.toml", "data/master.key", "cert.pem", "key.pem"] {
                if directory.join(name).exists() {
                    std::fs::copy(directory.join(name), place.join(name)).unwrap();
                }
            }
        }
        let address = format!("127.0.0.1:{}", free_port());
        running.push(serve(&place, &address, issuer, settings));
        writeln!(backends, "  server replica{replica} {address}").unwrap();
    }
    running.push(balance(directory, listen, &backends));
    running
}

/// Configures a new database for the server in this directory.
pub fn use_database(directory: &Path) {
    let settings = format!("[store]\nurl = \"{}\"\nrequire_synchronous = false\n", new_database());
    std::fs::write(directory.join("config.toml"), settings).unwrap();
}

fn balance(directory: &Path, listen: &str, backends: &str) -> Running {
    let configuration = format!(
        "defaults\n  mode tcp\n  balance roundrobin\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\nlisten keyfob\n  bind {listen}\n{backends}"
    );
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    let mut haproxy = Command::new("haproxy");
    haproxy.arg("-q").arg("-f").arg(file).stdin(Stdio::null());
    let child = start(&mut haproxy, "haproxy");
    wait_for(listen.rsplit(':').next().unwrap().parse().unwrap());
    child
}

/// The address of a new database. The PostgreSQL ends with the tests.
fn new_database() -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = CLUSTER.get_or_init(Cluster::start);
    let name = format!("house{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut psql = Command::new("psql");
    psql.arg(cluster.url()).args([
        "--quiet",
        "--command",
        &format!("CREATE DATABASE {name} TEMPLATE template0"),
    ]);
    let made = output(&mut psql, "postgresql");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    cluster.database(&name)
}
