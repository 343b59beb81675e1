//! Requests by route, method and status, and the time until the answer. Labels come from the table of routes,
//! never from a request, so their number is bounded.

use std::sync::Arc;

use poem::http::StatusCode;

use super::page::Page;
use crate::meter::{Counter, DURATIONS, Histogram, Stopwatch};

/// The label of paths that are not routes, of methods that a route does not have, and of all other statuses.
pub const OTHER: &str = "other";
/// The statuses of our answers, the frequent ones first.
const STATUSES: [u16; 20] =
    [200, 204, 201, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 415, 429, 500, 503, 304, 431, 501];
/// The slot of a status that is not in [`STATUSES`].
const OTHER_STATUS: usize = STATUSES.len();
/// The slot of requests that were not answered.
const UNANSWERED: usize = STATUSES.len() + 1;

/// The counters of one method of one route.
#[derive(Debug)]
pub struct RequestCounters {
    /// The route, as it is counted and logged.
    pub route: Box<str>,
    method: Box<str>,
    /// One for each of [`STATUSES`], then [`OTHER_STATUS`] and [`UNANSWERED`].
    answers: [Counter; UNANSWERED + 1],
    durations: Histogram,
}

/// A request in progress. It is counted when this is dropped, so that it is counted too if the client
/// disconnects before the answer.
pub struct Pending<'r> {
    counters: &'r RequestCounters,
    since: Stopwatch,
    slot: usize,
}

impl RequestCounters {
    /// Counters for this method of this route.
    pub fn new(route: &str, method: &str) -> Self {
        Self {
            route: route.into(),
            method: method.into(),
            answers: Default::default(),
            durations: Histogram::new(DURATIONS),
        }
    }

    pub fn start(&self) -> Pending<'_> {
        Pending { counters: self, since: Stopwatch::start(), slot: UNANSWERED }
    }
}

impl Pending<'_> {
    /// Records the status of the answer.
    pub fn answered(&mut self, status: StatusCode) {
        self.slot = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(OTHER_STATUS);
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.counters.answers[self.slot].one();
        self.counters.durations.observe(self.since.nanos());
    }
}

/// Prints the counters that have counted a request.
pub(super) fn print(page: &mut Page, all: &[Arc<RequestCounters>]) {
    let used = || all.iter().filter(|counters| counters.answers.iter().any(|answers| answers.get() > 0));
    let mut samples = page.counter(
        "keyfob_http_requests_total",
        "HTTP requests. status=none means that the client disconnected before the answer.",
    );
    for counters in used() {
        for (slot, count) in counters.answers.iter().map(Counter::get).enumerate() {
            let known = STATUSES.get(slot).copied();
            let other = if slot == UNANSWERED { "none" } else { OTHER };
            let status = known.map_or_else(|| other.to_owned(), |status| status.to_string());
            // 500 and 503 are reported before they occur, so that a rate over the first one is not zero.
            if count > 0 || matches!(known, Some(500 | 503)) {
                let labels =
                    [("route", &*counters.route), ("method", &*counters.method), ("status", &status)];
                samples.sample(&labels, count);
            }
        }
    }
    let mut samples = page.histogram(
        "keyfob_http_request_duration_seconds",
        "Time from the head of a request to its answer, long polls included.",
    );
    for counters in used() {
        let labels = [("route", &*counters.route), ("method", &*counters.method)];
        samples.distribution(&labels, &counters.durations.read(), 1e9);
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::ExpositionFormat;
    use super::*;

    fn printed(counters: &Arc<RequestCounters>) -> String {
        let mut page = Page::new(ExpositionFormat::Text);
        print(&mut page, std::slice::from_ref(counters));
        page.finish()
    }

    #[test]
    fn a_client_that_disconnects_before_the_answer_is_counted_with_status_none() {
        let counters = Arc::new(RequestCounters::new("/v1/things", "GET"));
        drop(counters.start());
        counters.start().answered(StatusCode::IM_A_TEAPOT);
        let page = printed(&counters);
        assert!(page.contains(r#"{route="/v1/things",method="GET",status="none"} 1"#), "{page}");
        assert!(page.contains(r#"{route="/v1/things",method="GET",status="other"} 1"#), "{page}");
        assert!(
            page.contains(r#"keyfob_http_request_duration_seconds_count{route="/v1/things",method="GET"} 2"#),
            "{page}"
        );
    }

    #[test]
    fn an_unused_route_is_not_printed_and_errors_of_a_used_one_are_printed_at_zero() {
        let counters = Arc::new(RequestCounters::new("/v1/things", "POST"));
        assert!(!printed(&counters).contains("/v1/things"));
        counters.start().answered(StatusCode::CREATED);
        let page = printed(&counters);
        assert!(
            page.contains(r#"method="POST",status="201"} 1"#)
                && page.contains(r#"method="POST",status="503"} 0"#),
            "{page}"
        );
        assert!(!page.contains("status=\"404\""), "{page}");
    }
}
