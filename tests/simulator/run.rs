//! One run: a seed decides who is served next, what fails, and when the clock moves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Method;
use keyfob::config::Config;
use keyfob::domain::client::ClientKind;
use keyfob::domain::time::Timestamp;
use keyfob::engine::clock::{Clock, ManualClock};
use keyfob::store::Store;
use serde_json::json;
use tokio::task::unconstrained;

use crate::audit::{Audit, Verdict};
use crate::backup::{Backup, back_up, restore};
use crate::client::{Clients, Limit, Name, Sent};
use crate::dice::Dice;
use crate::disk::{Disk, Fault};
use crate::facts::{Epoch, Facts};
use crate::operation::{NAMES, Operation};
use crate::server::{Answer, Auth, Body, Request, Server, config, send};

/// 2027-01-15T08:00:00Z.
const NOW_S: i64 = 1_800_000_000;
const STEPS: usize = 260;
/// The name of the client that may do everything.
pub const ADMINISTRATOR: &str = "root";
/// Requests in progress at once.
const FLIGHTS_MAX: usize = 6;
/// Refreshes of one session, by which storage must not grow.
const REFRESHES: usize = 64;
/// By how many bytes records may grow in most of them: numbers have more digits.
const RECORD_GROWTH_MAX: usize = 32;

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
    answering: Pin<Box<dyn Future<Output = Answer> + Send>>,
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
    backups: Vec<Backup>,
    requests: usize,
    /// Tokens that were introspected in the middle of the last commit.
    asked_in_commit: Vec<usize>,
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
        let (sessions_max, when_full) = ([0, 0, 1, 2, 3][dice.below(5)], dice.below(2));
        let limit = (sessions_max > 0).then_some(Limit { sessions_max, refuses: when_full == 1 });
        let config = config(&[
            ("policy.default.late_retry", late),
            ("policy.default.max_sessions_per_subject", &sessions_max.to_string()),
            ("policy.default.when_full", ["evict_oldest", "refuse"][when_full]),
        ]);
        let idle_timeout = config.policies["default"].lifetimes.idle_timeout;
        Self {
            dice,
            disk,
            clock,
            hand,
            clients: Clients::new(Facts::new(now), limit, idle_timeout),
            audit: Audit::default(),
            root: Auth::Socket,
            flights: vec![],
            backups: vec![],
            requests: 0,
            asked_in_commit: vec![],
            troubled: false,
            history: vec![format!("late_retry = {late}, {limit:?}")],
            config,
        }
    }

    async fn whole(&mut self) -> Verdict {
        let mut server = Server::boot(&self.disk, &self.config, self.clock.clone()).await?;
        self.root = registered(&mut server, ADMINISTRATOR, "admin").await;
        self.clients.reader = registered(&mut server, "reader", "introspect").await;
        for _ in 0..STEPS {
            self.clients.facts.tick += 1;
            server = self.step(server).await?;
            tokio::task::yield_now().await;
            if server.store.ready().is_err() {
                server = self.restart(server, End::PowerCut).await?;
            }
        }
        server = self.quiesce(server).await?;
        let mut server = self.restart(server, End::PowerCut).await?;
        if self.dice.one_in(8) {
            self.refresh_for_long(&mut server).await?;
        }
        self.disk.detach();
        drop(server);
        Ok(())
    }

    async fn step(&mut self, mut server: Server) -> Verdict<Server> {
        match self.dice.below(100) {
            0..40 if self.flights.len() < FLIGHTS_MAX => self.send(&server),
            0..75 => self.poll(&mut server).await?,
            75..88 => self.commit(&mut server)?,
            88..90 if !self.flights.is_empty() => _ = self.lose(),
            88..90 => {}
            90..93 => self.move_clock(),
            93 => self.stall().await,
            94 => self.break_disk(),
            95 => {
                let end = [End::Stop, End::Kill, End::PowerCut][self.dice.below(3)];
                return self.restart(server, end).await;
            }
            96..98 => return self.quiesce(server).await,
            98 if self.backups.is_empty() || self.dice.one_in(2) => self.back_up(&server).await?,
            98 => return self.restore(server).await,
            _ => {
                let engine = server.engine.clone();
                server.drive(engine.write_uses(false)).await;
            }
        }
        Ok(server)
    }

    fn send(&mut self, server: &Server) {
        let Some((operation, caller)) = self.clients.choose(&mut self.dice) else { return };
        let (sent, number, request) = self.sent(operation, caller);
        let answering: Pin<Box<dyn Future<Output = Answer> + Send>> = if let Operation::Sweep = sent.operation
        {
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

    fn sent(&mut self, operation: Operation, caller: Option<usize>) -> (Sent, usize, Request) {
        let request = operation.request(&self.clients.facts, &self.clients.openings, &self.root, caller);
        let sent = self.clients.sent(operation, caller);
        self.requests += 1;
        self.note(format!("#{} {:?} by {:?}", self.requests, sent.operation, request.auth));
        (sent, self.requests, request)
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
        self.answered(flight.number, &flight.sent, &answer)
    }

    fn answered(&mut self, number: usize, sent: &Sent, answer: &Answer) -> Verdict {
        self.note(format!("#{number} answered {} {}", answer.status, answer.body));
        let answered = self.clients.answered(sent, answer, self.troubled);
        answered.map_err(|why| format!("#{number} {:?}: {why}", sent.operation))
    }

    /// Runs a batch of the writer. In the middle of its commit some clients hang up and tokens are
    /// introspected, and sometimes the power fails after that.
    fn commit(&mut self, server: &mut Server) -> Verdict {
        let tokens = self.clients.facts.tokens.len();
        let reads = if tokens > 0 && server.is_waiting() { self.dice.below(3) } else { 0 };
        let cut = (reads > 0 && self.dice.one_in(4)).then(|| self.dice.below(4) as u64);
        self.asked_in_commit = (0..reads).map(|_| self.clients.token_to_ask(&mut self.dice)).collect();
        let mut requests = vec![];
        let mut flights = vec![];
        for token in self.asked_in_commit.clone() {
            let (sent, number, request) = self.sent(Operation::Introspect(token), None);
            requests.push(request);
            flights.push((sent, number));
        }
        let leaving = if self.dice.one_in(4) { self.dice.below(self.flights.len() + 1) } else { 0 };
        let leaving: Vec<_> = (0..leaving).map(|_| self.lose()).collect();
        let leaving = Mutex::new(leaving);
        let answers = Arc::new(Mutex::new(vec![]));
        let (wire, given, disk) = (server.wire.clone(), answers.clone(), self.disk.clone());
        self.disk.during_sync(self.dice.below(2) as u64, move || {
            leaving.lock().unwrap().clear();
            for request in &requests {
                let mut answering = pin!(unconstrained(send(wire.clone(), request.clone())));
                let polled = answering.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                given.lock().unwrap().push(polled);
            }
            if let Some(after) = cut {
                disk.arm(after, Fault::PowerCut);
            }
        });
        self.troubled |= cut.is_some();
        if server.step() {
            self.note(format!("the writer committed; {} syncs so far", self.disk.syncs()));
        }
        self.disk.during_sync(u64::MAX, || ());
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        for ((sent, number), answer) in flights.into_iter().zip(answers) {
            let Poll::Ready(answer) = answer else { return Err("a read waits for the writer".into()) };
            self.answered(number, &sent, &answer)?;
        }
        Ok(())
    }

    /// What an answer said in the middle of a commit is true although the commit was lost.
    async fn ask_again(&mut self, server: &mut Server) -> Verdict {
        for token in std::mem::take(&mut self.asked_in_commit) {
            let (sent, number, request) = self.sent(Operation::Introspect(token), None);
            let answer = server.send(request).await;
            self.answered(number, &sent, &answer)?;
        }
        Ok(())
    }

    async fn back_up(&mut self, server: &Server) -> Verdict {
        match back_up(server, self.clock.now().wall).await {
            Ok(bytes) => {
                let head = server.store.head();
                self.note(format!("a backup of {} bytes up to event {}", bytes.len(), head.0));
                let log = self.audit.log.iter().filter(|(position, _)| *position <= head).cloned();
                let backup = Backup {
                    bytes,
                    head: head.0,
                    epochs: self.clients.facts.epochs.clone(),
                    log: log.collect(),
                };
                self.backups.push(backup);
                Ok(())
            }
            Err(error) if self.troubled => {
                self.note(format!("no backup: {error}"));
                Ok(())
            }
            Err(error) => Err(format!("no backup without a fault: {error}")),
        }
    }

    /// Stops, and restores one of the backups, if the power does not fail meanwhile.
    async fn restore(&mut self, mut server: Server) -> Verdict<Server> {
        if server.store.ready().is_err() {
            return Ok(server);
        }
        self.lose_all();
        let engine = server.engine.clone();
        server.drive(engine.write_uses(true)).await;
        while server.step() {}
        let lost = server.store.head().0;
        drop((server, engine));
        tokio::task::yield_now().await;
        let old = self.disk.after_kill();
        let backup = self.backups[self.dice.below(self.backups.len())].clone();
        let (new, cut) = (Disk::default(), self.dice.one_in(3));
        if cut {
            new.arm(self.dice.below(40) as u64, Fault::PowerCut);
        }
        let began = match restore(&backup.bytes, &new, &old, &self.clock) {
            Ok(began) => began.0,
            Err(error) if cut => {
                self.note(format!("the power failed during a restore: {error}"));
                return self.start(old, End::PowerCut).await;
            }
            Err(error) => return Err(format!("a backup is not restored: {error}")),
        };
        self.note(format!("restored the backup up to event {}: event {began} is next", backup.head));
        self.clients.restored(Epoch { after: backup.head, began }, &backup.epochs);
        self.audit.restored(backup.log);
        let new = new.after_power_cut(&mut self.dice);
        let mut server = self.start(new, End::PowerCut).await?;
        self.check_cursors(&mut server, lost, Epoch { after: backup.head, began }).await?;
        self.adopt_clients(&mut server).await?;
        Ok(server)
    }

    /// A reader of the lost history learns it, and one at the end of the backup goes on.
    async fn check_cursors(&mut self, server: &mut Server, lost: u64, epoch: Epoch) -> Verdict {
        for after in [lost, epoch.after] {
            let path = format!("/v1/events?after={after}&limit=1");
            let answer = server.send(Request::new(Method::GET, &path, self.root.clone(), Body::None)).await;
            let expected = if after == epoch.after { 200 } else { 410 };
            if answer.status != expected {
                return Err(format!("the cursor {after} was answered {} {}", answer.status, answer.body));
            }
            let first = &answer.body["items"][0]["cursor"];
            if expected == 200 && *first != json!(epoch.began.to_string()) {
                return Err(format!("event {first} follows event {after}"));
            }
        }
        Ok(())
    }

    /// The clients of a restored store get new secrets, because the ones of the backup may be older than what
    /// is known.
    async fn adopt_clients(&mut self, server: &mut Server) -> Verdict {
        for (index, name) in NAMES.iter().enumerate() {
            let registry = server.store.registry();
            let Some(client) = registry.cuts.registered.get(&name.parse().unwrap()) else {
                self.clients.names[index] = Name::Free;
                continue;
            };
            let mut secret = String::new();
            if client.kind == ClientKind::Confidential {
                let path = format!("/v1/clients/{name}/secret");
                let body = Body::Json(json!({}));
                let answer = server.send(Request::new(Method::POST, &path, self.root.clone(), body)).await;
                let given = answer.body["client_secret"].as_str();
                secret = given.ok_or_else(|| format!("no secret: {} {}", answer.status, answer.body))?.into();
            }
            self.clients.register(index, &secret);
            self.note(format!("{name} is registered in the backup"));
        }
        Ok(())
    }

    /// Storage grows with sessions, not with refreshes.
    async fn refresh_for_long(&mut self, server: &mut Server) -> Verdict {
        let post = |path, body| Request::new(Method::POST, path, self.root.clone(), body);
        let client = json!({"client_id": "steady", "kind": "public", "grants": ["refresh_token"]});
        server.send(post("/v1/clients", Body::Json(client))).await;
        let opening = json!({"subject": "dave", "client_id": "steady"});
        let mut answer = server.send(post("/v1/sessions", Body::Json(opening))).await;
        let mut sizes = vec![];
        for count in 0..REFRESHES {
            if count == REFRESHES / 4 || count == REFRESHES - 1 {
                let store = server.store.clone();
                let stats = server.drive(store.stats()).await.map_err(|error| error.to_string())?;
                let rows: Vec<_> = stats.tables.into_iter().map(|(name, rows, _)| (name, rows)).collect();
                // It has the bytes of the records, and not the unused space of their pages.
                let records = back_up(server, self.clock.now().wall).await?.len();
                sizes.push((rows, records, self.disk.image().len()));
            }
            let Some(token) = answer.body["refresh_token"].as_str() else {
                return Err(format!("refresh {count} was answered {} {}", answer.status, answer.body));
            };
            let fields = vec![("grant_type", "refresh_token".into()), ("refresh_token", token.into())];
            let auth = Auth::Basic("steady".into(), String::new());
            let request = Request::new(Method::POST, "/oauth2/token", auth, Body::Form(fields));
            answer = server.send(request).await;
        }
        let [(rows, records, file), (rows_later, records_later, file_later)] = &sizes[..] else {
            unreachable!()
        };
        // redb can shrink the file.
        if rows != rows_later || records + RECORD_GROWTH_MAX < *records_later || file < file_later {
            return Err(format!("storage grows with refreshes: {:?}, then {:?}", sizes[0], sizes[1]));
        }
        Ok(())
    }

    /// A client hangs up: now, or when what is returned is dropped.
    fn lose(&mut self) -> Flight {
        let flight = self.flights.remove(self.dice.below(self.flights.len()));
        self.note(format!("#{} lost", flight.number));
        self.clients.lost(&flight.sent);
        flight
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
        let faults = [Fault::PowerCut, Fault::ReadOnly, Fault::WriteError, Fault::ReadError, Fault::Full];
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
        let Clients { facts, openings, limit, .. } = &mut self.clients;
        self.audit.run(server, facts, openings, *limit).await?;
        self.clients.audited();
        self.note("audited".into());
        Ok(())
    }

    fn lose_all(&mut self) {
        for flight in std::mem::take(&mut self.flights) {
            self.note(format!("#{} lost", flight.number));
            self.clients.lost(&flight.sent);
        }
    }

    async fn restart(&mut self, mut server: Server, end: End) -> Verdict<Server> {
        self.lose_all();
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
        self.ask_again(&mut server).await?;
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

async fn registered(server: &mut Server, name: &str, permission: &str) -> Auth {
    let fields = json!({"client_id": name, "permissions": [permission]});
    let request = Request::new(Method::POST, "/v1/clients", Auth::Socket, Body::Json(fields));
    let created = server.send(request).await.body;
    Auth::Basic(name.into(), created["client_secret"].as_str().unwrap().into())
}

/// The history of a run, for a person.
pub fn described(seed: u64, outcome: &Outcome) -> String {
    let why = outcome.verdict.as_ref().err().map_or("no contradiction", |why| why);
    format!("{}\nseed {seed}: {why}", outcome.history.join("\n"))
}
