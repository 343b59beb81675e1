//! One run: a seed decides who is served next, what fails, and when the clock moves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Method;
use keyfob::config::Config;
use keyfob::domain::time::Timestamp;
use keyfob::engine::clock::{Clock, ManualClock};
use keyfob::store::Store;
use serde_json::json;

use crate::audit::{Audit, Verdict};
use crate::client::{Clients, Sent};
use crate::dice::Dice;
use crate::disk::{Disk, Fault};
use crate::facts::Facts;
use crate::operation::Operation;
use crate::server::{Answer, Auth, Body, Request, Server, config, send};

/// 2027-01-15T08:00:00Z.
const NOW_S: i64 = 1_800_000_000;
const STEPS: usize = 260;
/// Requests in progress at once.
const FLIGHTS_MAX: usize = 6;

/// The result of a run.
pub struct Outcome {
    pub verdict: Verdict,
    pub history: Vec<String>,
    /// A checksum over everything that was written to the disk.
    pub trace: u32,
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Stop,
    Kill,
    PowerCut,
}

struct Flight {
    sent: Sent,
    number: usize,
    answering: Pin<Box<dyn Future<Output = Answer>>>,
}

struct Run {
    dice: Dice,
    disk: Disk,
    config: Config,
    clock: Clock,
    hand: ManualClock,
    clients: Clients,
    audit: Audit,
    root: Auth,
    flights: Vec<Flight>,
    requests: usize,
    /// Whether something that fails excuses answers of 503.
    troubled: bool,
    history: Vec<String>,
}

/// Runs a seed on `disk`.
pub fn run(seed: u64, disk: Disk) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap();
    let mut run = Run::new(seed, disk);
    let whole = AssertUnwindSafe(|| runtime.block_on(run.whole()));
    let verdict = catch_unwind(whole).unwrap_or_else(|_| Err("a panic; see above".into()));
    Outcome { verdict, trace: run.disk.trace(), history: run.history }
}

impl Run {
    fn new(seed: u64, disk: Disk) -> Self {
        let mut dice = Dice::new(seed);
        let secrets = Mutex::new(Dice::new(dice.roll()));
        let now = Timestamp::from_seconds(NOW_S);
        let (clock, hand) = Clock::simulated(now, move |bytes| secrets.lock().unwrap().fill(bytes));
        let late = ["end_session", "refuse", "answer"][dice.below(3)];
        let config = config(&[("policy.default.late_retry", late)]);
        let idle_timeout = config.policies["default"].lifetimes.idle_timeout;
        Self {
            dice,
            disk,
            clock,
            hand,
            clients: Clients::new(Facts::new(now), idle_timeout),
            audit: Audit::default(),
            root: Auth::Socket,
            flights: vec![],
            requests: 0,
            troubled: false,
            history: vec![format!("late_retry = {late}")],
            config,
        }
    }

    async fn whole(&mut self) -> Verdict {
        let mut server = Server::boot(&self.disk, &self.config, self.clock.clone()).await?;
        let fields = json!({"client_id": "root", "permissions": ["admin"]});
        let (path, body) = ("/v1/clients".into(), Body::Json(fields));
        let request = Request { method: Method::POST, path, auth: Auth::Socket, key: None, body };
        let created = server.send(request).await.body;
        self.root = Auth::Basic("root".into(), created["client_secret"].as_str().unwrap().into());
        for _ in 0..STEPS {
            self.clients.facts.tick += 1;
            server = self.step(server).await?;
            tokio::task::yield_now().await;
            if server.store.ready().is_err() {
                server = self.restart(server, End::PowerCut).await?;
            }
        }
        server = self.quiesce(server).await?;
        let server = self.restart(server, End::PowerCut).await?;
        self.disk.detach();
        drop(server);
        Ok(())
    }

    async fn step(&mut self, mut server: Server) -> Verdict<Server> {
        match self.dice.below(100) {
            0..40 if self.flights.len() < FLIGHTS_MAX => self.send(&server),
            0..75 => self.poll(&mut server).await?,
            75..88 => {
                if server.step() {
                    self.note("the writer committed".into());
                }
            }
            88..90 => self.lose(),
            90..93 => self.move_clock(),
            93 => self.stall().await,
            94 => self.break_disk(),
            95 => {
                let end = [End::Stop, End::Kill, End::PowerCut][self.dice.below(3)];
                return self.restart(server, end).await;
            }
            96..98 => return self.quiesce(server).await,
            _ => {
                let engine = server.engine.clone();
                server.drive(engine.write_uses(false)).await;
            }
        }
        Ok(server)
    }

    fn send(&mut self, server: &Server) {
        let Some(operation) = self.clients.choose(&mut self.dice) else { return };
        let by_root = self.dice.one_in(3);
        let request = operation.request(&self.clients.facts, &self.clients.openings, &self.root, by_root);
        let sent = self.clients.sent(operation, by_root);
        self.requests += 1;
        let number = self.requests;
        self.note(format!("#{number} {:?} by {:?}", sent.operation, request.auth));
        let answering: Pin<Box<dyn Future<Output = Answer>>> = if let Operation::Sweep = sent.operation {
            let engine = server.engine.clone();
            Box::pin(async move {
                let status = if engine.sweep().await.is_ok() { 200 } else { 503 };
                Answer { status, body: json!(null) }
            })
        } else {
            Box::pin(send(server.wire.clone(), request))
        };
        self.flights.push(Flight { sent, number, answering });
    }

