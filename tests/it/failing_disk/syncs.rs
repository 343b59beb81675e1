//! What is synced, and when: a power failure loses what was only written, a new name included.

use std::collections::BTreeSet;

use super::Fault;
use super::installation::Installation;
use super::shim::KINDS;
use crate::harness::process::keyfob;

const NO_FAULT: Fault = Fault { kind: KINDS[0], at: 0 };

/// What a power failure would lose, after these operations.
#[derive(Debug, Default)]
struct Unsynced {
    files: BTreeSet<String>,
    /// Whether names in the directory have changed.
    names: bool,
}

impl Unsynced {
    /// # Errors
    /// A file that gets its name before its contents are on the disk.
    fn after(operations: &[String]) -> Result<Self, String> {
        let mut unsynced = Self::default();
        for operation in operations {
            let (what, file) = operation.rsplit_once(' ').unwrap();
            match what.split(' ').next().unwrap() {
                "fsync" | "fdatasync" if file == "." => unsynced.names = false,
                "fsync" | "fdatasync" => _ = unsynced.files.remove(file),
                "write" | "writev" | "pwrite64" | "ftruncate" => _ = unsynced.files.insert(file.into()),
                "rename" | "link" if unsynced.files.contains(file) => {
                    return Err(format!("{operation}, before it was synced"));
                }
                "rename" | "link" => unsynced.names = true,
                _ => {}
            }
        }
        // It says who runs, and means nothing after a power failure.
        unsynced.files.remove("./keyfob.pid");
        Ok(unsynced)
    }
}

/// Runs a command, which leaves nothing unsynced when it reports success.
fn syncs_all(place: &Installation, arguments: &[&str]) {
    let (disk, mut command) = (place.disk(NO_FAULT), keyfob(place.path(), arguments));
    disk.with_journal(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let operations = disk.operations_in_order();
    let unsynced = Unsynced::after(&operations).unwrap_or_else(|why| panic!("{why}: {operations:#?}"));
    assert!(unsynced.files.is_empty() && !unsynced.names, "{unsynced:?} after {operations:#?}");
    assert!(!operations.is_empty());
}

#[test]
fn what_a_command_reports_as_done_is_synced_with_its_name() {
    let place = Installation::new();
    syncs_all(&place, &["init"]);
    syncs_all(&place, &["session", "create", "--subject", "alice", "--client-id", "admin"]);
    syncs_all(&place, &["db", "backup", "data/a.backup"]);
    syncs_all(&place, &["db", "backup", "--overwrite", "data/a.backup"]);
    syncs_all(&place, &["db", "restore", "data/a.backup"]);
}

#[test]
fn a_sync_that_is_missing_is_found() {
    let after = |operations: &[&str]| {
        Unsynced::after(&operations.iter().map(|operation| (*operation).to_owned()).collect::<Vec<_>>())
    };
    let (write, sync, rename) = ("write ./new", "fsync ./new", "rename to old of ./new");
    assert!(after(&[write, rename, sync]).unwrap_err().starts_with(rename));
    assert!(after(&[write, sync, write, rename]).is_err());
    assert!(after(&["fsync .", write, sync, rename]).unwrap().names);
    assert!(!after(&[write, sync, rename, "fsync ."]).unwrap().names);
    assert_eq!(after(&[write, "fdatasync ./other"]).unwrap().files, BTreeSet::from(["./new".to_owned()]));
}
