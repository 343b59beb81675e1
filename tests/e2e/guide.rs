//! The guide `docs/web-app.md`: its lines, run as they are printed, show what it says that they show.

use std::path::Path;
use std::process::Command;

use crate::house::{House, Proxy, output};

#[test]
fn the_guide_runs_as_it_is_printed_behind_nginx() {
    walk(Proxy::Nginx);
}

#[test]
fn the_guide_runs_as_it_is_printed_behind_caddy() {
    walk(Proxy::Caddy);
}

#[test]
fn the_guide_runs_as_it_is_printed_behind_traefik() {
    walk(Proxy::Traefik);
}

fn walk(proxy: Proxy) {
    let house = House::unregistered(proxy, &[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("docs/web-app.md")).unwrap();
    let (lines, shown) = (marked(&guide), shown(&guide));
    assert!(lines.lines().count() > 40 && shown.len() > 20, "the guide was not found");
    let place = house.directory.path();
    std::os::unix::fs::symlink(root.join("examples"), place.join("examples")).unwrap();
    // What the guide starts in the background goes with it.
    std::fs::write(
        place.join("guide.sh"),
        format!("trap 'jobs -p | xargs -r kill' EXIT\n{}", house.with_our_ports(&lines)),
    )
    .unwrap();
    let walked =
        output(Command::new("bash").args(["-euo", "pipefail", "guide.sh"]).current_dir(place), "bash");
    let (said, errors) = (String::from_utf8_lossy(&walked.stdout), String::from_utf8_lossy(&walked.stderr));
    assert!(walked.status.success(), "{proxy:?}\n{said}\n{errors}");
    let mut rest = &*said;
    for expected in shown {
        let found = rest.find(expected).unwrap_or_else(|| {
            panic!("{proxy:?} does not show: {expected}\nin what is left:\n{rest}\n{errors}")
        });
        rest = &rest[found + expected.len()..];
    }
}

/// The blocks that are marked as the README's are.
fn marked(guide: &str) -> String {
    let mut on = false;
    let mut lines = String::new();
    for line in guide.lines() {
        match line {
            "```sh tour" => on = true,
            "```" => on = false,
            _ if on => lines.extend([line, "\n"]),
            _ => {}
        }
    }
    lines
}

/// What the lines are to show, in order.
fn shown(guide: &str) -> Vec<&str> {
    guide.lines().filter_map(|line| line.split_once("# → ")).map(|(_, shown)| shown).collect()
}
