//! `/v1/policies/simulate`: what a changed policy would have done.

use std::sync::Arc;
use std::time::Duration;

use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};
use serde_with_macros::skip_serializing_none;

use crate::domain::policy::WhenFull;
use crate::domain::session::State;
use crate::domain::simulation::{CapOutcome, LifetimeOutcome};
use crate::engine::Engine;
use crate::engine::simulate::{PolicyChange, SimulatedPolicy};
use crate::http::document::Tag;
use crate::http::request::{Authorization, DateTime, Management, Parsed, PolicyName, Query, Text, Whole};
use crate::http::response::{Json, Problem};
use crate::meter::Distribution;
use crate::store::Store;

/// Policies.
pub struct PoliciesApi<S>(pub Arc<Engine<S>>);

/// What a changed policy would have done. A part is present if a change asks for it.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct PolicySimulation {
    /// The policy.
    pub policy: String,
    /// The number of kept sessions of the policy: active ones, and ended and expired ones during the retention.
    pub sessions: u64,
    /// The number of sessions that were examined, of all policies.
    pub examined: u64,
    /// Whether every kept session was examined.
    pub complete: bool,
    /// What the changed absolute lifetime would have done.
    pub lifetime: Option<LifetimeSimulation>,
    /// What the changed cap would have done.
    pub cap: Option<CapSimulation>,
    /// The gaps between uses of sessions, for a changed idle timeout.
    pub idle: Option<GapSimulation>,
    /// The same for remembered sessions.
    pub remember_idle: Option<GapSimulation>,
    /// The delays of retries, for a changed retry window.
    pub retry: Option<RetrySimulation>,
    /// Sentences about what cannot be known from what is kept.
    pub unknown: Vec<String>,
}

/// What a changed absolute lifetime would have done.
#[derive(Serialize, Deserialize, Object)]
pub struct LifetimeSimulation {
    /// The number of sessions that would have ended earlier.
    pub ended_earlier: u64,
    /// The number of those that are active now.
    pub active_among_them: u64,
    /// The number of sessions that expired by their absolute lifetime and would not have done so then.
    pub could_live_longer: u64,
    /// The first hundred that would have ended earlier.
    pub items: Vec<LifetimeItem>,
}

/// A session that would have ended earlier.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, Object)]
pub struct LifetimeItem {
    /// The session.
    pub session_id: String,
    /// Its subject.
    pub subject: String,
    /// Its client.
    pub client_id: String,
    /// When it would have ended.
    pub would_end_at: DateTime,
    /// When it did end or expire; absent if it is active.
    pub ended_at: Option<DateTime>,
    /// Its state now.
    pub state: Parsed<State>,
}

/// What a changed cap would have done.
#[derive(Serialize, Deserialize, Object)]
pub struct CapSimulation {
    /// The number of sessions that would have been evicted.
    pub evicted: u64,
    /// The number of openings that would have been refused.
    pub refused: u64,
    /// The first hundred.
    pub items: Vec<CapItem>,
}

/// A session that a cap would have evicted, or not let open.
#[derive(Serialize, Deserialize, Object)]
pub struct CapItem {
    /// The session.
    pub session_id: String,
    /// Its subject.
    pub subject: String,
    /// Its client.
    pub client_id: String,
    /// When it would have ended; of a refused opening, when it was opened.
    pub would_end_at: DateTime,
    /// Whether it is known that it was this one, and not another session of the subject.
    pub certain: bool,
}

/// Gaps between uses of sessions since the start of the server.
#[derive(Serialize, Deserialize, Object)]
pub struct GapSimulation {
    /// The number of gaps.
    pub gaps: u64,
    /// The number of gaps that are certainly longer than the changed timeout: the session would have expired.
    pub longer: u64,
    /// The same with those that may be longer.
    pub longer_at_most: u64,
    /// The gaps by length.
    pub histogram: Vec<GapBucket>,
}

/// Delays of retried refreshes since the start of the server.
#[derive(Serialize, Deserialize, Object)]
pub struct RetrySimulation {
    /// The number of times that a previous refresh token was presented again.
    pub retries: u64,
    /// The number that certainly came later than the changed window.
    pub later: u64,
    /// The same with those that may have come later.
    pub later_at_most: u64,
    /// The retries by delay.
    pub histogram: Vec<RetryBucket>,
}

/// The gaps of one range of lengths.
#[derive(Serialize, Deserialize, Object)]
pub struct GapBucket {
    /// The longest gap of the range in seconds; null in the last range.
    #[oai(nullable)]
    pub up_to_s: Option<u64>,
    /// The number of gaps.
    pub count: u64,
}

