//! Output as text and as JSON. A closed pipe ends the program without an error; any other write error is a
//! failure.
//!
//! Tables and folding are our own: rows are printed page by page with stable columns, and a row that is too
//! wide continues below. comfy-table needs all rows at once and wraps inside cells.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

use super::{Failure, Output};
use crate::http::request::json;

/// The indentation of continued lines.
pub const INDENT: &str = "    ";
/// The shortest line, even on a narrower terminal.
const ROOM_MIN: usize = 20;
/// How deep a printed object may nest: more than any that keyfob stores.
pub const PRINTED_DEPTH_MAX: usize = 64;

/// A table of texts. A row that is wider than the terminal continues on further lines, and so do the
/// headings.
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    /// The columns on each line of a row, as in the headings printed last.
    lines: Vec<Range<usize>>,
    /// The length of a line in characters; `None` if unlimited.
    room: Option<usize>,
}

impl Table {
    /// A table with these headings, at most as wide as the terminal.
    pub fn new(headings: &[&str]) -> Self {
        Self::within(terminal_width(), headings)
    }

    fn within(room: Option<usize>, headings: &[&str]) -> Self {
        let widths = headings.iter().map(|heading| heading.chars().count()).collect();
        Self {
            headings: headings.iter().map(ToString::to_string).collect(),
            rows: vec![],
            widths,
            lines: vec![],
            room,
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell).replace('\n', "\\n")).collect());
    }

    /// The rows since the last call, as lines. Columns never get narrower; the headings are repeated when a
    /// wider column changes the folding.
    pub fn take_lines(&mut self) -> Vec<String> {
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut printed = vec![];
        let lines = self.fold();
        if lines != self.lines {
            self.lines = lines;
            self.print_row(&self.headings, &mut printed);
        }
        for row in std::mem::take(&mut self.rows) {
            self.print_row(&row, &mut printed);
        }
        printed
    }

    /// The columns of each line: as many as fit.
    fn fold(&self) -> Vec<Range<usize>> {
        let (mut lines, mut begin, mut used) = (vec![], 0, 0);
        for (column, width) in self.widths.iter().enumerate() {
            let wanted = if column == begin { *width } else { used + 2 + width };
            if column > begin && self.room.is_some_and(|room| wanted > room) {
                lines.push(begin..column);
                (begin, used) = (column, INDENT.len() + width);
            } else {
                used = wanted;
            }
        }
        lines.push(begin..self.widths.len());
        lines
    }

    fn print_row(&self, row: &[String], printed: &mut Vec<String>) {
        for (number, columns) in self.lines.iter().enumerate() {
            let cells =
                columns.clone().map(|column| format!("{:<width$}", row[column], width = self.widths[column]));
            let indent = if number == 0 { "" } else { INDENT };
            let line = format!("{indent}{}", cells.collect::<Vec<_>>().join("  "));
            printed.push(self.cut(line.trim_end()));
        }
    }

    /// Truncates a cell that is longer than a line. `--json` prints it whole.
    fn cut(&self, line: &str) -> String {
        match self.room {
            Some(room) if line.chars().count() > room => line.chars().take(room - 1).chain(['…']).collect(),
            _ => line.to_owned(),
        }
    }
}

/// A table with these headings and rows, as lines.
pub fn table_lines<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Vec<String> {
    let mut table = Table::new(&headings);
    rows.into_iter().for_each(|row| table.row(row));
    table.take_lines()
}

/// The width of the terminal on standard output; `None` if it is not a terminal.
pub fn terminal_width() -> Option<usize> {
    let out = io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&out)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0);
    Some(size.unwrap_or(80).max(ROOM_MIN))
}

/// The pieces on lines of at most `room` characters. The first line begins with `begin`; the others are
/// indented.
pub fn fold(begin: &str, pieces: &[String], gap: &str, room: usize) -> Vec<String> {
    let length = |text: &str| text.chars().count();
    let (mut lines, mut line) = (vec![], begin.to_owned());
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 && length(&line) + length(gap) + length(piece) <= room {
            line.push_str(gap);
        } else if number > 0 {
            lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
        }
        for c in piece.chars() {
            if length(&line) == room {
                lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
            }
            line.push(c);
        }
    }
    lines.push(line);
    lines
}

/// Prints the result of a command: the object as JSON, or these lines.
pub fn print_result(
    output: Output,
    object: &impl Serialize,
    lines: impl FnOnce() -> Vec<String>,
) -> Result<(), Failure> {
    match output {
        Output::Human => print_lines(&lines()),
        Output::Json => print_json(object),
    }
}

