//! `GET /console/figures`: the last hour and the last day, column by column, for the plots.

use poem::{IntoResponse, Request};
use serde::Serialize;

use super::{Console, Handling};
use crate::domain::caller::Inspect;
use crate::engine::figure_series::{DAY_STEP, FigurePoint, RECORD_EVERY};
use crate::http::request::{DateTime, Parsed};
use crate::http::response::Json;
use crate::store::Store;

#[derive(Serialize)]
struct FiguresAnswer {
    hour: Columns,
    day: Columns,
    now: FiguresNow,
}

/// Points as columns of equal length, oldest first. What is not known is null.
#[derive(Default, Serialize)]
struct Columns {
    /// Seconds between two points.
    step_s: u64,
    /// The end of each interval, in seconds since 1970.
    at: Vec<i64>,
    active_sessions: Vec<u64>,
    openings: Vec<u64>,
    refreshes: Vec<u64>,
    introspections: Vec<u64>,
    reuse_alarms: Vec<u64>,
    failed_authentications: Vec<u64>,
    commits: Vec<u64>,
    commit_ms_mean: Vec<Option<f64>>,
    commit_ms_p99: Vec<Option<f64>>,
    file_bytes: Vec<Option<u64>>,
    disk_free_bytes: Vec<Option<u64>>,
}

#[derive(Serialize)]
struct FiguresNow {
    active_sessions: u64,
    /// Stored sessions, including ended ones during the retention.
    sessions_stored: u64,
    events: u64,
    file_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    ready: bool,
    /// When this server started: the series begin there.
    started_at: DateTime,
    /// The name of this server if it shares its database. The series are its own.
    replica: Option<Box<str>>,
    /// The position of the last event.
    head: String,
}

impl<S: Store> Console<S> {
    pub(super) fn figures(&self, request: Request) -> Handling<'_> {
        Box::pin(async move {
            self.granted::<Inspect>(&request).await?;
            let (history, figures) = (self.engine.figure_history(), self.engine.figures().await?);
            let now = FiguresNow {
                active_sessions: figures.active,
                sessions_stored: figures.sessions,
                events: figures.events,
                file_bytes: figures.file_bytes,
                disk_free_bytes: figures.free_bytes,
                ready: self.engine.ready().is_ok(),
                started_at: Parsed(self.engine.started_at()),
                replica: self.engine.replica_figures().map(|replica| replica.name),
                head: self.engine.head().to_string(),
            };
            let hour = Columns::of(&history.hour, RECORD_EVERY.as_secs());
            let day = Columns::of(&history.day, DAY_STEP.as_secs());
            Ok(Json(FiguresAnswer { hour, day, now }).into_response())
        })
    }
}

impl Columns {
    fn of(points: &[FigurePoint], step_s: u64) -> Self {
        let mut columns = Self { step_s, ..Self::default() };
        for point in points {
            columns.at.push(point.at.seconds());
            columns.active_sessions.push(point.active);
            columns.openings.push(point.openings);
            columns.refreshes.push(point.refreshes);
            columns.introspections.push(point.introspections);
            columns.reuse_alarms.push(point.reuse_alarms);
            columns.failed_authentications.push(point.failed_authentications);
            columns.commits.push(point.commits);
            columns.commit_ms_mean.push(point.commit_ms_mean);
            columns.commit_ms_p99.push(point.commit_ms_p99);
            columns.file_bytes.push(point.file_bytes);
            columns.disk_free_bytes.push(point.disk_free_bytes);
        }
        columns
    }
}
