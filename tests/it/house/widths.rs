//! No line is wider than rustfmt allows: it breaks neither comments nor string literals.

use std::fs;
use std::path::Path;

use super::words::collect;

/// `max_width` of `rustfmt.toml`.
const COLUMNS: usize = 110;
/// A word of this many characters is a test vector: it cannot be broken.
const VECTOR: usize = 100;

#[test]
fn no_line_is_wider_than_110_columns() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    ["src", "tests", "benches", "fuzz"].iter().for_each(|read| collect(&root.join(read), &mut files));
    files.retain(|file| file.extension().is_some_and(|ending| ending == "rs"));
    assert!(files.len() > 200, "the sources were not found");
    let mut faults = vec![];
    for file in files {
        let name = file.strip_prefix(root).unwrap();
        // Poem keeps the line breaks of these comments, so that wrapping them would change the document.
        let published = |line: &str| name.starts_with("src/http/api") && line.trim_start().starts_with("///");
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS && !cannot_be_broken(line) && !published(line) {
                faults.push(format!("{}:{}: {columns} columns", name.display(), number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// A raw string, which has no continuation lines, or a test vector.
fn cannot_be_broken(line: &str) -> bool {
    line.contains("r#\"") || line.split_whitespace().any(|word| word.chars().count() >= VECTOR)
}
