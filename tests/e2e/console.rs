//! The console in a real browser (Chromium), as an operator uses it: every page and every change.

use std::process::Command;

use crate::browser::{chromium, script};
use crate::house::{free_port, output};
use crate::replicas;

/// `KEYFOB_TOUR=docs/console` keeps the pictures. The script starts and stops the server itself, because a
/// link must not survive a restart.
#[test]
fn an_operator_looks_at_every_page_and_makes_every_change() {
    let directory = tempfile::TempDir::new().unwrap();
    let store = if replicas::number() == 1 { "file" } else { "postgresql" };
    if store == "postgresql" {
        replicas::use_database(directory.path());
    }
    let pictures = std::env::var_os("KEYFOB_TOUR").unwrap_or_else(|| directory.path().into());
    let mut operator = Command::new("node");
    operator
        .arg(script("console.mjs"))
        .args([env!("CARGO_BIN_EXE_keyfob"), &free_port().to_string(), chromium()])
        .args([directory.path().as_os_str(), &pictures])
        .arg(store);
    let seen = output(&mut operator, "nodejs npm");
    let (said, errors) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    assert!(seen.status.success(), "{said}\n{errors}");
}
