//! The reference of all settings: meanings from the comments of `config.toml`, defaults and valid values from
//! the code that reads them.

use std::fmt::Write;

use super::load;
use super::sheet::{Expected, Sheet};
use super::source::{Sources, of_text};

/// The shipped file: every setting with its meaning.
const SHIPPED: &str = include_str!("../../config.toml");
/// A client and a gate, so that the settings of both are read.
const REPEATED: &str = "[[client]]\nclient_id = \"backend\"\nkind = \"public\"\n[[gate]]\nname = \"api\"\n";

const HEAD: &str = "\
# Configuration

Generated from the code and from the comments of `config.toml` \
by `keyfob config reference > docs/configuration.md`; a test compares them.

A later source overrides an earlier one: the default, the file, the environment, \
the flags of `serve` (`--listen`, `--issuer`). The file is the
one that `--config` names. Without it, `config.toml` in the working directory is read if it exists; \
a keyfob installed under `/usr` reads
`/etc/keyfob/config.toml` if that exists. The environment variable of a setting is `KEYFOB_` \
and its key in capitals, with `__` for each dot;
variables without `__` are not settings. In a variable the entries of a list are separated by commas.

An unknown, invalid or inconsistent setting prevents the start. The error names the key, \
the value (never a secret), the origin and what would be
valid. `keyfob config check` does the same check without starting; `keyfob config show` \
prints the effective settings with their origins.

A duration is written with units, the larger first: `500ms`, `10s`, `5m`, `1h30m`, `90d`. \
A size is a number of bytes, or one with `KiB`, `MiB`
or `GiB`. Relative paths start at the working directory.
";

/// One setting, as the reference shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// The whole key, such as `server.listen`; of a client, `client.kind`; of a gate, `gate.name`.
    pub key: String,
    /// The type of its value.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its default as text, if it has one.
    pub default: Option<String>,
    /// The valid values, where the type does not say it.
    pub valid: Option<String>,
    /// The environment variable; `None` for clients and gates, which only the file declares.
    pub environment: Option<String>,
    /// Lines of Markdown.
    pub meaning: String,
}

/// A table of the shipped file: its name, the comment above it, and its settings.
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

/// Each key that the code reads, with what it accepts.
pub(super) fn surveyed() -> Vec<(String, Expected)> {
    let mut sheet = Sheet::new(&of_text(REPEATED).expect("it is TOML"), vec![]);
    load::read(&mut sheet, &Sources::default());
    let plain = |key: String| key.replacen("client[backend]", "client", 1).replacen("gate[api]", "gate", 1);
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
        let environment = (!["client", "gate"].contains(&table))
            .then(|| format!("KEYFOB_{}", key.to_uppercase().replace('.', "__")));
        Some(Entry {
            kind: expected.kind.clone(),
            default: expected.default.clone(),
            valid: expected.valid.clone(),
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
        Some("") if entry.kind.starts_with("list") => "the empty list".to_owned(),
        None | Some("") => "none".to_owned(),
        Some(default) => format!("`{default}`"),
    };
    let _ = writeln!(block, "- default: {default}");
    if let Some(variable) = &entry.environment {
        let _ = writeln!(block, "- environment: `{variable}`");
    }
    block
}

/// Comment lines as Markdown: those that are indented become a list.
fn paragraphs(lines: &[String]) -> String {
    let (mut text, mut in_list) = (String::new(), false);
    for line in lines {
        let item = line.strip_prefix("  ");
        // Markdown needs an empty line around a list.
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

/// The name of a setting, and the comment after its value.
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

    /// To add a setting: read it, describe it in `config.toml`, and generate the page again.
    #[test]
    fn the_shipped_file_describes_every_setting() {
        let entries = entries();
        for (key, _) in surveyed() {
            let entry = entries.iter().find(|entry| entry.key == key);
            let meaning = entry.map(|entry| entry.meaning.as_str()).unwrap_or_default();
            assert!(meaning.len() > 10, "{key}: config.toml does not describe it");
        }
    }

    #[test]
    fn the_page_is_what_the_code_generates() {
        let written = include_str!("../../docs/configuration.md");
        assert!(
            written == page(),
            "docs/configuration.md is outdated; generate it again: cargo run -- config reference > \
             docs/configuration.md"
        );
    }
}
