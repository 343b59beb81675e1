//! The progress of a long operation: one line on a terminal, nothing in a pipe.
//!
//! indicatif would bring five more crates for this one line.

use std::io::{self, IsTerminal, Write};

use super::times::now;
use crate::domain::time::Timestamp;

/// The shortest time between two updates, in milliseconds.
const UPDATE_EVERY_MS: u128 = 100;

/// The progress line on standard error.
pub struct Progress {
    shown: Option<Timestamp>,
    terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { shown: None, terminal: io::stderr().is_terminal() }
    }

    /// Updates the line, unless the last update is too recent.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        if !self.terminal {
            return;
        }
        let now = now();
        if self.shown.is_none_or(|shown| now.since(shown).as_millis() >= UPDATE_EVERY_MS) {
            self.shown = Some(now);
            // The escape sequence erases the rest of a longer previous line.
            let _ = write!(io::stderr(), "\r{}\x1b[K", line());
        }
    }

    /// Erases the line.
    pub fn clear(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The completed part, right-aligned.
pub fn percent(done: u64, of: u64) -> String {
    format!("{:>3} %", if of == 0 { 100 } else { (u128::from(done) * 100 / u128::from(of)).min(100) })
}

/// A number of bytes in the largest unit of which there are at least two.
pub fn bytes_text(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift >= 2);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(shift, name)| format!("{:.1} {name}", bytes as f64 / (1_u64 << shift) as f64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_percentages_are_short() {
        let sizes = [0, 2047, 2048, 5_000_000, 3 << 30].map(bytes_text);
        assert_eq!(sizes, ["0 B", "2047 B", "2.0 KiB", "4.8 MiB", "3.0 GiB"]);
        assert_eq!([percent(0, 0), percent(1, 3), percent(7, 7)], ["100 %", " 33 %", "100 %"]);
    }
}
