//! The documentation page in a real browser (Chromium), as a newcomer uses it: authorize, try out, execute.

use std::process::Command;

use crate::browser::{chromium, script};
use crate::house::{administrator, free_port, output, start_keyfob};

/// OAS-03: the first click on **Execute** succeeds, nothing is fetched from elsewhere, and the console has
/// nothing to say.
#[test]
fn a_newcomer_opens_a_session_and_introspects_its_token_by_clicking() {
    let directory = tempfile::TempDir::new().unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{listen}");
    let _keyfob = start_keyfob(directory.path(), &listen, &url, &[]);
    let pictures = std::env::var_os("KEYFOB_TOUR").unwrap_or_else(|| directory.path().into());
    let mut newcomer = Command::new("node");
    newcomer
        .arg(script("docs.mjs"))
        .args([&url, chromium()])
        .arg(pictures)
        .arg(administrator(directory.path()));
    let tried = output(&mut newcomer, "nodejs npm");
    let (said, errors) = (String::from_utf8_lossy(&tried.stdout), String::from_utf8_lossy(&tried.stderr));
    assert!(tried.status.success(), "{said}\n{errors}");
}