/// The retries of one range of delays.
#[derive(Serialize, Deserialize, Object)]
pub struct RetryBucket {
    /// The longest delay of the range in milliseconds; null in the last range.
    #[oai(nullable)]
    pub up_to_ms: Option<u64>,
    /// The number of retries.
    pub count: u64,
}

#[OpenApi]
impl<S: Store> PoliciesApi<S> {
    /// Simulate a changed policy.
    ///
    /// For administrators. What the policy would have done with these settings: to the sessions that are kept, for
    /// lifetimes and the cap; by the gaps between uses and the delays of retries since the start of the server, for
    /// the idle timeout and the retry window. Nothing is changed. Give at least one setting.
    #[oai(
        path = "/v1/policies/simulate",
        method = "get",
        tag = "Tag::Operation",
        operation_id = "simulatePolicy"
    )]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the query")]
    async fn simulate(
        &self,
        authorization: Authorization<Management>,
        /// The name of the policy. Default: `default`.
        policy: Query<Option<Text<PolicyName>>>,
        /// The changed absolute lifetime, such as `8h`.
        absolute_lifetime: Query<Option<Parsed<Duration>>>,
        /// The changed absolute lifetime of remembered sessions.
        remember_absolute_lifetime: Query<Option<Parsed<Duration>>>,
        /// The changed number of sessions per subject and client; 0 is no limit.
        max_sessions_per_subject: Query<Option<Whole<0, 4_294_967_295>>>,
        /// What an opening does at that number.
        when_full: Query<Option<Parsed<WhenFull>>>,
        /// The changed idle timeout.
        idle_timeout: Query<Option<Parsed<Duration>>>,
        /// The changed idle timeout of remembered sessions.
        remember_idle_timeout: Query<Option<Parsed<Duration>>>,
        /// The changed retry window.
        refresh_retry_window: Query<Option<Parsed<Duration>>>,
    ) -> Result<Json<PolicySimulation>, Problem> {
        let caller = authorization.caller(&self.0).await?;
        let duration =
            |query: Query<Option<Parsed<Duration>>>| query.read().map(|value| value.map(|parsed| parsed.0));
        let policy = policy.read()?.map_or_else(|| "default".to_owned(), |name| name.0);
        let change = PolicyChange {
            absolute_lifetime: duration(absolute_lifetime)?,
            remember_absolute_lifetime: duration(remember_absolute_lifetime)?,
            max_sessions_per_subject: max_sessions_per_subject
                .read()?
                .map(|number| u32::try_from(number.0).unwrap_or(u32::MAX)),
            when_full: when_full.read()?.map(|parsed| parsed.0),
            idle_timeout: duration(idle_timeout)?,
            remember_idle_timeout: duration(remember_idle_timeout)?,
            refresh_retry_window: duration(refresh_retry_window)?,
        };
        let simulated = self.0.simulate(&caller, &policy, change).await?;
        Ok(Json(PolicySimulation::new(policy, change, simulated)))
    }
}

impl PolicySimulation {
    fn new(policy: String, change: PolicyChange, simulated: SimulatedPolicy) -> Self {
        let unknown = unknown(&change, &simulated);
        let SimulatedPolicy { sessions, examined, complete, lifetime, cap, metered } = simulated;
        Self {
            policy,
            sessions,
            examined,
            complete,
            lifetime: lifetime.map(Into::into),
            cap: cap.map(Into::into),
            idle: change.idle_timeout.map(|timeout| GapSimulation::new(&metered.gaps, timeout)),
            remember_idle: change
                .remember_idle_timeout
                .map(|timeout| GapSimulation::new(&metered.remembered_gaps, timeout)),
            retry: change.refresh_retry_window.map(|window| RetrySimulation::new(&metered.retries, window)),
            unknown,
        }
    }
}

