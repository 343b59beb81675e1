//! The metrics of the engine and of the store, which count for themselves.

use super::page::Page;
use crate::engine::counts::EngineCounters;
use crate::store::{Figures, ReplicaFigures};

/// The clients with the most sessions have their own sample; the others share one with an empty name.
const CLIENTS_MAX: usize = 100;

/// Prints the counters of the engine.
pub(crate) fn print_counts(page: &mut Page, counts: &EngineCounters) {
    let mut samples =
        page.counter("keyfob_introspections_total", "Introspections answered, by form of token and result.");
    for ((token, outcome), count) in counts.introspections.read() {
        samples.sample(&[("token", token.as_str()), ("outcome", outcome.as_str())], count);
    }
    page.counter("keyfob_session_checks_total", "Checks of tokens by backends, by result.")
        .by("outcome", counts.checks.read());
    page.counter("keyfob_refreshes_total", "Refresh tokens presented, by result.")
        .by("outcome", counts.refreshes.read());
    page.counter("keyfob_access_tokens_issued_total", "Access tokens issued, by form.")
        .by("format", counts.tokens.read());
    page.counter("keyfob_authentication_failures_total", "Failed authentications of clients, by cause.")
        .by("cause", counts.auth_failures.read());
    page.counter("keyfob_authentications_throttled_total", "Failed authentications that were answered 429.")
        .sample(&[], counts.throttled.get());
    page.counter("keyfob_sweep_removed_total", "Entries deleted by the sweep.")
        .by("what", counts.removed.read());
}

/// Prints the sessions, the events and the store.
pub(crate) fn print_figures(page: &mut Page, figures: &Figures) {
    print_sessions(page, figures);
    print_store(page, figures);
}

fn print_sessions(page: &mut Page, figures: &Figures) {
    page.one(
        "keyfob_sessions_live",
        "Active sessions, and expired ones until the sweep has recorded the expiry.",
        figures.active,
    );
    let mut by_client: Vec<_> = figures.active_by_client.iter().collect();
    by_client.sort_by_key(|(client, number)| (std::cmp::Reverse(**number), *client));
    let (own, beyond) = by_client.split_at(by_client.len().min(CLIENTS_MAX));
    let own = own.iter().map(|(client, number)| (client.as_str(), **number));
    let beyond = Some(beyond.iter().map(|(_, number)| **number).sum()).filter(|sum| *sum > 0);
    page.gauge(
        "keyfob_client_sessions_live",
        "The same by client; clients beyond a hundred share an empty label.",
    )
    .by("client", own.chain(beyond.map(|sum| ("", sum))));
    page.one(
        "keyfob_sessions_stored",
        "Sessions in the database, including ended ones during the retention.",
        figures.sessions,
    );
    page.counter(
        "keyfob_sessions_ended_total",
        "Sessions ended, by reason; without expired ones, which are events.",
    )
    .by("reason", figures.sessions_ended.iter().copied());
    page.counter("keyfob_events_total", "Events written to the event log, by type.")
        .by("type", figures.events_written.iter().copied());
    page.one("keyfob_event_log_entries", "Events in the database.", figures.events);
}

fn print_store(page: &mut Page, figures: &Figures) {
    page.counter("keyfob_store_commits_total", "Transactions committed.").sample(&[], figures.commits);
    page.counter(
        "keyfob_store_commit_failures_total",
        "Failed commits. With the embedded store the process exits after the first one.",
    )
    .sample(&[], figures.failures);
    page.counter("keyfob_store_decisions_total", "Decisions run in transactions, with or without a change.")
        .sample(&[], figures.decisions);
    page.histogram(
        "keyfob_store_commit_duration_seconds",
        "Duration of a commit, including the sync to the disk.",
    )
    .distribution(&[], &figures.commit_nanos, 1e9);
    page.histogram("keyfob_store_batch_decisions", "Decisions in each commit.").distribution(
        &[],
        &figures.batches,
        1.0,
    );
    page.one("keyfob_store_queue_depth", "Queued writes.", figures.waiting);
    page.one(
        "keyfob_store_queue_capacity",
        "Maximum of queued writes; revocations have further places.",
        figures.places,
    );
    page.counter(
        "keyfob_store_busy_total",
        "Writes rejected with 503 because the queue was full, or for an opening the disk.",
    )
    .by("lane", ["opening", "ordinary", "revocation"].into_iter().zip(figures.busy));
    if let Some(replicas) = figures.replicas {
        page.one(
            "keyfob_database_replicas",
            "Replicas whose heartbeat is at most ten seconds old; the same at each.",
            replicas,
        );
    }
    if let Some(bytes) = figures.file_bytes {
        page.one("keyfob_store_file_bytes", "Size of the database file.", bytes);
    }
    if let Some(bytes) = figures.free_bytes {
        page.one("keyfob_store_free_bytes", "Free space in the file system of the database.", bytes);
    }
    page.gauge("keyfob_store_table_bytes", "Size of each table, measured at intervals of minutes.")
        .by("table", figures.table_bytes.iter().map(|(table, bytes)| (*table, *bytes)));
}

/// Prints what a replica knows of a shared database.
pub(crate) fn print_replica(page: &mut Page, figures: &ReplicaFigures) {
    page.one("keyfob_database_connections", "Open connections to the database.", figures.connections);
    page.one(
        "keyfob_database_connections_max",
        "Maximum of open connections to the database.",
        figures.connections_max,
    );
    let connects = [("made", figures.connected), ("failed", figures.connections_failed)];
    page.counter("keyfob_database_connects_total", "Attempts to connect to the database, by result.")
        .by("outcome", connects);
    page.counter("keyfob_database_round_trips_total", "Round trips to the database, by what they do.")
        .by("kind", figures.round_trips.iter().copied());
    page.histogram("keyfob_database_read_questions", "Questions that one round trip answers.").distribution(
        &[],
        &figures.questions,
        1.0,
    );
    page.histogram(
        "keyfob_database_read_duration_seconds",
        "Duration of the round trips that answer questions.",
    )
    .distribution(&[], &figures.read_nanos, 1e9);
    page.counter(
        "keyfob_database_transactions_retried_total",
        "Transactions that were rolled back and tried again.",
    )
    .sample(&[], figures.transactions_retried);
    page.counter(
        "keyfob_database_heartbeats_failed_total",
        "Heartbeats that the database has not confirmed.",
    )
    .sample(&[], figures.heartbeats_failed);
    if let Some(age) = figures.heartbeat_age {
        page.one(
            "keyfob_database_heartbeat_age_seconds",
            "Time since the last confirmed heartbeat was sent; answers count below max_staleness.",
            age.as_secs_f64(),
        );
    }
    page.one(
        "keyfob_database_synchronous",
        "1 if the database waits for a second copy of each commit, else 0.",
        u8::from(figures.is_synchronous),
    );
    page.one(
        "keyfob_database_timeline",
        "Timeline of the database; each failover begins one.",
        figures.timeline,
    );
}
