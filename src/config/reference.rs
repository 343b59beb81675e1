//! The reference of all settings. What each means is said once, in the shipped `config.toml`; default and
//! valid values come from the code that reads it.

use std::fmt::Write;

use super::load;
use super::sheet::{Expected, Sheet};
use super::source::{Sources, of_text};

/// The file at the root of the repository: every setting with its meaning.
const SHIPPED: &str = include_str!("../../config.toml");
/// What has the client's settings read.
const A_CLIENT: &str = "[[client]]\nclient_id = \"backend\"\nkind = \"public\"\n";

const HEAD: &str = "\
# Configuration

Made from the code and from the comments of `config.toml` by `keyfob config reference > docs/configuration.md`; a test compares them.

Later wins: the default, the file, the environment, the flags of `serve` (`--listen`, `--issuer`). The file is the one that `--config` names;
without it `config.toml` in the working directory, or `/etc/keyfob/config.toml` for a keyfob that is installed under `/usr`, where there is one. The
environment variable of a setting is `KEYFOB_` and its key in capitals, with `__` for each dot; variables without `__` are no settings. In a
variable the entries of a list stand between commas.

What is unknown, of the wrong type or impossible beside the rest stops the start, with the key, the value (never a secret's), where it came
from and what would be valid. `keyfob config check` says so without starting; `keyfob config show` prints what is in force and from where.

A duration is written with units, the larger first: `500ms`, `10s`, `5m`, `1h30m`, `90d`. A size is a number of bytes, or one with `KiB`, `MiB`
or `GiB`. Relative paths start at the working directory.
";

/// One setting, as the reference shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The whole key, such as `server.listen`; of a client, `client.kind`.
    pub key: String,
    /// What kind of value it has.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its default as text; `None` where it has none.
    pub default: Option<String>,
    /// Which values are valid, where the type does not say it.
    pub valid: Option<String>,
    /// The environment variable; `None` for a client, which only the file declares.
    pub environment: Option<String>,
    /// What it means: lines of Markdown.
    pub meaning: String,
}

/// A table of the shipped file: its name, what stands above it, and its settings.
struct Section {
    name: String,
    about: Vec<String>,
    settings: Vec<(String, Vec<String>)>,
}

/// Every setting, in the order of the shipped file.
pub fn entries() -> Vec<Entry> {
    let surveyed = surveyed();
    sections().iter().flat_map(|section| entries_of(section, &surveyed)).collect()
}

/// What the code reads: each key with its default and what would be valid.
pub(super) fn surveyed() -> Vec<(String, Expected)> {
    let mut sheet = Sheet::new(&of_text(A_CLIENT).expect("it is TOML"), vec![]);
    load::read(&mut sheet, &Sources::default());
    let plain = |key: String| key.replacen("client[backend]", "client", 1);
    sheet.expected.into_iter().map(|(key, expected)| (plain(key), expected)).collect()
}

/// The page `docs/configuration.md`.
pub fn page() -> String {
    let surveyed = surveyed();
    let mut page = HEAD.to_owned();
    for section in sections() {
        let _ = writeln!(page, "\n## [{}]", section.name);
        if !section.about.is_empty() {
            let _ = write!(page, "\n{}", paragraphs(&section.about));
        }
        for entry in entries_of(&section, &surveyed) {
            page.push_str(&block(&entry));
        }
    }
    page
}

fn entries_of(section: &Section, surveyed: &[(String, Expected)]) -> Vec<Entry> {
    let table = section.name.trim_matches(['[', ']']);
    let entry = |(name, meaning): &(String, Vec<String>)| {
        let key = format!("{table}.{name}");
        let (_, expected) = surveyed.iter().find(|(known, _)| *known == key)?;
        let (kind, valid) = kind_and_valid(expected);
        let environment =
            (table != "client").then(|| format!("KEYFOB_{}", key.to_uppercase().replace('.', "__")));
        Some(Entry {
            kind,
            default: expected.default.clone(),
            valid,
            environment,
            meaning: paragraphs(meaning).trim_end().to_owned(),
            key,
        })
    };
    section.settings.iter().filter_map(entry).collect()
}

