//! Plain words: documents, settings and sources use the terms of `docs/style.md`.

use std::fs;
use std::path::{Path, PathBuf};

/// What is refused, and what is written instead.
const REFUSED: [(&str, &str); 13] = [
    ("nobody", "no caller, no client"),
    ("somebody", "the actor: an attacker, a user, another client"),
    ("anybody", "any caller, any client"),
    ("whoever", "the actor: a client that, a user who"),
    ("everybody", "all clients, all users"),
    ("lives no longer", "has ended, has expired"),
    ("turned away", "rejected"),
    ("what was begun", "requests in progress"),
    ("is told", "is recorded, is reported"),
    ("told", "recorded, reported, returned"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("howmanyeth", "a counter"),
];

/// What is read: files, and folders with everything of these endings in them.
const READ: [&str; 10] = [
    "README.md",
    "config.toml",
    "docs",
    "src",
    "tests",
    "clients",
    "examples",
    "benches",
    "packaging",
    "fuzz",
];
const ENDINGS: [&str; 14] =
    ["md", "toml", "rs", "py", "mjs", "mts", "js", "ts", "go", "java", "html", "yml", "json", "service"];
/// What other programs write there.
const FOREIGN: [&str; 4] = ["node_modules", "target", "package-lock.json", ".venv"];

/// The page that lists the words, and this list.
const LIST: &str = "docs/style.md";
const LISTS: [&str; 2] = [LIST, "tests/it/house/words.rs"];

#[test]
fn the_words_are_those_of_the_field() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    READ.iter().for_each(|read| collect(&root.join(read), &mut files));
    assert!(files.len() > 300, "the files were not found");
    let mut faults = vec![];
    for file in files.iter().filter(|file| !LISTS.iter().any(|list| file.ends_with(list))) {
        let text = fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(root).unwrap().display();
        faults
            .extend(found(&text).map(|(line, word, instead)| {
                format!("{name}:{line}: \"{word}\"; write: {instead} ({LIST})")
            }));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

pub(super) fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if FOREIGN.iter().any(|name| path.ends_with(name)) {
        return;
    }
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| collect(&entry.unwrap().path(), files));
    } else if path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending == *known)) {
        files.push(path.to_owned());
    }
}

/// The refused words of a text with their lines, as whole words in any case.
fn found(text: &str) -> impl Iterator<Item = (usize, &'static str, &'static str)> + '_ {
    text.lines().enumerate().flat_map(|(number, line)| {
        let line = line.to_lowercase();
        let refused = REFUSED.iter().filter(move |(word, _)| has_word(&line, word));
        refused.map(move |(word, instead)| (number + 1, *word, *instead))
    })
}

fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !is_letter(line[..at].chars().next_back()) && !is_letter(line[at + word.len()..].chars().next())
    })
}

#[test]
fn refused_words_are_found_whole_and_in_any_case() {
    let words = |text: &str| found(text).map(|(line, word, _)| (line, word)).collect::<Vec<_>>();
    assert_eq!(words("fine\nNobody was turned away"), [(2, "nobody"), (2, "turned away")]);
    assert_eq!(words("recommend, amended, is_told, tolden"), []);
    assert_eq!(words("`mend`: is told"), [(1, "is told"), (1, "told"), (1, "mend")]);
}
