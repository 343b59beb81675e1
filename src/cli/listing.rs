//! A list that arrives in pages, printed page by page, so that its length needs no memory.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use super::print::{Table, print_bytes, printable, tree, unprinted};
use super::{Failure, Output};

/// A list that is being printed.
pub struct Listing {
    output: Output,
    table: Table,
    items: Vec<Value>,
    started: bool,
}

impl Listing {
    /// A list with these headings; `--json` prints an array.
    pub fn new(output: Output, headings: &[&str]) -> Self {
        Self { output, table: Table::new(headings), items: vec![], started: false }
    }

    /// Adds an item with the cells of its row.
    pub fn add<const N: usize>(
        &mut self,
        item: &impl Serialize,
        cells: impl FnOnce() -> [String; N],
    ) -> Result<(), Failure> {
        match self.output {
            Output::Human => self.table.row(cells()),
            Output::Json => self.items.push(tree(item)?),
        }
        Ok(())
    }

    /// Prints the items added since the last call.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.output {
            Output::Human => {
                self.table.take_lines().iter().try_for_each(|line| writeln!(out, "{}", printable(line)))
            }
            Output::Json => self.items.drain(..).try_for_each(|item| {
                let before = if std::mem::replace(&mut self.started, true) { "," } else { "[" };
                write!(out, "{before}\n  {}", printable(&format!("{item:#}").replace('\n', "\n  ")))
            }),
        }
        .and_then(|()| out.flush())
        .map_err(|cause| unprinted(&cause))
    }

    /// Prints the remaining items and the end of the list.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.flush()?;
        match self.output {
            Output::Human => Ok(()),
            Output::Json => print_bytes(if self.started { b"\n]\n" } else { b"[]\n" }),
        }
    }
}