    /// Lets one request go on.
    async fn poll(&mut self, server: &mut Server) -> Verdict {
        if self.flights.is_empty() {
            server.step();
            return Ok(());
        }
        let index = self.dice.below(self.flights.len());
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = self.flights[index].answering.as_mut().poll(&mut context) else {
            return Ok(());
        };
        let flight = self.flights.remove(index);
        self.note(format!("#{} answered {} {}", flight.number, answer.status, answer.body));
        let answered = self.clients.answered(&flight.sent, &answer, self.troubled);
        answered.map_err(|why| format!("#{} {:?}: {why}", flight.number, flight.sent.operation))
    }

    /// A client hangs up.
    fn lose(&mut self) {
        if !self.flights.is_empty() {
            let flight = self.flights.remove(self.dice.below(self.flights.len()));
            self.note(format!("#{} lost", flight.number));
            self.clients.lost(&flight.sent);
        }
    }

    fn move_clock(&mut self) {
        let by = [1, 1, 2, 5, 5, 11, 11, 61, 301, 1799, 90_000, -1, -30, -300, -3_600];
        let by: i64 = by[self.dice.below(by.len())];
        let now = self.clock.now().wall;
        // A step of time, or of the wall clock only.
        match u64::try_from(by) {
            Ok(by) if self.dice.one_in(2) => self.hand.advance(Duration::from_secs(by)),
            _ => self.hand.set_wall(Timestamp::from_millis(now.millis() + by * 1000)),
        }
        let now = self.clock.now().wall;
        self.clients.facts.move_clock(now);
        self.note(format!("the clock moved by {by} s to {now}"));
    }

    /// The disk does not answer for longer than a request waits.
    async fn stall(&mut self) {
        if !self.flights.is_empty() {
            self.note("the disk stalls".into());
            self.troubled = true;
            tokio::time::advance(self.config.limits.request_timeout).await;
        }
    }

    fn break_disk(&mut self) {
        let after = self.dice.below(60) as u64;
        let faults = [Fault::PowerCut, Fault::PowerCut, Fault::WriteError, Fault::ReadError, Fault::Full];
        let fault = faults[self.dice.below(faults.len())];
        self.disk.arm(after, fault);
        self.troubled = true;
        self.note(format!("{fault:?} after {after} operations of the disk"));
    }

    /// Finishes all requests and audits the store.
    async fn quiesce(&mut self, mut server: Server) -> Verdict<Server> {
        while !self.flights.is_empty() {
            self.clients.facts.tick += 1;
            self.poll(&mut server).await?;
            server.step();
            tokio::task::yield_now().await;
        }
        let engine = server.engine.clone();
        server.drive(engine.write_uses(false)).await;
        while server.step() {
            tokio::task::yield_now().await;
        }
        if server.store.ready().is_err() {
            return self.restart(server, End::PowerCut).await;
        }
        self.check(&mut server).await?;
        Ok(server)
    }

    async fn check(&mut self, server: &mut Server) -> Verdict {
        // What the disk does during an audit is another run's matter.
        self.disk.arm(u64::MAX, Fault::ReadError);
        self.troubled = false;
        self.audit.run(server, &mut self.clients.facts, &mut self.clients.openings).await?;
        self.clients.audited();
        self.note("audited".into());
        Ok(())
    }

    async fn restart(&mut self, mut server: Server, end: End) -> Verdict<Server> {
        for flight in std::mem::take(&mut self.flights) {
            self.note(format!("#{} lost", flight.number));
            self.clients.lost(&flight.sent);
        }
        let found = match end {
            End::PowerCut => self.disk.after_power_cut(&mut self.dice),
            End::Kill => self.disk.after_kill(),
            End::Stop => {
                let engine = server.engine.clone();
                server.drive(engine.write_uses(true)).await;
                while server.step() {}
                drop((server, engine));
                tokio::task::yield_now().await;
                return self.start(self.disk.after_kill(), end).await;
            }
        };
        self.disk.detach();
        drop(server);
        tokio::task::yield_now().await;
        self.start(found, end).await
    }

    async fn start(&mut self, found: Disk, end: End) -> Verdict<Server> {
        self.disk.detach();
        self.disk = found;
        self.note(format!("{end:?}, and a start"));
        self.hand.restart();
        let mut server = self.boot().await?;
        while server.step() {}
        self.check(&mut server).await?;
        Ok(server)
    }

    /// Starts, though the power may fail again meanwhile.
    async fn boot(&mut self) -> Verdict<Server> {
        loop {
            let cut = self.dice.one_in(3);
            if cut {
                self.disk.arm(self.dice.below(40) as u64, Fault::PowerCut);
            }
            match Server::boot(&self.disk, &self.config, self.clock.clone()).await {
                Ok(server) => return Ok(server),
                Err(error) if cut => {
                    self.note(format!("the power failed during the start: {error}"));
                    let found = self.disk.after_power_cut(&mut self.dice);
                    self.disk.detach();
                    self.disk = found;
                }
                Err(error) => return Err(format!("the server does not start: {error}")),
            }
        }
    }

    fn note(&mut self, line: String) {
        self.history.push(format!("{:>4} {line}", self.clients.facts.tick));
    }
}

/// The history of a run, for a person.
pub fn described(seed: u64, outcome: &Outcome) -> String {
    let why = outcome.verdict.as_ref().err().map_or("no contradiction", |why| why);
    format!("{}\nseed {seed}: {why}", outcome.history.join("\n"))
}
