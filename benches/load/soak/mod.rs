//! The soak: mixed load for an hour with restarts at random. What must not grow is sampled, judged and drawn.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::machine::Machine;
use crate::server::binary;
use crate::store::{database, directory, runtime};

mod calls;
mod credentials;
#[path = "../../../tests/simulator/dice.rs"]
#[expect(dead_code, reason = "the simulator draws more")]
mod dice;
mod draw;
mod flat;
mod follower;
mod history;
mod ledger;
mod line;
mod operator;
mod plant;
mod probe;
mod restarts;
mod sampler;
mod times;
mod worker;

use dice::Dice;
use history::History;
use ledger::Ledger;
use line::{Door, Line};
use plant::Plant;
use restarts::Restarting;
use times::Times;

/// Connections of the mixed load.
const WORKERS: usize = 16;
/// Faults after which a run ends early.
const FAULTS_MAX: usize = 20;

/// What is asked for.
pub struct Settings<'a> {
    pub minutes: usize,
    pub seed: usize,
    /// Where plots and samples are written.
    pub place: &'a Path,
    /// A defect that the run must find, by its name.
    pub plant: Option<&'a str>,
}

/// What the tasks of a run share; all run on one thread.
struct Shared {
    times: Times,
    ledger: RefCell<Ledger>,
    history: RefCell<History>,
    start: Instant,
}

impl Shared {
    fn at_s(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Waits until that many seconds after the start; `false` once there are too many faults.
    async fn until(&self, at_s: f64) -> bool {
        while self.ledger.borrow().faults.len() < FAULTS_MAX {
            if self.at_s() >= at_s {
                return true;
            }
            sleep(Duration::from_secs_f64((at_s - self.at_s()).clamp(0.0, 1.0))).await;
        }
        false
    }
}

/// Runs, draws and prints. Succeeds if every answer was right and every figure is flat, or with a plant, if
/// that was found.
pub fn run(settings: &Settings) -> ExitCode {
    std::fs::create_dir_all(settings.place).expect("the directory can be made");
    let plant = settings.plant.map(Plant::named);
    let history = runtime().block_on(LocalSet::new().run_until(load(settings, plant)));
    history.write(settings.place);
    show(&history, settings.place, plant)
}

/// Judges and draws the samples of an earlier run again.
pub fn show_again(place: &Path) -> ExitCode {
    show(&History::read(place), place, None)
}

fn show(history: &History, place: &Path, plant: Option<Plant>) -> ExitCode {
    println!("\n{history}");
    let flat::Judged { grown, unknown } = flat::print(history);
    draw::all(history, place);
    println!("\ndrawn to {}", place.display());
    let sound = grown.is_empty() && unknown.is_empty() && history.faults.is_empty();
    let (faults, grown_names, unknown) = (history.faults.len(), grown.join(", "), unknown.join(", "));
    println!("{faults} faults; not flat: {grown_names}; too few samples: {unknown}");
    let passed = plant.map_or(sound, |plant| plant.is_found(&grown, &history.faults));
    println!("{}", if passed { "passed" } else { "FAILED" });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn load(settings: &Settings<'_>, plant: Option<Plant>) -> History {
    let seconds = 60.0 * settings.minutes as f64;
    let (place, mut dice) = (directory(), Dice::new(settings.seed as u64));
    let times = Times::of(settings.minutes);
    let config = credentials::config(&times, plant);
    let history = History::new(Machine::read(0), settings.minutes, settings.seed);
    let ledger = RefCell::new(Ledger::new(WORKERS, times));
    let shared = Rc::new(Shared { times, ledger, history: RefCell::new(history), start: Instant::now() });
    let (publish, door) = watch::channel(None);
    let mut server = restarts::start(place.path(), &config).await;
    publish.send_replace(Some(Door::of(&server)));
    for number in 0..WORKERS {
        worker::spawn(number, Dice::new(dice.roll()), Line::new(door.clone()), shared.clone());
    }
    operator::spawn(&door, &shared);
    follower::spawn(Line::new(door.clone()), shared.clone());
    let probes = probe::spawn(&door, place.path());
    let written = settings.place.to_owned();
    sampler::spawn(door.clone(), database(place.path()), written, probes, shared.clone());
    if plant == Some(Plant::Connections) {
        plant::leave_connections_open(door.clone());
    }
    let restarting =
        Restarting { place: place.path(), config: &config, publish: &publish, plant, shared: &shared };
    for (at_s, kill) in restarts::planned(&mut dice, seconds) {
        if !shared.until(at_s).await {
            break;
        }
        server = restarting.restart(server, kill).await;
    }
    shared.until(seconds).await;
    publish.send_replace(None);
    let checked = tokio::task::spawn_blocking(move || {
        server.stop();
        Command::new(binary()).args(["db", "check"]).current_dir(place.path()).status().expect("it runs")
    });
    if !checked.await.expect("it does not panic").success() {
        shared.ledger.borrow_mut().faults.push("keyfob db check found damage".into());
    }
    let (mut history, ledger) = (shared.history.take(), shared.ledger.replace(Ledger::new(0, times)));
    (history.faults, history.counts) = (ledger.faults, ledger.counts);
    history
}
