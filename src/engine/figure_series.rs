//! The figures of the last hour and the last day, in memory, for the operator's console.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::counts::{EngineCounters, Introspected, RefreshOutcome};
use crate::domain::event::EventKind;
use crate::domain::time::Timestamp;
use crate::meter::Distribution;
use crate::store::Figures;

/// How often a point is to be recorded.
pub const RECORD_EVERY: Duration = Duration::from_secs(10);
/// How many points of the short series are one of the long series: 5 minutes.
const POINTS_MERGED: u32 = 30;
/// The step of the long series.
pub const DAY_STEP: Duration = Duration::from_secs(RECORD_EVERY.as_secs() * POINTS_MERGED as u64);
/// An hour, and a day.
const HOUR_POINTS: usize = 360;
const DAY_POINTS: usize = 288;

/// Two series of points: of [`RECORD_EVERY`] for an hour, and of [`POINTS_MERGED`] of those for a day.
#[derive(Default)]
pub struct History(Mutex<Series>);

#[derive(Default)]
struct Series {
    hour: VecDeque<FigurePoint>,
    day: VecDeque<FigurePoint>,
    /// The counters at the last point of each series.
    counted: Option<[Totals; 2]>,
    /// Points of the hour since the last point of the day.
    since_day: u32,
}

/// The figures of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct FigurePoint {
    /// The end of the interval.
    pub at: Timestamp,
    /// Active sessions at the end.
    pub active: u64,
    pub openings: u64,
    /// Refreshes that gave a pair of tokens, retries included.
    pub refreshes: u64,
    /// Answered introspections.
    pub introspections: u64,
    /// Refresh tokens that were presented again.
    pub reuse_alarms: u64,
    pub failed_authentications: u64,
    pub commits: u64,
    /// The mean duration of a commit in milliseconds; `None` without commits.
    pub commit_ms_mean: Option<f64>,
    /// An upper bound of the duration of 99 % of the commits.
    pub commit_ms_p99: Option<f64>,
    pub file_bytes: Option<u64>,
    pub disk_free_bytes: Option<u64>,
}

/// Both series, oldest point first.
#[derive(Clone, Debug, Default)]
pub struct FigureHistory {
    pub hour: Vec<FigurePoint>,
    pub day: Vec<FigurePoint>,
}

/// The counters since the start.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    openings: u64,
    refreshes: u64,
    introspections: u64,
    reuse_alarms: u64,
    failed_authentications: u64,
    commits: Distribution,
}

impl Totals {
    /// The counters now.
    pub fn of(counts: &EngineCounters, figures: &Figures) -> Self {
        let events = |kind| {
            figures
                .events_written
                .iter()
                .filter(|(written, _)| *written == kind)
                .map(|(_, number)| number)
                .sum()
        };
        let granted = [RefreshOutcome::Rotated, RefreshOutcome::Retried, RefreshOutcome::AnsweredLate];
        let refreshes = counts.refreshes.read().into_iter();
        let introspections = counts.introspections.read().into_iter();
        Self {
            openings: events(EventKind::SessionOpened),
            reuse_alarms: events(EventKind::RefreshReused),
            refreshes: refreshes.filter(|(outcome, _)| granted.contains(outcome)).map(|(_, n)| n).sum(),
            introspections: introspections
                .filter(|((_, answer), _)| *answer != Introspected::Refused)
                .map(|(_, number)| number)
                .sum(),
            failed_authentications: counts.auth_failures.read().into_iter().map(|(_, n)| n).sum(),
            commits: figures.commit_nanos.clone(),
        }
    }
}

impl History {
    /// The history so far.
    pub fn read(&self) -> FigureHistory {
        let series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        FigureHistory {
            hour: series.hour.iter().cloned().collect(),
            day: series.day.iter().cloned().collect(),
        }
    }

    /// The first call only remembers the counters, since nothing is known of the time before.
    pub fn record(&self, at: Timestamp, figures: &Figures, totals: &Totals) {
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some([of_hour, of_day]) = &mut series.counted else {
            series.counted = Some([totals.clone(), totals.clone()]);
            return;
        };
        let point = FigurePoint::between(of_hour, totals, at, figures);
        *of_hour = totals.clone();
        let of_day = of_day.clone();
        push(&mut series.hour, point, HOUR_POINTS);
        series.since_day += 1;
        if series.since_day == POINTS_MERGED {
            series.since_day = 0;
            push(&mut series.day, FigurePoint::between(&of_day, totals, at, figures), DAY_POINTS);
            series.counted = Some([totals.clone(), totals.clone()]);
        }
    }
}