/// What the answer cannot say.
fn unknown(change: &PolicyChange, simulated: &SimulatedPolicy) -> Vec<String> {
    let lifetime = simulated.lifetime.as_ref();
    let longer = lifetime.is_some_and(|lifetime| lifetime.could_live_longer > 0);
    let cap = simulated.cap.as_ref();
    let metered = change.idle_timeout.or(change.remember_idle_timeout).or(change.refresh_retry_window);
    let sentences = [
        (
            lifetime.is_some() || cap.is_some(),
            "Sessions that were deleted after the retention, and those of deleted clients, are not counted.",
        ),
        (
            lifetime.is_some(),
            "A renewed session is judged from its last authentication; how long it lived before is not kept.",
        ),
        (longer, "Whether a session that expired would have been used longer is not known."),
        (
            cap.is_some(),
            "Of each session only the last use is kept: where it was used again later, which session a cap \
             would have evicted is an assumption.",
        ),
        (
            cap.is_some(),
            "People who are signed out sign in again: openings that an eviction would have caused are not \
             counted.",
        ),
        (
            metered.is_some(),
            "Gaps and delays are counted in memory since the start of the server, and none is longer than \
             the timeout that was in force: what a longer timeout would have saved is not known.",
        ),
        (
            !simulated.complete,
            "There are more sessions than one simulation examines; the newest are not counted.",
        ),
    ];
    sentences.into_iter().filter(|(applies, _)| *applies).map(|(_, sentence)| sentence.to_owned()).collect()
}

impl From<LifetimeOutcome> for LifetimeSimulation {
    fn from(outcome: LifetimeOutcome) -> Self {
        let items = outcome.named.into_iter().map(|ended| LifetimeItem {
            session_id: ended.session.to_string(),
            subject: ended.subject.into(),
            client_id: ended.client.into(),
            would_end_at: Parsed(ended.would_end_at),
            ended_at: ended.ended_at.map(Parsed),
            state: Parsed(ended.state),
        });
        Self {
            ended_earlier: outcome.ended_earlier,
            active_among_them: outcome.active_among_them,
            could_live_longer: outcome.could_live_longer,
            items: items.collect(),
        }
    }
}

impl From<CapOutcome> for CapSimulation {
    fn from(outcome: CapOutcome) -> Self {
        let items = outcome.named.into_iter().map(|evicted| CapItem {
            session_id: evicted.session.to_string(),
            subject: evicted.subject.into(),
            client_id: evicted.client.into(),
            would_end_at: Parsed(evicted.would_end_at),
            certain: evicted.certain,
        });
        Self { evicted: outcome.evicted, refused: outcome.refused, items: items.collect() }
    }
}

/// The count of each range, with its upper bound, of a cumulative distribution.
fn ranges(seen: &Distribution) -> Vec<(Option<u64>, u64)> {
    let mut below = 0;
    let mut range = |bound: Option<u64>, up_to: u64| {
        let count = up_to.saturating_sub(below);
        below = up_to;
        (bound, count)
    };
    let mut ranges: Vec<_> = seen.buckets.iter().map(|(bound, up_to)| range(Some(*bound), *up_to)).collect();
    ranges.push(range(None, seen.count));
    ranges
}

/// How many values are certainly above `limit`, and how many may be: a range can contain it.
fn above(seen: &Distribution, limit: Duration) -> (u64, u64) {
    let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let up_to = |bound: Option<&(u64, u64)>| bound.map_or(0, |(_, number)| *number);
    let below = up_to(seen.buckets.iter().rfind(|(bound, _)| *bound <= limit));
    let at_most = seen.count - below;
    let certainly =
        seen.buckets.iter().find(|(bound, _)| *bound >= limit).map_or(0, |(_, up_to)| seen.count - up_to);
    (certainly, at_most)
}

impl GapSimulation {
    fn new(seen: &Distribution, timeout: Duration) -> Self {
        let (longer, longer_at_most) = above(seen, timeout);
        let bucket =
            |(bound, count): (Option<u64>, u64)| GapBucket { up_to_s: bound.map(|ms| ms / 1000), count };
        let histogram = ranges(seen).into_iter().map(bucket).collect();
        Self { gaps: seen.count, longer, longer_at_most, histogram }
    }
}

impl RetrySimulation {
    fn new(seen: &Distribution, window: Duration) -> Self {
        let (later, later_at_most) = above(seen, window);
        let bucket = |(up_to_ms, count)| RetryBucket { up_to_ms, count };
        let histogram = ranges(seen).into_iter().map(bucket).collect();
        Self { retries: seen.count, later, later_at_most, histogram }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_contains_the_limit_may_be_above_it() {
        let seen = Distribution { buckets: vec![(1_000, 4), (5_000, 7), (10_000, 7)], count: 9, sum: 0 };
        for (limit_ms, expected) in
            [(500, (5, 9)), (1_000, (5, 5)), (3_000, (2, 5)), (5_000, (2, 2)), (20_000, (0, 2))]
        {
            assert_eq!(above(&seen, Duration::from_millis(limit_ms)), expected, "{limit_ms}");
        }
        assert_eq!(ranges(&seen), [(Some(1_000), 4), (Some(5_000), 3), (Some(10_000), 0), (None, 2)]);
    }
}
