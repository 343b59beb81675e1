//! The architecture, as a test: who may name whom (docs/architecture.md).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the outermost to the innermost. A room may name those after it, and none before it.
const ROOMS: &[&str] = &["fuzzing", "main", "cli", "serve", "http", "engine", "store", "token", "domain"];

/// Rooms beside the chain, and the rooms that may name them.
const SIDE_ROOMS: &[(&str, &[&str])] = &[
    ("config", &["main", "cli", "serve", "first_start", "telemetry"]),
    ("files", &["cli", "serve", "store", "config", "first_start"]),
    ("telemetry", &["main", "cli", "serve"]),
    ("first_start", &["cli", "serve"]),
    ("meter", &["serve", "http", "engine", "store"]),
];

#[test]
fn no_arrow_runs_the_other_way() {
    let faults: Vec<String> = sources().iter().flat_map(|(room, path)| faults_in(room, path)).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn only_the_composition_root_names_a_backend() {
    let named = |path: &Path| fs::read_to_string(path).unwrap().contains("store::redb");
    let by: Vec<PathBuf> = sources().into_iter().map(|(_, path)| path).filter(|path| named(path)).collect();
    let allowed = |path: &PathBuf| {
        path.ends_with("src/serve.rs")
            || path.components().any(|c| c.as_os_str() == "store" || c.as_os_str() == "serve")
    };
    assert!(by.iter().all(allowed), "{by:?}");
}

#[test]
fn the_rules_know_no_framework_no_io_and_no_clock() {
    let foreign = [
        "tokio",
        "poem",
        "redb",
        "hyper",
        "async fn",
        "std::fs",
        "TcpStream",
        "UnixStream",
        "SystemTime",
        "Instant::now",
        "getrandom",
    ];
    for (_, path) in sources().into_iter().filter(|(room, _)| room == "domain") {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code_lines(&text) {
            for word in foreign {
                assert!(!line.contains(word), "{}:{number}: the domain names {word}", path.display());
            }
        }
    }
}

fn faults_in(room: &str, path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut faults = vec![];
    for (number, line) in code_lines(&text) {
        for named in ["crate::", "keyfob::"]
            .iter()
            .flat_map(|prefix| line.match_indices(prefix).map(|(at, _)| &line[at + prefix.len()..]))
        {
            let named: String = named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !may_name(room, &named) {
                faults.push(format!("{}:{number}: {room} names {named}", path.display()));
            }
        }
    }
    faults
}

fn may_name(room: &str, named: &str) -> bool {
    if let Some((_, users)) = SIDE_ROOMS.iter().find(|(side, _)| *side == named) {
        return users.contains(&room) || room == named;
    }
    let place = |name: &str| ROOMS.iter().position(|room| *room == name);
    match (place(room), place(named)) {
        (Some(from), Some(to)) => from <= to,
        // A side room may name the innermost rooms only: it carries settings, not behaviour.
        (None, Some(_)) => ["domain", "token", "engine"].contains(&named),
        (_, None) => true,
    }
}

/// The code of a file, without comments and without the unit tests at its end.
pub(super) fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Every source file with the room that it is in.
pub(super) fn sources() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![];
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let room = inside.components().next().unwrap().as_os_str().to_string_lossy();
                found.push((room.trim_end_matches(".rs").to_owned(), path));
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// Type names that are defined twice, with the reason.
const TWICE: &[(&str, &str)] = &[("Result", "the usual alias: each with the error of its room")];

/// A name that means two things misleads the reader.
#[test]
fn no_type_name_is_defined_twice() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, path) in sources().into_iter().filter(|(_, path)| !path.ends_with("tests.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code_lines(&text) {
            if let Some(name) = defined_type(line) {
                places.entry(name.to_owned()).or_default().push(format!("{}:{number}", path.display()));
            }
        }
    }
    let twice = |name: &str| places.get(name).is_some_and(|places| places.len() > 1);
    for (name, _) in TWICE {
        assert!(twice(name), "{name} is defined once now: remove it from the list");
    }
    let known = |name: &str| TWICE.iter().any(|(known, _)| *known == name);
    let faults: Vec<_> = places.iter().filter(|(name, _)| twice(name) && !known(name)).collect();
    assert!(faults.is_empty(), "defined twice: {faults:#?}");
}

/// Checks of validity, expiry and use. They are rules, so they are written in `domain/`.
const CHECKS: &[&str] = &[
    "is_active(",
    "is_current(",
    "is_current_token(",
    "counts_as_live(",
    "expires_at <",
    "expires_at >",
    "< token.expires_at",
    "token.not_before {",
    ".end_of(",
    "has_revoked(",
    ".was(",
    "client.disabled {",
    "client.disabled &&",
    "client.disabled =>",
    "!client.disabled",
];

/// Files outside `domain/` that may call such a check, with the reason.
const CHECKERS: &[(&str, &str)] = &[
    ("cli/client.rs", "prints whether a client is disabled"),
    ("engine/read.rs", "shows the state of each family"),
    ("store/postgres/check.rs", "counts the active sessions of the database that it checks"),
    ("store/postgres/decisions.rs", "keeps the number of active sessions of each client"),
    ("store/postgres/statements.rs", "selects the revocations that the sweep removes"),
    ("store/redb/check.rs", "counts the active sessions of the file that it checks"),
    ("store/redb/active_counts.rs", "keeps the number of active sessions of each client"),
];

#[test]
fn only_the_domain_decides_what_is_valid() {
    let mut faults = vec![];
    for (room, path) in sources().into_iter().filter(|(_, path)| !path.ends_with("tests.rs")) {
        if room == "domain" || reason(CHECKERS, &path).is_some() {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code_lines(&text) {
            if let Some(check) = CHECKS.iter().find(|check| line.contains(**check)) {
                faults.push(format!("{}:{number}: `{check}` belongs to the domain", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

pub(super) fn reason(list: &'static [(&'static str, &'static str)], path: &Path) -> Option<&'static str> {
    list.iter().find(|(file, _)| path.ends_with(Path::new("src").join(file))).map(|(_, reason)| *reason)
}

/// The name of the type that a line at the left margin defines.
fn defined_type(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub").map_or(line, |rest| {
        rest.strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .map_or(rest, |(_, rest)| rest)
            .trim_start()
    });
    let rest =
        ["struct ", "enum ", "trait ", "type ", "union "].iter().find_map(|kind| line.strip_prefix(kind))?;
    rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}
