//! P2: introspections and refreshes beside other products on the same core, in alternating rounds.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::process::{Child, ChildStdin, Command, Stdio};

use serde::Deserialize;

use crate::introspection::Introspect;
use crate::machine::on_server_core;
use crate::redis::{Get, Put, Redis, Set, against};
use crate::report::{Against, Report, Unit};
use crate::rotation::Rotate;
use crate::server::{Server, binary};
use crate::store::{Filled, directory};
use crate::talk::{Run, each, post, run};
use crate::{CONNECTIONS, ROUNDS};

/// What `benches/peers/start.py` calls them, what they are, how many connections refresh, and the goals.
/// Hydra's store in memory is SQLite, which answers 500 to refreshes at the same time.
const PEERS: [(&str, &str, usize, &str); 3] = [
    ("oidc-provider", "node-oidc-provider in memory", CHAINS, "≥ 15, then ≥ 20"),
    ("hydra-memory", "Ory Hydra 2.3 in memory", 1, ""),
    ("hydra-postgresql", "Ory Hydra 2.3 over PostgreSQL", CHAINS, "≥ 30"),
];
/// What `start.py` exits with if something is not installed.
const NOT_INSTALLED: i32 = 3;
/// Connections that refresh.
const CHAINS: usize = 16;
/// Introspections and refreshes of one round, of keyfob and Redis, and of the other products.
const COUNTS: (usize, usize) = (20_000, 5_000);
const PEER_COUNTS: (usize, usize) = (4_000, 500);

/// Measures, and adds the rows.
pub fn measure(filled: &Filled, table: &mut Report) {
    let (server, _) = Server::start(filled.path());
    let mut all = Rotate::talks(filled);
    for (name, what, connections, goals) in PEERS {
        let mut chains = all.split_off(all.len() - connections);
        let peer = Peer::start(&[name]);
        let introspect = || ask(&server, filled);
        let (mut ours, mut theirs) = (vec![], vec![]);
        // All introspections first: the adapter of node-oidc-provider forgets what is old.
        for _ in 0..ROUNDS {
            ours.push(introspect());
            theirs.extend(peer.as_ref().map(|peer| peer.introspect(PEER_COUNTS.0)));
        }
        let row = format!("introspections, {CONNECTIONS} connections, against {what}");
        let against =
            |runs: Vec<f64>| if runs.is_empty() { Against::Missing(what) } else { Against::Rounds(runs) };
        let rates = against(each(&theirs, Run::per_second));
        table.row("P2", &row, Unit::PerSecond, each(&ours, Run::per_second), rates, goals);
        let mut their_chains = peer.as_ref().map(|peer| peer.chains(0..connections)).unwrap_or_default();
        let (mut ours, mut theirs) = (vec![], vec![]);
        for _ in 0..ROUNDS {
            ours.push(refresh(&server, &mut chains));
            theirs.extend(peer.as_ref().map(|peer| peer.refresh(&mut their_chains, PEER_COUNTS.1)));
        }
        let row = format!("refreshes, {connections} at a time, keyfob durable, against {what}");
        let rates = against(each(&theirs, Run::per_second));
        table.row("P2", &row, Unit::PerSecond, each(&ours, Run::per_second), rates, goals);
        if let Some((hydra, port)) = peer.as_ref().and_then(|peer| Some((peer, peer.ready.postgresql?))) {
            their_chains.extend(hydra.chains(connections..CONNECTIONS));
            over_postgresql(hydra, their_chains, port, table);
        }
    }
    all.truncate(CHAINS);
    redis(filled, &server, &mut all, table);
}

/// The same with keyfob over the PostgreSQL of Hydra.
fn over_postgresql(hydra: &Peer, mut theirs: Vec<Rotate>, port: u16, table: &mut Report) {
    let binary = binary().to_str().expect("its path is UTF-8");
    let Some(keyfob) = Peer::start(&["keyfob-postgresql", binary, &port.to_string()]) else { return };
    let mut ours = keyfob.chains(0..CONNECTIONS);
    let (mut asked, mut refreshed) = ((vec![], vec![]), (vec![], vec![]));
    for _ in 0..ROUNDS {
        asked.0.push(keyfob.introspect(COUNTS.0));
        asked.1.push(hydra.introspect(PEER_COUNTS.0));
        refreshed.0.push(keyfob.refresh(&mut ours, COUNTS.1));
        refreshed.1.push(hydra.refresh(&mut theirs, PEER_COUNTS.1));
    }
    let mut row = |what: &str, ours: Vec<f64>, theirs: Vec<f64>, goal: &str| {
        let what = format!(
            "{what}, {CONNECTIONS} connections, keyfob over PostgreSQL, \
             against Ory Hydra 2.3 over the same PostgreSQL"
        );
        table.row("-", &what, Unit::PerSecond, ours, Against::Rounds(theirs), goal);
    };
    let rates = each(&asked.0, Run::per_second);
    row("introspections", rates, each(&asked.1, Run::per_second), "≥ 8");
    let rates = each(&refreshed.0, Run::per_second);
    row("refreshes", rates, each(&refreshed.1, Run::per_second), "≥ 10");
}

