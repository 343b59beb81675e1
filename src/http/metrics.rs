//! Metrics: requests and connections are counted here; engine and store count for themselves.

pub(crate) mod figures;
pub(crate) mod page;
pub(crate) mod process;
pub(crate) mod requests;

use std::sync::{Arc, Mutex, PoisonError};

use self::page::Page;
use self::requests::RequestCounters;
use crate::http::net::budget::Budget;
use crate::http::net::channel::Channel;
use crate::http::net::open_connections::Connections;

/// The counters of requests and connections.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Whether the page can be read without credentials.
    pub is_public: bool,
    requests: Mutex<Vec<Arc<RequestCounters>>>,
    connections: [Arc<Connections>; 2],
    /// The memory budget of unfinished requests.
    pub buffered: Arc<Budget>,
}

impl Metrics {
    /// Counters that have counted nothing.
    pub fn new(is_public: bool, buffered: Budget) -> Self {
        Self { is_public, buffered: Arc::new(buffered), ..Self::default() }
    }

    /// Sets the counters of all routes. They are known only when the routes are, and this page is one of
    /// them.
    pub fn watch(&self, requests: Vec<Arc<RequestCounters>>) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner) = requests;
    }

    /// The counters of the connections of this channel.
    pub fn connections(&self, channel: Channel) -> &Arc<Connections> {
        &self.connections[usize::from(channel == Channel::AdminSocket)]
    }

    /// Prints the requests and connections.
    pub(crate) fn print(&self, page: &mut Page) {
        requests::print(page, &self.requests.lock().unwrap_or_else(PoisonError::into_inner));
        let listeners = || ["public", "admin_socket"].into_iter().zip(&self.connections);
        page.gauge("keyfob_http_connections", "Open connections.")
            .by("listener", listeners().map(|(listener, of)| (listener, of.open.get())));
        page.counter("keyfob_http_connections_accepted_total", "Connections accepted.")
            .by("listener", listeners().map(|(listener, of)| (listener, of.accepted.get())));
        page.one("keyfob_http_buffered_bytes", "Bytes that unfinished requests hold.", self.buffered.held());
        page.counter(
            "keyfob_http_connections_over_budget_total",
            "Connections closed because unfinished requests held more than buffered_bytes_max.",
        )
        .sample(&[], self.buffered.closed.get());
    }
}
