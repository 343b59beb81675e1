//! The documents: their links lead somewhere, and the commands and errors that they name exist.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README and every page under `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md")];
    for directory in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(directory)).unwrap().map(|entry| entry.unwrap().path());
        pages.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(pages.len() > 15, "the pages were not found");
    pages
}

/// The text without what stands in code.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let outside = text.split("```").step_by(2).collect::<String>();
    outside.split('`').step_by(2).collect()
}

/// The targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchors of a page, as its headings get them where Markdown is shown.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |c: &char| c.is_alphanumeric() || *c == '-' || *c == ' ' || *c == '_';
    headings.map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = vec![];
    for page in pages() {
        for link in links(&prose(&page)).filter(|link| !link.contains("://")) {
            let (file, anchor) =
                link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let lost = anchor.is_some_and(|anchor| {
                target.is_file() && !anchors(&target).iter().any(|known| known == anchor)
            });
            if !target.exists() || lost {
                broken.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn each_decision_has_its_own_number_which_its_title_repeats() {
    let mut decisions: Vec<PathBuf> =
        pages().into_iter().filter(|page| page.parent().unwrap().ends_with("decisions")).collect();
    decisions.sort();
    for (number, page) in (1..).zip(&decisions) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&format!("{number:04}-")), "{name} must have the number {number:04}");
        let title = format!("# {number:04}: ");
        assert!(fs::read_to_string(page).unwrap().starts_with(&title), "{name} must start with {title:?}");
    }
}

/// `http/wire.rs` is under `src`, `tests/it/main.rs` under the root.
#[test]
fn every_source_file_that_the_documents_name_exists() {
    let mut missing = vec![];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let outside = text.split("```").step_by(2).collect::<String>();
        let code = outside.split('`').skip(1).step_by(2);
        for name in code.filter(|code| code.contains('/') && code.ends_with(".rs")) {
            if !root().join(name).exists() && !root().join("src").join(name).exists() {
                missing.push(format!("{}: {name}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_page_is_in_the_index() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for page in pages().iter().filter(|page| page.parent() == Some(&root().join("docs"))) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(
            name == "README.md" || index.contains(&format!("({name})")),
            "{name} is not in docs/README.md"
        );
    }
}

/// Options too: `keyfob session list --subject alice` is parsed as the program would.
#[test]
fn every_command_that_the_documents_show_is_one() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```sh").skip(1).filter_map(|rest| rest.split("```").next()) {
            for line in block.lines().filter_map(|line| line.split(['|', '>', '#']).next()) {
                let Some(at) = line.find("keyfob ").filter(|at| {
                    matches!(&line[..*at], "" | "sudo " | "sudo -u keyfob " | "target/release/")
                }) else {
                    continue;
                };
                let words = line[at..].split_whitespace();
                let parsed = keyfob::cli::command().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{}: {line}: {}", page.display(), parsed.unwrap_err());
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "{seen} commands were found");
}
