//! The load program: starts the release binary and its counterparts on one core, loads them from the other,
//! and prints the table of ratios.
//!
//! `cargo bench --bench load`, or for a part of it `cargo bench --bench load -- --sessions 1000000
//! introspection rotation growth`. `cargo bench --bench load -- compare OLD NEW` compares what two
//! runs wrote with `--json FILE`.
//!
//! `cargo bench --bench load -- soak` is an hour of mixed load with restarts; see `soak`.

#![expect(clippy::disallowed_methods, reason = "who measures time has to read it")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
            let mut number =
                || arguments.next().and_then(|text| text.parse().ok()).expect("a number follows");
            match argument.as_str() {
                "--bench" => {}
                "--sessions" => plan.sessions = number(),
                "--grown" => plan.grown = number(),
                "--history" => plan.history = number(),
                "--swept" => plan.swept = number(),
                "--scale" => {
                    let list = arguments.next().expect("numbers follow");
                    plan.scale = list.split(',').map(|one| one.parse().expect("a number")).collect();
                }
                "--svg" => plan.svg = arguments.next().expect("a file follows").into(),
                "--minutes" => plan.minutes = number(),
                "--seed" => plan.seed = number(),
                "--svg-dir" => plan.soak = arguments.next().expect("a directory follows").into(),
                "--plant" => plan.plant = Some(arguments.next().expect("a defect follows")),
                "--binary" => plan.binary = arguments.next().map(PathBuf::from),
                "--json" => plan.json = arguments.next().map(PathBuf::from),
                part => plan.parts.push(part.to_owned()),
            }
        }
        plan
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|named| named == part)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["bare", port, answer] => return bare::serve(port, answer),
        ["compare", old, new, ..] => return compare::run(Path::new(old), Path::new(new)),
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
