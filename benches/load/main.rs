//! The load program: starts the release binary and its counterparts on one core, loads them from the other,
//! and prints the table of ratios.
//!
//! `cargo bench --bench load`, or for a part of it `cargo bench --bench load -- --sessions 1000000
//! introspection rotation growth`. `cargo bench --bench load -- compare OLD NEW` compares what two
//! runs wrote with `--json FILE`.
//!
//! `cargo bench --bench load -- soak` is an hour of mixed load with restarts; see `soak`.

#![expect(clippy::disallowed_methods, reason = "who measures time has to read it")]

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

mod backup;
mod bare;
mod compare;
mod disturbed;
mod floor;
mod growth;
mod history;
mod introspection;
mod machine;
mod openings;
mod peers;
mod plot;
mod redis;
mod report;
mod rotation;
mod scale;
mod server;
mod soak;
mod start;
mod store;
mod talk;

use machine::Machine;
use report::Report;

/// Rounds of every comparison; the median counts.
const ROUNDS: usize = 5;
/// Connections, where the table does not say one.
const CONNECTIONS: usize = 64;

/// What can be measured; all but the soak if none is named.
const PARTS: &[&str] = &[
    "start",
    "introspection",
    "rotation",
    "openings",
    "peers",
    "backup",
    "scale",
    "disturbed",
    "growth",
    "history",
    "soak",
];

/// What is to be measured.
struct Plan {
    sessions: usize,
    grown: usize,
    history: usize,
    /// Expired sessions that are swept.
    swept: usize,
    /// Numbers of sessions that are compared, ascending.
    scale: Vec<usize>,
    /// Where that is drawn.
    svg: PathBuf,
    /// Of the soak: how long, the seed, where its plots go, a defect that it must find.
    minutes: usize,
    seed: usize,
    soak: PathBuf,
    plant: Option<String>,
    /// Instead of the release build of this tree.
    binary: Option<PathBuf>,
    /// Where the figures are written.
    json: Option<PathBuf>,
    parts: Vec<String>,
}

impl Plan {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut plan = Self {
            sessions: 100_000,
            grown: 20_000,
            history: 10_000,
            swept: 1_000_000,
            scale: vec![10_000, 1_000_000, 10_000_000],
            svg: "target/scale.svg".into(),
            minutes: 60,
            seed: 1,
            soak: "target/soak".into(),
            plant: None,
            binary: None,
            json: None,
            parts: vec![],
        };
        while let Some(argument) = arguments.next() {
            let mut value = |what| {
                arguments.next().unwrap_or_else(|| refuse(format_args!("{argument} needs {what} after it")))
            };
            match argument.as_str() {
                "--bench" => {}
                "--sessions" => plan.sessions = number(&value(A_NUMBER)),
                "--grown" => plan.grown = number(&value(A_NUMBER)),
                "--history" => plan.history = number(&value(A_NUMBER)),
                "--swept" => plan.swept = number(&value(A_NUMBER)),
                "--scale" => plan.scale = value("numbers").split(',').map(number).collect(),
                "--svg" => plan.svg = value("a file").into(),
                "--minutes" => plan.minutes = number(&value(A_NUMBER)),
                "--seed" => plan.seed = number(&value(A_NUMBER)),
                "--svg-dir" => plan.soak = value("a directory").into(),
                "--plant" => plan.plant = Some(value("the name of a defect")),
                "--binary" => plan.binary = Some(value("a file").into()),
                "--json" => plan.json = Some(value("a file").into()),
                part if PARTS.contains(&part) => plan.parts.push(part.to_owned()),
                unknown => refuse(format_args!("{unknown} is no setting, and none of {}", PARTS.join(", "))),
            }
        }
        plan
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|named| named == part)
    }
}

const A_NUMBER: &str = "a whole number";

fn number<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| refuse(format_args!("{text} is not {A_NUMBER}")))
}

/// Ends the program because of what it was called with.
pub fn refuse(why: impl Display) -> ! {
    eprintln!("load: {why}");
    std::process::exit(2)
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare", port, answer] => return bare::serve(port, answer),
        ["compare", old, new, ..] => return compare::run(Path::new(old), Path::new(new)),
        ["compare", ..] => refuse("compare needs two files that --json has written"),
        ["soak-again", place, ..] => return soak::show_again(Path::new(place)),
        ["floor", port, answer, log] => return floor::serve(port, answer, log),
        _ => {}
    }
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured in a test run: cargo bench --bench load");
        return ExitCode::SUCCESS;
    }
    let plan = Plan::read(arguments.into_iter());
    server::choose(plan.binary.clone());
    if plan.parts == ["soak"] {
        let Plan { minutes, seed, .. } = plan;
        return soak::run(&soak::Settings { minutes, seed, place: &plan.soak, plant: plan.plant.as_deref() });
    }
    let machine = Machine::read(plan.sessions);
    println!("{machine}");
    let mut table = Report::new(machine, plan.json.clone());
    if plan.has("start") {
        start::measure(&mut table);
    }
    if ["introspection", "rotation", "openings", "peers", "backup"].iter().any(|part| plan.has(part)) {
        let mut filled = store::Filled::make(plan.sessions);
        if plan.has("introspection") {
            introspection::measure(&filled, &mut table);
        }
        if plan.has("rotation") {
            rotation::measure(&mut filled, &mut table);
        }
        start::measure_again(&filled, &mut table);
        if plan.has("openings") {
            openings::measure(&filled, &mut table);
        }
        if plan.has("peers") {
            peers::measure(&filled, &mut table);
        }
        if plan.has("backup") {
            backup::measure(&filled, &mut table);
        }
    }
    if plan.has("scale") {
        scale::measure(&plan.scale, &plan.svg, &mut table);
    }
    if plan.has("disturbed") {
        disturbed::measure(plan.sessions, plan.swept, &mut table);
    }
    if plan.has("growth") {
        growth::measure(plan.grown, &mut table);
    }
    if plan.has("history") {
        history::measure(plan.history, &mut table);
    }
    table.print();
    ExitCode::SUCCESS
}