fn push(points: &mut VecDeque<FigurePoint>, point: FigurePoint, points_max: usize) {
    if points.len() == points_max {
        points.pop_front();
    }
    points.push_back(point);
}

impl FigurePoint {
    fn between(before: &Totals, now: &Totals, at: Timestamp, figures: &Figures) -> Self {
        let commits = now.commits.count.saturating_sub(before.commits.count);
        let nanos = now.commits.sum.saturating_sub(before.commits.sum);
        Self {
            at,
            active: figures.active,
            openings: now.openings.saturating_sub(before.openings),
            refreshes: now.refreshes.saturating_sub(before.refreshes),
            introspections: now.introspections.saturating_sub(before.introspections),
            reuse_alarms: now.reuse_alarms.saturating_sub(before.reuse_alarms),
            failed_authentications: now.failed_authentications.saturating_sub(before.failed_authentications),
            commits,
            commit_ms_mean: (commits > 0).then(|| millis(nanos) / as_float(commits)),
            commit_ms_p99: p99(&before.commits, &now.commits),
            file_bytes: figures.file_bytes,
            disk_free_bytes: figures.free_bytes,
        }
    }
}

/// The bound of the bucket that has the 99th percentile of what was measured in between; `None` without
/// measurements, or above the last bound.
fn p99(before: &Distribution, now: &Distribution) -> Option<f64> {
    let count = now.count.saturating_sub(before.count);
    let rank = count.saturating_sub(count / 100);
    let earlier =
        |bound: u64| before.buckets.iter().find(|(known, _)| *known == bound).map_or(0, |(_, n)| *n);
    let reaches = |(bound, number): &&(u64, u64)| number.saturating_sub(earlier(*bound)) >= rank;
    now.buckets.iter().find(reaches).filter(|_| count > 0).map(|(bound, _)| millis(*bound))
}

fn millis(nanos: u64) -> f64 {
    as_float(nanos) / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "figures for plots")]
fn as_float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn totals(openings: u64, buckets: &[(u64, u64)], sum: u64) -> Totals {
        let count = buckets.last().map_or(0, |(_, number)| *number);
        let commits = Distribution { buckets: buckets.to_vec(), count, sum };
        Totals { openings, commits, ..Totals::default() }
    }

    fn read(history: &History) -> (Vec<FigurePoint>, Vec<FigurePoint>) {
        let FigureHistory { hour, day } = history.read();
        (hour, day)
    }

    #[test]
    fn a_point_has_what_happened_since_the_point_before() {
        let (history, figures) = (History::default(), Figures { active: 7, ..Figures::default() });
        history.record(at(0), &figures, &totals(5, &[(1_000_000, 1), (2_000_000, 1)], 500_000));
        assert!(read(&history).0.is_empty(), "nothing is known of the time before the first call");
        history.record(at(10), &figures, &totals(8, &[(1_000_000, 2), (2_000_000, 4)], 6_500_000));
        history.record(at(20), &figures, &totals(8, &[(1_000_000, 2), (2_000_000, 4)], 6_500_000));
        let (hour, _) = read(&history);
        assert_eq!((hour[0].at, hour[0].openings, hour[0].active, hour[0].commits), (at(10), 3, 7, 3));
        assert_eq!((hour[0].commit_ms_mean, hour[0].commit_ms_p99), (Some(2.0), Some(2.0)));
        assert_eq!((hour[1].openings, hour[1].commit_ms_mean, hour[1].commit_ms_p99), (0, None, None));
    }

    #[test]
    fn the_history_is_bounded_and_the_day_adds_up_the_hour() {
        let (history, figures) = (History::default(), Figures::default());
        let points = 288 * 30 + 1000;
        for n in 0..=points {
            history.record(at(10 * i64::try_from(n).unwrap()), &figures, &totals(2 * n, &[], 0));
        }
        let (hour, day) = read(&history);
        assert_eq!((hour.len(), day.len()), (HOUR_POINTS, DAY_POINTS));
        assert!(hour.iter().all(|point| point.openings == 2) && day.iter().all(|point| point.openings == 60));
        assert_eq!(hour.last().unwrap().at, at(10 * i64::try_from(points).unwrap()));
    }
}
