//! How fast the store as a whole is backed up, restored and checked, by the commands of the released binary.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::report::{Against, Report, Unit};
use crate::server::{Server, binary};
use crate::store::{Filled, database};

/// Fills the rows.
pub fn measure(filled: &Filled, table: &mut Report) {
    let sessions = filled.sessions;
    let size = |path: &Path| path.metadata().expect("it is there").len() as f64 / 1e6;
    let mut row = |what: &str, unit, figure| table.row("-", what, unit, vec![figure], Against::Nothing, "");
    let (server, _) = Server::start(filled.path());
    let (took, _) = run(filled.path(), &["db", "backup", "b.backup", "--rate", "1024GiB"]);
    row(
        &format!("backup of {sessions} sessions through an idle server, unlimited rate"),
        Unit::Seconds,
        took,
    );
    row("size of that backup", Unit::Megabytes, size(&filled.path().join("b.backup")));
    let (took, _) = run(filled.path(), &["db", "backup", "c.backup"]);
    row("the same backup at the default rate of 64 MiB/s", Unit::Seconds, took);
    let (took, _) = run(filled.path(), &["db", "check"]);
    row("check through the server", Unit::Seconds, took);
    row("size of the file", Unit::Megabytes, size(&database(filled.path())));
    server.stop();
    let (took, kib) = run(filled.path(), &["db", "restore", "b.backup"]);
    row("restore, every record checked", Unit::Seconds, took);
    row("resident memory of the restore, at most", Unit::Mebibytes, kib as f64 / 1024.0);
    row("size of the new file", Unit::Megabytes, size(&database(filled.path())));
}

/// Runs a command, and answers how long it took in seconds, and its peak of memory in KiB.
fn run(directory: &Path, arguments: &[&str]) -> (f64, u64) {
    let begun = Instant::now();
    let mut child =
        Command::new(binary()).args(arguments).current_dir(directory).spawn().expect("the binary is built");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("it is ours").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = line.unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(child.wait().expect("it is ours").success(), "{arguments:?} failed");
    (begun.elapsed().as_secs_f64(), peak)
}
