//! A PostgreSQL of the tests' own: one cluster for all tests of a run, and a database for each.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keyfob::engine::clock::since_boot;
use keyfob::store::postgres::{PasswordSource, Postgres, PostgresOptions};
use tokio_postgres::NoTls;

use crate::harness::fixture::keys;

/// Starts a cluster and prints its directory. PostgreSQL does not run as root, so this runs as an ordinary
/// user; and it stops when its standard input ends, which is when the tests do, however they end. Until then
/// each line names a signal to stop the server with, or is `start`. Its arguments are the directory of the
/// programs and settings of the server.
const SCRIPT: &str = r#"
set -eu
bin=$1
shift
place=$(mktemp -d /tmp/keyfob-postgres.XXXXXX)
trap 'rm -rf "$place"' EXIT
"$bin/initdb" --pgdata "$place/data" --username keyfob --auth trust --encoding UTF8 --no-locale --no-sync \
  >"$place/initdb.log" 2>&1 || { cat "$place/initdb.log" >&2; exit 1; }
start() { # settings
  "$bin/postgres" -D "$place/data" -k "$place" -c listen_addresses= -c fsync=off -c max_connections=400 \
    -c autovacuum_naptime=10 "$@" >>"$place/log" 2>&1 &
  server=$!
  tries=0
  until "$bin/pg_isready" --quiet --host "$place" --dbname postgres --username keyfob; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] && kill -0 $server || { cat "$place/log" >&2; exit 1; }
    sleep 0.1
  done
}
stop() {
  kill -"$1" $server || true
  wait $server || true
}
start "$@"
echo "$place"
while read -r command; do
  case $command in
    start) start "$@" ;;
    *) stop "$command" ;;
  esac
  echo "$command"
done
stop INT
"#;

/// The user that runs PostgreSQL where the tests run as root.
pub const UNPRIVILEGED: u32 = 65534;

/// A PostgreSQL of its own.
pub struct Cluster {
    /// The directory of its socket.
    place: String,
    /// The port that the name of the socket has, and the one of TCP if it listens there.
    port: u16,
    /// Its standard input is open for as long as the tests run.
    supervisor: Child,
    output: BufReader<ChildStdout>,
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

impl Cluster {
    pub fn start() -> Self {
        Self::with(5432, &[])
    }

    /// One with settings, such as `ssl=on`.
    pub fn with(port: u16, settings: &[&str]) -> Self {
        let bin = programs().expect("these tests need PostgreSQL: install the Debian package `postgresql`");
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            let [user, group] = ["reuid", "regid"].map(|id| format!("--{id}={UNPRIVILEGED}"));
            command.args([&user, &group, "--clear-groups", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        let mut supervisor = command
            .args(["-c", SCRIPT, "sh"])
            .arg(bin)
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .env("PGPORT", port.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh and setpriv (Debian: util-linux) are there");
        let mut place = String::new();
        let mut output = BufReader::new(supervisor.stdout.take().unwrap());
        output.read_line(&mut place).unwrap();
        assert!(!place.is_empty(), "PostgreSQL did not start; its output is above");
        Self { place: place.trim().to_owned(), port, supervisor, output }
    }

    /// The address of the database that each cluster has.
    pub fn url(&self) -> String {
        self.database("postgres")
    }

    fn database(&self, name: &str) -> String {
        format!("postgres://keyfob@{}:{}/{name}", self.place.replace('/', "%2F"), self.port)
    }

    /// Sends a signal to the server and waits until it has ended: INT is an ordinary stop, QUIT a crash.
    pub fn stop(&mut self, signal: &str) {
        self.command(signal);
    }

    /// Starts the server again.
    pub fn resume(&mut self) {
        self.command("start");
    }

    fn command(&mut self, command: &str) {
        writeln!(self.supervisor.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut done = String::new();
        self.output.read_line(&mut done).unwrap();
        assert_eq!(done.trim(), command, "PostgreSQL did not start again; its output is above");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}

/// The directory of the programs of the newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = vec![];
    for entry in std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten() {
        let version = entry.file_name().to_str()?.parse().ok()?;
        found.push((version, entry.path().join("bin")));
    }
    found.into_iter().filter(|(_, bin)| bin.join("initdb").exists()).max().map(|(_, bin)| bin)
}

/// A database, without a schema at first.
#[derive(Clone)]
pub struct Database {
    pub url: String,
}

impl Database {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        run(&cluster().url(), &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self { url: cluster().database(&name) }
    }

    /// Runs SQL as an operator.
    pub async fn run(&self, sql: &str) {
        run(&self.url, sql).await;
    }

    /// The first column of the first row, as text.
    pub async fn text(&self, sql: &str) -> String {
        let client = connect(&self.url).await;
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub fn options(&self) -> PostgresOptions {
        static BOOT: AtomicU32 = AtomicU32::new(1);
        let mut boot = [0; 16];
        boot[..4].copy_from_slice(&BOOT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        PostgresOptions {
            url: self.url.clone(),
            password: PasswordSource::default(),
            max_staleness: Duration::from_secs(10),
            require_synchronous: false,
            replica: "test".into(),
            boot,
            write_queue_max: 4096,
            elapsed: since_boot,
        }
    }

    /// A store on it, which creates the schema if there is none.
    pub async fn open(&self) -> Postgres {
        let options = self.options();
        if !Postgres::has_schema(&options).await.unwrap() {
            Postgres::create(&options, &keys()).await.unwrap();
        }
        Postgres::open(&options, &keys()).await.unwrap()
    }
}

async fn run(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.unwrap();
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
