//! `keyfob policy …`: what a changed policy would have done.

use clap::{Args, Subcommand, ValueEnum};

use super::{AdminClient, Failure, Output, now, pairs, print_result, table_lines, when};
use crate::domain::time::Timestamp;
use crate::http::api::policies::{
    CapSimulation, GapSimulation, LifetimeSimulation, PolicySimulation, RetrySimulation,
};

/// Commands for policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Prints what a policy would have done with other settings: to the sessions that are kept, and by the
    /// gaps between uses and the delays of retries that the running server has counted. Changes nothing.
    Simulate(SimulateArgs),
}

/// The settings to try.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  keyfob policy simulate --absolute-lifetime 8h --max-sessions-per-subject 3 --idle-timeout 15m")]
pub struct SimulateArgs {
    /// The policy.
    #[arg(default_value = "default")]
    policy: String,
    #[command(flatten)]
    change: ChangedSettings,
}

/// At least one of these; the server refuses a request without a change.
#[derive(Debug, Args)]
struct ChangedSettings {
    /// Another absolute lifetime, such as 8h.
    #[arg(long, value_name = "DURATION")]
    absolute_lifetime: Option<String>,
    /// Another absolute lifetime of remembered sessions.
    #[arg(long, value_name = "DURATION")]
    remember_absolute_lifetime: Option<String>,
    /// Another number of sessions per subject and client; 0 is no limit.
    #[arg(long, value_name = "N")]
    max_sessions_per_subject: Option<u32>,
    /// What an opening does at that number.
    #[arg(long)]
    when_full: Option<Full>,
    /// Another idle timeout.
    #[arg(long, value_name = "DURATION")]
    idle_timeout: Option<String>,
    /// Another idle timeout of remembered sessions.
    #[arg(long, value_name = "DURATION")]
    remember_idle_timeout: Option<String>,
    /// Another retry window.
    #[arg(long, value_name = "DURATION")]
    refresh_retry_window: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Full {
    EvictOldest,
    Refuse,
}

impl PolicyCommand {
    /// Runs the command.
    pub async fn run(self, admin: &mut AdminClient, output: Output) -> Result<(), Failure> {
        let Self::Simulate(SimulateArgs { policy, change }) = self;
        let number = change.max_sessions_per_subject.map(|number| number.to_string());
        let full = change.when_full.map(|full| match full {
            Full::EvictOldest => "evict_oldest",
            Full::Refuse => "refuse",
        });
        let query = pairs(&[
            ("policy", Some(&policy)),
            ("absolute_lifetime", change.absolute_lifetime.as_deref()),
            ("remember_absolute_lifetime", change.remember_absolute_lifetime.as_deref()),
            ("max_sessions_per_subject", number.as_deref()),
            ("when_full", full),
            ("idle_timeout", change.idle_timeout.as_deref()),
            ("remember_idle_timeout", change.remember_idle_timeout.as_deref()),
            ("refresh_retry_window", change.refresh_retry_window.as_deref()),
        ]);
        let answer: PolicySimulation = admin.get(&format!("/v1/policies/simulate?{query}")).await?;
        print_result(output, &answer, || lines(&answer, now()))
    }
}

fn lines(answer: &PolicySimulation, now: Timestamp) -> Vec<String> {
    let PolicySimulation { policy, sessions, examined, .. } = answer;
    // Idle timeouts and retry windows are judged by counts alone.
    let examined = match (&answer.lifetime, &answer.cap) {
        (None, None) => String::new(),
        _ => format!(": {sessions} kept sessions of {examined} examined"),
    };
    let mut lines = vec![format!("policy {policy}{examined}")];
    let parts = [
        answer.lifetime.as_ref().map(|part| lifetime_lines(part, now)),
        answer.cap.as_ref().map(|part| cap_lines(part, now)),
        answer.idle.as_ref().map(|part| gap_lines("", part)),
        answer.remember_idle.as_ref().map(|part| gap_lines("remembered ", part)),
        answer.retry.as_ref().map(retry_lines),
    ];
    for part in parts.into_iter().flatten() {
        lines.push(String::new());
        lines.extend(part);
    }
    lines.push(String::new());
    lines.extend(answer.unknown.iter().map(|sentence| format!("not known: {sentence}")));
    lines
}

fn lifetime_lines(part: &LifetimeSimulation, now: Timestamp) -> Vec<String> {
    let LifetimeSimulation { ended_earlier, active_among_them, could_live_longer, items } = part;
    let mut lines = vec![format!(
        "absolute lifetime: {ended_earlier} sessions would have ended earlier, {active_among_them} of them \
         are active; {could_live_longer} that expired by it would not have"
    )];
    if !items.is_empty() {
        let rows = items.iter().map(|item| {
            let ended = item.ended_at.map_or("active".to_owned(), |at| when(at.0, now));
            [
                item.session_id.clone(),
                item.subject.clone(),
                item.client_id.clone(),
                when(item.would_end_at.0, now),
                ended,
            ]
        });
        lines.extend(table_lines(["SESSION", "SUBJECT", "CLIENT", "WOULD HAVE ENDED", "ENDED"], rows));
    }
    lines.extend(rest(*ended_earlier, items.len()));
    lines
}

fn cap_lines(part: &CapSimulation, now: Timestamp) -> Vec<String> {
    let CapSimulation { evicted, refused, items } = part;
    let mut lines = vec![format!(
        "sessions per subject: {evicted} sessions would have been evicted, {refused} openings refused"
    )];
    if !items.is_empty() {
        let rows = items.iter().map(|item| {
            let certain = if item.certain { "yes" } else { "no" };
            [
                item.session_id.clone(),
                item.subject.clone(),
                item.client_id.clone(),
                when(item.would_end_at.0, now),
                certain.to_owned(),
            ]
        });
        lines.extend(table_lines(["SESSION", "SUBJECT", "CLIENT", "WOULD HAVE ENDED", "CERTAIN"], rows));
    }
    lines.extend(rest(evicted + refused, items.len()));
    lines
}

/// That the table is not the whole list.
fn rest(all: u64, named: usize) -> Option<String> {
    let left = all.saturating_sub(named as u64);
    (left > 0).then(|| format!("and {left} more"))
}

fn gap_lines(which: &str, part: &GapSimulation) -> Vec<String> {
    let GapSimulation { gaps, longer, longer_at_most, histogram } = part;
    let mut lines = vec![format!(
        "idle timeout: {} of {gaps} gaps between uses of {which}sessions were longer: those sessions would \
         have expired",
        from_to(*longer, *longer_at_most)
    )];
    let rows = histogram.iter().filter(|bucket| bucket.count > 0).map(|bucket| {
        [bucket.up_to_s.map_or("longer".into(), |s| format!("{s} s")), bucket.count.to_string()]
    });
    lines.extend(filled(["GAP UP TO", "GAPS"], rows.collect()));
    lines
}

fn retry_lines(part: &RetrySimulation) -> Vec<String> {
    let RetrySimulation { retries, later, later_at_most, histogram } = part;
    let mut lines =
        vec![format!("retry window: {} of {retries} retries came later", from_to(*later, *later_at_most))];
    let rows = histogram.iter().filter(|bucket| bucket.count > 0).map(|bucket| {
        [bucket.up_to_ms.map_or("longer".into(), |ms| format!("{ms} ms")), bucket.count.to_string()]
    });
    lines.extend(filled(["DELAY UP TO", "RETRIES"], rows.collect()));
    lines
}

fn filled(headings: [&str; 2], rows: Vec<[String; 2]>) -> Vec<String> {
    if rows.is_empty() { vec![] } else { table_lines(headings, rows) }
}

fn from_to(least: u64, most: u64) -> String {
    if least == most { least.to_string() } else { format!("{least} to {most}") }
}
