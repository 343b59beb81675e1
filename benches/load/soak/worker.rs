//! A worker: one connection, its own sessions, one step after another at a steady pace.

use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::calls::{MIX, Step, check, introspect, open, refresh, revoke, text};
use super::credentials::{BACKEND, OPERATOR, basic, declared};
use super::dice::Dice;
use super::ledger::{Held, is};
use super::line::{Answer, Ask, Line};
use super::{Shared, WORKERS};

/// Sessions of one subject.
const OF_ONE_SUBJECT: usize = 3;

struct Worker {
    number: usize,
    opened: usize,
    dice: Dice,
    line: Line,
    shared: Rc<Shared>,
}

/// Starts it; it runs until the run ends.
pub fn spawn(number: usize, dice: Dice, line: Line, shared: Rc<Shared>) {
    let mut worker = Worker { number, opened: 0, dice, line, shared };
    tokio::task::spawn_local(async move {
        let rate: usize = MIX.iter().map(|(_, rate)| rate).sum();
        // Evenly spaced, so that the requests of all workers are too.
        let between = Duration::from_secs_f64(1.0 / rate as f64);
        sleep(between * number as u32).await;
        let mut due = interval(between * WORKERS as u32);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            let step = worker.draw(rate);
            worker.step(step).await;
        }
    });
}

