//! Requests by route, method and status, and how long their answers took. Names are those of routes, never of
//! what somebody asked for, so that there is a bounded number of them whatever is asked.

use poem::http::{Method, StatusCode};

use super::page::Page;
use crate::meter::{Counter, DURATIONS, Histogram, Stopwatch};

/// The route of a path that is none, and the method of a route that does not have it.
const OTHER: &str = "other";
/// The statuses that we answer, the frequent ones first.
const STATUSES: [u16; 20] =
    [200, 204, 201, 400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 415, 429, 500, 503, 304, 431, 501];

/// Every route, its methods, and what is counted of them.
#[derive(Debug)]
pub struct Requests {
    routes: Vec<Route>,
    unknown: Operation,
}

#[derive(Debug)]
struct Route {
    methods: Vec<(Method, Operation)>,
    other: Operation,
}

/// One method of one route.
#[derive(Debug)]
struct Operation {
    route: Box<str>,
    method: Box<str>,
    /// One for each of [`STATUSES`], one for any other, and one for those that went away unanswered.
    answers: [Counter; STATUSES.len() + 2],
    durations: Histogram,
}

/// A request that is being answered. It counts when it is dropped, so that those count whose caller goes away
/// before the answer.
pub struct Pending<'r> {
    operation: &'r Operation,
    since: Stopwatch,
    place: usize,
}

impl Requests {
    /// Those of these routes, which are known by their places from then on.
    pub fn of<'a>(routes: impl Iterator<Item = (&'a str, &'a [Method])>) -> Self {
        let route = |(template, methods): (&str, &[Method])| Route {
            methods: methods
                .iter()
                .map(|method| (method.clone(), Operation::new(template, method.as_str())))
                .collect(),
            other: Operation::new(template, OTHER),
        };
        Self { routes: routes.map(route).collect(), unknown: Operation::new(OTHER, OTHER) }
    }

    /// A request begins: of the route at this place, if it is of one.
    pub fn begin(&self, route: Option<usize>, method: &Method) -> Pending<'_> {
        let operation = match route.and_then(|place| self.routes.get(place)) {
            Some(route) => route
                .methods
                .iter()
                .find(|(known, _)| known == method)
                .map_or(&route.other, |(_, operation)| operation),
            None => &self.unknown,
        };
        Pending { operation, since: Stopwatch::start(), place: STATUSES.len() + 1 }
    }

    /// Prints those that were ever asked for.
    pub fn print(&self, page: &mut Page) {
        let operations = || {
            self.routes.iter().flat_map(|route| route.methods.iter().map(|(_, o)| o).chain([&route.other]))
        };
        let asked: Vec<_> = operations()
            .chain([&self.unknown])
            .filter(|o| o.answers.iter().any(|answers| answers.get() > 0))
            .collect();
        let mut samples = page.counter(
            "keyfob_http_requests_total",
            "Requests by route, method and status; none is a caller that left before the answer.",
        );
        for operation in &asked {
            operation.print_answers(|status, count| {
                samples.sample(
                    &[("route", &operation.route), ("method", &operation.method), ("status", status)],
                    count,
                );
            });
        }
        let mut samples = page
            .histogram("keyfob_http_request_duration_seconds", "How long answers took, long polls included.");
        for operation in &asked {
            samples.distribution(
                &[("route", &operation.route), ("method", &operation.method)],
                &operation.durations.read(),
                1e9,
            );
        }
    }
}

impl Operation {
    fn new(route: &str, method: &str) -> Self {
        Self {
            route: route.into(),
            method: method.into(),
            answers: Default::default(),
            durations: Histogram::new(DURATIONS),
        }
    }

    /// Failures of ours are told before there are any, so that the first one is seen to be one more.
    fn print_answers(&self, mut print: impl FnMut(&str, u64)) {
        let status = |place: usize| {
            STATUSES
                .get(place)
                .map_or(if place == STATUSES.len() { OTHER.into() } else { "none".into() }, u16::to_string)
        };
        for (place, count) in self.answers.iter().map(Counter::get).enumerate() {
            if count > 0 || matches!(STATUSES.get(place), Some(500 | 503)) {
                print(&status(place), count);
            }
        }
    }
}

impl Pending<'_> {
    /// It is answered with this status.
    pub fn answered(&mut self, status: StatusCode) {
        self.place = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len());
    }

    /// The route, as it is counted and logged.
    pub fn route(&self) -> &str {
        &self.operation.route
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.operation.answers[self.place].one();
        self.operation.durations.observe(self.since.nanos());
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Form;
    use super::*;

    fn printed(requests: &Requests) -> String {
        let mut page = Page::new(Form::Text);
        requests.print(&mut page);
        page.finish()
    }

    #[test]
    fn a_caller_that_leaves_before_the_answer_is_counted_as_such() {
        let requests = Requests::of([("/v1/things", &[Method::GET][..])].into_iter());
        drop(requests.begin(Some(0), &Method::GET));
        requests.begin(Some(0), &Method::GET).answered(StatusCode::IM_A_TEAPOT);
        let page = printed(&requests);
        assert!(page.contains(r#"{route="/v1/things",method="GET",status="none"} 1"#), "{page}");
        assert!(page.contains(r#"{route="/v1/things",method="GET",status="other"} 1"#), "{page}");
        assert!(
            page.contains(r#"keyfob_http_request_duration_seconds_count{route="/v1/things",method="GET"} 2"#),
            "{page}"
        );
    }

    #[test]
    fn what_was_never_asked_for_is_not_printed_and_a_failure_is_before_there_is_one() {
        let requests = Requests::of([("/v1/things", &[Method::GET, Method::POST][..])].into_iter());
        assert!(!printed(&requests).contains("/v1/things"));
        requests.begin(Some(0), &Method::POST).answered(StatusCode::CREATED);
        let page = printed(&requests);
        assert!(
            page.contains(r#"method="POST",status="201"} 1"#)
                && page.contains(r#"method="POST",status="503"} 0"#),
            "{page}"
        );
        assert!(!page.contains("GET"), "{page}");
    }
}
