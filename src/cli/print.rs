//! Printing for people and for programs. A closed pipe ends the program quietly.

use std::io::{self, Write};

use serde_json::Value;

/// A table of texts.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn lines(&self) -> Vec<String> {
        let columns = self.rows[0].len();
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect()
    }
}

/// Prints a table.
pub fn print_table(table: &Table) {
    print_lines(&table.lines());
}

/// Prints JSON for a program to read.
pub fn print_json(value: &Value) {
    print_lines(&[format!("{value:#}")]);
}

/// Prints lines to standard output.
pub fn print_lines(lines: &[String]) {
    let mut out = io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["żółw".into(), "b".into()]);
        assert_eq!(table.lines(), ["A     LONG", "żółw  b"]);
    }
}
