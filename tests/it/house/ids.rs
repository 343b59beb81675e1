//! Which lines of the standards are covered by a test that cites them, and that the others are explained in
//! `docs/conformance.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The families of ids that tests cite.
const PREFIXES: [&str; 16] = [
    "INT", "REV", "TOK", "CLI", "RFR", "MET", "PAS", "VEC", "EDS", "ROT", "ASV", "NST", "CKE", "SES", "BER",
    "OAS",
];

#[test]
fn every_line_of_the_standards_is_covered_by_a_test_or_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let required =
        cited(&without_comments(&fs::read_to_string(root.join("tests/standards-ids.txt")).unwrap()));
    let covered: BTreeSet<String> = tests(root).iter().flat_map(|text| cited(text)).collect();
    let explained = cited(&explained(&fs::read_to_string(root.join("docs/conformance.md")).unwrap()));
    assert!(required.len() > 200 && covered.len() > 20, "the files were not found");

    let of_required = covered.intersection(&required).count();
    println!("{of_required} of {} lines are covered by a test: {}", required.len(), list(&covered));
    println!("{} are explained in docs/conformance.md: {}", explained.len(), list(&explained));

    let open: BTreeSet<String> =
        required.iter().filter(|id| !covered.contains(*id) && !explained.contains(*id)).cloned().collect();
    let stale: BTreeSet<String> = explained.intersection(&covered).cloned().collect();
    let unknown: BTreeSet<String> = explained.difference(&required).cloned().collect();
    let faults = [
        ("neither cited by a test nor explained in docs/conformance.md", &open),
        ("cited by a test and still explained as not covered in docs/conformance.md", &stale),
        ("explained in docs/conformance.md and not in tests/standards-ids.txt", &unknown),
    ];
    let faults: Vec<String> = faults
        .iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(what, ids)| format!("{what}: {}", list(ids)))
        .collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The ids that a text cites: `INT-03`, `int_03` in a name, `INT-12 to INT-14` and `int_12_to_int_14` as a
/// range.
fn cited(text: &str) -> BTreeSet<String> {
    let text = text.to_uppercase().replace('_', "-");
    let mut ids = BTreeSet::new();
    let mut last: Option<(usize, &str, usize)> = None;
    let mut at = 0;
    while at < text.len() {
        let Some((prefix, number, digits)) = id_at(&text, at) else {
            at += 1;
            while !text.is_char_boundary(at) {
                at += 1;
            }
            continue;
        };
        let between = last.map_or("", |(end, ..)| &text[end..at]);
        let first = match last {
            Some((_, earlier, from)) if earlier == prefix && matches!(between, " TO " | "-TO-") => from,
            _ => number,
        };
        ids.extend((first..=number).map(|number| format!("{prefix}-{number:02}")));
        at += prefix.len() + 1 + digits;
        last = Some((at, prefix, number));
    }
    ids
}

/// The id that begins at `at`: its family, its number, and how many digits that has.
fn id_at(text: &str, at: usize) -> Option<(&'static str, usize, usize)> {
    if text[..at].chars().next_back().is_some_and(char::is_alphanumeric) {
        return None;
    }
    let prefix = PREFIXES.into_iter().find(|prefix| text[at..].starts_with(prefix))?;
    let rest = text[at + prefix.len()..].strip_prefix('-')?;
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let number = rest[..digits].parse().ok()?;
    (2..=3).contains(&digits).then_some((prefix, number, digits))
}

/// The text of every test: all of `tests/it`, and of `src` what is compiled for tests only.
fn tests(root: &Path) -> Vec<String> {
    let mut texts = vec![];
    for path in files(&root.join("tests/it")).into_iter().filter(|path| !path.ends_with("ids.rs")) {
        texts.push(fs::read_to_string(path).unwrap());
    }
    for path in files(&root.join("src")) {
        let text = fs::read_to_string(path).unwrap();
        match text.split_once("\n#[cfg(test)]\n") {
            Some((_, tests)) if tests.contains("#[test]") || tests.contains("#[tokio::test]") => {
                texts.push(tests.to_owned())
            }
            // A file that is all tests is declared so by the one above it.
            None if text.contains("#[test]") || text.contains("#[tokio::test]") => texts.push(text),
            _ => {}
        }
    }
    texts
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The first column of the tables: what is explained, without the reasons.
fn explained(page: &str) -> String {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | ").map(|(ids, _)| ids));
    rows.collect::<Vec<_>>().join("\n")
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

fn list(ids: &BTreeSet<String>) -> String {
    ids.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn citations_are_found_in_sentences_in_names_and_in_ranges() {
    let found = |text: &str| list(&cited(text));
    assert_eq!(found("/// INT-03, INT-120 (C-13)."), "INT-03 INT-120");
    assert_eq!(found("fn a_401_names_it_int_30_int_31() {"), "INT-30 INT-31");
    assert_eq!(
        found("CLI-01 to CLI-03; fn it_works_tok_09_to_tok_11()"),
        "CLI-01 CLI-02 CLI-03 TOK-09 TOK-10 TOK-11"
    );
    assert_eq!(found("INT-03 to REV-05"), "INT-03 REV-05", "a range stays in its family");
    assert_eq!(found("PRINT-03 HINT_10 INT-1 INT-1234 INTO-12 żINT-05 point-12"), "");
}

#[test]
fn a_page_explains_only_what_is_in_the_first_column() {
    assert_eq!(
        list(&cited(&explained("INT-01\n| id | why |\n|---|---|\n| INT-02, INT-03 | needs INT-04 |\n"))),
        "INT-02 INT-03"
    );
}
