//! The processes over one store: when they end and how, and what is checked before the next one serves.

use std::path::Path;

use tokio::sync::watch;

use super::Shared;
use super::dice::Dice;
use super::history::Restart;
use super::ledger;
use super::line::{Door, Line};
use super::plant::{Plant, roll_back};
use crate::server::Server;
use crate::store::database;

/// Between two restarts, in parts of the run; the logarithm of the pause is distributed evenly.
const PAUSE: (f64, f64) = (1.0 / 720.0, 1.0 / 12.0);

/// When to restart, and whether by SIGKILL. The third quarter has no restart, so that one process is seen to
/// grow or not to.
pub fn planned(dice: &mut Dice, seconds: f64) -> Vec<(f64, bool)> {
    let (mut at_s, mut planned) = (0.0, vec![]);
    loop {
        let (least, most) = PAUSE;
        at_s += seconds * least * (most / least).powf(dice.below(1_000) as f64 / 1e3);
        if at_s >= seconds * (1.0 - least) {
            return planned;
        }
        let kill = dice.one_in(2);
        if !(0.5..0.75).contains(&(at_s / seconds)) {
            planned.push((at_s, kill));
        }
    }
}

pub async fn start(place: &Path, config: &str) -> Server {
    let (place, config) = (place.to_owned(), config.to_owned());
    tokio::task::spawn_blocking(move || Server::start_unbound(&place, &config)).await.expect("it starts")
}

/// What a restart needs.
pub struct Restarting<'a> {
    pub place: &'a Path,
    pub config: &'a str,
    pub publish: &'a watch::Sender<Option<Door>>,
    pub plant: Option<Plant>,
    pub shared: &'a Shared,
}

impl Restarting<'_> {
    /// Ends the process, starts another one over the same store, and checks there what was acknowledged,
    /// before the load goes on.
    pub async fn restart(&self, server: Server, kill: bool) -> Server {
        let at_s = self.shared.at_s();
        let end = move || if kill { server.kill() } else { server.stop() };
        tokio::task::spawn_blocking(end).await.expect("a clean stop");
        self.publish.send_replace(None);
        if self.plant == Some(Plant::Rollback) {
            roll_back(&database(self.place));
        }
        let server = start(self.place, self.config).await;
        let took_s = self.shared.at_s() - at_s;
        let (_keep, door) = watch::channel(Some(Door::of(&server)));
        ledger::check(&self.shared.ledger, &mut Line::new(door)).await;
        self.shared.history.borrow_mut().restarts.push(Restart { at_s, kill, took_s });
        self.publish.send_replace(Some(Door::of(&server)));
        server
    }
}
