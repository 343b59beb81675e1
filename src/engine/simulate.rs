//! `policy simulate`: what a changed policy would have done.

use std::time::Duration;

use super::policy_meter::MeteredPolicy;
use super::{Engine, Result};
use crate::domain::caller::{Granted, Inspect};
use crate::domain::id::SessionId;
use crate::domain::policy::{Policy, WhenFull};
use crate::domain::refusal::Refused;
use crate::domain::session::Cap;
use crate::domain::simulation::{CapOutcome, LifetimeChange, LifetimeOutcome, Simulation};
use crate::store::Store;

/// The most sessions that one simulation examines, the oldest first.
const SIMULATED_MAX: usize = 200_000;
/// How many are read at once.
const SLICE: usize = 500;

/// The changes of a policy. What is absent stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct PolicyChange {
    pub absolute_lifetime: Option<Duration>,
    pub remember_absolute_lifetime: Option<Duration>,
    pub max_sessions_per_subject: Option<u32>,
    pub when_full: Option<WhenFull>,
    pub idle_timeout: Option<Duration>,
    pub remember_idle_timeout: Option<Duration>,
    pub refresh_retry_window: Option<Duration>,
}

/// What the changed policy would have done.
pub struct SimulatedPolicy {
    /// The sessions of the policy.
    pub sessions: u64,
    /// The sessions that were examined, of all policies.
    pub examined: u64,
    /// Whether all were.
    pub complete: bool,
    pub lifetime: Option<LifetimeOutcome>,
    pub cap: Option<CapOutcome>,
    /// The gaps between uses and the delays of retries since the start of the server.
    pub metered: MeteredPolicy,
}

impl PolicyChange {
    /// The policy with these changes.
    ///
    /// # Errors
    /// `Invalid`, naming the field, if there is no change or the result is not valid.
    fn applied_to(&self, policy: &Policy) -> std::result::Result<Policy, Refused> {
        let mut changed = policy.clone();
        let set = |target: &mut Duration, value: Option<Duration>| *target = value.unwrap_or(*target);
        set(&mut changed.lifetimes.absolute_lifetime, self.absolute_lifetime);
        set(&mut changed.lifetimes.idle_timeout, self.idle_timeout);
        set(&mut changed.remember.absolute_lifetime, self.remember_absolute_lifetime);
        set(&mut changed.remember.idle_timeout, self.remember_idle_timeout);
        set(&mut changed.refresh_retry_window, self.refresh_retry_window);
        changed.max_sessions_per_subject =
            self.max_sessions_per_subject.unwrap_or(changed.max_sessions_per_subject);
        changed.when_full = self.when_full.unwrap_or(changed.when_full);
        if changed == *policy {
            let problem =
                "or another setting must differ from that of the policy: there is nothing to simulate";
            return Err(Refused::invalid("absolute_lifetime", problem));
        }
        // A shorter absolute lifetime shortens the idle timeout with it, as the configuration would require.
        if self.idle_timeout.is_none() {
            let lifetimes = &mut changed.lifetimes;
            lifetimes.idle_timeout = lifetimes.idle_timeout.min(lifetimes.absolute_lifetime);
        }
        if self.remember_idle_timeout.is_none() {
            let remember = &mut changed.remember;
            remember.idle_timeout = remember.idle_timeout.min(remember.absolute_lifetime);
        }
        changed.validate().map_err(|fault| {
            let field = match fault.key {
                "remember.idle_timeout" => "remember_idle_timeout",
                "remember.absolute_lifetime" => "remember_absolute_lifetime",
                key => key,
            };
            Refused::invalid(field, format!("must be {}", fault.expected))
        })?;
        Ok(changed)
    }
}

impl<S: Store> Engine<S> {
    /// What the policy `name` would have done with `change`. Examines the sessions that are kept, of clients
    /// that are registered now.
    ///
    /// # Errors
    /// `Invalid`, naming the field; `TooMany` while two backups, checks or simulations run; a store that
    /// cannot answer.
    pub async fn simulate(
        &self,
        _: &Granted<Inspect>,
        name: &str,
        change: PolicyChange,
    ) -> Result<SimulatedPolicy> {
        let Some(policy) = self.rules.policies.get(name) else {
            let known: Vec<&str> = self.rules.policies.keys().map(String::as_str).collect();
            let problem = format!("must be one of the configured policies: {}", known.join(", "));
            return Err(Refused::invalid("policy", problem).into());
        };
        let changed = change.applied_to(policy)?;
        let lifetimes = LifetimeChange {
            absolute_lifetime: change.absolute_lifetime,
            remember_absolute_lifetime: change.remember_absolute_lifetime,
        };
        let asks_lifetime = lifetimes.absolute_lifetime.or(lifetimes.remember_absolute_lifetime).is_some();
        let asks_cap = change.max_sessions_per_subject.is_some() || change.when_full.is_some();
        let cap = (asks_cap && changed.max_sessions_per_subject > 0)
            .then_some(Cap { sessions_max: changed.max_sessions_per_subject, when_full: changed.when_full });
        let mut answer = SimulatedPolicy {
            sessions: 0,
            examined: 0,
            complete: true,
            lifetime: None,
            cap: None,
            metered: self.meters.of(name).read(),
        };
        if !asks_lifetime && !asks_cap {
            return Ok(answer);
        }
        let _place = self.walk()?;
        let mut simulation = Simulation::new(lifetimes, cap, self.clock.now().wall);
        self.walk_sessions(name, &mut answer, &mut simulation).await?;
        let (lifetime, cap) = simulation.finish();
        answer.lifetime = asks_lifetime.then_some(lifetime);
        answer.cap = asks_cap.then(|| cap.unwrap_or_default());
        Ok(answer)
    }

    async fn walk_sessions(
        &self,
        policy: &str,
        answer: &mut SimulatedPolicy,
        simulation: &mut Simulation,
    ) -> Result<()> {
        let (registry, now) = (self.store.registry(), self.clock.now().wall);
        let mut after: Option<SessionId> = None;
        loop {
            let slice = self.store.sessions(None, after, SLICE).await?;
            let is_last = slice.len() < SLICE;
            for mut session in slice {
                after = Some(session.id);
                answer.examined += 1;
                let client = registry.cuts.registered.get(&session.client_id);
                if client.is_none_or(|client| *client.policy != *policy) {
                    continue;
                }
                self.activity.apply(&mut session, now);
                answer.sessions += 1;
                simulation.add(&session, &session.standing(now, &registry.cuts));
            }
            if is_last {
                return Ok(());
            }
            if answer.examined >= SIMULATED_MAX as u64 {
                answer.complete = false;
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}
