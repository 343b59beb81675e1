//! No files name each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::layers::{code_lines, sources};

/// Files in a circle cannot be read or tested one after the other. A file names another by a path in `use` or
/// in code; a name that the other file only imports counts for the file that defines it. `mod` and `pub use`
/// of its own modules do not count: a parent declares its parts, and they may use what it defines.
#[test]
fn no_files_name_each_other_in_a_circle() {
    let modules: BTreeMap<Vec<String>, PathBuf> =
        sources().into_iter().map(|(_, path)| (module(&path), path)).collect();
    let is_module = |name: &[String]| modules.contains_key(name);
    let named: BTreeMap<&Vec<String>, Named> = modules
        .iter()
        .map(|(name, path)| {
            let text = fs::read_to_string(path).unwrap();
            let code: Vec<&str> = code_lines(&text).map(|(_, line)| line).collect();
            (name, paths(&code.join("\n"), name, &is_module))
        })
        .collect();
    let defining = |path: &[String]| defining(path, &named);
    let mut arrows: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for name in modules.keys() {
        let others = named[name].used.iter().filter_map(|path| defining(path));
        arrows.insert(name, others.filter(|other| other != name).collect());
    }
    // A file that names no other file of the rest, or that none of the rest names, is not in a circle.
    loop {
        let rest: BTreeSet<Vec<String>> = arrows.keys().map(|name| (*name).clone()).collect();
        let targets: BTreeSet<Vec<String>> = arrows.values().flatten().cloned().collect();
        arrows.values_mut().for_each(|others| others.retain(|other| rest.contains(other)));
        arrows.retain(|name, others| !others.is_empty() && targets.contains(*name));
        if arrows.len() == rest.len() {
            break;
        }
    }
    let shown = |(name, others): (&&Vec<String>, &BTreeSet<Vec<String>>)| {
        let others: Vec<String> = others.iter().map(|other| other.join("::")).collect();
        format!("{} names {}", name.join("::"), others.join(", "))
    };
    let shown: Vec<String> = arrows.iter().map(shown).collect();
    assert!(shown.is_empty(), "files in a circle:\n{}", shown.join("\n"));
}

/// The paths that a file names, from the root of the crate.
#[derive(Default)]
struct Named {
    /// Those that count.
    used: Vec<Vec<String>>,
    /// Those of `use`, which other files may name through this one.
    imported: Vec<Vec<String>>,
}

/// The module that defines what `path` names.
fn defining(path: &[String], named: &BTreeMap<&Vec<String>, Named>) -> Option<Vec<String>> {
    let mut path = path.to_vec();
    for _ in 0..8 {
        let length = (0..=path.len()).rev().find(|n| named.contains_key(&path[..*n].to_vec()))?;
        let module = path[..length].to_vec();
        let imported = path
            .get(length)
            .and_then(|name| named[&module].imported.iter().find(|path| path.last() == Some(name)));
        match imported.filter(|imported| **imported != path[..=length]) {
            Some(imported) => path = [imported, &path[length + 1..]].concat(),
            None => return Some(module),
        }
    }
    None
}

#[test]
fn paths_are_found_in_use_trees_and_in_code() {
    let name: Vec<String> = ["a", "b"].map(String::from).to_vec();
    let is_module = |name: &[String]| name.join("::") == "a::b::part";
    let code = "use super::{c::{D, E as F}, g};\npub use part::Thing;\nuse part::Other;\n\
        fn f() -> crate::h::I { part::x() }";
    let shown = |paths: &[Vec<String>]| paths.iter().map(|path| path.join("::")).collect::<Vec<_>>();
    let found = paths(code, &name, &is_module);
    assert_eq!(
        shown(&found.used),
        ["a::c::D", "a::c::E", "a::g", "a::b::part::Other", "h::I", "a::b::part::x"]
    );
    assert_eq!(
        shown(&found.imported),
        ["a::c::D", "a::c::E", "a::g", "a::b::part::Thing", "a::b::part::Other"]
    );
}

#[test]
fn a_name_counts_for_the_file_that_defines_it() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (path("a"), path("b"));
    let imports_b = Named { imported: vec![path("b::Thing")], ..Named::default() };
    let named = BTreeMap::from([(&a, imports_b), (&b, Named::default())]);
    assert_eq!(defining(&path("a::Thing"), &named), Some(path("b")));
    assert_eq!(defining(&path("a::Other"), &named), Some(path("a")));
    assert_eq!(defining(&path("c::Other"), &named), None);
}

/// The path of a file's module, from the root of the crate.
fn module(path: &Path) -> Vec<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let mut parts: Vec<String> =
        inside.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["lib"] {
        parts.pop();
    }
    parts
}

fn paths(code: &str, of: &[String], is_module: &dyn Fn(&[String]) -> bool) -> Named {
    let absolute = |path: Vec<String>| -> Option<Vec<String>> {
        let first = path.first()?.as_str();
        let supers = path.iter().take_while(|part| *part == "super").count();
        match first {
            "crate" | "keyfob" => Some(path[1..].to_vec()),
            "self" => Some([of, &path[1..]].concat()),
            "super" => Some([&of[..of.len().saturating_sub(supers)], &path[supers..]].concat()),
            _ if is_module(&[of, &path[..1]].concat()) => Some([of, &path[..]].concat()),
            _ => None,
        }
    };
    let mut found = Named::default();
    for statement in code.split(';') {
        let start = statement.rfind("use ").filter(|at| {
            let before = statement[..*at].rsplit('\n').next().unwrap_or("").trim();
            before.is_empty() || before.starts_with("pub")
        });
        let rest = &statement[..start.unwrap_or(statement.len())];
        found.used.extend(plain_paths(rest).into_iter().filter_map(absolute));
        let Some(start) = start else { continue };
        let published = rest.rsplit('\n').next().unwrap_or("").trim().starts_with("pub");
        for path in use_tree(statement[start + 4..].trim()) {
            let own = path.first().is_some_and(|first| !["crate", "super"].contains(&first.as_str()));
            let Some(path) = absolute(path) else { continue };
            found.imported.push(path.clone());
            if !(published && own) {
                found.used.push(path);
            }
        }
    }
    found
}

/// Every path of a `use` tree such as `a::{b::C, d as e}`.
fn use_tree(tree: &str) -> Vec<Vec<String>> {
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree);
        return vec![path.split("::").map(|part| part.trim().to_owned()).filter(|p| !p.is_empty()).collect()];
    };
    let head: Vec<String> =
        tree[..open].split("::").map(|part| part.trim().to_owned()).filter(|p| !p.is_empty()).collect();
    let body = tree.get(open + 1..tree.rfind('}').unwrap_or(tree.len())).unwrap_or("");
    let (mut depth, mut start, mut parts) = (0_i32, 0, vec![]);
    for (at, c) in body.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&body[start..]);
    let parts = parts.into_iter().map(str::trim).filter(|part| !part.is_empty());
    parts.flat_map(use_tree).map(|path| [head.clone(), path].concat()).collect()
}

/// Every path of code outside `use`, such as `crate::a::B`.
fn plain_paths(code: &str) -> Vec<Vec<String>> {
    let words = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let paths = words.filter(|word| word.contains("::") && !word.starts_with(':'));
    paths.map(|word| word.split("::").map(str::to_owned).filter(|part| !part.is_empty()).collect()).collect()
}
