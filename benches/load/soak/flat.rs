//! Whether a figure is flat: the rule, the figures, and the table.

use super::history::{History, Sample, Window};
use super::times::Times;
use crate::machine::median;

pub const LOG: &str = "events in the log";
pub const TABLES: &str = "size of the tables";
pub const OPEN_FILES: &str = "open files";

/// Of a quarter.
const SAMPLES_MIN: usize = 3;

/// Time and figure.
pub type Series = Vec<(f64, f64)>;

/// A figure with the change that still counts as flat.
struct Measure {
    name: &'static str,
    unit: &'static str,
    series: Series,
    /// In parts of the figure, and in its unit; the larger one counts. Without it the figure is shown only.
    change_max: Option<(f64, f64)>,
}

/// What became of the figures.
#[derive(Default)]
pub struct Judged {
    pub grown: Vec<&'static str>,
    /// Those with too few samples.
    pub unknown: Vec<&'static str>,
}

/// Prints the table.
///
/// The first quarter is the time in which the load reaches its balance. A figure is flat if neither the
/// median of the last quarter is above that of the second one by more than the change allowed, nor the line
/// through the last three quarters (Theil-Sen) rises by more than that.
pub fn print(history: &History) -> Judged {
    println!("| figure | second quarter | last quarter | change | line | allowed | flat |");
    println!("|---|---|---|---|---|---|---|");
    let mut judged = Judged::default();
    for measure in measures(history) {
        match measure.is_flat() {
            Some(true) => {}
            Some(false) => judged.grown.push(measure.name),
            None => judged.unknown.push(measure.name),
        }
    }
    judged
}

fn measures(history: &History) -> Vec<Measure> {
    let (from, to) = history.longest_life();
    let is_of_longest = |at_s: f64| (from..to).contains(&at_s);
    // The memory of a process grows until its caches are full: processes are compared at the same age.
    let young_s = Times::of(history.minutes).young.as_secs_f64();
    let is_young = |sample: &Sample| (young_s..2.0 * young_s).contains(&sample.age_s);
    let present = |figure: fn(&Sample) -> Option<f64>| -> Series {
        history.samples.iter().filter_map(|sample| Some((sample.at_s, figure(sample)?))).collect()
    };
    let of = |figure: fn(&Sample) -> f64| -> Series {
        history.samples.iter().map(|sample| (sample.at_s, figure(sample))).collect()
    };
    let of_longest = |figure: fn(&Sample) -> f64| -> Series {
        of(figure).into_iter().filter(|(at_s, _)| is_of_longest(*at_s)).collect()
    };
    let p99 = |figure: fn(&Window) -> f64| -> Series {
        history.windows.iter().map(|window| (window.at_s, figure(window))).collect()
    };
    let of_young = history.samples.iter().filter(|sample| is_young(sample));
    let young: Series = of_young.map(|sample| (sample.at_s, sample.resident_mib)).collect();
    let measure = |name, unit, series, change_max| Measure { name, unit, series, change_max };
    vec![
        measure("resident memory of young processes", "MiB", young, Some((0.1, 2.0))),
        measure(
            "resident memory of the longest process",
            "MiB",
            of_longest(|sample| sample.resident_mib),
            Some((0.1, 2.0)),
        ),
        measure("size of the file", "MiB", of(|sample| sample.file_mib), Some((0.1, 1.0))),
        measure(TABLES, "MiB", present(|sample| sample.used_mib), Some((0.1, 0.5))),
        measure(LOG, "", of(|sample| sample.log_entries), Some((0.1, 0.0))),
        measure("events per second", "", event_rate(history), Some((0.1, 0.0))),
        measure("active sessions", "", of(|sample| sample.sessions_active), Some((0.1, 0.0))),
        // A retired key stays published for a day.
        measure("signing keys", "", of(|sample| sample.signing_keys), None),
        measure(OPEN_FILES, "", of(|sample| sample.open_files), Some((0.0, 4.0))),
        measure(
            "open files of the longest process",
            "",
            of_longest(|sample| sample.open_files),
            Some((0.0, 4.0)),
        ),
        measure("threads", "", of(|sample| sample.threads), Some((0.0, 1.0))),
        measure("p99 of introspection / healthz", "", p99(Window::introspection_ratio), Some((0.5, 0.0))),
        measure("p99 of refresh / fdatasync", "", p99(Window::refresh_ratio), Some((0.5, 0.0))),
        measure("p99 of introspection", "ms", p99(|window| window.introspection_ms), None),
        measure("p99 of healthz", "ms", p99(|window| window.healthz_ms), None),
        measure("p99 of refresh", "ms", p99(|window| window.refresh_ms), None),
        measure("p99 of fdatasync", "ms", p99(|window| window.fdatasync_ms), None),
        measure("processor time", "%", present(|sample| sample.cpu_percent), None),
        measure("load average of the machine", "", of(|sample| sample.load_average), None),
    ]
}

impl Window {
    fn introspection_ratio(&self) -> f64 {
        self.introspection_ms / self.healthz_ms
    }

    fn refresh_ratio(&self) -> f64 {
        self.refresh_ms / self.fdatasync_ms
    }
}

/// How fast positions advance, over half a minute each.
fn event_rate(history: &History) -> Series {
    let pairs = history.samples.iter().zip(history.samples.iter().skip(10));
    pairs.map(|(one, other)| (other.at_s, (other.head - one.head) / (other.at_s - one.at_s))).collect()
}

impl Measure {
    /// Prints a row. `None` if there are too few samples.
    fn is_flat(&self) -> Option<bool> {
        let Self { name, unit, series, change_max } = self;
        let (start, end) =
            (series.first().map_or(0.0, |first| first.0), series.last().map_or(0.0, |last| last.0));
        let from_quarter = |number: f64| start + (end - start) * number / 4.0;
        let between = |from: f64, to: f64| -> Series {
            series.iter().filter(|(at_s, _)| (from..=to).contains(at_s)).copied().collect()
        };
        let second = between(from_quarter(1.0), from_quarter(2.0));
        let last = between(from_quarter(3.0), end);
        if second.len() < SAMPLES_MIN || last.len() < SAMPLES_MIN {
            println!("| {name} | too few samples | | | | | NO |");
            return None;
        }
        let line = slope(&between(from_quarter(1.0), end)) * (end - from_quarter(1.0));
        let (second, last) = (middle(second), middle(last));
        let (change, most) = (last - second, change_max.map(|(part, least)| (part * second).max(least)));
        let flat = most.is_none_or(|most| change <= most && line <= most);
        let (allowed, word) = match most {
            Some(most) => (format!("{most:.1}"), if flat { "yes" } else { "NO" }),
            None => ("-".to_owned(), "-"),
        };
        let quarters = format!("{second:.1} {unit} | {last:.1} {unit}");
        println!("| {name} | {quarters} | {change:+.1} | {line:+.1} | {allowed} | {word} |");
        Some(flat)
    }
}

fn middle(series: Series) -> f64 {
    median(series.into_iter().map(|(_, figure)| figure).collect())
}

/// The median of the slopes between all pairs: outliers do not count.
fn slope(series: &[(f64, f64)]) -> f64 {
    let pairs = series.iter().enumerate().flat_map(|(number, one)| {
        series[number + 1..].iter().map(move |other| (other.1 - one.1) / (other.0 - one.0))
    });
    median(pairs.collect())
}