impl Worker {
    fn draw(&mut self, rate: usize) -> Step {
        let mut at = self.dice.below(rate);
        let step = MIX.iter().find(|(_, rate)| {
            let here = at < *rate;
            at = at.saturating_sub(*rate);
            here
        });
        step.expect("the rates add up").0
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Open => return self.open().await,
            Step::IntrospectEnded => return self.introspect_ended().await,
            Step::WrongSecret => return self.wrong_secret().await,
            _ => {}
        }
        // Taken out of the ledger: while a request is in progress, what it changes is unknown.
        let Some(held) = self.take() else { return self.open().await };
        let kept = match step {
            Step::Introspect => self.introspect(held).await,
            Step::Refresh => self.refresh(held).await,
            Step::Retry => self.retry(held).await,
            Step::Reuse => self.reuse(held).await,
            Step::Check => self.read_only(held, "check").await,
            Step::List => self.read_only(held, "list").await,
            Step::Read => self.read_only(held, "read").await,
            Step::Change => self.read_only(held, "change").await,
            Step::Use => self.use_it(held).await,
            Step::Revoke => self.revoke(held).await,
            Step::End => self.end(held).await,
            Step::LogOut => self.log_out(held).await,
            Step::Renew => self.renew(held).await,
            Step::Family => self.family(held).await,
            Step::Open | Step::IntrospectEnded | Step::WrongSecret => unreachable!("done above"),
        };
        if let Some(held) = kept {
            self.keep(held);
        }
    }

    fn take(&mut self) -> Option<Held> {
        let ledger = &mut *self.shared.ledger.borrow_mut();
        let all = &mut ledger.held[self.number];
        if all.is_empty() {
            return None;
        }
        let held = all.swap_remove(self.dice.below(all.len()));
        if held.is_active(&self.shared.times) {
            return Some(held);
        }
        ledger.fade(held);
        None
    }

    /// Puts it back, unless waiting for the answer took too long to know whether it is active.
    fn keep(&mut self, held: Held) {
        let ledger = &mut *self.shared.ledger.borrow_mut();
        if held.is_active(&self.shared.times) {
            ledger.held[self.number].push(held)
        } else {
            ledger.fade(held)
        }
    }

    async fn ask(&mut self, kind: &str, ask: &Ask, fits: impl FnOnce(&Answer) -> bool) -> Option<Answer> {
        let answer = self.line.send(ask).await;
        let fits = fits(&answer);
        self.shared.ledger.borrow_mut().expect(kind, ask, &answer, fits).then_some(answer)
    }

    async fn open(&mut self) {
        let subject = format!("user-{}-{}", self.number, self.opened / OF_ONE_SUBJECT);
        let key = format!("{}-{}", self.number, self.opened);
        self.opened += 1;
        let ask = open(&subject, &declared(BACKEND), &key);
        let Some(answer) = self.ask("open", &ask, |answer| answer.status == 201).await else { return };
        let body = answer.json();
        let held = Held {
            id: text(&body["session"], "id"),
            subject,
            session: text(&body, "session_token"),
            refresh: text(&body, "refresh_token"),
            spent: vec![],
            access: text(&body, "access_token"),
            access_issued: answer.asked,
            refreshed: answer.asked,
            authenticated: (answer.asked, Instant::now()),
            used: answer.asked,
        };
        if self.dice.one_in(5) {
            let same = |answer: &Answer| {
                answer.status == 201 && text(&answer.json(), "refresh_token") == held.refresh
            };
            self.ask("open again", &ask, same).await;
        }
        self.keep(held);
    }

    async fn introspect(&mut self, held: Held) -> Option<Held> {
        let times = &self.shared.times;
        let access_is_active =
            !held.access.is_empty() && held.access_issued.elapsed() + times.margin < times.access_token_ttl;
        let token = match self.dice.below(3) {
            0 if access_is_active => &held.access,
            1 => &held.refresh,
            _ => &held.session,
        };
        let ask = introspect(token, &declared(BACKEND));
        let answer = self.line.send(&ask).await;
        // A restart can have taken longer than what was left of it.
        let fits = is(&answer, true) || answer.took.is_none();
        self.shared.ledger.borrow_mut().expect("introspect", &ask, &answer, fits);
        self.shared.history.borrow_mut().delays.introspections.extend(answer.took);
        Some(held)
    }

    async fn introspect_ended(&mut self) {
        let token = {
            let ledger = self.shared.ledger.borrow();
            if ledger.ended.is_empty() {
                return;
            }
            ledger.ended[self.dice.below(ledger.ended.len())].clone()
        };
        let ask = introspect(&token, &declared(OPERATOR));
        self.ask("introspect an ended token", &ask, |answer| is(answer, false)).await;
    }

    async fn wrong_secret(&mut self) {
        let secret = format!("kfc_{:043}", self.dice.below(1_000_000));
        let ask = introspect("kfs_", &basic(BACKEND, &secret));
        self.ask("wrong secret", &ask, |answer| matches!(answer.status, 401 | 429)).await;
    }

    async fn refresh(&mut self, mut held: Held) -> Option<Held> {
        let times = self.shared.times;
        let ask = refresh(&held.refresh);
        let answer = self.line.send(&ask).await;
        if answer.asked.elapsed() + times.margin > times.retry_window {
            self.shared.ledger.borrow_mut().fade(held);
            return None;
        }
        if !self.shared.ledger.borrow_mut().expect("refresh", &ask, &answer, answer.status == 200) {
            return None;
        }
        self.shared.history.borrow_mut().delays.refreshes.extend(answer.took);
        let body = answer.json();
        if held.spent.len() == 2 {
            self.shared.ledger.borrow_mut().end_token(held.spent.remove(0));
        }
        held.spent.push(std::mem::replace(&mut held.refresh, text(&body, "refresh_token")));
        held.access = text(&body, "access_token");
        (held.access_issued, held.refreshed, held.used) = (answer.asked, answer.asked, answer.asked);
        Some(held)
    }

    async fn retry(&mut self, held: Held) -> Option<Held> {
        let times = self.shared.times;
        let spent =
            held.spent.last().filter(|_| held.refreshed.elapsed() + times.margin < times.retry_window);
        let Some(spent) = spent else { return Some(held) };
        let ask = refresh(spent);
        let answer = self.line.send(&ask).await;
        if held.refreshed.elapsed() > times.retry_window {
            self.shared.ledger.borrow_mut().fade(held);
            return None;
        }
        let fits = answer.status == 200 && text(&answer.json(), "refresh_token") == held.refresh;
        self.shared.ledger.borrow_mut().expect("retry", &ask, &answer, fits).then_some(held)
    }

    async fn reuse(&mut self, held: Held) -> Option<Held> {
        let [oldest, _] = &held.spent[..] else { return Some(held) };
        self.ask("reuse", &refresh(oldest), |answer| answer.status == 400).await?;
        self.shared.ledger.borrow_mut().end(held);
        None
    }

    async fn read_only(&mut self, held: Held, kind: &str) -> Option<Held> {
        let (authorization, own) = (declared(BACKEND), format!("/v1/sessions/{}", held.id));
        let ask = match kind {
            "check" => check(&held.session),
            "list" => Ask::get(&format!("/v1/sessions?subject={}&limit=20", held.subject), &authorization),
            "change" => {
                let claims = json!({"claims": {"tenant": "south", "number": self.dice.below(1_000)}});
                Ask::json("PATCH", &own, &authorization, &claims)
            }
            _ => Ask::get(&own, &authorization),
        };
        let id = held.id.clone();
        let names_it =
            |answer: &Answer| answer.status == 200 && String::from_utf8_lossy(&answer.body).contains(&id);
        self.ask(kind, &ask, names_it).await;
        Some(held)
    }

    async fn use_it(&mut self, mut held: Held) -> Option<Held> {
        let ask = Ask::get("/v1/session", &format!("Bearer {}", held.session));
        held.used = self.ask("use", &ask, |answer| answer.status == 200).await?.asked;
        Some(held)
    }

    async fn revoke(&mut self, mut held: Held) -> Option<Held> {
        let token = match self.dice.below(3) {
            0 => &held.refresh,
            1 => &held.session,
            _ if held.access.is_empty() => return Some(held),
            _ => &held.access,
        };
        let is_access = *token == held.access;
        self.ask("revoke", &revoke(token), |answer| answer.status == 200).await?;
        if is_access {
            self.shared.ledger.borrow_mut().end_token(std::mem::take(&mut held.access));
            return Some(held);
        }
        self.shared.ledger.borrow_mut().end(held);
        None
    }

    async fn end(&mut self, held: Held) -> Option<Held> {
        let ask = Ask::delete(&format!("/v1/sessions/{}", held.id), &declared(BACKEND));
        self.ask("end", &ask, |answer| answer.status == 204).await?;
        self.shared.ledger.borrow_mut().end(held);
        None
    }

    async fn log_out(&mut self, held: Held) -> Option<Held> {
        let others: Vec<_> = {
            let all = &mut self.shared.ledger.borrow_mut().held[self.number];
            all.extract_if(.., |other| other.subject == held.subject).collect()
        };
        let ask = Ask::delete(&format!("/v1/subjects/{}/sessions", held.subject), &declared(BACKEND));
        self.ask("log out everywhere", &ask, |answer| answer.status == 200).await?;
        let mut ledger = self.shared.ledger.borrow_mut();
        others.into_iter().chain([held]).for_each(|held| ledger.end(held));
        None
    }

    async fn renew(&mut self, mut held: Held) -> Option<Held> {
        let ask = Ask::post(&format!("/v1/sessions/{}/renew", held.id), &declared(BACKEND));
        let answer = self.ask("renew", &ask, |answer| answer.status == 200).await?;
        self.shared.ledger.borrow_mut().end(held.clone());
        let body = answer.json();
        held.session = text(&body, "session_token");
        held.refresh = text(&body, "refresh_token");
        held.access = text(&body, "access_token");
        held.spent.clear();
        held.authenticated = (answer.asked, Instant::now());
        (held.access_issued, held.refreshed, held.used) = (answer.asked, answer.asked, answer.asked);
        Some(held)
    }

    /// A further family, which ends at once.
    async fn family(&mut self, held: Held) -> Option<Held> {
        let path = format!("/v1/sessions/{}/families", held.id);
        let ask = Ask::json("POST", &path, &declared(BACKEND), &json!({"scope": "read"}));
        let opened = self.ask("open a family", &ask, |answer| answer.status == 201).await?;
        let token = text(&opened.json(), "refresh_token");
        self.ask("end a family", &revoke(&token), |answer| answer.status == 200).await?;
        self.shared.ledger.borrow_mut().end_token(token);
        Some(held)
    }
}
