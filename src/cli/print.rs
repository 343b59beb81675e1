//! Printing for people and for programs. A closed pipe ends the program quietly; whatever else keeps it from
//! printing is a failure.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;

use serde_json::Value;

use super::Failure;

/// What the lines of a row after its first one begin with.
pub const INDENT: &str = "    ";
/// A terminal narrower than this gets lines of this length all the same.
const ROOM_MIN: usize = 20;

/// A table of texts. Where a row does not fit on a line of the terminal, its columns go on below it, under
/// headings folded in the same way.
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    /// The columns of each line of a row, as they stand under the headings that were printed last.
    lines: Vec<Range<usize>>,
    /// How many characters a line has; `None` where nothing limits it.
    room: Option<usize>,
}

impl Table {
    /// A table with these headings: as wide as the terminal, or as it likes where there is none.
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

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell).replace('\n', "\\n")).collect());
    }

    /// The rows since the last time, as lines. Columns keep their width, and grow if they must; where that
    /// folds rows otherwise than before, the headings come again.
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

    /// Which columns share a line: as many as there is room for.
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

    /// Only a cell that is longer than a line is ever cut; `--json` has all of it.
    fn cut(&self, line: &str) -> String {
        match self.room {
            Some(room) if line.chars().count() > room => line.chars().take(room - 1).chain(['…']).collect(),
            _ => line.to_owned(),
        }
    }
}

/// How wide the terminal on standard output is; `None` when it is none.
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

/// The pieces one after another on lines of at most `room` characters, of which the first begins with `begin`
/// and the others are indented.
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

/// Prints a table.
pub fn print_table(mut table: Table) -> Result<(), Failure> {
    print_lines(&table.take_lines())
}

/// Prints JSON for a program to read.
pub fn print_json(value: &Value) -> Result<(), Failure> {
    print_lines(&[format!("{value:#}")])
}

/// Prints lines to standard output.
pub fn print_lines(lines: &[String]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{}", printable(line))).map_err(|cause| unprinted(&cause))
}

/// Prints what is ours to the last byte, such as a script.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|cause| unprinted(&cause))
}

/// What becomes of a command whose words could not be written.
pub fn unprinted(cause: &io::Error) -> Failure {
    match cause.kind() {
        io::ErrorKind::BrokenPipe => Failure::Unread,
        _ => Failure::refused(format!("standard output cannot be written: {cause}")),
    }
}

/// The text without what could move a terminal's cursor, or turn the words around: other people's words are
/// printed here. Inside JSON it means the same as before.
pub fn printable(text: &str) -> Cow<'_, str> {
    // Of the marks that are no control characters: those of direction, and the separators of lines and
    // paragraphs.
    let marks = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
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
    fn nobody_elses_words_move_the_cursor() {
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{200f}d\u{2029}e"), "a\\u202eb\\u2066c\\u200fd\\u2029e");
        assert_eq!(printable("a\u{1b}[2J\u{9b}2Jż\nb"), "a\\u001b[2J\\u009b2Jż\nb");
        let text = format!("{:#}", serde_json::json!({ "a": "\u{1b}\u{9b}\u{7f}" }));
        let shown = printable(&text);
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<Value>(&shown).unwrap(),
            serde_json::from_str::<Value>(&text).unwrap()
        );
    }
}
