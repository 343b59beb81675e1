//! A page of a further origin in a real browser (Chromium), with `[cookie] origins` and without.

use std::process::Command;

use serde_json::{Value, json};

use crate::browser::{chromium, script};
use crate::house::{administrator, curl, echo, free_port, output, start_keyfob};

/// SES-21: the same site (`localhost`), another origin: its browser lets it ask and log out, and no other.
#[test]
fn only_a_page_of_a_configured_origin_reads_and_ends_the_session() {
    let directory = tempfile::TempDir::new().unwrap();
    let [keyfob, ours, theirs] =
        [free_port(), free_port(), free_port()].map(|port| (port, format!("http://localhost:{port}")));
    let origins = format!("[\"{}\"]", ours.1);
    let _keyfob = start_keyfob(
        directory.path(),
        &format!("127.0.0.1:{}", keyfob.0),
        &keyfob.1,
        &[("KEYFOB_COOKIE__ORIGINS", &origins)],
    );
    let _pages = [echo(ours.0), echo(theirs.0)];
    let credentials = format!("admin:{}", administrator(directory.path()));
    let (url, body) = (format!("{}/v1/sessions", keyfob.1), json!({"subject": "alice"}).to_string());
    let opened = curl(&["-u", &credentials, "-H", "content-type: application/json", "-d", &body, &url]);
    let opened: Value = serde_json::from_str(&opened.body).unwrap();
    let cookie = opened["set_cookie"].as_str().unwrap().split(';').next().unwrap();
    let mut pages = Command::new("node");
    pages.arg(script("further.mjs")).args([&keyfob.1, chromium(), &ours.1, &theirs.1, cookie]);
    let shown = output(&mut pages, "nodejs npm");
    let (said, errors) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success(), "{said}\n{errors}");
}
