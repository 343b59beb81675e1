//! Attacks, as tables: a kind in each file. `docs/reliability.md` has the number of each.

mod authorisation;
mod clock;
mod console;
mod cookies;
mod files;
mod forward_auth;
mod fuzzing;
mod input;
mod limits;
mod pages;
mod races;
mod rotation;
mod smuggling;
mod store;
mod throttle;
mod tls;
mod tokens;
mod values;

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde_json::Value;

use crate::harness::server::{Auth, Server};

/// What came of the attacks of one kind. A table runs to its end; then all that did not hold is reported.
pub(in crate::attacks) struct Attacks {
    kind: &'static str,
    names: BTreeSet<String>,
    failures: Vec<String>,
}

impl Attacks {
    pub fn of(kind: &'static str) -> Self {
        Self { kind, names: BTreeSet::new(), failures: vec![] }
    }

    /// Counts an attack, and what came of it beside what must.
    pub fn expect<T: PartialEq + Debug>(&mut self, name: impl Into<String>, found: T, expected: T) {
        let held = found == expected;
        self.check(name, held, format_args!("{found:?}, expected {expected:?}"));
    }

    /// Counts an attack, and what came of it if it did not hold.
    pub fn check(&mut self, name: impl Into<String>, held: bool, found: impl Debug) {
        let name = name.into();
        if !held {
            self.failures.push(format!("{name}: {found:?}"));
        }
        assert!(self.names.insert(name.clone()), "two attacks are called {name}");
    }

    /// What must be so beside the attacks: without it they would prove nothing.
    pub fn control(&mut self, name: impl Into<String>, held: bool) {
        if !held {
            self.failures.push(format!("control: {}", name.into()));
        }
    }

    /// Fails if an attack or a control did not hold, or if there were not `count` of them.
    #[track_caller]
    pub fn finish(self, count: usize) {
        println!("{}: {} attacks", self.kind, self.names.len());
        let all = self.names.len();
        let failed = self.failures.join("\n  ");
        assert!(failed.is_empty(), "{} of {all} {}:\n  {failed}", self.failures.len(), self.kind);
        assert_eq!(all, count, "attacks of the kind {}", self.kind);
    }
}

/// What an attacker could change: the registered clients, the keys, and the session at a path.
async fn state_of(server: &Server, session: &str) -> [Value; 3] {
    let admin = Auth::Basic(&server.admin);
    let mut state = vec![];
    for path in ["/v1/clients?limit=200", "/v1/keys", session] {
        let answer = server.get(path, admin).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        state.push(answer.json());
    }
    state.try_into().unwrap()
}