fn block(entry: &Entry) -> String {
    let mut block = format!("\n### `{}`\n\n{}\n\n", entry.key, entry.meaning);
    let _ = writeln!(block, "- type: {}", entry.kind);
    if let Some(valid) = &entry.valid {
        let _ = writeln!(block, "- valid: {valid}");
    }
    let default = match entry.default.as_deref() {
        None => "none".to_owned(),
        Some("") => "the empty list".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let _ = writeln!(block, "- default: {default}");
    if let Some(variable) = &entry.environment {
        let _ = writeln!(block, "- environment: `{variable}`");
    }
    block
}

/// The type, and the rest of what an error would say is valid.
fn kind_and_valid(expected: &Expected) -> (String, Option<String>) {
    let said = expected.valid.as_str();
    let range = |said: &str| {
        said.find("from ").map(|at| said[at..].split(", such as").next().unwrap_or_default().replace('"', ""))
    };
    let (kind, valid) = match said {
        _ if said.starts_with("a duration") => ("duration", range(said)),
        _ if said.starts_with("a size") => ("size", range(said)),
        _ if said.starts_with("a whole number") => ("whole number", range(said)),
        _ if said.starts_with("true or false") => ("true or false", None),
        _ if said.is_empty() => ("text", None),
        _ => ("text", Some(said.to_owned())),
    };
    match (expected.is_list, valid) {
        (true, Some(valid)) => (format!("list of {kind}s"), Some(format!("each: {valid}"))),
        (true, None) => (format!("list of {kind}s"), None),
        (false, valid) => (kind.to_owned(), valid),
    }
}

/// Comment lines as Markdown: those that are indented become a list.
fn paragraphs(lines: &[String]) -> String {
    let (mut text, mut in_list) = (String::new(), false);
    for line in lines {
        let item = line.strip_prefix("  ");
        // A list stands apart from the lines around it.
        let gap = if item.is_some() != in_list { "\n" } else { "" };
        in_list = item.is_some();
        let words: Vec<&str> = line.split_whitespace().collect();
        let _ = writeln!(text, "{gap}{}{}", if in_list { "- " } else { "" }, words.join(" "));
    }
    text
}

/// Reads the shipped file: `[table]`, `#key = value` with the comment above it, and within an example of a
/// table `# key = value  # comment`.
fn sections() -> Vec<Section> {
    let (mut sections, mut comment): (Vec<Section>, Vec<String>) = (vec![], vec![]);
    for line in SHIPPED.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section {
                name: name.to_owned(),
                about: std::mem::take(&mut comment),
                settings: vec![],
            });
        } else if let (Some(section), Some((name, remark))) = (sections.last_mut(), setting(bare)) {
            comment.extend(remark);
            section.settings.push((name, std::mem::take(&mut comment)));
        } else if let Some(text) = line.strip_prefix('#') {
            let text = text.strip_prefix(' ').unwrap_or(text);
            comment.extend((!text.is_empty()).then(|| text.to_owned()));
        } else {
            comment.clear();
        }
    }
    sections
}

/// The name of a setting, and the comment behind its value.
fn setting(line: &str) -> Option<(String, Option<String>)> {
    let (name, value) = line.split_once(" = ")?;
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    is_name.then(|| {
        (
            name.to_owned(),
            value
                .split_once("  # ")
                .or_else(|| value.split_once(" # "))
                .map(|(_, remark)| remark.trim().to_owned()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adding a setting is: read it, write it into `config.toml` with its meaning, and make the page again.
    #[test]
    fn the_shipped_file_says_of_every_setting_what_it_means() {
        let entries = entries();
        for (key, _) in surveyed() {
            let entry = entries.iter().find(|entry| entry.key == key);
            let meaning = entry.map(|entry| entry.meaning.as_str()).unwrap_or_default();
            assert!(meaning.len() > 10, "{key}: config.toml says nothing of what it means");
        }
    }

    #[test]
    fn the_page_is_what_the_code_says() {
        let written = include_str!("../../docs/configuration.md");
        assert!(
            written == page(),
            "docs/configuration.md is old; make it again: cargo run -- config reference > docs/configuration.md"
        );
    }
}
