//! A list that comes in pages: printed as it arrives, so that its length costs no memory.

use std::io::{self, Write};

use serde_json::Value;

use super::print::{Table, print_bytes, printable, unprinted};
use super::{Failure, Output};

/// A list on its way to standard output.
pub struct Listing {
    output: Output,
    table: Table,
    items: Vec<Value>,
    begun: bool,
}

impl Listing {
    /// A list with these headings; a program gets a JSON array.
    pub fn new(output: Output, headings: &[&str]) -> Self {
        Self { output, table: Table::new(headings), items: vec![], begun: false }
    }

    /// Adds an item, which a person sees as `cells`.
    pub fn add(&mut self, item: Value, cells: impl IntoIterator<Item = String>) {
        match self.output {
            Output::Human => self.table.row(cells),
            Output::Json => self.items.push(item),
        }
    }

    /// Prints what was added since the last time.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.output {
            Output::Human => {
                self.table.take_lines().iter().try_for_each(|line| writeln!(out, "{}", printable(line)))
            }
            Output::Json => self.items.drain(..).try_for_each(|item| {
                let before = if std::mem::replace(&mut self.begun, true) { "," } else { "[" };
                write!(out, "{before}\n  {}", printable(&format!("{item:#}").replace('\n', "\n  ")))
            }),
        }
        .and_then(|()| out.flush())
        .map_err(|cause| unprinted(&cause))
    }

    /// Prints what is left, and the end.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        match self.output {
            Output::Human => Ok(()),
            Output::Json => print_bytes(if self.begun { b"\n]\n" } else { b"[]\n" }),
        }
    }
}
