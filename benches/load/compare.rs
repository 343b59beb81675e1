//! `compare OLD NEW`: what changed between two runs beyond the noise.

use std::path::Path;
use std::process::ExitCode;

use crate::machine::median;
use crate::report::{Report, Row, Unit, extent};

/// From this many rounds on, two runs differ only if every round of one is above every round of the other.
const ROUNDS_MIN: usize = 3;
/// With fewer, the noise is unknown, and this much is taken for it.
const NOISE: f64 = 0.05;

/// Prints each row of both runs that changed, and how many did not.
pub fn run(old: &Path, new: &Path) -> ExitCode {
    let (old, new) = (Report::read(old), Report::read(new));
    println!("old: {}\nnew: {}\n", old.machine, new.machine);
    println!("| id | what | old | new | change | |\n|---|---|---|---|---|---|");
    let mut same = 0;
    for row in &new.rows {
        let Some(before) = old.rows.iter().find(|other| other.is(row)) else {
            println!("| {} | {} | - | | | only in the new run |", row.id, row.what);
            continue;
        };
        let change = Change::of(before, row);
        match change.verdict() {
            Some(verdict) => println!(
                "| {} | {} | {} | {} | {:+.1} % | {verdict} |",
                row.id,
                row.what,
                figure(median(change.old.clone())),
                figure(median(change.new.clone())),
                change.percent()
            ),
            None => same += 1,
        }
    }
    for row in &old.rows {
        if !new.rows.iter().any(|other| other.is(row)) {
            println!("| {} | {} | | - | | only in the old run |", row.id, row.what);
        }
    }
    println!("\n{same} rows without a change beyond the noise");
    ExitCode::SUCCESS
}

/// The rounds of one row in both runs: the ratios if both have a counterpart, which a slower machine changes
/// less than the figures.
struct Change {
    old: Vec<f64>,
    new: Vec<f64>,
    unit: Unit,
}

impl Change {
    fn of(old: &Row, new: &Row) -> Self {
        let (ratios, figures) = ((old.ratios(), new.ratios()), (old.ours.clone(), new.ours.clone()));
        let (old, now) = if ratios.0.is_empty() || ratios.1.is_empty() { figures } else { ratios };
        Self { old, new: now, unit: new.unit }
    }

    fn percent(&self) -> f64 {
        (median(self.new.clone()) / median(self.old.clone()) - 1.0) * 100.0
    }

    fn verdict(&self) -> Option<&'static str> {
        let ((old_low, old_high), (new_low, new_high)) = (extent(&self.old), extent(&self.new));
        let noise = if self.old.len().min(self.new.len()) < ROUNDS_MIN { NOISE } else { 0.0 };
        let rose = new_low > old_high * (1.0 + noise);
        let fell = new_high < old_low * (1.0 - noise);
        (rose || fell).then_some(if rose == self.unit.higher_is_better() { "better" } else { "WORSE" })
    }
}

fn figure(figure: f64) -> String {
    if figure < 10.0 { format!("{figure:.3}") } else { format!("{figure:.0}") }
}
