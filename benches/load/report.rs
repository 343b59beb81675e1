//! The table of figures: printed as they come, again at the end, and written as JSON.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::{Machine, median};
use crate::refuse;

/// What a figure counts.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PerSecond,
    /// Requests for each second of the server's processor time.
    PerCpuSecond,
    Micros,
    Millis,
    Seconds,
    Bytes,
    Megabytes,
    Mebibytes,
    Count,
}

impl Unit {
    pub fn higher_is_better(self) -> bool {
        matches!(self, Self::PerSecond | Self::PerCpuSecond)
    }

    fn show(self, figure: f64) -> String {
        match self {
            Self::PerSecond => format!("{figure:.0}/s"),
            Self::PerCpuSecond => format!("{figure:.0}/s of CPU, {:.1} µs each", 1e6 / figure),
            Self::Micros if figure < 100.0 => format!("{figure:.1} µs"),
            Self::Micros => format!("{figure:.0} µs"),
            Self::Millis => format!("{figure:.1} ms"),
            Self::Seconds => format!("{figure:.1} s"),
            Self::Bytes => format!("{figure:.0} B"),
            Self::Megabytes => format!("{figure:.1} MB"),
            Self::Mebibytes => format!("{figure:.1} MiB"),
            Self::Count => format!("{figure:.3}"),
        }
    }
}

/// The counterpart of a figure, measured in the same run.
pub enum Against {
    Nothing,
    /// What has to be installed for it.
    Missing(&'static str),
    /// One figure for each of ours.
    Rounds(Vec<f64>),
}

/// One figure, with all its rounds.
#[derive(Serialize, Deserialize)]
pub struct Row {
    pub id: String,
    pub what: String,
    pub unit: Unit,
    pub ours: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub theirs: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub goals: String,
}

impl Row {
    /// Whether it is the same figure of another run.
    pub fn is(&self, other: &Self) -> bool {
        self.id == other.id && self.what == other.what && self.unit == other.unit
    }

    /// Ours over theirs, round by round; empty if there is no counterpart.
    pub fn ratios(&self) -> Vec<f64> {
        self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect()
    }

    fn print(&self) {
        let side = |figures: &[f64]| (!figures.is_empty()).then(|| self.unit.show(median(figures.to_vec())));
        let absent = || self.missing.as_ref().map_or("-".into(), |what| format!("no {what}"));
        let ratios = self.ratios();
        let ratio = (!ratios.is_empty()).then(|| format!("{:.2}", median(ratios.clone())));
        let spread = spread(if ratios.is_empty() { &self.ours } else { &ratios });
        println!(
            "| {} | {} | {} | {} | {} | {spread} | {} |",
            self.id,
            self.what,
            side(&self.ours).expect("a row has a figure"),
            side(&self.theirs).unwrap_or_else(absent),
            ratio.unwrap_or_else(|| "-".into()),
            self.goals
        );
    }
}

/// The lowest and the highest round, in percent of the median.
fn spread(rounds: &[f64]) -> String {
    let percent = |figure: f64| (figure / median(rounds.to_vec()) - 1.0) * 100.0;
    let (low, high) = extent(rounds);
    if rounds.len() < 2 { "-".into() } else { format!("{:+.0} % {:+.0} %", percent(low), percent(high)) }
}

/// The lowest and the highest.
pub fn extent(figures: &[f64]) -> (f64, f64) {
    figures
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), figure| (low.min(*figure), high.max(*figure)))
}

/// All figures of a run.
#[derive(Serialize, Deserialize)]
pub struct Report {
    pub machine: Machine,
    pub rows: Vec<Row>,
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Report {
    /// Rows are written to `file` as they come, so that a run that is stopped keeps them.
    pub fn new(machine: Machine, file: Option<PathBuf>) -> Self {
        Self { machine, rows: vec![], file }
    }

    /// Reads what a run wrote.
    pub fn read(file: &Path) -> Self {
        let text =
            std::fs::read(file).unwrap_or_else(|error| refuse(format_args!("{}: {error}", file.display())));
        serde_json::from_slice(&text)
            .unwrap_or_else(|error| refuse(format_args!("{}: {error}", file.display())))
    }

    /// Adds a row, and shows it at once. `goals` is the first and the second goal.
    pub fn row(&mut self, id: &str, what: &str, unit: Unit, ours: Vec<f64>, against: Against, goals: &str) {
        let (theirs, missing) = match against {
            Against::Nothing => (vec![], None),
            Against::Missing(what) => (vec![], Some(what.to_owned())),
            Against::Rounds(theirs) => (theirs, None),
        };
        let row = Row { id: id.into(), what: what.into(), unit, ours, theirs, missing, goals: goals.into() };
        row.print();
        self.rows.push(row);
        if let Some(file) = &self.file {
            let text = serde_json::to_vec_pretty(self).expect("figures are finite");
            std::fs::write(file, text).expect("the file can be written");
        }
    }

    pub fn print(&self) {
        println!("\n{}\n", self.machine);
        println!("| id | what | keyfob | against | ratio | spread | goals |\n|---|---|---|---|---|---|---|");
        for row in &self.rows {
            row.print();
        }
    }
}
