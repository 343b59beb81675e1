//! No Rust code of this repository is `unsafe`, whatever the lints of its package.

use std::fs;
use std::path::Path;

use super::words::collect;

/// Where Rust code can be. `Cargo.toml` forbids the same for the library, the program and their tests.
const READ: [&str; 7] = ["src", "tests", "benches", "fuzz", "examples", "clients", "packaging"];
/// What follows the keyword: a block, an item, or the attribute that takes it.
const FOLLOWS: [&str; 6] = ["{", "fn ", "impl", "trait ", "extern ", "("];

#[test]
fn no_code_is_unsafe() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    let present = READ.iter().map(|read| root.join(read)).filter(|path| path.exists());
    present.for_each(|path| collect(&path, &mut files));
    files.retain(|file| file.extension().is_some_and(|ending| ending == "rs"));
    assert!(files.len() > 200, "the sources were not found");
    let mut faults = vec![];
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        faults.extend(found(&text).map(|line| format!("{}:{line}", file.display())));
    }
    assert!(faults.is_empty(), "unsafe code:\n{}", faults.join("\n"));
}

/// The lines with the keyword in code.
fn found(text: &str) -> impl Iterator<Item = usize> + '_ {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.filter(|(_, line)| has_keyword(line)).map(|(number, _)| number + 1)
}

fn has_keyword(line: &str) -> bool {
    line.match_indices("unsafe").any(|(at, keyword)| {
        let before = line[..at].chars().next_back();
        let rest = line[at + keyword.len()..].trim_start();
        before.is_none_or(|c| c.is_whitespace() || "([{#!=".contains(c))
            && FOLLOWS.iter().any(|follows| rest.starts_with(follows))
    })
}

#[test]
fn the_keyword_is_found_in_code_and_not_in_text() {
    // Put together, so that this file has none.
    let code = |text: &str| text.replace("UN", "unsafe");
    let found = |text: &str| found(&code(text)).collect::<Vec<_>>();
    assert_eq!(found("let x = UN { *p };\nUN impl Send for X {}\n    pub UN fn f() {}"), [1, 2, 3]);
    assert_eq!(found("#[UN(no_mangle)]\nUN extern \"C\" {\nmap(|p| UN { *p })"), [1, 2, 3]);
    assert_eq!(found("// UN { *p }\n\"style-src 'UN-inline'\"\ncontains(\"UN\")\nUN_code = 1"), [0; 0]);
}