/// The same beside Redis, which only stores.
fn redis(filled: &Filled, server: &Server, chains: &mut Vec<Rotate>, table: &mut Report) {
    let place = directory();
    let redis = Redis::start(place.path());
    if let Some(redis) = &redis {
        redis.run(vec![Put], 1);
    }
    let (mut ours, mut theirs, mut refreshed, mut set) = (vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        ours.push(ask(server, filled));
        theirs.extend(redis.as_ref().map(|redis| redis.run(Get::talks(), COUNTS.0)));
        refreshed.push(refresh(server, chains));
        set.extend(redis.as_ref().map(|redis| redis.run(Set::talks(CHAINS, filled.sessions), COUNTS.1)));
    }
    let what = format!("introspections, {CONNECTIONS} connections, against Redis GET of 200 bytes");
    let rates = against(&theirs, Run::per_second);
    table.row("-", &what, Unit::PerSecond, each(&ours, Run::per_second), rates, "");
    let what = format!(
        "refreshes, {CHAINS} at a time, durable, against Redis SET of 300 bytes (appendfsync always)"
    );
    let rates = against(&set, Run::per_second);
    table.row("-", &what, Unit::PerSecond, each(&refreshed, Run::per_second), rates, "");
}

fn ask(server: &Server, filled: &Filled) -> Run<Introspect> {
    run(server.pid(), server.port, Introspect::of_sessions(filled), COUNTS.0)
}

fn refresh(server: &Server, chains: &mut Vec<Rotate>) -> Run<()> {
    rotate(server.pid(), server.port, chains, COUNTS.1 * chains.len() / CHAINS)
}

/// Goes on with the chains.
fn rotate(pid: u32, port: u16, chains: &mut Vec<Rotate>, count: usize) -> Run<()> {
    let (round, talks) = run(pid, port, std::mem::take(chains), count).without_talks();
    *chains = talks;
    round
}

/// Another product, running. Stopped when dropped.
struct Peer {
    child: Child,
    /// The script stops the product when this closes.
    input: Option<ChildStdin>,
    ready: Ready,
}

/// What the script prints.
#[derive(Deserialize)]
struct Ready {
    introspect: (u16, String),
    token: (u16, String),
    form: String,
    authorization: String,
    access: Vec<String>,
    refresh: Vec<String>,
    /// The port of its PostgreSQL.
    postgresql: Option<u16>,
}

impl Peer {
    /// `None` if something is not installed.
    fn start(arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/start.py")).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = on_server_core(|| command.spawn().expect("python3 is installed"));
        let mut line = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("it prints text");
        if line.is_empty() {
            let status = child.wait().expect("it is ours");
            assert!(status.code() == Some(NOT_INSTALLED), "{arguments:?} did not start");
            return None;
        }
        let ready = serde_json::from_str(&line).expect("the script prints JSON");
        Some(Self { input: child.stdin.take(), child, ready })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn introspect(&self, count: usize) -> Run<Introspect> {
        let (port, path) = &self.ready.introspect;
        let question = |token| post(path, &self.ready.authorization, &format!("token={token}"));
        let talks = Introspect::talks(self.ready.access.iter().map(question).collect());
        run(self.pid(), *port, talks, count)
    }

    fn chains(&self, which: Range<usize>) -> Vec<Rotate> {
        let Ready { token, form, authorization, refresh, .. } = &self.ready;
        let chain = |refresh: &String| Rotate::chain(&token.1, authorization, form, refresh);
        refresh[which].iter().map(chain).collect()
    }

    fn refresh(&self, chains: &mut Vec<Rotate>, count: usize) -> Run<()> {
        rotate(self.pid(), self.ready.token.0, chains, count)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
