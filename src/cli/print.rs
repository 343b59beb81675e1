//! Printing for people and for programs. A closed pipe ends the program quietly.

use std::borrow::Cow;
use std::io::{self, Write};

use serde_json::Value;

/// A table of texts.
pub struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()], widths: vec![0; headings.len()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The rows since the last time, as lines. Columns keep their width, and grow if they must.
    pub fn take_lines(&mut self) -> Vec<String> {
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |row: Vec<String>| {
            let cells = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.drain(..).map(line).collect()
    }
}

/// Prints a table.
pub fn print_table(mut table: Table) {
    print_lines(&table.take_lines());
}

/// Prints JSON for a program to read.
pub fn print_json(value: &Value) {
    print_lines(&[format!("{value:#}")]);
}

/// Prints lines to standard output.
pub fn print_lines(lines: &[String]) {
    let mut out = io::stdout().lock();
    for line in lines {
        if writeln!(out, "{}", printable(line)).is_err() {
            return;
        }
    }
}

/// The text without what could move a terminal's cursor: other people's words are printed here. Inside JSON it means the same as before.
pub fn printable(text: &str) -> Cow<'_, str> {
    let moves = |c: char| c.is_control() && c != '\n';
    if !text.contains(moves) {
        return text.into();
    }
    let shown = |c: char| if moves(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(shown).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["żółw".into(), "b".into()]);
        assert_eq!(table.take_lines(), ["A     LONG", "żółw  b"]);
        table.row(["b".into(), "c".into()]);
        assert_eq!(table.take_lines(), ["b     c"], "the next page stands under the first");
    }

    #[test]
    fn nobody_elses_words_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}2Jż\nb"), "a\\u001b[2J\\u009b2Jż\nb");
        let text = format!("{:#}", serde_json::json!({ "a": "\u{1b}\u{9b}\u{7f}" }));
        let shown = printable(&text);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
    }
}
