//! A PostgreSQL of the tests' own.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

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

    /// The address of a database of this name.
    pub fn database(&self, name: &str) -> String {
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
