//! The example application in a real browser (Chromium), behind real TLS: everything that a person does with
//! a session.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::house::{House, Proxy, output};
use crate::replicas;

#[test]
fn behind_nginx_a_person_signs_in_slides_steps_up_idles_out_and_signs_out() {
    tour(Proxy::Nginx);
}

#[test]
fn behind_caddy_a_person_signs_in_slides_steps_up_idles_out_and_signs_out() {
    tour(Proxy::Caddy);
}

#[test]
fn behind_traefik_a_person_signs_in_slides_steps_up_idles_out_and_signs_out() {
    tour(Proxy::Traefik);
}

fn tour(proxy: Proxy) {
    let mut house = House::build(proxy, &[("KEYFOB_POLICY__DEFAULT__IDLE_TIMEOUT", "8s")]);
    house.run_example();
    // `KEYFOB_TOUR=docs/tour` keeps the pictures.
    let pictures = std::env::var_os("KEYFOB_TOUR").unwrap_or_else(|| house.directory.path().into());
    // A replica supposes that another one saw a use that is not written yet.
    let late_ms = if replicas::number() > 1 { "8000" } else { "0" };
    let toured = output(
        Command::new("node")
            .arg(script("tour.mjs"))
            .args([&house.url, chromium()])
            .arg(pictures)
            .arg(late_ms),
        "nodejs npm",
    );
    let (said, errors) = (String::from_utf8_lossy(&toured.stdout), String::from_utf8_lossy(&toured.stderr));
    assert!(toured.status.success(), "{proxy:?}\n{said}\n{errors}");
}

/// A script that drives the browser.
pub fn script(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    assert!(here.join("node_modules/playwright-core").exists(), "`npm ci --prefix tests/e2e`");
    here.join(name)
}

/// The browser.
pub fn chromium() -> &'static str {
    let chromium =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].into_iter().find(|path| Path::new(path).exists());
    chromium.expect("`apt-get install chromium`")
}