/// Prints what was done: the object as JSON, or this sentence.
pub fn print_done(output: Output, object: &impl Serialize, sentence: &str) -> Result<(), Failure> {
    print_result(output, object, || vec![sentence.to_owned()])
}

/// Prints JSON.
pub fn print_json(object: &impl Serialize) -> Result<(), Failure> {
    print_lines(&[format!("{:#}", tree(object)?)])
}

/// The object as a tree. `serde_json::to_value` would give some keys of stored JSON a meaning of their own.
pub fn tree(object: &impl Serialize) -> Result<Value, Failure> {
    let text = serde_json::to_vec(object).map_err(Failure::refused)?;
    json::value(&text, PRINTED_DEPTH_MAX).map_err(Failure::refused)
}

/// Words separated by spaces; a dash if there are none.
pub fn words<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<&str> = words.collect();
    if words.is_empty() { "-".into() } else { words.join(" ") }
}

/// Prints lines, made safe for terminals.
pub fn print_lines(lines: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{}", printable(line))).map_err(|cause| unprinted(&cause))
}

/// Prints bytes that keyfob generates, such as a script, unchanged.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|cause| unprinted(&cause))
}

/// The failure of a command whose output cannot be written.
pub fn unprinted(cause: &io::Error) -> Failure {
    match cause.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::refused(format!("standard output cannot be written: {cause}")),
    }
}

/// The text with control and bidirectional characters escaped, since it may come from anyone. JSON keeps its
/// meaning.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Not control characters by Unicode category: marks of direction, separators of lines and paragraphs.
    let marks = |c: char| {
        let (separators, isolates) = ('\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}');
        ['\u{61c}', '\u{200e}', '\u{200f}'].contains(&c) || separators.contains(&c) || isolates.contains(&c)
    };
    let moves = |c: char| (c.is_control() && c != '\n') || marks(c);
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
        let mut table = Table::within(None, &["A", "LONG"]);
        table.row(["żółw".into(), "b".into()]);
        assert_eq!(table.take_lines(), ["A     LONG", "żółw  b"]);
        table.row(["b".into(), "c".into()]);
        assert_eq!(table.take_lines(), ["b     c"], "the next page stands under the first");
    }

    #[test]
    fn a_row_that_does_not_fit_goes_on_below_and_the_headings_come_again_when_that_changes() {
        let mut table = Table::within(Some(20), &["ID", "NAME", "STATE", "AT"]);
        table.row(["1".into(), "ann".into(), "active".into(), "now".into()]);
        assert_eq!(table.take_lines(), ["ID  NAME  STATE", "    AT", "1   ann   active", "    now"]);
        table.row(["2".into(), "a".into(), "active".into(), "now".into()]);
        assert_eq!(table.take_lines(), ["2   a     active", "    now"]);
        table.row(["3".into(), "maximilian".into(), "active".into(), "x".repeat(30)]);
        let folded = ["ID  NAME", "    STATE", "    AT", "3   maximilian", "    active"];
        let lines = table.take_lines();
        assert_eq!(
            (&lines[..5], lines[5].as_str()),
            (&folded.map(str::to_owned)[..], "    xxxxxxxxxxxxxxx…")
        );
        assert!(lines.iter().all(|line| line.chars().count() <= 20), "{lines:?}");
    }

    #[test]
    fn pieces_are_folded_between_and_a_long_one_within() {
        let pieces = ["one", "two", "three", "0123456789abcdefgh"].map(str::to_owned);
        assert_eq!(
            fold("  ", &pieces, " ", 12),
            ["  one two", "    three", "    01234567", "    89abcdef", "    gh"]
        );
        assert_eq!(fold("", &pieces[..2], "  ", 8), ["one  two"]);
    }

    #[test]
    fn a_line_break_in_a_cell_does_not_break_the_row() {
        let mut table = Table::within(None, &["A", "B"]);
        table.row(["one\ntwo".into(), "\u{1b}[2J".into()]);
        assert_eq!(table.take_lines()[1], "one\\ntwo  \\u001b[2J");
    }

    #[test]
    fn printed_text_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{200f}d\u{2029}e"), "a\\u202eb\\u2066c\\u200fd\\u2029e");
        assert_eq!(printable("a\u{1b}[2J\u{9b}2Jż\nb"), "a\\u001b[2J\\u009b2Jż\nb");
        let text = format!("{:#}", serde_json::json!({ "a": "\u{1b}\u{9b}\u{7f}" }));
        let shown = printable(&text);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        );
    }
}
