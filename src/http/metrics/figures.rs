//! The metrics of the engine and of the store, which count for themselves.

use super::page::Page;
use crate::engine::counts::EngineCounters;
use crate::store::Figures;

/// The clients with the most sessions have their own sample; the others share one with an empty name.
const CLIENTS_MAX: usize = 100;

/// Prints the counters of the engine.
pub(crate) fn print_counts(page: &mut Page, counts: &EngineCounters) {
    let mut samples =
        page.counter("keyfob_introspections_total", "Introspections answered, by form of token and result.");
    for ((token, outcome), count) in counts.introspections.read() {
        samples.sample(&[("token", token.as_str()), ("outcome", outcome.as_str())], count);
    }
    let mut samples = page.counter("keyfob_refreshes_total", "Refresh tokens presented, by result.");
    for (outcome, count) in counts.refreshes.read() {
        samples.sample(&[("outcome", outcome.as_str())], count);
    }
    let mut samples = page.counter("keyfob_access_tokens_issued_total", "Access tokens issued, by form.");
    for (format, count) in counts.tokens.read() {
        samples.sample(&[("format", format.as_str())], count);
    }
    let mut samples =
        page.counter("keyfob_authentication_failures_total", "Failed authentications of clients, by cause.");
    for (cause, count) in counts.auth_failures.read() {
        samples.sample(&[("cause", cause.as_str())], count);
    }
    page.counter("keyfob_authentications_throttled_total", "Failed authentications that were answered 429.")
        .sample(&[], counts.throttled.get());
    let mut samples = page.counter("keyfob_sweep_removed_total", "Entries deleted by the sweep.");
    for (what, count) in counts.removed.read() {
        samples.sample(&[("what", what.as_str())], count);
    }
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
    let beyond: u64 = by_client.iter().skip(CLIENTS_MAX).map(|(_, number)| **number).sum();
    let mut samples = page.gauge(
        "keyfob_client_sessions_live",
        "The same by client; clients beyond a hundred share an empty label.",
    );
    by_client
        .iter()
        .take(CLIENTS_MAX)
        .for_each(|(client, number)| samples.sample(&[("client", client.as_str())], number));
    if beyond > 0 {
        samples.sample(&[("client", "")], beyond);
    }
    page.one(
        "keyfob_sessions_stored",
        "Sessions in the database, including ended ones during the retention.",
        figures.sessions,
    );
    let mut samples = page.counter(
        "keyfob_sessions_ended_total",
        "Sessions ended, by reason; without expired ones, which are events.",
    );
    figures
        .sessions_ended
        .iter()
        .for_each(|(reason, count)| samples.sample(&[("reason", reason.as_str())], count));
    let mut samples = page.counter("keyfob_events_total", "Events written to the event log, by type.");
    figures.events_written.iter().for_each(|(kind, count)| samples.sample(&[("type", kind.as_str())], count));
    page.one("keyfob_event_log_entries", "Events in the database.", figures.events);
}

fn print_store(page: &mut Page, figures: &Figures) {
    page.counter("keyfob_store_commits_total", "Transactions committed.").sample(&[], figures.commits);
    page.counter(
        "keyfob_store_commit_failures_total",
        "Failed commits. The process exits after the first one.",
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
    let mut samples =
        page.counter("keyfob_store_busy_total", "Writes rejected with 503 because the queue was full.");
    for (lane, count) in ["ordinary", "revocation"].into_iter().zip(figures.busy) {
        samples.sample(&[("lane", lane)], count);
    }
    if let Some(bytes) = figures.file_bytes {
        page.one("keyfob_store_file_bytes", "Size of the database file.", bytes);
    }
    if let Some(bytes) = figures.free_bytes {
        page.one("keyfob_store_free_bytes", "Free space in the file system of the database.", bytes);
    }
    let mut samples =
        page.gauge("keyfob_store_table_bytes", "Size of each table, measured at intervals of minutes.");
    figures.table_bytes.iter().for_each(|(table, bytes)| samples.sample(&[("table", table)], bytes));
}
